//! Proactive reclaim between a simulated host and an API server: the agent's requests to the
//! kernel, and its report if the kernel does not support them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/raw_api.rs"]
#[allow(dead_code, reason = "other tests change its answers")]
mod raw_api;
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use raw_api::RawApi;
use serde_json::{Value, json};
use support::{Agent, FakeHost, MIB, NODE, container_id, pod};

const PATIENCE: Duration = Duration::from_secs(60);
const PODS: &str = "/sys/fs/cgroup/kubepods.slice";

fn uid(number: usize) -> String {
    format!("{number:08x}-0000-4444-9bb8-9701e3620c02")
}

fn numbered(name: &str, number: usize) -> Value {
    let mut pod = pod(name, NODE, Some("100Mi"), Some("1Gi"));
    pod["metadata"]["uid"] = json!(uid(number));
    pod["metadata"]["resourceVersion"] = json!("7");
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod
}

fn host(mode: &str) -> FakeHost {
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    let text = format!("[reclaim]\nmode = \"{mode}\"\npods = \"burstable\"\nfloor = \"4Mi\"\n");
    host.write("/etc/wasp-agent/config.d/90-test.toml", &text);
    host
}

/// Creates a pod's cgroup with these figures, and returns it.
fn cgroup(host: &FakeHost, number: usize) -> String {
    let container = host.container(&uid(number), &container_id(number), "main", "max");
    let pod = container.rsplit_once('/').unwrap().0.to_owned();
    for (name, text) in [
        ("memory.stat", "anon 200000000\ninactive_file 0\nactive_file 0\n"),
        ("memory.current", "200000000\n"),
        ("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("memory.reclaim", ""),
    ] {
        host.write(&format!("{pod}/{name}"), text);
    }
    pod
}

/// Returns the file's text once the agent has written at least `length` bytes. Each of its writes adds to
/// a plain file.
fn awaited(host: &FakeHost, file: &str, length: usize) -> String {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(host.path(file)).unwrap();
        if text.len() >= length {
            return text;
        }
        assert!(start.elapsed() < PATIENCE, "nothing is written to {file}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_kernel_is_asked_for_cold_memory_of_pods_that_take_part() {
    let host = host("on");
    host.write(&format!("{PODS}/memory.reclaim"), "");
    let mut exempt = numbered("exempt", 2);
    exempt["metadata"]["annotations"] = json!({"wasp-agent.kubevirt.io/reclaim": "false"});
    let pods = [numbered("idle", 1), exempt].map(|pod| pod.to_string());
    let server = RawApi::start(&pods);
    server.used_by(&host);
    let (idle, spared) = (cgroup(&host, 1), cgroup(&host, 2));
    let agent = Agent::start(&host);
    // 1 % of the memory above the floor, in writes of at most 1 MiB; a plain file accepts every
    // word of the probe.
    let first = "0 swappiness=11048576 swappiness=200";
    let text = awaited(&host, &format!("{idle}/memory.reclaim"), first.len());
    assert!(text.starts_with(first), "{text}");
    let spared = fs::read_to_string(host.path(&format!("{spared}/memory.reclaim"))).unwrap();
    assert_eq!(spared, "", "the exempt pod is left alone");
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "it ends at once");
    assert!(log.contains("reclaiming cold memory of default/idle"), "{log}");
}

#[test]
fn a_kernel_that_cannot_reclaim_is_reported_and_observing_writes_nothing() {
    let without = host("on");
    let pods = [numbered("idle", 1).to_string()];
    let server = RawApi::start(&pods);
    server.used_by(&without);
    let _ = cgroup(&without, 1);
    let mut agent = Agent::start(&without);
    let status = agent.hears("this kernel has no memory.reclaim");
    assert!(status.contains("the agent reclaims nothing"), "{status}");
    drop(agent);

    let observing = host("observe");
    observing.write(&format!("{PODS}/memory.reclaim"), "");
    server.used_by(&observing);
    let idle = cgroup(&observing, 1);
    let agent = Agent::start(&observing);
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(observing.path("/run/wasp-agent/status.json"));
        let status: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        if status["reclaim"]["counters"]["observed_bytes"].as_u64().is_some_and(|bytes| bytes > 0) {
            assert_eq!(status["reclaim"]["mode"], "observe");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let written = fs::read_to_string(observing.path(&format!("{idle}/memory.reclaim"))).unwrap();
    assert_eq!(written, "");
    let (_, log) = agent.stop();
    assert!(log.contains("reclaiming cold memory of default/idle (only observed)"), "{log}");
}
