//! `plan`.

use super::*;

#[test]
fn plan_shows_each_container_with_its_grant_and_why() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    let vm = server.apply(&pod("vm", NODE, Some("100Mi"), Some("1Gi"))).unwrap();
    let plain = server.apply(&pod("plain", NODE, None, None)).unwrap();
    let vm_cgroup = host.container(uid(&vm), &container_id(1), "main", "max");
    host.container(uid(&vm), &container_id(2), "POD", "0");
    host.container(uid(&plain), &container_id(3), "main", "0");
    host.write("/proc/vmstat", "pswpin 256\npswpout 512\n");
    let (code, table, _) = run(&host, &["plan"]);
    assert!(table.contains("swapped in 1.0 MiB, out 2.0 MiB since boot"), "{table}");
    assert_eq!(code, 0);
    let row = |name: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.contains(name)).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let grant = (50 * MIB).to_string();
    assert_eq!(
        row(" vm ")[..9],
        ["default", "vm", "main", "Burstable", "100Mi", "1Gi", &grant, "max", "0"]
    );
    assert_eq!(row(" plain ")[3..8], ["BestEffort", "-", "-", "0", "0"]);
    assert!(table.contains("1 limit to set"), "{table}");
    assert!(!table.contains("sandbox"), "{table}");
    assert!(run(&host, &["plan", "--all"]).1.contains("sandbox or monitor"));
    assert_eq!(host.limit(&vm_cgroup), "max", "a plan changes nothing");

    let json: serde_json::Value = serde_json::from_str(&run(&host, &["plan", "--json"]).1).unwrap();
    assert_eq!(json["containers"].as_array().unwrap().len(), 3);
    assert_eq!(json["actions"][0]["action"], "write-limit");
    assert_eq!(json["actions"][0]["to"], grant);
}

#[test]
fn a_plan_claims_nothing_of_pods_that_it_does_not_find() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    let running = |name: &str, id: usize| {
        let mut pod = pod(name, NODE, None, None);
        let id = format!("cri-o://{}", container_id(id));
        pod["status"] = serde_json::json!({
            "phase": "Running",
            "containerStatuses": [
                { "name": "main", "containerID": id, "state": { "running": {} } },
            ],
        });
        server.apply(&pod).unwrap()
    };
    let seen = running("seen", 1);
    host.container(uid(&seen), &container_id(1), "main", "0");
    let plan = || run(&host, &["plan"]).1;
    assert!(plan().contains("Every limit is right."), "{}", plan());
    // It still has an ID, and its sandbox may be gone for minutes: that is no problem.
    let mut crashed = pod("crashed", NODE, None, None);
    crashed["status"] = serde_json::json!({
        "phase": "Running",
        "containerStatuses": [{
            "name": "main",
            "containerID": format!("cri-o://{}", container_id(3)),
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        }],
    });
    server.apply(&crashed).unwrap();
    assert!(plan().contains("Every limit is right."), "{}", plan());
    let elsewhere = running("elsewhere", 2);
    let text = plan();
    assert!(text.contains("NOTE: 1 running pod has no cgroup below kubepods.slice or"), "{text}");
    assert!(text.contains("The limits of 1 container are right."), "{text}");
    assert!(!text.contains("Every limit"), "{text}");
    // The kubelet has it below another cgroup, and its configuration names that: then the first is
    // not found.
    let uid = uid(&elsewhere).replace('-', "_");
    let slice = "kubelet.slice/kubelet-kubepods.slice";
    let id = container_id(2);
    let cgroup = format!("/sys/fs/cgroup/{slice}/kubelet-kubepods-pod{uid}.slice/crio-{id}.scope");
    host.write(&format!("{cgroup}/memory.swap.current"), "0\n");
    host.write(&format!("{cgroup}/memory.swap.max"), "max\n");
    let config = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\ncgroupRoot: /kubelet\n";
    host.write("/etc/kubernetes/kubelet.conf", config);
    let text = plan();
    assert!(text.contains("1 limit to set"), "{text}");
    assert!(text.contains(&format!("1 running pod has no cgroup below {slice} or")), "{text}");
    host.write("/etc/kubernetes/kubelet.conf", "kind: [");
    let text = plan();
    assert!(text.contains("NOTE: cannot read /etc/kubernetes/kubelet.conf"), "{text}");
    assert!(
        text.contains("No limit is raised: it is not known whether the kubelet sets swap limits"),
        "{text}"
    );
}

/// Regression: with `swapaccount=0` and `cgroup_disable=memory` the output was "Every limit is
/// right".
#[test]
fn a_plan_counts_the_containers_that_cannot_be_limited() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    let limited = server.apply(&pod("limited", NODE, None, None)).unwrap();
    host.container(uid(&limited), &container_id(1), "main", "0");
    let plan = || run(&host, &["plan"]).1;
    assert!(plan().contains("Every limit is right."), "{}", plan());
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(2), "main", "0");
    std::fs::remove_file(host.path(&format!("{cgroup}/memory.swap.max"))).unwrap();
    let text = plan();
    assert!(text.contains("NOTE: 1 container has no memory.swap.max"), "{text}");
    assert!(text.contains("The limits of 1 container are right."), "{text}");
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    let text = plan();
    assert!(text.contains("NOTE: the kernel has no memory controller for cgroup v2"), "{text}");
    assert!(!text.contains("Every limit"), "{text}");
}

#[test]
fn a_plan_without_the_api_server_says_so() {
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    let (code, out, _) = run(&host, &["plan"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with(
            "NOTE: no credentials for the API server, using the agent's records (no kubeconfig"
        ),
        "{out}"
    );
}

/// OpenShift gives every service of a node HTTPS_PROXY, but the agent must reach the node's own API
/// server directly.
#[test]
fn a_proxy_cuts_nobody_off() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    for proxy in ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "nonsense %"] {
        let mut command = Agent::command(&host, &["plan"]);
        command.env("HTTPS_PROXY", proxy).env("https_proxy", proxy).env("NO_PROXY", ",,%");
        let output = command.output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !out.contains("not reachable"), "{proxy}: {out}");
    }
}

#[test]
fn another_percentage_is_shown_and_nothing_is_changed() {
    let host = host_for_swap();
    host.write("/etc/wasp-agent/wasp-agent.toml", "[swap]\nreserve = \"1Mi\"\n");
    let (code, out, err) = run(&host, &["plan", "--overcommit-percent", "150"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("overcommit-percent = 150: RAM 4.0 GiB, swap "), "{out}");
    assert!(out.contains("make a swapfile of 2.0 GiB at /var/lib/wasp-agent/swapfile"), "{out}");
    assert!(!host.path("/var/lib/wasp-agent").exists(), "nothing was done");
    let (code, out, _) = run(&host, &["plan", "--overcommit-percent", "150", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["overcommit_percent"]), (0, &150.into()));
    assert_eq!(run(&host, &["plan", "--overcommit-percent", "99"]).0, 2);
}
