//! Suspends pods of an agent that runs as a process. A container's `cgroup.events` always reports
//! "frozen", because no kernel freezes here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod, uid};
use test_apiserver::Handle;

struct Node {
    host: FakeHost,
    server: Handle,
    _data: tempfile::TempDir,
}

impl Node {
    /// 4 GiB RAM and 2 GiB swap: a container's grant is half of its request.
    fn new(configuration: &str) -> Self {
        let host = FakeHost::new(4096 * MIB, 2048 * MIB);
        host.write("/etc/wasp-agent/wasp-agent.toml", configuration);
        let (data, server) = api_server();
        host.use_kubeconfig(&server);
        Self { host, server, _data: data }
    }

    /// Creates a pod with a container of 80 MiB, 40 of them file cache; returns the container's
    /// cgroup.
    fn pod(&self, name: &str, number: usize) -> String {
        let pod = self.server.apply(&pod(name, NODE, Some("100Mi"), Some("300Mi"))).unwrap();
        self.container(&pod, number, "main")
    }

    fn container(&self, pod: &Value, number: usize, name: &str) -> String {
        self.host.write(&format!("/proc/{number}/comm"), "program\n");
        self.status(number, 0);
        let cgroup = self.host.container(uid(pod), &container_id(number), name, "max");
        let use_of_pod = format!("{cgroup}/../memory.swap");
        self.host.write(&format!("{use_of_pod}.current"), "0\n");
        self.host.write(&format!("{use_of_pod}.max"), "max\n");
        for (name, text) in [
            ("memory.current", (80 * MIB).to_string()),
            ("memory.stat", format!("anon 1\nfile {}\nshmem 0\n", 40 * MIB)),
            ("memory.reclaim", String::new()),
            ("cgroup.freeze", "0\n".to_owned()),
            ("cgroup.events", "populated 1\nfrozen 1\n".to_owned()),
            ("cgroup.procs", format!("{number}\n")),
        ] {
            self.host.write(&format!("{cgroup}/{name}"), &text);
        }
        cgroup
    }

    fn status(&self, process: usize, pending: u64) {
        let text = format!("Name:\tprogram\nShdPnd:\t{pending:016x}\n");
        self.host.write(&format!("/proc/{process}/status"), &text);
    }

    fn freezer(&self, cgroup: &str) -> String {
        let file = self.host.path(cgroup).join("cgroup.freeze");
        fs::read_to_string(file).unwrap_or_default().trim().to_owned()
    }

    /// Runs a command; returns its output, of both kinds.
    fn run(&self, arguments: &[&str]) -> String {
        let output = Agent::command(&self.host, arguments).output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8(all).unwrap()
    }

    /// Suspends the pod when the agent knows it.
    fn suspend(&self, name: &str, cgroup: &str) {
        self.host.await_limit(cgroup, &(50 * MIB).to_string());
        let said = self.run(&["suspend", &format!("default/{name}")]);
        assert!(said.contains("is suspended"), "{said}");
        assert_eq!(self.freezer(cgroup), "1");
    }
}

/// Regression: neither an eviction by the kubelet nor a new container shows in the API in time.
#[test]
fn what_happens_in_a_frozen_pod_wakes_it_within_seconds() {
    let node = Node::new("");
    let cgroup = node.pod("a", 1);
    node.status(1, 1 << 14);
    let agent = Agent::start(&node.host);
    let woken = |what: &dyn Fn(), why: &str| {
        node.suspend("a", &cgroup);
        // The agent has examined it.
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(node.freezer(&cgroup), "1", "before {why}");
        what();
        let start = Instant::now();
        while !node.run(&["suspended"]).contains("no pod") {
            assert!(start.elapsed() < Duration::from_secs(5), "{why}");
        }
        assert_eq!(node.freezer(&cgroup), "0", "{why}");
    };
    // SIGTERM was pending before.
    woken(&|| node.status(1, 1 << 14 | 1 << 2), "signalled");
    node.status(1, 1 << 14);
    woken(&|| node.host.write(&format!("{cgroup}/cgroup.procs"), "1\n17\n"), "entered");
    woken(&|| node.host.write(&format!("{cgroup}/cgroup.freeze"), "0\n"), "thawed");
    let pod = node.server.get("/api/v1/namespaces/default/pods/a").unwrap();
    woken(&|| drop(node.container(&pod, 2, "debug")), "started");
    let (_, log) = agent.stop();
    for why in [
        "one of its processes has received a signal to end",
        "a process has entered one of its containers",
        "another program has thawed it",
        "a container of the pod has started or ended",
    ] {
        assert_eq!(log.matches(&format!("default/a is resumed: {why}")).count(), 1, "{why}: {log}");
    }
}

/// Regression: an agent that failed to thaw a pod once as it ended left it frozen forever.
#[test]
fn an_ending_agent_tries_again_to_thaw() {
    let node = Node::new("");
    let cgroup = node.pod("a", 1);
    let agent = Agent::start(&node.host);
    node.suspend("a", &cgroup);
    let file = node.host.path(&cgroup).join("cgroup.freeze");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    agent.signal("-TERM");
    std::thread::sleep(Duration::from_millis(500));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "1\n").unwrap();
    let (code, log) = agent.ends();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(node.freezer(&cgroup), "0", "{log}");
    assert!(log.contains("default/a is resumed: the agent stops"), "{log}");
}

/// Regression: the figures stayed those of the moment of suspension.
#[test]
fn the_figures_of_a_suspended_pod_are_those_of_now() {
    let node = Node::new("");
    let cgroup = node.pod("a", 1);
    let mut agent = Agent::start(&node.host);
    node.suspend("a", &cgroup);
    let swap = || {
        let rows: Value = serde_json::from_str(&node.run(&["suspended", "--json"])).unwrap();
        rows[0]["swap_bytes"].clone()
    };
    assert_eq!(swap(), 0);
    node.host.write(&format!("{cgroup}/memory.swap.current"), &(7 * MIB).to_string());
    assert_eq!(swap(), 7 * MIB);
    agent.log();
    node.host.write(&format!("{cgroup}/memory.swap.current"), &(3 * MIB).to_string());
    assert_eq!(swap(), 3 * MIB, "without an agent too");
}
