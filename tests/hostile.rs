//! Malicious containers, pods and answers, between a simulated host and an API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

use serde_json::json;
use support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod, uid};

fn host() -> FakeHost {
    FakeHost::new(4096 * MIB, 2048 * MIB)
}

fn half(mebibytes: u64) -> String {
    (mebibytes * MIB / 2).to_string()
}

/// Collects every file below this directory, and the targets of links.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_symlink() {
            found.insert(path.clone(), fs::read_link(path).unwrap().as_os_str().as_bytes().into());
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

fn cgroups(host: &FakeHost) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(&host.path("/sys/fs/cgroup"), &mut found);
    found
}

/// cgroupfs has no links, but a directory that is used as the host may have some.
#[test]
fn nothing_is_written_but_to_the_containers_own_cgroups() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let hostile = server.apply(&pod("hostile", NODE, Some("100Mi"), None)).unwrap();
    let scope = host.container(uid(&hostile), &container_id(1), "main", "max");
    let other = "9192cfa8-0000-4444-9bb8-9701e3620c02";
    let system = host.path("/sys/fs/cgroup/system.slice");
    fs::create_dir_all(&system).unwrap();
    let limit = |folder: &Path| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("memory.swap.max"), "max\n").unwrap();
        fs::write(folder.join("memory.swap.current"), "0\n").unwrap();
    };
    limit(&system);
    let inner = |below: &Path| {
        for name in [
            &b"a\nb"[..],
            b"\xff\xfe",
            b"\x1b[2J",
            "x".repeat(255).as_bytes(),
            b"container/container",
            format!("crio-{}.scope", container_id(7)).as_bytes(),
            format!("kubepods/burstable/pod{other}/crio-{}", container_id(8)).as_bytes(),
            format!("pod{other}/{}", container_id(9)).as_bytes(),
        ] {
            limit(&below.join(OsStr::from_bytes(name)));
        }
        symlink(&system, below.join("link")).unwrap();
    };
    inner(&host.path(&scope));
    // A container cannot create one in the pod's cgroup; if it could:
    let of_pod = host.path(&scope).parent().unwrap().to_owned();
    symlink(&system, of_pod.join(format!("crio-{}", container_id(2)))).unwrap();
    symlink(&system, of_pod.join(container_id(3))).unwrap();
    let linked = host.container(uid(&hostile), &container_id(4), "main", "max");
    fs::remove_file(host.path(&linked).join("memory.swap.max")).unwrap();
    symlink(system.join("memory.swap.max"), host.path(&linked).join("memory.swap.max")).unwrap();

    let before = cgroups(&host);
    let agent = Agent::start(&host);
    let own = [host.path(&scope), host.path(&scope).join("container")];
    let own = own.map(|folder| folder.join("memory.swap.max"));
    assert_eq!(host.limit(&scope), half(100));
    // While it runs too: the last of the later ones is an honest pod.
    let second = host.path(&scope).join("second");
    fs::create_dir_all(&second).unwrap();
    inner(&second);
    let honest = server.apply(&pod("honest", NODE, Some("200Mi"), None)).unwrap();
    let honest = host.container(uid(&honest), &container_id(5), "main", "max");
    host.await_limit(&honest, &half(200));
    agent.signal("-HUP");
    host.set_limit(&scope, "max");
    host.await_limit(&scope, &half(100));
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    let after = cgroups(&host);
    for (path, text) in before {
        if !own.contains(&path) {
            assert_eq!(after.get(&path), Some(&text), "{}", path.display());
        }
    }
    for (path, text) in after.iter().filter(|(path, _)| path.starts_with(&second)) {
        let untouched: [&[u8]; 2] = [b"max\n", b"0\n"];
        let is_link = path.is_symlink();
        assert!(is_link || untouched.contains(&text.as_slice()), "{}", path.display());
    }
}

/// An author of pods can claim that a pod is the mirror of a static pod with any UID.
#[test]
fn a_pod_cannot_pass_for_another() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let victim = server.apply(&pod("victim", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&victim), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    assert_eq!(host.limit(&cgroup), half(100));
    let mut thief = pod("thief", NODE, Some("1Mi"), None);
    thief["metadata"]["annotations"] = json!({
        "kubernetes.io/config.mirror": uid(&victim), "kubernetes.io/config.source": "file",
    });
    server.apply(&thief).unwrap();
    let later = server.apply(&pod("later", NODE, Some("200Mi"), None)).unwrap();
    let later = host.container(uid(&later), &container_id(2), "main", "max");
    host.await_limit(&later, &half(200));
    host.set_limit(&cgroup, "max");
    host.await_limit(&cgroup, &half(100));
    let record = host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&victim)));
    assert!(fs::read_to_string(record).unwrap().contains("\"victim\""));
    drop(agent);
}

/// Texts of an API server and of pods' authors, in every kind of output.
#[test]
fn words_of_others_are_shown_and_not_obeyed() {
    const WORDS: &str = "no\nREADY=0\nSTATUS=all is well\r\u{1b}]0;title\u{7}\u{9b}2J\u{202e}";
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let mut author = pod("author", NODE, Some("100Mi"), None);
    author["metadata"]["annotations"] = json!({"kubernetes.io/config.source": WORDS});
    let author = server.apply(&author).unwrap();
    let cgroup = host.container(uid(&author), &container_id(1), "main", "max");
    let mut agent = Agent::start(&host);
    assert_eq!(host.limit(&cgroup), half(100), "no static pod, whatever its author writes");
    let fault = json!({"verb": "watch", "resource": "pods", "code": 403, "message": WORDS});
    server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    let fault = json!({"verb": "list", "resource": "pods", "code": 403, "message": WORDS});
    server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    server.drop_watches().unwrap();
    let status = agent.hears("STATUS=the API server refuses");
    assert!(status.contains("no READY=0 STATUS=all is well \\u{1b}]0;title"), "{status}");

    let published = host.path("/run/wasp-agent/status.json");
    let shows = |text: &str| text.contains("READY=0") && !text.contains(is_obeyed);
    let mut screens = String::new();
    for arguments in [&["status"][..], &["explain", "author"], &["plan"]] {
        // The agent writes the file at most every two seconds.
        let output = loop {
            let output = Agent::command(&host, arguments).output().unwrap();
            let said = fs::read_to_string(&published).is_ok_and(|text| text.contains("READY=0"));
            if said {
                break output;
            }
        };
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.replace('\n', "").contains(is_obeyed), "{arguments:?}: {text:?}");
        screens += &text;
    }
    assert!(screens.contains("refused: no READY=0"), "{screens}");
    let (_, log) = agent.stop();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("READY=0")).collect();
    assert!(!said.is_empty() && said.iter().all(|line| shows(line)), "{log:?}");
    assert!(log.lines().all(|line| !line.starts_with("READY") && !line.starts_with("STATUS")));
}

fn is_obeyed(letter: char) -> bool {
    letter.is_control() || letter == '\u{202e}'
}
