//! Runs the script that applies the manifests against a simulated `oc` (tests/order/oc), which
//! fails or hangs at each call in turn: no pool stays paused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "order/cluster.rs"]
mod cluster;

use std::{fs, process::Command};

use nix::sys::signal::{Signal, kill};

use cluster::{Cluster, Fault, changes, make_fifo, pid, steps, top, without_repetitions};

const VERSIONS: [&str; 5] = ["4.16", "4.18", "4.20", "4.21", "4.22"];

#[test]
fn each_example_is_applied_to_its_version_in_order() {
    for version in VERSIONS {
        let cluster = Cluster::new(version);
        let run = cluster.succeeds(version);
        let at = |what: &str| {
            run.calls
                .iter()
                .position(|call| call.contains(what))
                .unwrap_or_else(|| panic!("{what}"))
        };
        let steps = [
            "\"paused\":true",
            "/30-machineconfig.yaml",
            "\"paused\":false",
            "updatedMachineCount",
            "/41-prometheusrule.yaml",
            "debug node/node-b",
            "/60-hyperconverged.yaml",
        ];
        assert!(steps.map(at).is_sorted(), "{version}: {:?}", run.calls);
        if cluster.has("machineosconfig") {
            assert!(at("/20-machineosconfig.yaml") < at("\"paused\":false"), "{version}");
        }
        assert_eq!(cluster.has("kubeletconfig"), ["4.16", "4.18", "4.20"].contains(&version));
        for row in ["node-a", "node-b"] {
            let row = run.output.lines().find(|line| line.starts_with(row)).unwrap();
            assert!(row.contains("32.0 GiB") && row.contains("ready"), "{row}");
        }
        cluster.succeeds("once more");
    }
}

#[test]
fn a_failure_at_any_step_leaves_no_pool_paused_and_can_be_followed_by_another_run() {
    for (version, when) in [("4.18", "after"), ("4.21", "before")] {
        for at in steps(version) {
            let cluster = Cluster::new(version);
            let run = cluster.run(Fault { at, when, signal: false });
            let call = &run.calls[at - 1];
            assert!(!cluster.is_paused(), "{version}: paused after {when} {call}");
            assert_eq!(cluster.leftovers(), 0, "{version}: {call}");
            // A query that is repeated may fail once.
            assert!(run.success || run.errors.contains("Run it again"), "{call}: {}", run.errors);
            assert!(
                run.success || !changes(call) || !cluster.has("hyperconverged") || when == "after"
            );
            // Each run takes time: test the calls after a change, and some of the others.
            if changes(call) || at % 5 == 0 {
                cluster.succeeds(&format!("{version}: after {when} {call}"));
            }
        }
    }
}

/// docs/rollout.md, "From OpenShift 4.20 to 4.21".
#[test]
fn an_upgrade_from_4_20_ends_without_a_pause_and_without_what_4_21_rejects() {
    let calls = Cluster::upgraded().succeeds("4.21").calls;
    let at = |what: &str| calls.iter().position(|call| call.contains(what)).unwrap();
    // The drop-in comes first, the KubeletConfig goes, and only then the nodes follow.
    let steps =
        ["/30-machineconfig.yaml", "delete kubeletconfig/wasp-agent-worker", "paused\":false"];
    assert!(steps.map(at).is_sorted(), "{calls:?}");
    let pause = at("\"paused\":true");
    for (step, when) in
        without_repetitions(&calls).into_iter().zip(["before", "after"].iter().cycle())
    {
        let cluster = Cluster::upgraded();
        let run = cluster.run(Fault { at: step, when, signal: false });
        let call = &run.calls[step - 1];
        // Until the script pauses the pool itself, the pause is the administrator's.
        let kept = !run.success && step <= pause;
        assert_eq!(cluster.is_paused(), kept, "{when} {call}: {}", run.errors);
        assert!(!cluster.has("without-swap"), "{when} {call}");
        if changes(call) || kept || step % 5 == 0 {
            cluster.succeeds(&format!("after a failure {when} {call}"));
            assert!(!cluster.has("kubeletconfig") && !cluster.has("marker"), "{when} {call}");
            assert!(!cluster.has("without-swap"), "{when} {call}");
        }
    }
}

#[test]
fn nothing_is_changed_and_the_pause_stays_while_the_upgrade_is_not_complete() {
    let mut cluster = Cluster::upgraded();
    cluster.set("upgrading", "");
    cluster.refuses("The upgrade of the cluster to 4.21.3 is not complete");
    assert!(cluster.is_paused() && cluster.has("kubeletconfig"));
    fs::remove_file(cluster.path("upgrading")).unwrap();
    cluster.version = "4.20";
    cluster.refuses("these manifests are for 4.21");
    assert!(cluster.is_paused() && cluster.has("kubeletconfig"));
}

#[test]
fn a_signal_at_any_step_leaves_no_pool_paused() {
    let signals = [(Signal::SIGHUP, 129), (Signal::SIGINT, 130), (Signal::SIGTERM, 143)];
    let mut rounds = signals.iter().cycle();
    let (version, when) = ("4.18", "after");
    for at in steps(version) {
        let (signal, code) = *rounds.next().unwrap();
        let cluster = Cluster::new(version);
        let blocked = cluster.path("blocked");
        make_fifo(&blocked);
        let child = cluster.start(Fault { at, when, signal: true });
        // Wait until the call hangs.
        assert_eq!(fs::read_to_string(&blocked).unwrap().trim(), at.to_string());
        kill(pid(&child), signal).unwrap();
        let run = cluster.end(child);
        let call = &run.calls[at - 1];
        assert_eq!(run.code, Some(code), "{call}: {}", run.errors);
        assert!(!cluster.is_paused(), "{signal:?}, {version}: paused {when} {call}");
        assert_eq!(cluster.leftovers(), 0, "{version}: {call}");
    }
}

#[test]
fn a_pool_that_a_killed_run_left_paused_is_resumed_by_the_next() {
    let cluster = Cluster::new("4.21");
    let calls = Cluster::new("4.21").succeeds("first").calls;
    let pause = calls.iter().position(|call| call.contains("\"paused\":true")).unwrap() + 1;
    let blocked = cluster.path("blocked");
    make_fifo(&blocked);
    let child = cluster.start(Fault { at: pause, when: "after", signal: true });
    let oc: String = fs::read_to_string(&blocked).unwrap();
    assert_eq!(oc.trim(), pause.to_string());
    kill(pid(&child), Signal::SIGKILL).unwrap();
    let mut child = child;
    child.wait().unwrap();
    assert!(cluster.is_paused());
    for entry in fs::read_dir(cluster.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("tmp.") {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let run = cluster.succeeds("the next");
    assert!(run.output.contains("An earlier run was killed"), "{}", run.output);
}

#[test]
fn what_would_hurt_is_refused_before_anything_is_changed() {
    let with = |version, name: &str, content: &str, why: &str| {
        let cluster = Cluster::new(version);
        cluster.set(name, content);
        cluster.refuses(why);
        cluster
    };
    let cluster = with("4.20", "paused", "true\n", "and not by this script");
    assert!(cluster.is_paused(), "the pause is from another user");
    with(
        "4.20",
        "daemonset",
        "openshift-cnv ",
        "The DaemonSet wasp-agent runs in namespace openshift-cnv",
    );
    with(
        "4.21",
        "hyperconverged-answer",
        "150 ",
        "memoryOvercommitPercentage of HyperConverged is 150",
    );
    with(
        "4.22",
        "hyperconverged-answer",
        "150 ",
        "memoryOvercommitPercentage of HyperConverged is 150",
    );
    with(
        "4.18",
        "hyperconverged-answer",
        "150 ",
        "is 150: from OpenShift 4.20 on, the operator deploys",
    );
    for answer in ["100 ", " ", "150 swap-enable", "150 x,swap-enable", "150 true"] {
        let cluster = Cluster::new("4.22");
        cluster.set("hyperconverged-answer", answer);
        cluster.succeeds(answer);
    }
    let mut cluster = Cluster::new("4.22");
    cluster.served = "v1beta1";
    cluster.refuses("Render them again with --hyperconverged 'v1beta1 '");
    cluster.version = "4.21";
    cluster.refuses("The cluster has OpenShift 4.21.3, and these manifests are for 4.22.");
}

#[test]
fn what_a_version_refuses_ends_the_run_with_its_words_and_no_pool_paused() {
    let cluster = Cluster::new("4.21");
    let older = top().join("ignition/4.20/10-kubeletconfig.yaml");
    fs::copy(older, cluster.manifests.join("10-kubeletconfig.yaml")).unwrap();
    let run = cluster.run(Fault::default());
    assert!(
        !run.success && run.errors.contains("failSwapOn is not allowed to be set"),
        "{}",
        run.errors
    );
    assert!(!cluster.is_paused());
    // From a rollout to 4.20, before the upgrade.
    fs::remove_file(cluster.manifests.join("10-kubeletconfig.yaml")).unwrap();
    cluster.succeeds("without it");
    assert!(!cluster.has("kubeletconfig"));

    let cluster = Cluster::new("4.18");
    cluster.set("build-fails", "");
    let run = cluster.run(Fault::default());
    assert!(
        !run.success && run.errors.contains("oc describe machineosbuild/build-"),
        "{}",
        run.errors
    );
    assert!(!cluster.is_paused() && !cluster.has("hyperconverged"));

    let cluster = Cluster::new("4.22");
    cluster.set("degraded", "");
    let run = cluster.run(Fault::default());
    assert!(!run.success && run.errors.contains("mcp/worker is degraded"), "{}", run.errors);
    assert!(!cluster.is_paused() && !cluster.has("hyperconverged"));
}

#[test]
fn vms_do_not_count_on_swap_while_a_node_is_not_right() {
    let cluster = Cluster::new("4.22");
    cluster.set("wrong-node-b", "");
    let run = cluster.run(Fault::default());
    assert!(!run.success && !cluster.has("hyperconverged"), "{}", run.output);
    let row = run.output.lines().find(|line| line.starts_with("node-b")).unwrap();
    assert!(row.contains("problems: hook") && row.contains("3 wrong"), "{row}");
    assert!(run.output.contains("1 of 2 nodes of mcp/worker are right."), "{}", run.output);
}

#[test]
fn nodes_of_other_pools_with_the_role_are_not_asked() {
    let run = Cluster::new("4.22").succeeds("beside pools infra and master");
    let asked = |call: &&String| call.starts_with("debug node/");
    let asked: Vec<&String> = run.calls.iter().filter(asked).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|call| call.starts_with("debug node/node-")), "{asked:?}");

    let cluster = Cluster::new("4.22");
    cluster.set("no-nodes", "");
    let run = cluster.run(Fault::default());
    assert!(!run.success && run.errors.contains("No node has the configuration rendered-worker-"));
    assert!(!cluster.is_paused() && !cluster.has("hyperconverged"));
}

#[test]
fn a_kubelet_config_that_selects_the_pool_in_any_way_is_refused() {
    let label = "pools.operator.machineconfiguration.openshift.io/worker";
    let labels = |name: &str, label: &str| format!("{name} {{\"matchLabels\":{{{label}}}}}\n");
    let expression = format!(
        "by-expression {{\"matchExpressions\":[{{\"key\":\"{label}\",\"operator\":\"Exists\"}}]}}\n"
    );
    for (others, why) in [
        (labels("by-role", &format!("\"{label}\":\"\"")), "already: by-role"),
        (labels("set-max-pods", "\"custom-kubelet\":\"large\""), "already: set-max-pods"),
        (
            labels("performance-cnf", "\"machineconfiguration.openshift.io/role\":\"worker-cnf\""),
            "of a PerformanceProfile: performance-cnf",
        ),
        (expression, "already: by-expression"),
    ] {
        let cluster = Cluster::new("4.18");
        cluster.set("other-kubeletconfigs", &others);
        cluster.refuses(why);
        fs::remove_file(cluster.manifests.join("10-kubeletconfig.yaml")).unwrap();
        // Its lines are in the other object now.
        let run = cluster.run(Fault::default());
        assert!(!run.errors.contains("KubeletConfig already"), "{}", run.errors);
    }
    let cluster = Cluster::new("4.18");
    cluster.set("other-kubeletconfigs", &labels("of-infra", "\"custom-kubelet\":\"infra\""));
    cluster.succeeds("beside another pool's");
}

#[test]
fn a_machine_os_config_of_another_team_is_never_overwritten() {
    for (name, content, why) in [
        ("other-machineosconfigs", "worker layered\n", Some("already: layered")),
        // With the name that ours would have, and with our lines among theirs.
        ("named-worker", "worker\nFROM configs AS final\nRUN dnf\n", Some("already: worker")),
        ("named-worker", "worker\nRUN theirs\n  /tmp/wasp-agent.rpm\n", Some("already: worker")),
        ("named-worker", "infra\nFROM configs AS final\n", Some("is of another pool, mcp/infra")),
        ("other-machineosconfigs", "infra wasp-agent\n", None),
    ] {
        let cluster = Cluster::new("4.18");
        cluster.set(name, content);
        match why {
            Some(why) => cluster.refuses(why),
            None => drop(cluster.succeeds("beside another pool's")),
        }
    }
}

#[test]
fn the_pause_of_another_run_is_left_alone_for_an_hour() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let host = String::from_utf8(Command::new("uname").arg("-n").output().unwrap().stdout).unwrap();
    let here = format!("{} {}", host.trim(), std::process::id());
    let marked = |mark: String| {
        // After an upgrade, so that the version is rejected.
        let mut cluster = Cluster::new("4.20");
        cluster.version = "4.21";
        cluster.set("paused", "true\n");
        cluster.set("marker", &mark);
        cluster
    };
    for by in ["elsewhere 17", &here] {
        let cluster = marked(format!("apply.sh {by} {}", now - 1800));
        cluster.refuses("is rolling out to mcp/worker");
        assert!(cluster.is_paused(), "{by}");
    }
    // An hour old; of a process that has ended; of a script that wrote only its name.
    let gone = format!("{} 99999999 {now}", host.trim());
    for by in [&format!("elsewhere 17 {}", now - 3700), &gone, ""] {
        let cluster = marked(format!("apply.sh {by}"));
        let run = cluster.run(Fault::default());
        assert!(run.errors.contains("The cluster has OpenShift 4.21.3"), "{by}: {}", run.errors);
        assert!(!cluster.is_paused() && !cluster.has("marker"), "{by}");
    }
}

#[test]
fn no_call_waits_for_the_api_server_without_end() {
    for version in ["4.16", "4.18", "4.21"] {
        for call in Cluster::new(version).succeeds(version).calls {
            assert!(
                call.contains("--request-timeout=30s ") || call.starts_with("debug "),
                "{version}: {call}"
            );
        }
    }
}

#[test]
fn without_openshift_virtualization_the_file_to_leave_out_is_named() {
    let mut cluster = Cluster::new("4.21");
    cluster.served = "";
    cluster.refuses("OpenShift Virtualization is not installed");
    cluster.refuses("delete 60-hyperconverged.yaml");
    fs::remove_file(cluster.manifests.join("60-hyperconverged.yaml")).unwrap();
    cluster.succeeds("without it");

    let cluster = Cluster::new("4.21");
    cluster.set("no-hyperconverged", "");
    cluster.refuses("openshift-cnv has no kubevirt-hyperconverged");
}

#[test]
fn nodes_that_are_right_are_not_asked_again_and_one_that_hangs_does_not_hold_up() {
    let mut cluster = Cluster::new("4.22");
    cluster.set("hangs-node-b", "");
    let run = cluster.run(Fault::default());
    assert!(!run.success && run.errors.contains("Not every node is right"), "{}", run.errors);
    let asked = |node| run.calls.iter().filter(|call| call.starts_with(node)).count();
    assert_eq!(asked("debug node/node-a"), 1);
    assert!((2..20).contains(&asked("debug node/node-b")), "{:?}", run.calls);
    assert!(!cluster.has("hyperconverged"));

    cluster.arguments = vec!["--tolerate", "1"];
    let run = cluster.run(Fault::default());
    assert!(run.success && cluster.has("hyperconverged"), "{}", run.errors);
    assert!(run.output.contains("1 of 2 nodes of mcp/worker are right."), "{}", run.output);
}

#[test]
fn nodes_that_lag_are_named_and_the_wait_for_them_ends() {
    let mut cluster = Cluster::new("4.22");
    cluster.set("stuck-node-b", "");
    let run = cluster.run(Fault::default());
    assert!(!run.success && run.errors.contains("no further node of mcp/worker"), "{}", run.errors);
    assert!(run.output.contains("  node-b: Degraded, Ready False the drain failed"));
    assert!(!run.output.contains("infra-a") && !run.output.contains("  node-a:"));
    assert!(!cluster.is_paused() && !cluster.has("hyperconverged"));

    cluster.arguments = vec!["--tolerate", "1"];
    let run = cluster.run(Fault::default());
    assert!(run.success && cluster.has("hyperconverged"), "{}\n{}", run.output, run.errors);
    cluster.arguments = vec!["--tolerate", "some"];
    let _ = fs::write(cluster.path("log"), "");
    let child = cluster.start(Fault::default()).wait_with_output().unwrap();
    assert_eq!(child.status.code(), Some(2));
}

#[test]
fn rendering_again_leaves_no_file_of_the_rendering_before() {
    let render = |cluster: &Cluster, version: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wasp-agent"))
            .args(["manifests", "--install", "present", "--openshift", version])
            .args(more)
            .arg("--out")
            .arg(&cluster.manifests)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // The directory has the example of 4.20, with a KubeletConfig and an image.
    let mut cluster = Cluster::new("4.20");
    cluster.version = "4.21";
    fs::write(cluster.manifests.join("45-ours.yaml"), "ours").unwrap();
    let all = |cluster: &Cluster| -> Vec<String> {
        let entries = fs::read_dir(&cluster.manifests).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert!(all(&cluster).contains(&"10-kubeletconfig.yaml".to_owned()));
    let percent = ["--overcommit-percent", "150"];
    render(&cluster, "4.21", &[&percent[..], &["--taint-guard"]].concat());
    assert!(all(&cluster).contains(&"50-taint-guard.yaml".to_owned()));
    render(&cluster, "4.21", &["--swap-size", "32Gi"]);
    let expected = [
        "30-machineconfig.yaml",
        "40-namespace.yaml",
        "41-prometheusrule.yaml",
        "42-alertingrule.yaml",
        "43-console-dashboard.yaml",
        "44-perses-dashboard.yaml",
        "45-ours.yaml",
        "apply.sh",
        "worker.bu",
        "worker.ign",
    ];
    assert_eq!(all(&cluster), expected);
    render(&cluster, "4.21", &percent);
    cluster.succeeds("what is left of two renderings");
}

#[test]
fn every_file_of_the_examples_is_one_that_is_removed_when_it_is_stale() {
    let names = wasp_agent::manifests::names("worker");
    for version in VERSIONS {
        for name in fs::read_dir(top().join("ignition").join(version)).unwrap() {
            let name = name.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&name), "{name}");
        }
    }
}
