//! Runs the agent as a process, between a simulated host and an API server over real TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "agent/api.rs"]
mod api;
#[path = "agent/host.rs"]
mod host;
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, RenameFlags};
use serde_json::json;
use support::{
    Agent, FakeHost, MIB, NODE, PATIENCE, agent_binary, api_server, container_id, pod, uid,
};
use test_apiserver::{faults::Fault, pki::Validity};

/// 4 GiB RAM and 2 GiB swap: a container's grant is half of its request.
fn host() -> FakeHost {
    FakeHost::new(4096 * MIB, 2048 * MIB)
}

fn half(mebibytes: u64) -> String {
    (mebibytes * MIB / 2).to_string()
}

fn fault(json: serde_json::Value) -> Fault {
    serde_json::from_value(json).unwrap()
}

#[test]
fn limits_are_set_repaired_and_follow_the_pods() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let early = server.apply(&pod("early", NODE, Some("100Mi"), Some("300Mi"))).unwrap();
    server.apply(&pod("elsewhere", "node-b", Some("100Mi"), None)).unwrap();
    let early_cgroup = host.container(uid(&early), &container_id(1), "main", "max");
    let sandbox = host.container(uid(&early), &container_id(2), "POD", "max");
    let stranger =
        host.container("9192cfa8-0000-4444-9bb8-9701e3620c02", &container_id(3), "main", "max");
    let mut agent = Agent::start(&host);
    assert_eq!(host.limit(&early_cgroup), half(100), "all is right as soon as it is ready");
    assert_eq!(host.limit(&sandbox), "0");
    assert_eq!(host.limit(&stranger), "0", "a pod that nobody knows");
    let status =
        agent.hears("STATUS=Swap 2.0 GiB: 1 of 3 containers in 1 pod may swap up to 50.0 MiB");
    assert!(!status.contains("not reachable"), "{status}");

    host.set_limit(&early_cgroup, "max");
    host.await_limit(&early_cgroup, &half(100));

    // The cgroup appears before the API server reports the pod, and the other way round.
    let late = server.apply(&pod("late", NODE, Some("200Mi"), None)).unwrap();
    let late_cgroup = host.container(uid(&late), &container_id(4), "main", "max");
    host.await_limit(&late_cgroup, &half(200));

    // The kubelet has resized it in place, and reports that in the status.
    let mut resized = pod("late", NODE, Some("200Mi"), None);
    resized["status"] = json!({"containerStatuses": [{
        "name": "main", "containerID": format!("cri-o://{}", container_id(4)),
        "image": "x", "imageID": "", "ready": true, "restartCount": 0,
        "resources": {"requests": {"memory": "400Mi"}},
    }]});
    server.apply(&resized).unwrap();
    host.await_limit(&late_cgroup, &half(400));

    // The agent distinguishes a container whose limit the hook has set from one that it had to
    // correct.
    let file = host.path("/run/wasp-agent/status.json");
    let published =
        || serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&file).unwrap());
    let deadline = Instant::now() + PATIENCE;
    let published = loop {
        let published = published().unwrap();
        if published["containers"]["granted_bytes"] == (50 + 200) * MIB {
            break published;
        }
        assert!(Instant::now() < deadline, "{published}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(published["version"], 2);
    assert_eq!(published["counters"]["starts_corrected"], 1);
    assert!(published["counters"]["limits_written"]["found"].as_u64() >= Some(4), "{published}");
    assert!(published["counters"]["limits_written"]["grant-changed"].as_u64() >= Some(1));
    assert_eq!(published["api"]["reachable"], true);
    assert_eq!(published["condition"]["status"], "False");

    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(host.limit(&late_cgroup), half(400), "a clean stop leaves the limits");
}

/// The agent reports each invalid annotation once: of a pod that is older than the agent, after each
/// change, and when the administrator permits annotations.
#[test]
fn an_invalid_annotation_for_swap_is_an_event_on_its_pod() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    host.write("/etc/wasp-agent/wasp-agent.toml", "[limits]\nannotations = false\n");
    let annotated = |name: &str, value: &str| {
        let mut pod = pod(name, NODE, Some("100Mi"), Some("300Mi"));
        pod["metadata"]["annotations"] = json!({"swap.wasp.io/limit": value});
        server.apply(&pod).unwrap()
    };
    let await_event = |about: &serde_json::Value, value: &str, count: u64| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = server.get("/api/v1/namespaces/default/events").unwrap();
            let of_pod = |event: &&serde_json::Value| event["involvedObject"]["uid"] == uid(about);
            let events: Vec<_> = all["items"].as_array().unwrap().iter().filter(of_pod).collect();
            if let [event] = &events[..]
                && event["count"].as_u64() == Some(count)
            {
                assert_eq!(event["reason"], "SwapLimitInvalid");
                assert_eq!(event["type"], "Warning");
                assert_eq!(event["action"], "LimitingSwap");
                let note = event["message"].as_str().unwrap();
                assert!(note.contains(&format!("swap.wasp.io/limit is {value:?}")), "{note}");
                return;
            }
            assert!(Instant::now() < deadline, "{value:?}: {events:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };

    let early = annotated("early", "half");
    let early_cgroup = host.container(uid(&early), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    assert_eq!(host.limit(&early_cgroup), half(100));
    host.write("/etc/wasp-agent/wasp-agent.toml", "");
    agent.signal("-HUP");
    host.await_limit(&early_cgroup, "0");
    await_event(&early, "half", 1);
    let late = annotated("late", "25%");
    let late_cgroup = host.container(uid(&late), &container_id(2), "main", "max");
    host.await_limit(&late_cgroup, &(100 * MIB / 8).to_string());
    annotated("late", "25 %");
    host.await_limit(&late_cgroup, "0");
    await_event(&late, "25 %", 1);
    annotated("early", "100%");
    host.await_limit(&early_cgroup, &half(100));
    annotated("early", "-1");
    host.await_limit(&early_cgroup, "0");
    // An event that differs only in its text is counted in the first one.
    await_event(&early, "-1", 2);
    agent.stop();
}

#[test]
fn a_bad_reload_keeps_the_old_settings_and_says_so() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    let mut agent = Agent::start(&host);
    let file = "/etc/wasp-agent/config.d/50.toml";
    host.write(file, "[limits]\npolicy = \"all\"\n");
    agent.signal("-HUP");
    agent.hears("RELOADING=1");
    agent.hears("STATUS=the configuration on disk is invalid");
    host.set_limit(&cgroup, "max");
    host.await_limit(&cgroup, &half(100));
    host.write(file, "[limits]\nsystem-reserved-percent = 50\n");
    agent.signal("-HUP");
    agent.hears("STATUS=Swap");
    host.await_limit(&cgroup, &half(50));
    let (_, log) = agent.stop();
    assert!(
        log.contains("/etc/wasp-agent/config.d/50.toml:2: limits.policy = \"all\" is not one of"),
        "{log}"
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    let agent = Agent::start_with(&host, &["run", "--dry-run"]);
    let (_, log) = agent.stop();
    assert!(log.contains("would set memory.swap.max"), "{log}");
    assert_eq!(host.limit(&cgroup), "max");
    assert!(!host.path("/run/wasp-agent").exists());
}

#[test]
fn what_fails_again_and_again_is_said_once_and_counted() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    let limit = host.path(&cgroup).join("memory.swap.max");
    fs::remove_file(&limit).unwrap();
    fs::create_dir(&limit).unwrap();
    let agent = Agent::start(&host);
    // The agent retries every second.
    std::thread::sleep(Duration::from_millis(3500));
    host.write("/max", "max");
    rustix::fs::renameat_with(CWD, host.path("/max"), CWD, &limit, RenameFlags::EXCHANGE).unwrap();
    host.await_limit(&cgroup, &half(100));
    let (_, log) = agent.stop();
    assert_eq!(log.matches("its limit is not known, trying again").count(), 1, "{log}");
    let times = log
        .split("can be read and set again, after ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    assert!(times.and_then(|times| times.parse().ok()).unwrap_or(0) >= 3, "{log}");
    assert!(!log.contains("message_id"), "{log}");
}

/// The agent's history shows its actions after its end.
#[test]
fn what_happened_is_reported_after_the_agents_end() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let object = server.apply(&pod("vm", NODE, Some("100Mi"), Some("300Mi"))).unwrap();
    let cgroup = host.container(uid(&object), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    host.set_limit(&cgroup, "max");
    host.await_limit(&cgroup, &half(100));
    assert_eq!(agent.stop().0, Some(0));

    let svg = host.path("/tmp/night.svg");
    fs::create_dir_all(svg.parent().unwrap()).unwrap();
    let arguments = ["report", "--since", "1h", "--json", "--svg", svg.to_str().unwrap()];
    let output = Agent::command(&host, &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let limits = &report["summary"]["limits"];
    // A change while a container starts is no drift. On a busy machine it may have started.
    let written = |cause: &str| limits["written"][cause].as_u64().unwrap();
    assert_eq!(written("found") + written("drift"), 2, "{report}");
    assert!(limits["verified"].as_u64().unwrap() >= 2, "{report}");
    let outages = report["summary"]["outages"].as_array().unwrap();
    let away: Vec<_> = outages.iter().filter(|outage| outage["of"] == "agent").collect();
    assert!(matches!(away[..], [outage] if outage["why"] == "stopped"), "{report}");
    let minute = report["minutes"].as_array().unwrap().last().unwrap();
    assert_eq!(minute["ram_bytes"], 4096 * MIB);
    assert!(fs::read_to_string(svg).unwrap().contains("</svg>"));

    // A dry run leaves no file.
    fs::remove_dir_all(host.path("/var/lib/wasp-agent/history")).unwrap();
    let dry = Agent::start_with(&host, &["run", "--dry-run"]);
    assert_eq!(dry.stop().0, Some(0));
    assert!(!host.path("/var/lib/wasp-agent/history").exists());
}

#[test]
fn a_second_agent_does_not_start_beside_the_first() {
    let host = host();
    let mut first = Agent::start(&host);
    let socket = host.path("/run/wasp-agent/control.sock");
    let output = Agent::command(&host, &["run"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("another wasp-agent runs on this node"), "{said}");
    assert!(socket.exists() && first.ended().is_none(), "the first one goes on");
    // The agent would protect the slices again while they are restored.
    let output = Agent::command(&host, &["unprotect"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("systemctl stop wasp-agent"), "{said}");
    drop(first);
    drop(Agent::start(&host));
}
