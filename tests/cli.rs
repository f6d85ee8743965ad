//! The command line: exit codes and output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/provision.rs"]
mod provision;
mod support;
#[path = "cli/suspended.rs"]
mod suspended;

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
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\nevictionHard:\n  memory.available: 200Mi\n",
    );
    host
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
    assert!(out.contains("Note: /var/lib/wasp-agent/history/minutes has no data yet"), "{out}");
    let (code, _, err) = run(&host, &["report", "--since", "last week"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("--since \"last week\" is not a time in the past: use yesterday"),
        "{err}"
    );
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
    assert_eq!(json["minutes"], 0, "the node's own history stays next to it");
    host.write(file, "cut");
    let (code, out, err) = run(&host, &["advise"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cannot use /var/lib/wasp-agent/history/working-sets.json"), "{out}");
}
