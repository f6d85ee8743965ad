//! Pods that an agent has left suspended.

use super::*;

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

/// Writes the state of a killed agent: suspended `pods`, by their containers' cgroups.
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
    let (_, out, _) = run(&host, &["suspended"]);
    assert!(!out.contains("one") && out.contains("two"), "{out}");
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
    assert_eq!(freezer(&host, &one), "1", "another program has frozen it");
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
