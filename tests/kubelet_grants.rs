//! Runs the agent as a process in kubelet mode: a kubelet grants swap itself.

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
use support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, uid};

const CONFIG: &str = "/etc/kubernetes/kubelet.conf";
const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
const LIMITED_SWAP: &str = "failSwapOn: false\nmemorySwap:\n  swapBehavior: LimitedSwap\n";
const HOOK: &str = "/run/containers/oci/hooks.d/99-wasp-agent.json";

/// 4 GiB RAM and 2 GiB swap: LimitedSwap grants half of a request.
fn host(kubelet: &str) -> FakeHost {
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.write(CONFIG, &format!("{HEAD}{kubelet}"));
    fs::create_dir_all(host.path("/run/containers/oci/hooks.d")).unwrap();
    host
}

/// A container whose program runs in a cgroup that it has created itself.
fn running(host: &FakeHost, pod: &Value, number: usize, name: &str, swap_max: &str) -> String {
    let cgroup = host.container(uid(pod), &container_id(number), name, swap_max);
    host.write(&format!("{cgroup}/cgroup.events"), "populated 1\nfrozen 0\n");
    cgroup
}

fn half(mebibytes: u64) -> String {
    (mebibytes * MIB / 2).to_string()
}

fn published(host: &FakeHost) -> Option<Value> {
    let text = fs::read_to_string(host.path("/run/wasp-agent/status.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Waits until `fits` holds for the agent's publication.
fn await_published(host: &FakeHost, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match published(host) {
            Some(published) if fits(&published) => return published,
            last => assert!(Instant::now() < deadline, "{last:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kubelet_with_limited_swap_grants_and_the_agent_repairs() {
    let (host, (_data, server)) = (host(LIMITED_SWAP), api_server());
    host.use_kubeconfig(&server);
    let granted = server.apply(&pod("granted", NODE, Some("100Mi"), Some("300Mi"))).unwrap();
    let best = server.apply(&pod("best", NODE, None, None)).unwrap();
    let left = server.apply(&pod("left", NODE, None, None)).unwrap();
    let of_granted = running(&host, &granted, 1, "main", &half(100));
    let of_best = running(&host, &best, 2, "main", "0");
    let of_left = running(&host, &left, 3, "main", "max");
    let sandbox = running(&host, &granted, 4, "POD", "max");
    let mut agent = Agent::start(&host);
    assert_eq!(host.limit(&of_left), "0", "what was left at max is corrected");
    let status = agent.hears("STATUS=Swap 2.0 GiB");
    assert!(status.contains("may swap up to 50.0 MiB by the kubelet's grants"), "{status}");

    // As systemctl daemon-reload leaves it.
    host.set_limit(&of_best, "max");
    host.await_limit(&of_best, "0");
    host.set_limit(&of_granted, "max");
    host.await_limit(&of_granted, &half(100));
    host.set_limit(&of_granted, "4096");
    host.await_limit(&of_granted, &half(100));

    let published = await_published(&host, |published| {
        let written = &published["counters"]["limits_written"];
        let count = |cause: &str| written[cause].as_u64().unwrap_or(0);
        // Within two seconds of the start, the runtime may have changed the limit.
        count("found") + count("drift") >= 4
    });
    assert_eq!(published["kubelet"]["grants"], "kubelet");
    assert_eq!(published["kubelet"]["swap_bytes"], 2048 * MIB);
    assert_eq!(published["hook"]["file"], Value::Null);
    assert_eq!(host.limit(&sandbox), "max", "the kubelet limits no sandbox");
    assert!(!host.path(HOOK).exists(), "and needs no hook");

    let plan = Agent::command(&host, &["plan"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("Every limit is right."), "{plan}");

    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the kubelet sets swap limits; "), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    assert_eq!(host.limit(&sandbox), "max");
}

#[test]
fn who_grants_changes_with_the_kubelets_configuration() {
    let (host, (_data, server)) = (host("failSwapOn: false\n"), api_server());
    host.use_kubeconfig(&server);
    let one = server.apply(&pod("one", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = running(&host, &one, 1, "main", "0");
    let agent = Agent::start(&host);
    assert_eq!(
        host.limit(&cgroup),
        half(100),
        "a kubelet without LimitedSwap leaves it to the agent"
    );
    await_published(&host, |published| published["kubelet"]["grants"] == "agent");

    host.write(CONFIG, &format!("{HEAD}{LIMITED_SWAP}"));
    agent.signal("-HUP");
    await_published(&host, |published| published["kubelet"]["grants"] == "kubelet");
    // The kubelet does not start with this, so it does not show which program grants.
    host.write(CONFIG, &format!("{HEAD}{LIMITED_SWAP}featureGates: {{NodeSwap: false}}\n"));
    agent.signal("-HUP");
    let refused = |published: &Value| {
        let problems = published["problems"].to_string();
        problems.contains("the kubelet does not start: memorySwap.swapBehavior")
    };
    let published = await_published(&host, refused);
    assert_eq!(published["kubelet"]["grants"], "kubelet");
    host.write(CONFIG, &format!("{HEAD}failSwapOn: false\nfeatureGates: {{NodeSwap: false}}\n"));
    agent.signal("-HUP");
    await_published(&host, |published| published["kubelet"]["grants"] == "agent");

    // The granting program stays the same while the configuration cannot be read.
    host.write(CONFIG, "kind: [");
    agent.signal("-HUP");
    let published = await_published(&host, |published| {
        published["problems"].to_string().contains("\"kubelet\"")
    });
    assert_eq!(published["kubelet"]["grants"], "agent");
    let problems = published["problems"].to_string();
    assert!(problems.contains("applies and shows what it read last"), "{problems}");
    host.set_limit(&cgroup, "max");
    host.await_limit(&cgroup, &half(100));
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    let grants: Vec<&str> = log.lines().filter(|line| line.contains("(grants = ")).collect();
    assert_eq!(grants.len(), 3, "{log}");
}

#[test]
fn without_knowledge_of_the_kubelet_no_limit_is_set() {
    let (host, (_data, server)) = (host("evictionHard: [\n"), api_server());
    host.use_kubeconfig(&server);
    let one = server.apply(&pod("one", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = running(&host, &one, 1, "main", "0");
    let mut agent = Agent::start(&host);
    let status = agent.hears("it does not know whether the kubelet sets swap limits");
    assert!(status.contains("cannot read /etc/kubernetes/kubelet.conf"), "{status}");
    assert_eq!(host.limit(&cgroup), "0");
    await_published(&host, |published| published["kubelet"]["grants"] == "auto");
    let plan = Agent::command(&host, &["plan"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("it is not known whether the kubelet sets swap limits"), "{plan}");

    host.write(CONFIG, &format!("{HEAD}failSwapOn: false\n"));
    agent.signal("-HUP");
    host.await_limit(&cgroup, &half(100));
}

#[test]
fn without_repair_differences_are_reported_and_left() {
    let (host, (_data, server)) = (host(LIMITED_SWAP), api_server());
    host.use_kubeconfig(&server);
    host.write("/etc/wasp-agent/config.d/50.toml", "[limits]\nrepair = false\n");
    let one = server.apply(&pod("one", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = running(&host, &one, 1, "main", "max");
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=1 limit that differs from LimitedSwap");
    assert_eq!(host.limit(&cgroup), "max");
    let plan = Agent::command(&host, &["plan"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("1 limit differs from the kubelet's LimitedSwap"), "{plan}");
    host.write("/etc/wasp-agent/config.d/50.toml", "[limits]\nrepair = true\n");
    agent.signal("-HUP");
    host.await_limit(&cgroup, &half(100));
}
