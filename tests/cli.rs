//! The command line: exit codes and output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod, uid};

fn run(host: &FakeHost, arguments: &[&str]) -> (i32, String, String) {
    let output = Agent::command(host, arguments).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_wrong_configuration_is_exit_78_with_every_problem() {
    let host = FakeHost::new(4096 * MIB, 0);
    host.write("/etc/wasp-agent/wasp-agent.toml", "grants = 1\nnonsense = 2\n");
    for arguments in [&["check-config"][..], &["run"], &["plan"]] {
        let (code, out, err) = run(&host, arguments);
        assert_eq!((code, out.as_str()), (78, ""), "{arguments:?}");
        assert!(err.starts_with("wasp-agent: 2 configuration problems\n"), "{err}");
        assert!(
            err.contains("/etc/wasp-agent/wasp-agent.toml:1: grants = 1 is not one of"),
            "{err}"
        );
        assert!(err.contains("/etc/wasp-agent/wasp-agent.toml:2: unknown key nonsense"), "{err}");
    }
}

#[test]
fn check_config_shows_what_counts_and_where_it_comes_from() {
    let host = FakeHost::new(4096 * MIB, 0);
    host.write("/etc/wasp-agent/config.d/50-site.toml", "\n[limits]\npolicy = \"max\"\n");
    let (code, out, _) = run(&host, &["check-config"]);
    assert_eq!(code, 0);
    let line = |key: &str| out.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("policy").ends_with("# /etc/wasp-agent/config.d/50-site.toml:3"), "{out}");
    assert!(line("grants").ends_with("# default"), "{out}");
}

#[test]
fn the_shipped_configuration_is_the_defaults_and_valid() {
    let host = FakeHost::new(4096 * MIB, 0);
    let (_, defaults, _) = run(&host, &["check-config"]);
    let shipped = include_str!("../packaging/wasp-agent.toml");
    host.write("/etc/wasp-agent/wasp-agent.toml", shipped);
    host.write("/etc/sysconfig/wasp-agent", include_str!("../packaging/wasp-agent.sysconfig"));
    assert_eq!(run(&host, &["check-config"]).1, defaults);
    // The values in its commented lines are valid too, and equal the defaults.
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|l| l.split('#').next().unwrap().trim().to_owned()).collect()
    };
    let uncommented: String = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    host.write("/etc/wasp-agent/wasp-agent.toml", &uncommented);
    let (code, out, err) = run(&host, &["check-config"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(values(&out), values(&defaults));
}

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
    let config = "kind: KubeletConfiguration\nfailSwapOn: false\ncgroupRoot: /kubelet\n";
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
        out.starts_with("NOTE: API server not reachable, using the agent's records: no kubeconfig"),
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
fn a_partition_that_is_not_there_keeps_the_node_from_nothing() {
    let host = host_for_swap();
    let partition = "[swap]\nkind = \"partition\"\npath = \"/dev/disk/by-id/scsi-x\"\n";
    host.write("/etc/wasp-agent/config.d/90-swap.toml", partition);
    let (code, _, err) = run(&host, &["provision", "--wait", "1"]);
    assert_eq!(code, 75, "{err}");
    assert!(err.contains("Waiting 1 s at most for /dev/disk/by-id/scsi-x."), "{err}");
    assert!(err.contains("/dev/disk/by-id/scsi-x does not exist"), "{err}");
    // The agent may start after the device has appeared.
    let note = host.path("/run/wasp-agent/awaited-swap.json");
    let text = std::fs::read_to_string(&note).unwrap();
    assert_eq!(text, r#"{"version":1,"path":"/dev/disk/by-id/scsi-x"}"#);
    let (code, ..) = run(&host, &["provision", "--dry-run"]);
    assert!(code == 75 && note.exists(), "a dry run leaves it");
    // Provisioning waits only until it appears; that it is no device is another problem.
    let path = host.path("/dev/disk/by-id/scsi-x");
    let comes = std::thread::spawn(move || {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    });
    let (code, _, err) = run(&host, &["provision", "--wait", "600"]);
    comes.join().unwrap();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("not a block device"), "{err}");
    assert!(!note.exists(), "the agent does not ask for the same again");

    let (_, json, _) = run(&host, &["check", "--json"]);
    assert!(json.contains("/dev/disk/by-id/scsi-x is configured"), "{json}");
    assert!(!json.contains("none is configured") && !json.contains(">/etc"), "{json}");
}

/// A host with the files that provisioning reads: memory, watermarks, a kubelet's configuration.
fn host_for_swap() -> FakeHost {
    let host = FakeHost::new(4096 * MIB, 0);
    host.write("/proc/swaps", "Filename Type Size Used Priority\n");
    host.write("/proc/zoneinfo", "Node 0, zone Normal\n min 2816\n low 3520\n managed 1000000\n");
    host.write("/proc/sys/vm/min_free_kbytes", "11264\n");
    host.write("/proc/sys/vm/watermark_scale_factor", "10\n");
    host.write("/proc/sys/vm/swappiness", "60\n");
    host.write(
        "/etc/kubernetes/kubelet.conf",
        "kind: KubeletConfiguration\nfailSwapOn: false\nevictionHard:\n  memory.available: 200Mi\n",
    );
    host
}

#[test]
fn provision_makes_nothing_unless_it_is_asked_to() {
    let host = host_for_swap();
    let (code, _, err) = run(&host, &["provision"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("RAM 4.0 GiB, no swap"), "{err}");
    assert!(!host.path("/var/lib/wasp-agent").exists());
}

#[test]
fn a_dry_run_of_provision_says_what_it_would_do() {
    let host = host_for_swap();
    let file = "overcommit-percent = 150\n[swap]\nreserve = \"1Mi\"\n[kernel]\n\
                align-watermarks = true\nswappiness = 80\n";
    host.write("/etc/wasp-agent/wasp-agent.toml", file);
    let (code, _, err) = run(&host, &["provision", "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    for text in [
        "would make a swapfile of 2.0 GiB at /var/lib/wasp-agent/swapfile",
        "would switch on /var/lib/wasp-agent/swapfile",
        "the kubelet evicts below 200.0 MiB: kswapd starts at 261.0 MiB, 61.0 MiB above that (1/64 of RAM",
        "would set /proc/sys/vm/min_free_kbytes to 217600",
        "would set /proc/sys/vm/swappiness to 80",
    ] {
        assert!(err.contains(text), "{text} is not in\n{err}");
    }
    assert!(!host.path("/var/lib/wasp-agent").exists(), "nothing was done");
    assert!(!host.path("/run/wasp-agent").exists(), "nothing was done");
}

#[test]
fn provision_sets_the_kernel_up_and_deprovision_puts_it_back() {
    let host = host_for_swap();
    host.write("/etc/wasp-agent/wasp-agent.toml", "[kernel]\nswappiness = 80\n");
    assert_eq!(run(&host, &["provision"]).0, 0);
    let swappiness = || std::fs::read_to_string(host.path("/proc/sys/vm/swappiness")).unwrap();
    assert_eq!(swappiness(), "80");
    let (code, _, err) = run(&host, &["deprovision"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(swappiness(), "60");
}

#[test]
fn swap_that_is_used_is_not_taken_away_with_the_package() {
    let host = host_for_swap();
    host.write("/etc/wasp-agent/wasp-agent.toml", "[kernel]\nswappiness = 80\n");
    assert_eq!(run(&host, &["provision"]).0, 0);
    let swappiness = || std::fs::read_to_string(host.path("/proc/sys/vm/swappiness")).unwrap();
    let swaps =
        |used: u64| format!("Filename Type Size Used Priority\n/srv/swap file 4096 {used} 10\n");
    host.write("/proc/swaps", &swaps(4));
    let (code, _, err) = run(&host, &["deprovision", "--if-unused"]);
    assert_eq!((code, swappiness().as_str()), (1, "60"), "{err}");
    assert!(err.contains("/srv/swap stays on: 4.0 KiB of it are in use"), "{err}");
    assert_eq!(run(&host, &["provision"]).0, 0);
    assert_eq!(swappiness(), "80");
    host.write("/proc/swaps", &swaps(0));
    assert_eq!(run(&host, &["deprovision", "--if-unused"]).0, 0);
    assert_eq!(swappiness(), "60");
}

#[test]
fn provision_refuses_what_the_node_would_not_survive() {
    let host = host_for_swap();
    host.write("/etc/wasp-agent/wasp-agent.toml", "[swap]\nsize = \"1Mi\"\n");
    let refused = |code: i32, text: &str| {
        let (found, _, err) = run(&host, &["provision"]);
        assert_eq!(found, code, "{err}");
        assert!(err.contains(text), "{text} is not in\n{err}");
        assert!(!host.path("/var/lib/wasp-agent/swapfile").exists());
    };
    host.write("/etc/kubernetes/kubelet.conf", "kind: KubeletConfiguration\n");
    refused(
        69,
        "failSwapOn is true (the default); set it to false in /etc/kubernetes/kubelet.conf",
    );
    host.write("/etc/kubernetes/kubelet.conf", "kind: KubeletConfiguration\nfailSwapOn: [\n");
    refused(69, "cannot read /etc/kubernetes/kubelet.conf: ");
    host.write("/etc/kubernetes/kubelet.conf", "kind: KubeletConfiguration\nfailSwapOn: false\n");
    std::fs::remove_file(host.path("/sys/fs/cgroup/cgroup.controllers")).unwrap();
    refused(69, "cgroup v1");
    host.write("/sys/fs/cgroup/cgroup.controllers", "memory\n");
    host.write("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    refused(69, "remove swapaccount=0");
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    refused(69, "remove cgroup_disable=memory");
    host.write("/sys/fs/cgroup/cgroup.controllers", "memory\n");
    host.write("/sys/fs/cgroup/system.slice/memory.swap.max", "max\n");
    let theirs = "/etc/systemd/system/swap-disk-enable.service";
    host.write(theirs, "");
    refused(75, "the agent makes no second swap");
    std::fs::remove_file(host.path(theirs)).unwrap();
    host.write(
        "/etc/systemd/system/kubelet.service",
        "[Service]\nExecStart=/usr/bin/kubelet --config=/srv/k\n",
    );
    refused(69, "/srv/k does not exist (kubelet.service names it)");
    host.write("/srv/k", "kind: KubeletConfiguration\n");
    refused(69, "set it to false in /srv/k");
    std::fs::remove_file(host.path("/etc/systemd/system/kubelet.service")).unwrap();
    host.write("/sys/fs/cgroup/cgroup.controllers", "memory\n");
    host.write("/etc/wasp-agent/wasp-agent.toml", "[swap]\nsize = \"1Mi\"\nreserve = \"100%\"\n");
    refused(1, "(swap.reserve sets the reserve)");
}

#[test]
fn unprotect_has_nothing_to_undo_where_nothing_was_done() {
    let host = FakeHost::new(4096 * MIB, 0);
    let (code, out, _) = run(&host, &["unprotect"]);
    assert_eq!((code, out.contains("nothing to restore")), (0, true));
    host.write(
        "/run/wasp-agent/protection.json",
        r#"{"system.slice": {"swap_max": "max", "io_latency": []}}"#,
    );
    let (code, _, err) = run(&host, &["unprotect"]);
    assert_eq!(code, 1);
    assert!(err.contains("cannot reach systemd at"), "{err}");
}

#[test]
fn cleanup_removes_what_is_the_agents_and_nothing_else() {
    let host = FakeHost::new(4096 * MIB, 0);
    for file in ["hook.json", "evictions.json", "status.json", "pods/uid.json"] {
        host.write(&format!("/run/wasp-agent/{file}"), "{}");
    }
    host.write("/var/lib/wasp-agent/history/events", "");
    host.write("/var/lib/wasp-agent/swapfile", "");
    // Removing the package needs no valid configuration.
    host.write("/run/wasp-agent/config.d/50-site.toml", "nonsense = 1\n");
    assert_eq!(run(&host, &["plan"]).0, 78);
    assert_eq!(run(&host, &["cleanup"]).0, 0);
    let left: Vec<_> = std::fs::read_dir(host.path("/run/wasp-agent"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["config.d"]);
    assert!(!host.path("/var/lib/wasp-agent/history").exists());
    assert!(host.path("/var/lib/wasp-agent/swapfile").exists());
    std::fs::remove_dir_all(host.path("/run/wasp-agent/config.d")).unwrap();
    assert_eq!(run(&host, &["cleanup"]).0, 0);
    assert!(!host.path("/run/wasp-agent").exists());
}

/// Creates a frozen container's cgroup below kubepods; returns its path below the cgroup root.
fn frozen(host: &FakeHost, number: usize) -> String {
    let path = format!("kubepods.slice/a.slice/crio-{number}.scope");
    host.write(&format!("/sys/fs/cgroup/{path}/cgroup.events"), "populated 1\nfrozen 1\n");
    host.write(&format!("/sys/fs/cgroup/{path}/cgroup.freeze"), "1\n");
    path
}

fn freezer(host: &FakeHost, path: &str) -> String {
    let text = std::fs::read_to_string(host.path(&format!("/sys/fs/cgroup/{path}/cgroup.freeze")));
    text.unwrap().trim().to_owned()
}

/// Writes the state of a killed agent: `pods` asleep, by their containers' cgroups.
fn asleep(host: &FakeHost, pods: &[(&str, &str)]) {
    use std::os::unix::fs::MetadataExt;
    let zero = serde_json::json!({"memory_bytes": 0, "swap_bytes": 0, "file_bytes": 0});
    let none = serde_json::json!({"requests": {}, "limits": {}});
    let pod = |(at, (name, path)): (usize, &(&str, &str))| {
        let uid = format!("9192cfa8-0000-4444-9bb8-{at:012}");
        let inode = std::fs::metadata(host.path(&format!("/sys/fs/cgroup/{path}"))).unwrap().ino();
        let pod = serde_json::json!({
            "uid": uid, "namespace": "ns", "name": name, "qos_class": "Burstable",
            "stage": "asleep", "vm": false, "since": {"secs": 1, "nanos": 0},
            "containers": [{"name": "c", "id": container_id(at), "unit": null, "path": path,
                "inode": inode, "resources": none, "spec": none, "budget_bytes": 0,
                "before": zero, "after": zero}],
        });
        (uid, pod)
    };
    let pods: serde_json::Map<_, _> = pods.iter().enumerate().map(pod).collect();
    let text = serde_json::json!({"version": 1, "pods": pods}).to_string();
    host.write("/run/wasp-agent/suspended.json", &text);
}

#[test]
fn without_an_agent_pods_can_be_listed_and_resumed_whatever_is_configured() {
    let host = FakeHost::new(4096 * MIB, 0);
    let (one, two) = (frozen(&host, 1), frozen(&host, 2));
    asleep(&host, &[("one", &one), ("two", &two)]);
    for configuration in ["", "nonsense = 1\n"] {
        host.write("/etc/wasp-agent/wasp-agent.toml", configuration);
        let (code, out, err) = run(&host, &["suspended"]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("one") && out.contains("two"), "{out}");
    }
    let (code, out, err) = run(&host, &["resume", "ns/one"]);
    assert_eq!((code, out.as_str()), (0, "resumed ns/one\n"), "{err}");
    assert_eq!((freezer(&host, &one), freezer(&host, &two)), ("0".into(), "1".into()));
    let (code, _, err) = run(&host, &["resume", "ns/three"]);
    assert!(code == 1 && err.contains("is not suspended"), "{err}");
    // It is unknown which of the frozen cgroups is this pod's.
    host.write("/run/wasp-agent/suspended.json", "{");
    assert_eq!(run(&host, &["resume", "ns/two"]).0, 0);
    assert_eq!(freezer(&host, &two), "0");
}

/// Regression: an agent that did not start left pods frozen forever.
#[test]
fn an_agent_that_does_not_start_wakes_what_an_agent_has_left_suspended() {
    let host = FakeHost::new(4096 * MIB, 0);
    let one = frozen(&host, 1);
    host.write("/etc/wasp-agent/wasp-agent.toml", "nonsense = 1\n");
    assert_eq!(run(&host, &["run"]).0, 78);
    assert_eq!(freezer(&host, &one), "1", "somebody else has frozen it");
    asleep(&host, &[("one", &one)]);
    assert_eq!(run(&host, &["run", "--dry-run"]).0, 78);
    assert_eq!(freezer(&host, &one), "1", "a dry run changes nothing");
    assert_eq!(run(&host, &["run"]).0, 78);
    assert_eq!(freezer(&host, &one), "0");
    // Valid settings, and a host without the files that the agent reads at its start.
    frozen(&host, 1);
    host.write("/etc/wasp-agent/wasp-agent.toml", "");
    std::fs::remove_file(host.path("/proc/meminfo")).unwrap();
    host.write("/run/wasp-agent/suspended.json", "{");
    assert_ne!(run(&host, &["run"]).0, 0);
    assert_eq!(freezer(&host, &one), "0");
}

#[test]
fn cleanup_thaws_by_the_cgroups_where_the_file_is_unreadable_and_goes_on_over_errors() {
    let host = FakeHost::new(4096 * MIB, 0);
    let (one, two) = (frozen(&host, 1), frozen(&host, 2));
    let stuck = host.path(&format!("/sys/fs/cgroup/{one}/cgroup.freeze"));
    std::fs::remove_file(&stuck).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    host.write("/run/wasp-agent/suspended.json", "{");
    host.write("/run/wasp-agent/status.json", "{}");
    let (code, _, err) = run(&host, &["cleanup"]);
    assert!(code == 1 && err.contains("crio-1.scope"), "{err}");
    assert_eq!(freezer(&host, &two), "0", "though the other failed");
    assert!(!host.path("/run/wasp-agent/status.json").exists());
    assert!(host.path("/run/wasp-agent/suspended.json").exists(), "kept for the next try");
    std::fs::remove_dir(&stuck).unwrap();
    frozen(&host, 1);
    assert_eq!(run(&host, &["cleanup"]).0, 0);
    assert_eq!(freezer(&host, &one), "0");
    assert!(!host.path("/run/wasp-agent").exists());
}

#[test]
fn deprovision_forgets_what_is_gone_and_leaves_what_is_not_ours() {
    let host = host_for_swap();
    host.write("/srv/swapfile", "somebody else's by now");
    host.write(
        "/var/lib/wasp-agent/provisioned.json",
        r#"{"version": 1, "areas": [{"kind": "partition", "path": "/dev/disk/by-id/gone"},
            {"kind": "file", "path": "/srv/swapfile"}, {"kind": "file", "path": "/srv/never"}]}"#,
    );
    let (code, _, err) = run(&host, &["deprovision"]);
    assert_eq!(code, 0, "{err}");
    assert!(!host.path("/var/lib/wasp-agent/provisioned.json").exists());
    assert!(host.path("/srv/swapfile").exists());
}

#[test]
fn status_and_explain_work_with_the_agent_and_without_it() {
    let (host, (_data, server)) = (FakeHost::new(4096 * MIB, 2048 * MIB), api_server());
    let (code, out, _) = run(&host, &["status"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("Agent        not running: it has published nothing"), "{out}");

    host.use_kubeconfig(&server);
    let object = server.apply(&pod("vm", NODE, Some("100Mi"), Some("300Mi"))).unwrap();
    let cgroup = host.container(uid(&object), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    host.await_limit(&cgroup, &(50 * MIB).to_string());
    let status = || {
        let (code, out, err) = run(&host, &["status", "--json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let seen = status();
    assert_eq!(seen["pods"][0]["pod"], "vm", "{seen}");
    assert_eq!(seen["pods"][0]["containers"][0]["swap_grant"], (50 * MIB).to_string());
    assert_eq!(seen["published"]["api"]["reachable"], true);
    let (code, out, _) = run(&host, &["explain", "vm"]);
    assert_eq!(code, 0);
    assert!(out.contains("may swap   52428800 bytes (50.0 MiB): requests 100.0 MiB of"), "{out}");
    assert!(out.contains("It is number 1 of 1") || out.contains("It is never evicted"), "{out}");
    let (code, _, err) = run(&host, &["explain", "other/vm"]);
    assert_eq!(code, 1);
    assert!(err.contains("no pod other/vm with running containers on this node"), "{err}");

    assert_eq!(agent.stop().0, Some(0));
    let seen = status();
    assert_eq!(seen["agent"]["running"], false);
    assert!(
        seen["agent"]["warning"].as_str().unwrap().starts_with("not running: the data is from")
    );
    assert_eq!(seen["pods"][0]["pod"], "vm", "the pods are those of the host");
}

#[test]
fn a_report_needs_no_agent_and_names_a_time_that_is_none() {
    let host = FakeHost::new(4096 * MIB, 0);
    let (code, out, err) = run(&host, &["report"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Note: /var/lib/wasp-agent/history/minutes has no minute"), "{out}");
    let (code, _, err) = run(&host, &["report", "--since", "last week"]);
    assert_eq!(code, 1);
    assert!(err.contains("--since \"last week\" is not a time: use yesterday"), "{err}");
    let (code, out, err) = run(&host, &["advise"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("No minute is recorded yet"), "{out}");
}

#[test]
fn advice_includes_what_reclaim_has_measured() {
    let host = FakeHost::new(4096 * MIB, 0);
    let file = "/var/lib/wasp-agent/history/working-sets.json";
    host.write(
        file,
        r#"{"version":1,"days":{"20000":{"default/vm":{"working_set_bytes":1073741824,"whole_bytes":3221225472}}}}"#,
    );
    let (code, out, err) = run(&host, &["advise"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("needed 1.0 GiB of the 3.0 GiB that they held"), "{out}");
    let (_, out, _) = run(&host, &["advise", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["working_sets"]["would_have_held_percent"], 300);
    assert_eq!(json["minutes"], 0, "the node's own history stays beside it");
    host.write(file, "cut");
    let (code, out, err) = run(&host, &["advise"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cannot use /var/lib/wasp-agent/history/working-sets.json"), "{out}");
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
