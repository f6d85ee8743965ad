//! Kills the agent at every failpoint that it reaches, the first time, the second, and so on until
//! it survives. Its remaining state is right or untouched; the next agent repairs the rest.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use wasp_agent::failpoint::PLACES;

use crate::{
    node::{Container, HOOKS, Node, burstable, lives_until, share},
    support::{Agent, MIB, NODE, container_id, pod},
};

const WHILE_GRANTING: [&str; 7] = [
    "cgroup.read",
    "file.open",
    "file.rename",
    "file.renamed",
    "inotify.watch",
    "limit.write",
    "limit.written",
];
const WHILE_EVICTING: [&str; 4] = ["evict.ask", "evict.asked", "file.rename", "file.renamed"];
const WHILE_REMOVING: [&str; 1] = ["file.removed"];
/// Places that need systemd and swap: tests/node/cases/faults-kill.sh.
const ON_A_NODE: [&str; 13] = [
    "bus.set",
    "bus.was-set",
    "freeze.ask",
    "freeze.frozen",
    "reclaim.step",
    "swap.step",
    "swap.stepped",
    "swapfile.filled",
    "swapfile.link",
    "swapfile.linked",
    "thaw.write",
    "tunable.write",
    "tunable.written",
];

#[test]
fn the_suite_goes_to_every_place() {
    let all = [&WHILE_GRANTING[..], &WHILE_EVICTING, &WHILE_REMOVING, &ON_A_NODE].concat();
    assert_eq!(BTreeSet::from_iter(all), BTreeSet::from(PLACES));
    let case = concat!(
        include_str!("../node/cases/faults-kill.sh"),
        include_str!("../node/cases/faults-suspend.sh"),
    );
    for place in ON_A_NODE {
        assert!(case.contains(place), "faults-kill.sh or faults-suspend.sh goes to {place}");
    }
}

/// Returns the visits at which to die: all of the first ones, then at growing distances.
fn turns() -> impl Iterator<Item = usize> {
    (0..6).chain((0..).map(|step| 8 << step))
}

fn kill_at(place: &str, turn: usize) -> String {
    match turn {
        0 => format!("{place}=1*return(kill)"),
        turn => format!("{place}={turn}*off->1*return(kill)"),
    }
}

#[test]
fn killed_while_it_grants() {
    let node = Node::new();
    let eligible = node.pod(&burstable("eligible", 100), 1, "max");
    let denied = node.pod(&pod("denied", NODE, None, None), 2, "max");
    let unknown = "9192cfa8-0000-4444-9bb8-9701e3620c02";
    let unknown = node.host.container(unknown, &container_id(3), "main", "max");
    let right = |container: &str| match container {
        container if container == eligible.cgroup => share(100).to_string(),
        _ => "0".to_owned(),
    };
    let cgroups = [&eligible.cgroup, &denied.cgroup, &unknown];
    let all_right = || cgroups.iter().all(|cgroup| node.host.limit(cgroup) == right(cgroup));
    let hook = node.host.path(&format!("{HOOKS}/99-wasp-agent.json"));
    for place in WHILE_GRANTING {
        let mut killed = 0;
        for turn in turns() {
            cgroups.iter().for_each(|cgroup| node.host.set_limit(cgroup, "max"));
            let _ = std::fs::remove_dir_all(node.host.path("/run/wasp-agent"));
            let _ = std::fs::remove_file(&hook);
            let when = kill_at(place, turn);
            let mut agent = Agent::spawn(&node.host, &["run"], &when);
            let published = node.host.path("/run/wasp-agent/status.json");
            let done = || all_right() && hook.exists() && published.exists();
            let survives = lives_until(&mut agent, &when, done);
            for cgroup in cgroups {
                let limit = node.host.limit(cgroup);
                assert!(limit == "max" || limit == right(cgroup), "{when}: {cgroup} has {limit}");
            }
            node.assert_files_are_whole(&when);
            if survives {
                break;
            }
            killed += 1;
            drop(agent);
            let agent = Agent::start(&node.host);
            assert!(all_right() && hook.exists(), "{when}: fixed by the next agent's first pass");
            node.assert_nothing_is_left_over(&when);
            assert_eq!(agent.stop().0, Some(0));
        }
        assert!(killed > 0, "it never came to {place}");
    }
}

#[test]
fn killed_while_it_removes_the_hook() {
    let node = Node::new();
    assert_eq!(Agent::start(&node.host).stop().0, Some(0));
    let hook = node.host.path(&format!("{HOOKS}/99-wasp-agent.json"));
    assert!(hook.exists());
    node.host.write("/etc/wasp-agent/config.d/50.toml", "[hook]\ninstall = false\n");
    let mut agent = Agent::spawn(&node.host, &["run"], &kill_at("file.removed", 0));
    assert!(!lives_until(&mut agent, "killed", || false));
    assert_eq!(Agent::start(&node.host).stop().0, Some(0));
    assert!(!hook.exists());
}

/// A node whose swap is full: a pod that should leave, one that may, and one that never may.
fn pressed() -> (Node, [Container; 3]) {
    let node = Node::new();
    let config = "[eviction]\nmode = \"enforce\"\n[eviction.utilization]\nsustain-seconds = 0\n";
    node.host.write("/etc/wasp-agent/config.d/50.toml", config);
    let greedy = node.pod(&burstable("greedy", 100), 1, "0");
    let calm = node.pod(&burstable("calm", 100), 2, "0");
    let mut critical = burstable("critical", 100);
    critical["spec"]["priorityClassName"] = "system-node-critical".into();
    let critical = node.pod(&critical, 3, "0");
    node.uses(&greedy.cgroup, 300 * MIB, 200 * MIB);
    node.uses(&calm.cgroup, 90 * MIB, 0);
    node.uses(&critical.cgroup, 900 * MIB, 900 * MIB);
    (node, [greedy, calm, critical])
}

#[test]
fn killed_while_it_evicts() {
    for place in WHILE_EVICTING {
        let mut killed = 0;
        for turn in turns() {
            let (node, [greedy, ..]) = pressed();
            // Everything else is written by then.
            assert_eq!(Agent::start(&node.host).stop().0, Some(0));
            node.presses(true);
            let when = kill_at(place, turn);
            let mut agent = Agent::spawn(&node.host, &["run"], &when);
            let survives = lives_until(&mut agent, &when, || {
                let evictions = node.host.path("/run/wasp-agent/evictions.json");
                std::fs::read_to_string(evictions).is_ok_and(|text| text.contains("\"leaving\""))
            });
            node.assert_files_are_whole(&when);
            if survives {
                assert_eq!(node.leaving(), ["greedy"]);
                break;
            }
            killed += 1;
            drop(agent);
            let mut agent = Agent::start(&node.host);
            // The agent evicted this pod or none, but no other.
            let until = Instant::now() + Duration::from_secs(3);
            while Instant::now() < until {
                let leaving = node.leaving();
                assert!(leaving.is_empty() || leaving == ["greedy"], "{when}: {leaving:?}");
                std::thread::sleep(Duration::from_millis(50));
            }
            if node.leaving().is_empty() {
                continue;
            }
            agent.hears("waiting for the end of pod");
            node.host.remove_pod_of(&greedy.cgroup);
            node.presses(false);
            node.server.delete(&greedy.path).unwrap();
            agent.hears("of 2 containers in 2 pods");
        }
        assert!(killed > 0, "it never came to {place}");
    }
}
