//! Compares the agent's records with the output of `wasp-agent report` and `wasp-agent advise`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, uid};

fn out(host: &FakeHost, arguments: &[&str]) -> String {
    let output = Agent::command(host, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(host: &FakeHost, arguments: &[&str]) -> Value {
    serde_json::from_str(&out(host, arguments)).unwrap()
}

/// Returns the number of limits that another program had changed, from the agent's publication.
fn drifts(host: &FakeHost) -> u64 {
    let text = fs::read_to_string(host.path("/run/wasp-agent/status.json")).unwrap_or_default();
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    status["counters"]["limits_written"]["drift"].as_u64().unwrap_or(0)
}

#[test]
fn limits_that_somebody_changed_are_reported_by_pod_and_by_what_was_written() {
    let (_data, server) = api_server();
    let host = FakeHost::new(1024 * MIB, 512 * MIB);
    host.use_kubeconfig(&server);
    host.write("/etc/wasp-agent/config.d/50-grants.toml", "grants = \"agent\"\n");
    let vm = server.apply(&pod("vm-7", NODE, Some("512Mi"), None)).unwrap();
    let cgroup = host.container(uid(&vm), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    // The request is half of the RAM, so the grant is half of the swap.
    let granted = (256 * MIB).to_string();
    host.await_limit(&cgroup, &granted);
    // While a container starts, its runtime may write limits too: that is no drift yet.
    let deadline = Instant::now() + PATIENCE;
    while drifts(&host) == 0 {
        assert!(Instant::now() < deadline, "no drift is counted");
        host.set_limit(&cgroup, "max");
        host.await_limit(&cgroup, &granted);
        std::thread::sleep(Duration::from_millis(50));
    }
    host.set_limit(&cgroup, "4096");
    host.await_limit(&cgroup, &granted);
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");

    let report = json(&host, &["report", "--since", "1h", "--json"])["summary"].take();
    let limits = &report["limits"];
    let drifted = limits["drifts"].as_u64().unwrap();
    assert!(drifted >= 2, "{report:#}");
    assert_eq!(limits["written"]["drift"], drifted);
    assert!(limits["verified"].as_u64().unwrap() > drifted, "{limits}");
    let repairs = report["repairs"].as_array().unwrap();
    let of = |found: &str| repairs.iter().find(|line| line["found"] == found).unwrap();
    assert_eq!(of("max")["count"], drifted - 1, "{repairs:#?}");
    assert_eq!(of("4096")["count"], 1, "{repairs:#?}");
    assert_eq!(of("max")["pods"][0][0], "default/vm-7", "{repairs:#?}");
    let outages = report["outages"].as_array().unwrap();
    assert!(outages.iter().any(|outage| outage["of"] == "agent" && outage["why"] == "stopped"));

    let text = out(&host, &["report", "--since", "1h"]);
    assert!(text.contains(&format!("{drifted} drifts")) && text.contains("default/vm-7"), "{text}");
}

/// Builds a record of a minute in which half of the RAM was in use, in the documented layout.
fn record(at: u64) -> [u8; 72] {
    let mut record = [0_u8; 72];
    // Layout 1; the API server answered, the kernel counts the pods' stalls, and rates are known.
    record[4..6].copy_from_slice(&[1, 0b11_0001]);
    record[8..16].copy_from_slice(&at.to_le_bytes());
    // RAM, and the working set, in units of 64 KiB.
    record[16..20].copy_from_slice(&1000_u32.to_le_bytes());
    record[28..32].copy_from_slice(&500_u32.to_le_bytes());
    let hash = record[4..]
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    record[..4].copy_from_slice(&hash.to_le_bytes());
    record
}

#[test]
fn advice_goes_by_the_last_two_weeks_and_by_no_later_time() {
    let host = FakeHost::new(1024 * MIB, 512 * MIB);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let ago = |duration: Duration| (now - duration).as_secs();
    let day = Duration::from_secs(86_400);
    let mut records = Vec::new();
    for minute in 0..40 {
        let minute = Duration::from_secs(minute * 60);
        records.extend(record(ago(day + minute)));
        records.extend(record(ago(day * 15 + minute)));
        records.extend(record((now + day + minute).as_secs()));
    }
    let file = host.path("/var/lib/wasp-agent/history/minutes");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, records).unwrap();
    let advice = json(&host, &["advise", "--json"]);
    assert_eq!(advice["minutes"], 40, "{advice:#}");
    assert_eq!(advice["up_to_percent"], 50, "{advice:#}");
    let text = out(&host, &["advise"]);
    assert!(text.starts_with("Note: skipped 80 records"), "{text}");
}
