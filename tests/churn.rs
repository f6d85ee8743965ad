//! Two thousand containers come and go under the running agent, which leaks nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, time::Instant};

use support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, uid};

const STAYING: usize = 10;
const WAVES: usize = 10;
const PODS: usize = 20;
/// Number of starts of the container of each pod in a wave.
const STARTS: usize = 10;

/// Resources of the process: descriptors, and inotify watches.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    watches: usize,
}

fn held(agent: &Agent) -> Held {
    let folder = format!("/proc/{}/fdinfo", agent.pid());
    let infos: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let watches = infos.iter().flat_map(|info| info.lines());
    Held {
        descriptors: infos.len(),
        watches: watches.filter(|line| line.starts_with("inotify ")).count(),
    }
}

fn eventually(what: impl Fn() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(wrong) = what() {
        assert!(Instant::now() < deadline, "{wrong}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn of_two_thousand_containers_nothing_is_left() {
    let (host, (_data, server)) = (FakeHost::new(4096 * MIB, 2048 * MIB), api_server());
    host.use_kubeconfig(&server);
    let half = (50 * MIB).to_string();
    let apply = |name: &str| {
        let pod = server.apply(&pod(name, NODE, Some("100Mi"), None)).unwrap();
        uid(&pod).to_owned()
    };
    let staying: Vec<String> = (0..STAYING)
        .map(|number| {
            let uid = apply(&format!("staying-{number}"));
            host.container(&uid, &container_id(number), "main", "max")
        })
        .collect();
    let mut agent = Agent::start(&host);
    staying.iter().for_each(|cgroup| assert_eq!(host.limit(cgroup), half));
    agent.hears("STATUS=Swap 2.0 GiB: 10 of 10 containers in 10 pods may swap");
    let before = held(&agent);

    let mut ids = STAYING..;
    for _ in 0..WAVES {
        let pods: Vec<_> = (0..PODS).map(|number| apply(&format!("brief-{number}"))).collect();
        for drifting in staying.iter().cycle().take(STARTS) {
            host.set_limit(drifting, "max");
            let started: Vec<_> = pods
                .iter()
                .map(|uid| host.container(uid, &container_id(ids.next().unwrap()), "main", "max"))
                .collect();
            // Every other one is gone before the agent must have seen it.
            for (number, cgroup) in started.iter().enumerate() {
                if number % 2 == 0 {
                    host.await_limit(cgroup, &half);
                }
                host.remove_container(cgroup);
            }
            host.await_limit(drifting, &half);
        }
        for (number, uid) in pods.iter().enumerate() {
            fs::remove_dir(host.path(&format!("/sys/fs/cgroup/kubepods/burstable/pod{uid}")))
                .unwrap();
            server.delete(&format!("/api/v1/namespaces/default/pods/brief-{number}")).unwrap();
        }
    }
    assert_eq!(ids.start, STAYING + 2000);

    eventually(|| {
        let records = fs::read_dir(host.path("/run/wasp-agent/pods")).unwrap().count();
        let now = held(&agent);
        // A file that was being written when `before` was taken is no leak.
        let leaked = now.descriptors > before.descriptors || now.watches != before.watches;
        let clean = !leaked && records == STAYING;
        clean.then_some(()).ok_or(format!("{now:?} and {records} records, before {before:?}"))
    });
    staying.iter().for_each(|cgroup| assert_eq!(host.limit(cgroup), half));
    let requests = server.requests().unwrap().to_string();
    assert!(!requests.contains("eviction"), "{requests}");
    eventually(|| {
        let status = fs::read_to_string(host.path("/run/wasp-agent/status.json")).unwrap();
        let right = "Swap 2.0 GiB: 10 of 10 containers in 10 pods may swap up to 500.0 MiB";
        status.contains(right).then_some(()).ok_or(status)
    });
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// The agent may have read one cgroup and be about to write when another one has replaced it.
#[test]
fn a_cgroup_under_the_path_of_one_that_is_gone_is_another() {
    let (host, (_data, server)) = (FakeHost::new(4096 * MIB, 2048 * MIB), api_server());
    host.use_kubeconfig(&server);
    let eligible = server.apply(&pod("eligible", NODE, Some("100Mi"), None)).unwrap();
    let denied = server.apply(&pod("denied", NODE, None, None)).unwrap();
    let agent = Agent::start(&host);
    let limits = [(uid(&eligible), (50 * MIB).to_string()), (uid(&denied), "0".to_owned())];
    for turn in 0..60 {
        for (number, (uid, limit)) in limits.iter().enumerate() {
            let cgroup = host.container(uid, &container_id(number), "main", "max");
            // Immediately, during its first pass, or when all is done.
            match turn % 3 {
                0 => {}
                1 => std::thread::sleep(std::time::Duration::from_micros(turn * 10)),
                _ => drop(host.await_limit(&cgroup, limit)),
            }
            host.remove_container(&cgroup);
            let again = host.container(uid, &container_id(number), "main", "max");
            assert_eq!(again, cgroup);
            host.await_limit(&again, limit);
            host.remove_container(&again);
        }
    }
    assert_eq!(agent.stop().0, Some(0));
}
