//! Runs the agent as a process, between a simulated host and an API server over real TLS.

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
    let await_event = |about: &serde_json::Value, value: &str, count: Option<u64>| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = server.get("/apis/events.k8s.io/v1/namespaces/default/events").unwrap();
            let of_pod = |event: &&serde_json::Value| event["regarding"]["uid"] == uid(about);
            let events: Vec<_> = all["items"].as_array().unwrap().iter().filter(of_pod).collect();
            if let [event] = &events[..]
                && event["series"]["count"].as_u64() == count
            {
                assert_eq!(event["reason"], "SwapLimitInvalid");
                assert_eq!(event["type"], "Warning");
                assert_eq!(event["action"], "LimitingSwap");
                let note = event["note"].as_str().unwrap();
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
    await_event(&early, "half", None);
    let late = annotated("late", "25%");
    let late_cgroup = host.container(uid(&late), &container_id(2), "main", "max");
    host.await_limit(&late_cgroup, &(100 * MIB / 8).to_string());
    annotated("late", "25 %");
    host.await_limit(&late_cgroup, "0");
    await_event(&late, "25 %", None);
    annotated("early", "100%");
    host.await_limit(&early_cgroup, &half(100));
    annotated("early", "-1");
    host.await_limit(&early_cgroup, "0");
    // An event that differs only in its note is counted in the series of the first one.
    await_event(&early, "half", Some(2));
    agent.stop();
}

#[test]
fn a_certificate_is_rotated_under_it() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let agent = Agent::start(&host);
    let issued = server.rotate(NODE, Validity::for_the_next(Duration::from_secs(3600))).unwrap();
    server.revoke_before(NODE, issued.serial).unwrap();
    server.drop_watches().unwrap();
    let pod = server.apply(&pod("after", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    host.await_limit(&cgroup, &half(100));
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn an_expiring_certificate_is_said() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    server.rotate(NODE, Validity::for_the_next(Duration::from_secs(1800))).unwrap();
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=the kubelet's client certificate expires in 2");
}

#[test]
fn without_the_api_server_it_goes_by_what_it_knew() {
    let (host, (_data, mut server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let known = server.apply(&pod("known", NODE, Some("100Mi"), None)).unwrap();
    let known_cgroup = host.container(uid(&known), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    host.await_limit(&known_cgroup, &half(100));
    let later = server.apply(&pod("later", NODE, Some("200Mi"), None)).unwrap();
    let record = host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&later)));
    while !record.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    agent.signal("-KILL");
    agent.ends();

    server.stop().unwrap();
    host.set_limit(&known_cgroup, "max");
    let later_cgroup = host.container(uid(&later), &container_id(2), "main", "max");
    let unknown_cgroup =
        host.container("9192cfa8-0000-4444-9bb8-9701e3620c02", &container_id(3), "main", "max");
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=API server not reachable, no list of pods yet");
    host.await_limit(&known_cgroup, &half(100));
    host.await_limit(&later_cgroup, &half(200));
    assert_eq!(host.limit(&unknown_cgroup), "0");

    server.start().unwrap();
    let status = agent.hears("STATUS=Swap 2.0 GiB");
    assert!(status.contains("2 of ") && status.contains("may swap up to 150.0 MiB"), "{status}");
}

#[test]
fn troubles_of_the_api_server_pass() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    for broken in [
        json!({"verb": "list", "resource": "pods", "code": 500, "times": 1}),
        json!({"verb": "list", "resource": "pods", "garbage": "truncated", "times": 1}),
        json!({"verb": "watch", "resource": "pods", "code": 410, "times": 1}),
        json!({"verb": "watch", "resource": "pods", "garbage": "invalid", "times": 1}),
        json!({"verb": "watch", "resource": "pods", "cutAfterEvents": 1, "times": 1}),
    ] {
        server.fault(fault(broken)).unwrap();
    }
    let agent = Agent::start(&host);
    for number in 1..=4 {
        let pod = server.apply(&pod(&format!("p{number}"), NODE, Some("100Mi"), None)).unwrap();
        let cgroup = host.container(uid(&pod), &container_id(number), "main", "max");
        host.await_limit(&cgroup, &half(100));
    }
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_quiet_node_hears_that_the_api_server_is_back() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=Swap 2.0 GiB");
    // STATUS changes at most once a second.
    server.fault(fault(json!({"closeListenerMs": 3000}))).unwrap();
    agent.hears("STATUS=API server not reachable, using its last list of pods");
    agent.hears("STATUS=Swap 2.0 GiB");
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn every_list_and_watch_is_of_this_node_only() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let agent = Agent::start(&host);
    let requests = server.requests().unwrap();
    let rows = requests["requests"].as_array().unwrap_or_else(|| panic!("{requests}"));
    let ours: Vec<_> = rows.iter().filter(|row| row["user"] == "system:node:node-a").collect();
    assert!(!ours.is_empty(), "{requests}");
    for row in ours {
        assert_eq!(row["selector"], "fieldSelector=spec.nodeName=node-a", "{row}");
        assert_eq!(
            row["codes"].as_object().map(|codes| codes.keys().all(|c| c == "200")),
            Some(true),
            "{row}"
        );
    }
    drop(agent);
}

#[test]
fn a_kubeconfig_that_comes_later_is_found() {
    let (host, (_data, server)) = (host(), api_server());
    fs::create_dir_all(host.path("/var/lib/kubelet")).unwrap();
    let mut agent = Agent::start(&host);
    agent.hears(
        "STATUS=no credentials for the API server, no list of pods yet (no kubeconfig of the kubelet at",
    );
    host.use_kubeconfig(&server);
    agent.hears("STATUS=Swap 2.0 GiB");
}

#[test]
fn swap_that_changes_changes_every_grant() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    assert_eq!(host.limit(&cgroup), half(100));
    host.memory(4096 * MIB, 4096 * MIB);
    // A reload looks at everything; on a real node the kernel reports the change (tests/node:
    // swap-changes).
    agent.signal("-HUP");
    host.await_limit(&cgroup, &half(200));
    let record =
        fs::read_to_string(host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&pod)))).unwrap();
    assert!(record.contains(&format!("\"main\":\"{}\"", half(200))), "{record}");
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

/// Regression: an agent that started while the kubelet's configuration could not be read granted
/// swap itself.
#[test]
fn while_the_kubelets_configuration_cannot_be_read_nobody_gets_swap() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let config = "/etc/kubernetes/kubelet.conf";
    host.write(config, "kind: [");
    let hook = host.path("/run/containers/oci/hooks.d/99-wasp-agent.json");
    host.write("/run/containers/oci/hooks.d/99-wasp-agent.json", "{}");
    let new = |name: &str, number: usize, swap_max: &str| {
        let pod = server.apply(&pod(name, NODE, Some("100Mi"), None)).unwrap();
        let cgroup = host.container(uid(&pod), &container_id(number), "main", swap_max);
        (pod, cgroup)
    };
    let (pod, none) = new("none", 1, "0");
    let (_, unlimited) = new("unlimited", 2, "max");
    let (_, as_before) = new("as-before", 3, &half(100));
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=cannot read /etc/kubernetes/kubelet.conf");
    assert!(status.contains("and raises no limit"), "{status}");
    assert_eq!(host.limit(&none), "0");
    assert_eq!(host.limit(&unlimited), "0");
    assert_eq!(host.limit(&as_before), half(100), "what an agent before has granted stays");
    assert!(!hook.exists(), "the hook is removed");
    let record =
        fs::read_to_string(host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&pod)))).unwrap();
    assert!(record.contains(r#""grants":{"main":"0"}"#), "{record}");
    // A reload with the same file changes nothing; one with a readable file does.
    agent.signal("-HUP");
    agent.hears("READY=1");
    assert_eq!(host.limit(&none), "0");
    host.write(config, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\n");
    agent.signal("-HUP");
    host.await_limit(&none, &half(100));
    host.await_limit(&unlimited, &half(100));
    // From now on an unreadable file keeps the settings in effect.
    host.write(config, "kind: [");
    agent.signal("-HUP");
    agent.hears("STATUS=cannot read /etc/kubernetes/kubelet.conf");
    assert_eq!(host.limit(&none), half(100));
}

#[test]
fn pods_below_the_kubelets_own_root_are_limited() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let config = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\ncgroupRoot: /kubelet\n";
    host.write("/etc/kubernetes/kubelet.conf", config);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let id = container_id(1);
    let elsewhere = host.container(uid(&pod), &id, "main", "max");
    let cgroup = format!("/sys/fs/cgroup/kubelet/kubepods/burstable/pod{}/crio-{id}", uid(&pod));
    host.write(&format!("{cgroup}/memory.swap.current"), "0\n");
    host.write(&format!("{cgroup}/memory.swap.max"), "max\n");
    let mut agent = Agent::start(&host);
    agent.hears("Swap 2.0 GiB: 1 of ");
    assert_eq!(host.limit(&cgroup), half(100));
    assert_eq!(host.limit(&elsewhere), "max", "no pod of this kubelet");
    let status: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(host.path("/run/wasp-agent/status.json")).unwrap(),
    )
    .unwrap();
    let values = status["kubelet"]["values"].as_array().unwrap();
    let root = values.iter().find(|value| value["key"] == "cgroupRoot").unwrap();
    assert_eq!(
        (&root["value"], &root["from"]),
        (&"/kubelet".into(), &"/etc/kubernetes/kubelet.conf".into())
    );
}

#[test]
fn a_host_without_cgroup_v2_is_said_and_survived() {
    let host = host();
    fs::remove_dir_all(host.path("/sys/fs/cgroup")).unwrap();
    fs::create_dir_all(host.path("/sys/fs/cgroup/memory")).unwrap();
    fs::remove_dir_all(host.path("/proc/pressure")).unwrap();
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=no credentials for the API server");
    assert!(status.contains("cgroup v2 is not mounted"), "{status}");
    assert!(status.contains("boot with psi=1"), "{status}");
}

/// As with `cgroup_disable=memory`: the hierarchy exists without the controller.
#[test]
fn a_kernel_without_a_memory_controller_is_named_in_the_status() {
    let host = host();
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io hugetlb pids\n");
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=no credentials for the API server");
    assert!(status.contains("the kernel has no memory controller for cgroup v2"), "{status}");
    assert!(status.contains("remove cgroup_disable=memory"), "{status}");
}

#[test]
fn without_systemd_limits_hold_in_cgroupfs_and_the_status_says_so() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let slice = format!("kubepods-burstable-pod{}.slice", uid(&pod).replace('-', "_"));
    let id = container_id(1);
    host.container(uid(&pod), &id, "main", "max");
    let scope =
        format!("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/{slice}/crio-{id}.scope");
    fs::remove_dir_all(host.path("/sys/fs/cgroup/kubepods")).unwrap();
    host.write(&format!("{scope}/memory.swap.current"), "0\n");
    host.write(&format!("{scope}/memory.swap.max"), "max\n");
    host.write(&format!("{scope}/cgroup.procs"), "77\n");
    host.write("/proc/77/comm", "main\n");
    host.write("/proc/77/cmdline", "/main\0");
    let mut agent = Agent::start(&host);
    let status = agent.hears("1 limit that systemd does not have");
    assert!(status.contains("cannot reach systemd at"), "{status}");
    assert_eq!(host.limit(&scope), half(100));
}

#[test]
fn the_hook_is_installed_repaired_and_removed() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    let foreign = "/run/containers/oci/hooks.d/50-foreign.json";
    host.write(foreign, "{}");
    let agent = Agent::start(&host);
    let definition = host.path("/run/containers/oci/hooks.d/99-wasp-agent.json");
    let text = fs::read_to_string(&definition).unwrap();
    let hook = agent_binary().with_file_name("wasp-hook");
    assert!(text.contains(hook.to_str().unwrap()), "{text}");
    let settings = fs::read_to_string(host.path("/run/wasp-agent/hook.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["swap_for_pods_bytes"], 2048 * MIB);
    assert_eq!(settings["denied_namespaces"][0], "openshift*");

    let comes_back = || {
        let start = Instant::now();
        while fs::read_to_string(&definition).ok().as_ref() != Some(&text) {
            assert!(start.elapsed() < PATIENCE, "the hook was not repaired");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    fs::remove_file(&definition).unwrap();
    comes_back();
    fs::write(&definition, "{").unwrap();
    comes_back();

    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(definition.exists(), "without the agent, the hook counts most");
    let output = Agent::command(&host, &["cleanup"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!definition.exists());
    assert!(!host.path("/run/wasp-agent/hook.json").exists());
    assert!(!host.path("/run/wasp-agent/pods").exists());
    assert_eq!(fs::read_to_string(host.path(foreign)).unwrap(), "{}");
}

#[test]
fn without_a_hooks_folder_the_agent_works_on_and_says_what_to_do() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    // A file in the place of the directory, so that it cannot be created.
    host.write("/srv/hooks.d", "");
    let dir = "[crio.runtime]\nhooks_dir = [\"/srv/hooks.d\"]\n";
    host.write("/etc/crio/crio.conf.d/50-site.conf", dir);
    let mut agent = Agent::start(&host);
    let status =
        agent.hears("CRI-O reads /srv/hooks.d, where the agent cannot write (/srv/hooks.d: ");
    assert!(status.contains("/etc/crio/crio.conf.d/99-wasp-agent-hooks.conf"), "{status}");

    // When the directory can exist, the agent uses it immediately, long before the next resync.
    fs::remove_file(host.path("/srv/hooks.d")).unwrap();
    let start = Instant::now();
    while !host.path("/srv/hooks.d/99-wasp-agent.json").exists() {
        assert!(start.elapsed() < PATIENCE, "the hook was not installed");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(agent.stop().0, Some(0));
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
    drop(first);
    drop(Agent::start(&host));
}
