//! Compares each request of a pass through an eviction with the API server's record. The test
//! server compares every body with Kubernetes' typed structs and rejects unknown fields.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, uid};
use test_apiserver::{Handle, Recorded};

const RAM: u64 = 4096 * MIB;

/// Makes all of RAM and swap appear as in use.
fn press(host: &FakeHost) {
    let text = fs::read_to_string(host.path("/proc/meminfo")).unwrap();
    let free = |line: &str| line.starts_with("MemFree") || line.starts_with("SwapFree");
    let line = |line: &str| match line.split_once(':') {
        Some((name, _)) if free(line) => format!("{name}: 0 kB\n"),
        _ => format!("{line}\n"),
    };
    host.write("/proc/meminfo", &text.lines().map(line).collect::<String>());
}

/// Waits for a request of the agent; a failure prints all requests.
fn sent(server: &Handle, what: &str, is: impl Fn(&Recorded) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let of_node = |r: &Recorded| r.user == format!("system:node:{NODE}");
    while !server.recorded().iter().any(|r| of_node(r) && is(r)) {
        let all = server.recorded();
        assert!(Instant::now() < deadline, "{what} was not sent: {all:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_request_is_one_that_the_api_has() {
    let (_data, server) = api_server();
    let host = FakeHost::new(RAM, 2048 * MIB);
    host.use_kubeconfig(&server);
    let config = "[eviction]\nmode = \"enforce\"\nscheduling-guard = \"cordon\"\n\
                  [eviction.utilization]\nsustain-seconds = 0\n";
    host.write("/etc/wasp-agent/config.d/50.toml", config);
    let greedy = server.apply(&pod("greedy", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&greedy), &container_id(1), "main", "0");
    host.write(&format!("{cgroup}/memory.stat"), "inactive_file 0\n");
    host.write(&format!("{cgroup}/memory.current"), &format!("{}\n", 300 * MIB));
    host.write(&format!("{cgroup}/memory.swap.current"), &format!("{}\n", 200 * MIB));
    server.clear_record();
    let agent = Agent::start(&host);
    press(&host);
    let patched = |r: &Recorded, resource: &str, field: &str| {
        r.verb == "patch" && r.resource == resource && r.body.to_string().contains(field)
    };
    sent(&server, "an eviction", |r| r.resource == "pods/eviction");
    sent(&server, "a condition", |r| patched(r, "nodes/status", "SwapPressure"));
    sent(&server, "a cordon", |r| patched(r, "nodes", "unschedulable"));
    sent(&server, "an event", |r| r.verb == "create" && r.resource == "events");
    assert_eq!(agent.stop().0, Some(0));

    let recorded = server.recorded();
    let mut problems = BTreeSet::new();
    for request in recorded.iter().filter(|r| r.user == format!("system:node:{NODE}")) {
        let what = format!("{} {}", request.verb, request.resource);
        if matches!(request.code, Some(400 | 404 | 415 | 422)) {
            problems.insert(format!("{what} is refused as {:?}: {}", request.code, request.body));
        }
        if !request.user_agent.starts_with("wasp-agent/") {
            problems.insert(format!("{what} has the User-Agent {:?}", request.user_agent));
        }
        let manager = request.query.iter().any(|(k, v)| k == "fieldManager" && !v.is_empty());
        if request.verb == "patch" && !manager {
            problems.insert(format!("{what} names no field manager"));
        }
        if request.resource == "pods/eviction" {
            let wanted = json!(uid(&greedy));
            let given = request.body.pointer("/deleteOptions/preconditions/uid");
            if given != Some(&wanted) {
                let given = given.unwrap_or(&Value::Null);
                problems.insert(format!("{what} has the precondition {given}, not {wanted}"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let gone = server.get("/api/v1/namespaces/default/pods/greedy").unwrap();
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone:#}");
}
