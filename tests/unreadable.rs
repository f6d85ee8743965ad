//! Pods with unreadable fields, from an API server that sends them unchanged: none affects any
//! other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/raw_api.rs"]
mod raw_api;
mod support;

use raw_api::RawApi;
use serde_json::{Value, json};
use support::{Agent, FakeHost, MIB, NODE, container_id, pod};

fn host() -> FakeHost {
    FakeHost::new(4096 * MIB, 2048 * MIB)
}

fn half(mebibytes: u64) -> String {
    (mebibytes * MIB / 2).to_string()
}

fn uid(number: usize) -> String {
    format!("{number:08x}-0000-4444-9bb8-9701e3620c02")
}

fn numbered(name: &str, number: usize) -> Value {
    let mut pod = pod(name, NODE, Some("100Mi"), Some("1Gi"));
    pod["metadata"]["uid"] = json!(uid(number));
    pod["metadata"]["resourceVersion"] = json!("7");
    pod
}

/// A pod with one invalid field; each number selects another kind.
fn odd(name: &str, number: usize) -> Value {
    let mut pod = numbered(name, number);
    match number % 3 {
        0 => pod["spec"]["priority"] = json!("high"),
        1 => pod["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("1e9x"),
        _ => pod["metadata"]["creationTimestamp"] = json!("yesterday"),
    }
    pod
}

fn texts(pods: &[Value]) -> Vec<String> {
    pods.iter().map(Value::to_string).collect()
}

#[test]
fn a_pod_that_cannot_be_read_costs_only_itself() {
    let host = host();
    let mut vast = numbered("vast", 5);
    vast["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("1e42");
    let pods = [numbered("good", 1), odd("b", 3), odd("c", 4), vast];
    let mut server = RawApi::start(&texts(&pods));
    server.used_by(&host);
    let cgroup = |number| host.container(&uid(number), &container_id(number), "main", "max");
    let [good, b, c, vast] = [1, 3, 4, 5].map(cgroup);
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=2 pods cannot be read");
    for named in [
        "they get no swap and are not evicted",
        "default/b: spec.priority: string \"high\" is not a number",
        "default/c: spec.containers[0].resources.limits.memory: \"1e9x\" is not a quantity",
    ] {
        assert!(status.contains(named), "{status}");
    }
    for (cgroup, limit) in
        [(&good, &half(100)), (&b, &"0".into()), (&c, &"0".into()), (&vast, &half(100))]
    {
        host.await_limit(cgroup, limit);
    }

    let plan = Agent::command(&host, &["plan"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("cannot be read: default/b: spec.priority"), "{plan}");
    assert!(plan.contains("good"), "{plan}");

    // Earlier knowledge of it no longer justifies a grant; memory in use stays in use.
    let record = host.path(&format!("/run/wasp-agent/pods/{}.json", uid(1)));
    assert!(record.exists());
    host.write(&format!("{good}/memory.swap.current"), &(8 * MIB).to_string());
    server.sends("MODIFIED", &odd("good", 1).to_string());
    agent.hears("STATUS=3 pods cannot be read");
    host.await_limit(&good, &(9 * MIB).to_string());
    assert!(!record.exists());
    // Other pods come and go as usual.
    server.sends("ADDED", &numbered("later", 6).to_string());
    host.await_limit(&cgroup(6), &half(100));

    server.sends("DELETED", &odd("b", 3).to_string());
    agent.hears("STATUS=2 pods cannot be read");
    server.sends("MODIFIED", &numbered("c", 4).to_string());
    agent.hears("STATUS=1 pod cannot be read: it gets no swap and is not evicted (default/good: ");
    host.await_limit(&c, &half(100));
    host.write(&format!("{good}/memory.swap.current"), "0\n");
    server.sends("MODIFIED", &numbered("good", 1).to_string());
    host.await_limit(&good, &half(100));
    let status = agent.hears("4 of 5 containers in 4 pods may swap");
    assert!(!status.contains("cannot be read"), "{status}");

    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    for (pod, times) in [("default/b: ", 1), ("default/c: ", 1), ("default/good: ", 1)] {
        let said = log.lines().filter(|line| line.contains(pod)).count();
        assert_eq!(said, times, "{pod}: {log}");
    }
    assert!(!log.contains("not reachable"), "{log}");
}

/// A record of an earlier agent does not help a pod that cannot be read now.
#[test]
fn a_record_of_a_pod_that_cannot_be_read_is_dropped() {
    let host = host();
    let server = RawApi::start(&texts(&[numbered("vm", 1)]));
    server.used_by(&host);
    let cgroup = host.container(&uid(1), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    host.await_limit(&cgroup, &half(100));
    assert_eq!(agent.stop().0, Some(0));
    server.lists(&texts(&[odd("vm", 1)]));
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=1 pod cannot be read");
    host.await_limit(&cgroup, "0");
    assert!(!host.path(&format!("/run/wasp-agent/pods/{}.json", uid(1))).exists());
    drop(agent);
}

/// Returns the agent's peak RSS with a list of this many such pods.
fn peak(pods: usize, length: usize) -> u64 {
    let host = host();
    let pod = |number| {
        let mut pod = numbered(&format!("p{number}"), number);
        let variable = json!({"name": "A", "value": "x".repeat(length)});
        pod["spec"]["containers"][0]["env"] = json!([variable]);
        pod.to_string()
    };
    let server = RawApi::start(&(0..pods).map(pod).collect::<Vec<_>>());
    server.used_by(&host);
    let mut agent = Agent::start(&host);
    agent.hears(&format!("in {pods} pods"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

#[test]
fn a_list_of_long_pods_needs_no_more_memory_than_one_of_them() {
    const LONG: usize = 1_000_000;
    let (short, long) = (peak(200, 0), peak(200, LONG));
    println!("peak RSS: {short} with short pods, {long} with long ones");
    assert!(long <= short + 2 * LONG as u64, "{long} bytes, {short} with short pods");
}

#[test]
fn a_pod_that_is_too_long_is_left_out() {
    let host = host();
    let mut long = numbered("long", 1);
    long["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "x".repeat(5 << 20)}]);
    let server = RawApi::start(&texts(&[long, numbered("good", 2)]));
    server.used_by(&host);
    let good = host.container(&uid(2), &container_id(2), "main", "max");
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=1 pod cannot be read");
    assert!(status.contains("default/long: it is longer than 4 MiB"), "{status}");
    host.await_limit(&good, &half(100));
    drop(agent);
}
