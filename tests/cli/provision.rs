//! `provision` and `deprovision`.

use super::*;

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

/// A package that was downgraded finds the ledger of a later one.
#[test]
fn without_a_readable_ledger_provision_makes_the_swap_but_removes_none() {
    let host = host_for_swap();
    let file = "overcommit-percent = 150\n[swap]\nreserve = \"1Mi\"\n";
    host.write("/etc/wasp-agent/wasp-agent.toml", file);
    for ledger in ["", "{\"version\":1,", "{\"version\":9,\"areas\":[]}"] {
        host.write("/var/lib/wasp-agent/provisioned.json", ledger);
        let (code, _, err) = run(&host, &["provision", "--dry-run"]);
        assert_eq!(code, 0, "{err}");
        let warning = "/var/lib/wasp-agent/provisioned.json: ";
        assert!(err.contains(warning), "{err}");
        assert!(err.contains("swap that was provisioned elsewhere stays"), "{err}");
        assert!(err.contains("would make a swapfile of 2.0 GiB"), "{err}");
        host.write("/etc/wasp-agent/wasp-agent.toml", "");
        let (code, _, err) = run(&host, &["provision"]);
        assert!(code == 0 && err.contains(warning), "without swap: {err}");
        host.write("/etc/wasp-agent/wasp-agent.toml", file);
        let (code, _, err) = run(&host, &["deprovision", "--dry-run"]);
        assert!(code != 0 && err.contains(warning), "{err}");
    }
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
    host.write(
        "/etc/kubernetes/kubelet.conf",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    );
    refused(
        69,
        "failSwapOn is true (the default); set it to false in /etc/kubernetes/kubelet.conf",
    );
    host.write(
        "/etc/kubernetes/kubelet.conf",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: [\n",
    );
    refused(69, "cannot read /etc/kubernetes/kubelet.conf: ");
    host.write("/etc/kubernetes/kubelet.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\n");
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
    host.write(theirs, "[Service]\n");
    refused(75, "the agent creates no second swap");
    std::fs::remove_file(host.path(theirs)).unwrap();
    host.write(
        "/etc/systemd/system/kubelet.service",
        "[Service]\nExecStart=/usr/bin/kubelet --config=/srv/k\n",
    );
    refused(69, "/srv/k does not exist (kubelet.service names it)");
    host.write("/srv/k", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n");
    refused(69, "set it to false in /srv/k");
    std::fs::remove_file(host.path("/etc/systemd/system/kubelet.service")).unwrap();
    host.write("/sys/fs/cgroup/cgroup.controllers", "memory\n");
    host.write("/etc/wasp-agent/wasp-agent.toml", "[swap]\nsize = \"1Mi\"\nreserve = \"100%\"\n");
    refused(1, "(swap.reserve sets the reserve)");
}

#[test]
fn deprovision_forgets_what_is_gone_and_leaves_what_is_not_ours() {
    let host = host_for_swap();
    host.write("/srv/swapfile", "another program's by now");
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

/// Regression: the agent looked between swapon(2) and the new watermarks, and restarted
/// wasp-swap.service while an administrator stopped it.
#[test]
fn the_agent_aligns_no_watermarks_while_swap_is_provisioned() {
    let host = host_for_swap();
    host.memory(4096 * MIB, 2048 * MIB);
    let log = || Agent::start_with(&host, &["run", "--dry-run"]).stop().1;
    let aligns = "the kernel's watermarks do not fit the kubelet's threshold: restarting";
    // Without swap, the watermarks do not matter, whatever the agent knew before.
    assert!(!log().contains(aligns), "{}", log());
    host.write(
        "/proc/swaps",
        "Filename Type Size Used Priority\n/dev/vdb partition 2097152 0 10\n",
    );
    assert!(log().contains(aligns), "{}", log());
    let records = host.path("/var/lib/wasp-agent");
    std::fs::create_dir_all(&records).unwrap();
    let provisions = std::fs::File::open(&records).unwrap();
    provisions.lock().unwrap();
    assert!(!log().contains(aligns), "{}", log());
    // Another test may start a program now, which has a copy of the descriptor.
    provisions.unlock().unwrap();
    assert!(log().contains(aligns), "{}", log());
    // Swap that an administrator has deprovisioned beside other swap is not made again.
    host.write("/etc/wasp-agent/wasp-agent.toml", "[swap]\nsize = \"1Gi\"\n");
    assert!(!log().contains(aligns), "{}", log());
    let record = r#"{"version": 1, "areas": [{"kind": "file", "path": "/srv/swapfile"}]}"#;
    host.write("/var/lib/wasp-agent/provisioned.json", record);
    assert!(log().contains(aligns), "{}", log());
}

#[test]
fn provisioning_waits_for_the_one_before_it() {
    let host = host_for_swap();
    host.write("/etc/wasp-agent/wasp-agent.toml", "[kernel]\nswappiness = 80\n");
    let swappiness = || std::fs::read_to_string(host.path("/proc/sys/vm/swappiness")).unwrap();
    let records = host.path("/var/lib/wasp-agent");
    std::fs::create_dir_all(&records).unwrap();
    let other = std::fs::File::open(&records).unwrap();
    for (command, after) in [("provision", "80"), ("deprovision", "60")] {
        let before = swappiness();
        other.lock().unwrap();
        let mut waiting =
            Agent::command(&host, &[command]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut said = std::io::BufReader::new(waiting.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert!(line.contains("waiting for another wasp-agent"), "{line}");
        assert_eq!(swappiness(), before, "{command}");
        other.unlock().unwrap();
        assert!(waiting.wait().unwrap().success(), "{command}");
        assert_eq!(swappiness(), after, "{command}");
    }
}

/// Regression: the agent's unit has a /dev of its own, without disks.
#[test]
fn a_partition_that_exists_is_not_reported_as_missing() {
    let host = host_for_swap();
    let partition = "[swap]\nkind = \"partition\"\npath = \"/dev/vdb\"\n";
    host.write("/etc/wasp-agent/config.d/90-swap.toml", partition);
    let log = || Agent::start(&host).stop().1;
    assert!(log().contains("the device of swap.path, /dev/vdb, does not exist"), "{}", log());
    host.write("/sys/class/block/vdb/dev", "254:16\n");
    let log = log();
    assert!(log.contains("the node has no swap, but /dev/vdb is configured"), "{log}");
    assert!(!log.contains("does not exist: the agent"), "{log}");
}
