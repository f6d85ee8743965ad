//! The output of `wasp-agent check` for recorded states: healthy, under pressure, and broken in ten
//! ways.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path, process::Command, time::Duration};

use support::{
    Agent, FakeHost,
    node::{GIB, healthy, mounts, openshift, pressure, recorded, swaps},
};
use wasp_agent::{
    config::settings::Settings,
    decide::check::{check, exit_status},
    model::{
        check::{ApiFacts, Asked, BusFacts, HostFacts, Space, UnitFacts},
        published::{self, Published},
        trouble::{Problem, Trouble},
    },
    report::check::{brief, human},
    roots::Roots,
};

type State = (&'static str, i32, fn(&FakeHost), fn(&mut HostFacts));

fn api_of(facts: &mut HostFacts) -> &mut ApiFacts {
    match &mut facts.api {
        Asked::Answered(api) => api,
        _ => panic!(),
    }
}

fn bus_of(facts: &mut HostFacts) -> &mut BusFacts {
    match &mut facts.bus {
        Asked::Answered(bus) => bus,
        _ => panic!(),
    }
}

#[rustfmt::skip]
const STATES: &[State] = &[
    ("healthy", 0, |_| {}, |_| {}),
    ("pressed", 1, |h| {
        pressure(h, "96.40", "38.20");
        swaps(h, &["/dev/dm-0 partition 33554432 32505856 10"]);
    }, |f| {
        bus_of(f).units.get_mut("wasp-agent.service").unwrap().status = "Evicting default/vm-7: all wait for memory 38.2 % of the time (limit 20 %). Swap 32.0 GiB: 87 of 212 containers in 96 pods may swap up to 7.2 GiB; 31.0 GiB used.".into();
    }),
    ("broken-cgroup-v1", 2, |h| fs::remove_dir_all(h.path("/sys/fs/cgroup")).unwrap(), |_| {}),
    ("broken-no-psi-no-iolatency", 1, |h| {
        fs::remove_file(h.path("/proc/pressure/memory")).unwrap();
        fs::remove_file(h.path("/sys/fs/cgroup/system.slice/io.latency")).unwrap();
    }, |_| {}),
    ("broken-no-swap", 2, |h| {
        h.memory(64 * GIB, 0);
        h.write("/etc/wasp-agent/config.d/90-swap.toml", "overcommit-percent = 150\n");
        swaps(h, &[]);
    }, |f| f.swap.provisioning = Asked::Answered(vec!["make a swapfile of 32.0 GiB at /var/lib/wasp-agent/swapfile".into(), "switch on /var/lib/wasp-agent/swapfile".into()])),
    ("broken-swapfile-on-var", 1, |h| {
        swaps(h, &["/var/lib/wasp-agent/swapfile file 33554432 1048576 10"]);
        mounts(h, "size=1k");
    }, |_| {}),
    ("broken-kubelet", 2, |h| h.write("/etc/kubernetes/kubelet.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nevictionSoft:\n  memory.available: 2Gi\nmemorySwap:\n  swapBehavior: LimitedSwap\n"), |_| {}),
    ("broken-hook", 2, |h| {
        fs::remove_file(h.path("/usr/bin/wasp-hook")).unwrap();
        h.write("/etc/crio/crio.conf.d/99-x.conf", "[crio.runtime]\ndefault_runtime = \"kata\"\n");
    }, |_| {}),
    ("broken-daemonset", 2, |h| {
        h.write("/run/containers/oci/hooks.d/swap-for-burstable.json", "{}");
        h.write("/opt/oci-hook-swap.sh", "");
        h.write("/etc/systemd/system/swap-provision.service", "[Service]\n");
    }, |f| api_of(f).taints = Ok(vec!["waspEvictionTaint".into()])),
    ("broken-certificate", 2, |_| {}, |f| {
        let api = api_of(f);
        let credentials = api.credentials.as_mut().unwrap();
        credentials.certificate_expires = Some(credentials.now - Duration::from_secs(7300));
        api.permissions.values_mut().for_each(|p| *p = Err("Unauthorized".into()));
        api.taints = Err("Unauthorized".into());
    }),
    ("broken-systemd", 2, |_| {}, |f| f.bus = Asked::Failed("cannot reach systemd at /run/dbus/system_bus_socket: no answer within 5 s".into())),
    ("broken-agent", 2, |_| {}, |f| {
        let problem = |trouble: Trouble, text: &str| published::ProblemStatus::from(&Problem::new(trouble, text));
        let problems = vec![
            problem(Trouble::Api, "the API server https://api-int.example:6443/ cannot be asked: refused: system:node:node-a may not list pods (403)"),
            problem(Trouble::Swappiness, "vm.swappiness is 0"),
            problem(Trouble::Above, "1 container still above its grant (default/vm-7)"),
        ];
        f.agent.published = Ok(Some(Published { problems, ..Published::default() }));
        f.agent.differs = vec![("limits.resync-seconds".into(), "20".into(), "60".into())];
        f.agent.run = Some(Space { mount_point: "/run".into(), free_bytes: 4096, free_files: 1000, read_only: false });
    }),
    ("broken-agent-hangs", 2, |_| {}, |f| f.agent.age = Some(Duration::from_secs(900))),
    ("broken-openshift", 2, |h| {
        openshift(h);
        fs::remove_file(h.path("/proc/pressure/memory")).unwrap();
        h.write("/etc/kubernetes/kubelet.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n");
        h.write("/etc/crio/crio.conf.d/99-x.conf", "[crio.runtime]\ndefault_runtime = \"kata\"\n");
        h.write("/etc/wasp-agent/config.d/50-cluster.toml", "nonsense = 1\n");
        h.write("/etc/systemd/system/swap-provision.service", "[Service]\n");
    }, |_| {}),
    ("broken-configuration", 2, |h| h.write("/etc/wasp-agent/wasp-agent.toml", "grants = 1\nnonsense = 2\n"), |f| {
        bus_of(f).oomd.kills = vec!["kubepods.slice".into(), "kubepods-burstable.slice".into()];
        bus_of(f).units.insert("wasp-agent.service", UnitFacts { load: "loaded".into(), active: "failed".into(), ..UnitFacts::default() });
    }),
];

/// Removes colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Checks that a shell accepts the line unchanged.
fn shell_takes(name: &str, line: &str) {
    let checked = Command::new("bash").args(["-n", "-c", line]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{name}: {line:?}: {said}");
}

#[test]
fn recorded_states_print_as_they_always_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    for (name, code, breaks, says) in STATES {
        let host = healthy();
        breaks(&host);
        let roots = Roots::at(host.root());
        let settings = wasp_agent::observe::settings::load(&roots, |_| None)
            .map_or_else(|_| Settings::defaults(), |s| s.0);
        let mut facts = recorded(&host);
        says(&mut facts);
        let lines = check(&facts, &settings, false);
        let text =
            plain(&human(&lines)) + "\n--brief:\n" + &brief(&check(&facts, &settings, true), false);
        let shown_root = host.root().display().to_string();
        assert!(!text.contains(&shown_root), "{name} shows the folder: {text}");
        lines.iter().flat_map(|line| &line.fix).for_each(|line| shell_takes(name, line));
        for line in brief(&check(&facts, &settings, true), false).lines() {
            let remedy = line.split_once("; fix: ");
            let Some((_, remedy)) = remedy else { continue };
            let remark = remedy.split(" && ").find(|command| command.starts_with('#'));
            assert_eq!(remark, None, "{name}: a remark hides what follows it: {line}");
            shell_takes(name, remedy);
        }
        assert_eq!(i32::from(exit_status(&lines)), *code, "{name}: {text}");
        let file = folder.join(name).with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, expected, "{}; BLESS=1 fixes it", file.display());
    }
    let kept = fs::read_dir(&folder).unwrap().count();
    assert_eq!(kept, STATES.len(), "a golden output without a state");
}

#[test]
fn colours_are_for_terminals_only() {
    let facts = recorded(&healthy());
    let text = human(&check(&facts, &Settings::defaults(), false));
    assert!(text.contains("\u{1b}[32mOK"), "{text}");
    let output = Agent::command(&healthy(), &["check"]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("OK  ") && !out.contains('\u{1b}'), "{out}");
}
