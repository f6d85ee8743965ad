//! System calls fail that never fail on a healthy node, and files have impossible content.

use std::{fs, io::Write, process::Stdio};

use serde_json::json;
use test_apiserver::pki::Validity;

use crate::{
    node::{HOOKS, Node, burstable, files, share},
    support::{Agent, NODE, PATIENCE, agent_binary, container_id},
};

#[test]
fn cgroupfs_that_fails_is_tried_again() {
    let node = Node::new();
    let one = node.pod(&burstable("one", 100), 1, "max");
    let other = node.pod(&burstable("other", 60), 2, "max");
    for place in ["limit.write", "cgroup.read"] {
        for error in ["EIO", "EINTR", "EBUSY", "ENOSPC", "EROFS"] {
            let failpoint = format!("{place}=3*return({error})");
            node.host.set_limit(&one.cgroup, "max");
            node.host.set_limit(&other.cgroup, "max");
            let agent = Agent::spawn(&node.host, &["run"], &failpoint);
            node.host.await_limit(&one.cgroup, &share(100).to_string());
            node.host.await_limit(&other.cgroup, &share(60).to_string());
            let (status, log) = agent.stop();
            assert_eq!(status, Some(0), "{failpoint}: {log}");
            assert!(log.contains("trying again"), "{failpoint}: {log}");
        }
    }
}

#[test]
fn a_full_disk_keeps_no_limit_from_being_set() {
    let node = Node::new();
    let pod = node.pod(&burstable("p", 100), 1, "max");
    for error in ["ENOSPC", "EROFS", "EIO"] {
        let _ = fs::remove_dir_all(node.host.path("/run/wasp-agent"));
        node.host.set_limit(&pod.cgroup, "max");
        let mut agent = Agent::spawn(&node.host, &["run"], &format!("file.open=return({error})"));
        agent.hears("READY=1");
        node.host.await_limit(&pod.cgroup, &share(100).to_string());
        let status = agent.hears("STATUS=cannot ");
        assert!(status.contains("/run/wasp-agent"), "{status}");
        assert_eq!(agent.stop().0, Some(0));
        node.assert_files_are_whole(error);
        node.assert_nothing_is_left_over(error);
    }
}

#[test]
fn an_eviction_without_an_answer_is_waited_for() {
    let node = pressed();
    let mut agent = Agent::spawn(&node.host, &["run"], "evict.asked=return(EIO)");
    agent.hears("waiting for the end of pod");
    assert_eq!(node.leaving(), ["first"]);
    assert_eq!(agent.stop().0, Some(0));
    // The next agent waits for the same pod.
    let mut agent = Agent::start(&node.host);
    agent.hears("waiting for the end of pod default/first");
    assert_eq!(node.leaving(), ["first"]);
}

#[test]
fn a_kernel_that_watches_no_more_hides_no_container() {
    let node = Node::new();
    let first = node.pod(&burstable("first", 100), 1, "max");
    let mut agent = Agent::spawn(&node.host, &["run"], "inotify.watch=return(ENOSPC)");
    node.host.await_limit(&first.cgroup, &share(100).to_string());
    let status = agent.hears("STATUS=the kernel does not watch");
    assert!(status.contains("max_user_watches"), "{status}");
    let second = node.pod(&burstable("second", 60), 2, "max");
    node.host.set_limit(&first.cgroup, "max");
    node.host.await_limit(&second.cgroup, &share(60).to_string());
    node.host.await_limit(&first.cgroup, &share(100).to_string());
    agent.hears("2 of 2 containers in 2 pods may swap");
    node.host.remove_container(&second.cgroup);
    agent.hears("1 of 1 container in 2 pods may swap");
    assert_eq!(agent.stop().0, Some(0));

    let mut agent = Agent::spawn(&node.host, &["run"], "inotify.watch=25*return(ENOSPC)");
    agent.hears("STATUS=the kernel does not watch");
    agent.hears("STATUS=Swap 2.0 GiB");
    node.host.set_limit(&first.cgroup, "max");
    node.host.await_limit(&first.cgroup, &share(100).to_string());
}

/// A node whose swap is full, and three pods, the first of which uses most of it.
fn pressed() -> Node {
    let node = Node::new();
    let config = "[eviction]\nmode = \"enforce\"\n[eviction.utilization]\nsustain-seconds = 0\n";
    node.host.write("/etc/wasp-agent/config.d/50.toml", config);
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        let container = node.pod(&burstable(name, 100), number, "0");
        node.uses(&container.cgroup, 200 << 20, (300 - number as u64) << 20);
    }
    node.presses(true);
    node
}

#[test]
fn an_eviction_that_cannot_be_written_down_is_not_asked_for() {
    let node = pressed();
    for error in ["ENOSPC", "EROFS"] {
        let mut agent = Agent::spawn(&node.host, &["run"], &format!("file.rename=return({error})"));
        let status = agent.hears("the agent cannot save the request first");
        assert!(status.contains("/run/wasp-agent/evictions.json"), "{status}");
        assert_eq!(agent.stop().0, Some(0));
        assert!(node.leaving().is_empty(), "{error}: {:?}", node.leaving());
    }
    let mut agent = Agent::spawn(&node.host, &["run"], "file.rename=20*return(ENOSPC)");
    agent.hears("waiting for the end of pod");
    assert_eq!(node.leaving(), ["first"]);
}

#[test]
fn nobody_is_evicted_when_it_is_not_known_who_was() {
    let node = pressed();
    node.host.write("/run/wasp-agent/evictions.json", "{\"in_flight\": [");
    let mut agent = Agent::start(&node.host);
    agent.hears("(cooling down for 5");
    let (_, log) = agent.stop();
    assert!(log.contains("A pod may be leaving"), "{log}");
    node.assert_files_are_whole("written anew");
    assert!(node.leaving().is_empty(), "{:?}", node.leaving());
}

#[test]
fn credentials_that_are_refused_change_no_limit() {
    let node = Node::new();
    let pod = node.pod(&burstable("p", 100), 1, "max");
    let other_ca = node.server.data().join("other-ca");
    for (what, wrong) in [
        ("expired", Validity::expired()),
        ("of another authority", Validity::for_the_next(PATIENCE)),
    ] {
        assert_eq!(Agent::start(&node.host).stop().0, Some(0));
        assert_eq!(node.host.limit(&pod.cgroup), share(100).to_string());
        if what == "expired" {
            node.server.rotate(NODE, wrong).unwrap();
        } else {
            node.server.pki().rotate_from_wrong_ca(NODE, wrong).unwrap();
        }
        let mut agent = Agent::start(&node.host);
        // Unreachable or refused, depending on TLS.
        agent.hears("API server");
        node.host.set_limit(&pod.cgroup, "max");
        node.host.await_limit(&pod.cgroup, &share(100).to_string());
        node.server.rotate(NODE, Validity::for_the_next(PATIENCE * 1000)).unwrap();
        agent.hears("Swap 2.0 GiB");
    }
    // A server with a certificate of another authority.
    fs::create_dir(&other_ca).unwrap();
    let impostor = test_apiserver::ApiServer::start(test_apiserver::Options {
        nodes: vec![NODE.to_owned()],
        ..test_apiserver::Options::new(&other_ca)
    })
    .unwrap();
    let kubeconfig = fs::read_to_string(node.server.node_kubeconfig(NODE).unwrap()).unwrap();
    let pretended = kubeconfig.replace(&node.server.url(), &impostor.url());
    assert_ne!(kubeconfig, pretended);
    node.host.write("/var/lib/kubelet/kubeconfig", &pretended);
    let mut agent = Agent::start(&node.host);
    let status = agent.hears("STATUS=API server not reachable");
    assert!(status.contains("certificate"), "{status}");
    assert_eq!(node.host.limit(&pod.cgroup), share(100).to_string());
}

#[test]
fn state_that_was_garbled_is_left_out() {
    let node = Node::new();
    let pod = node.pod(&burstable("p", 100), 1, "max");
    assert_eq!(Agent::start(&node.host).stop().0, Some(0));
    let all: Vec<_> = ["/run/wasp-agent", "/run/wasp-agent/pods", HOOKS]
        .iter()
        .flat_map(|folder| {
            let names: Vec<_> = files(&node.host.path(folder)).map(|(name, _)| name).collect();
            names.into_iter().map(move |name| format!("{folder}/{name}"))
        })
        .filter(|path| path.ends_with(".json"))
        .collect();
    assert!(all.len() >= 4, "{all:?}");
    for garbage in ["", "{", "null", "[]", "{\"version\": 999}", "\u{0}\u{0}", &"[".repeat(100_000)]
    {
        for path in &all {
            node.host.write(path, garbage);
        }
        node.host.set_limit(&pod.cgroup, "max");
        let agent = Agent::start(&node.host);
        node.host.await_limit(&pod.cgroup, &share(100).to_string());
        assert_eq!(agent.stop().0, Some(0), "{garbage:.20}");
        node.assert_files_are_whole("fixed");
    }
}

#[test]
fn the_hook_never_keeps_a_container_from_starting() {
    let node = Node::new();
    let pod = node.pod(&burstable("p", 100), 1, "max");
    assert_eq!(Agent::start(&node.host).stop().0, Some(0));
    let inside = pod.cgroup.strip_prefix("/sys/fs/cgroup").unwrap();
    node.host.write("/proc/4242/cgroup", &format!("0::{inside}\n"));
    let bundle = format!("/run/containers/storage/overlay-containers/{}/userdata", container_id(1));
    let state = json!({
        "ociVersion": "1.0.2", "pid": 4242, "bundle": node.host.path(&bundle), "status": "creating",
    });
    for place in ["cgroup.read", "limit.write"] {
        for error in ["EIO", "EINTR", "EBUSY", "ENOSPC"] {
            node.host.set_limit(&pod.cgroup, "max");
            let mut hook = std::process::Command::new(agent_binary().with_file_name("wasp-hook"))
                .arg(node.host.root())
                .env("FAILPOINTS", format!("{place}=return({error})"))
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            hook.stdin.take().unwrap().write_all(state.to_string().as_bytes()).unwrap();
            let output = hook.wait_with_output().unwrap();
            assert!(output.status.success(), "{place} {error}: {output:?}");
            assert_eq!(node.host.limit(&pod.cgroup), "max", "the failpoint works");
        }
    }
}
