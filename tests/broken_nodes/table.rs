//! The broken nodes, each with its cause and the start of its fix.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_apiserver::pki::Validity;

use super::{
    Node,
    support::{
        Agent, NODE, PATIENCE, container_id,
        node::{GIB, KUBELET, openshift, swaps},
        pod, uid,
    },
};

/// Breaks a node, and compares the reports in the three places.
pub(crate) fn judge(broken: &Broken) {
    let Broken { name, breaks, then, cause, remedy, check, paste } = broken;
    let node = Node::new();
    breaks(&node);
    let mut agent = node.start();
    then(&node, &mut agent);
    let first = |published: &Value| published["problems"][0].clone();
    let published = node.published(|published| {
        first(published)["text"].as_str().is_some_and(|text| text.contains(cause))
    });
    let problem = first(&published);
    let lines: Vec<String> = serde_json::from_value(problem["remedy"].clone()).unwrap();
    assert!(lines.join("; ").contains(remedy), "{name}: {problem}");

    let status = published["status"].as_str().unwrap();
    assert!(status.contains(cause) && status.contains(remedy), "{name}: {status}");
    let screen = node.out(&["status"]);
    let problems = screen.split("\nProblems").nth(1).unwrap_or_else(|| panic!("{name}: {screen}"));
    let first_line = problems.lines().next().unwrap();
    assert!(first_line.contains(cause) && problems.contains(remedy), "{name}: {screen}");

    let checks = node.checks();
    let worst =
        ["fail", "warn"].iter().find_map(|level| checks.iter().find(|c| c["level"] == *level));
    let worst = worst.unwrap_or_else(|| panic!("{name}: {checks:#?}"));
    assert_eq!(worst["id"], *check, "{name}: {worst}");
    assert!(worst["found"].as_str().unwrap().contains(cause), "{name}: {worst}");
    let fix: Vec<String> = serde_json::from_value(worst["fix"].clone()).unwrap();
    assert!(fix.join("; ").contains(remedy), "{name}: {worst}");

    if *paste {
        for remedy in [&lines, &fix] {
            node.paste(remedy, agent.pid());
            breaks(&node);
            then(&node, &mut agent);
        }
        node.paste(&fix, agent.pid());
        // A notification may have made the agent read again.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let checks = node.checks();
            let line = checks.iter().find(|line| line["id"] == *check).unwrap();
            if matches!(line["level"].as_str(), Some("ok" | "skip")) {
                break;
            }
            assert!(Instant::now() < deadline, "{name}: {line}");
        }
    }
}

/// A broken node.
pub(crate) struct Broken {
    pub name: &'static str,
    /// A change before the agent starts.
    pub breaks: fn(&Node),
    /// A change while it runs.
    pub then: fn(&Node, &mut Agent),
    pub cause: &'static str,
    pub remedy: &'static str,
    /// The check that reports it.
    pub check: &'static str,
    /// True if the remedy can be pasted here.
    pub paste: bool,
}

const QUIET: fn(&Node, &mut Agent) = |_, _| {};
const WELL: fn(&Node) = |_| {};

fn unit(node: &Node, flags: &str) {
    let text = format!(
        "[Service]\nExecStart=/usr/bin/kubelet --config=/etc/kubernetes/kubelet.conf {flags}\n"
    );
    node.host.write("/etc/systemd/system/kubelet.service", &text);
}

fn refuse(node: &Node, code: u16, message: &str) {
    for verb in ["list", "watch"] {
        let fault = json!({"verb": verb, "resource": "pods", "code": code, "message": message});
        node.server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    }
}

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

pub(crate) const BROKEN: &[Broken] = &[
    Broken {
        name: "a drop-in of the kubelet overrides its file",
        breaks: |n| {
            unit(n, "--config-dir=/etc/kubernetes/kubelet.conf.d");
            let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
            n.host.write(
                "/etc/kubernetes/kubelet.conf.d/95-user.conf",
                &format!("{head}failSwapOn: true\n"),
            );
        },
        then: QUIET,
        cause: "failSwapOn is true (/etc/kubernetes/kubelet.conf.d/95-user.conf)",
        remedy: "/etc/kubernetes/kubelet.conf.d/99-wasp-agent-failSwapOn.conf",
        check: "kubelet-fail-swap-on",
        paste: true,
    },
    Broken {
        name: "a flag of the kubelet",
        breaks: |n| unit(n, "--fail-swap-on=true"),
        then: QUIET,
        cause: "failSwapOn is true (a flag of kubelet.service)",
        remedy: "/--fail-swap-on=false/g' /etc/systemd/system/kubelet.service",
        check: "kubelet-fail-swap-on",
        paste: true,
    },
    Broken {
        name: "a flag of the kubelet in quotes",
        breaks: |n| unit(n, "--fail-swap-on=\"true\""),
        then: QUIET,
        cause: "failSwapOn is true (a flag of kubelet.service)",
        remedy: "/--fail-swap-on=false/g' /etc/systemd/system/kubelet.service",
        check: "kubelet-fail-swap-on",
        paste: true,
    },
    Broken {
        name: "a hook with which CRI-O does not start",
        breaks: |n| n.host.write("/run/containers/oci/hooks.d/10-x.json", "{\"version\":"),
        then: QUIET,
        cause: "/run/containers/oci/hooks.d/10-x.json: CRI-O does not start with it: it is not JSON",
        remedy: "mv /run/containers/oci/hooks.d/10-x.json",
        check: "foreign-hook",
        paste: true,
    },
    Broken {
        name: "the kubelet grants swap, and grants = \"agent\"",
        breaks: |n| {
            n.host.write("/etc/wasp-agent/config.d/50-grants.toml", "grants = \"agent\"\n");
            n.host.write(
                "/etc/kubernetes/kubelet.conf",
                &format!("{KUBELET}memorySwap:\n  swapBehavior: LimitedSwap\n"),
            )
        },
        then: QUIET,
        cause: "swapBehavior is LimitedSwap (/etc/kubernetes/kubelet.conf)",
        remedy: "/etc/kubernetes/kubelet.conf | grep .; then systemctl restart kubelet",
        check: "kubelet-swap-behavior",
        paste: true,
    },
    Broken {
        name: "a foreign swap hook",
        breaks: |n| {
            n.host.write("/run/containers/oci/hooks.d/50-swap.json", r#"{"version":"1.0.0","hook":{"path":"/opt/swap.sh"},"when":{"always":true},"stages":["createRuntime"]}"#);
            n.host
                .write("/opt/swap.sh", "#!/bin/sh\necho max > /sys/fs/cgroup/x/memory.swap.max\n");
        },
        then: QUIET,
        cause: "/run/containers/oci/hooks.d/50-swap.json: its program /opt/swap.sh",
        remedy: "mv /run/containers/oci/hooks.d/50-swap.json",
        check: "foreign-hook",
        paste: true,
    },
    Broken {
        name: "leftovers of the DaemonSet",
        breaks: WELL,
        // The agent notices it immediately, not at the next resync.
        then: |n, _| n.host.write("/run/containers/oci/hooks.d/swap-for-burstable.json", "{}"),
        cause: "/run/containers/oci/hooks.d/swap-for-burstable.json, which removes swap limits",
        remedy: "rm /run/containers/oci/hooks.d/swap-for-burstable.json",
        check: "daemonset-hook",
        paste: true,
    },
    Broken {
        name: "kubepods.slice at 0",
        breaks: |n| n.host.write("/sys/fs/cgroup/kubepods.slice/memory.swap.max", "0\n"),
        then: QUIET,
        cause: "memory.swap.max of kubepods.slice is 0",
        remedy: "systemctl set-property kubepods.slice MemorySwapMax=infinity",
        check: "limits-above-pods",
        paste: true,
    },
    Broken {
        name: "vm.swappiness is 0",
        breaks: |n| n.host.write("/proc/sys/vm/swappiness", "0\n"),
        then: QUIET,
        cause: "vm.swappiness is 0",
        remedy: "sysctl -w vm.swappiness=60",
        check: "swappiness",
        paste: true,
    },
    Broken {
        name: "vm.overcommit_memory is 2",
        breaks: |n| n.host.write("/proc/sys/vm/overcommit_memory", "2\n"),
        then: QUIET,
        cause: "vm.overcommit_memory is 2",
        remedy: "sysctl -w vm.overcommit_memory=0",
        check: "overcommit-memory",
        paste: true,
    },
    Broken {
        name: "psi is off",
        breaks: |n| fs::remove_file(n.host.path("/proc/pressure/memory")).unwrap(),
        then: QUIET,
        cause: "no pressure stall information",
        remedy: "grubby --update-kernel=ALL --args=psi=1",
        check: "psi",
        paste: true,
    },
    Broken {
        name: "cgroup v1 or hybrid",
        breaks: |n| fs::remove_file(n.host.path("/sys/fs/cgroup/cgroup.controllers")).unwrap(),
        then: QUIET,
        cause: "not mounted at /sys/fs/cgroup",
        remedy: "--args=systemd.unified_cgroup_hierarchy=1",
        check: "cgroup-v2",
        paste: true,
    },
    Broken {
        name: "a typo at a reload",
        breaks: WELL,
        then: |n, agent| {
            n.host.write(
                "/etc/wasp-agent/config.d/95-typo.toml",
                "# mine\noverkommit-percent = 200\n",
            );
            agent.signal("-HUP");
        },
        cause: "/etc/wasp-agent/config.d/95-typo.toml:2: unknown key overkommit-percent",
        remedy: "sed -i --follow-symlinks '2s/^/# /' /etc/wasp-agent/config.d/95-typo.toml",
        check: "configuration",
        paste: true,
    },
    Broken {
        name: "a drop-in with another suffix",
        breaks: WELL,
        then: |n, agent| {
            n.host.write("/etc/wasp-agent/config.d/95-site.conf", "log.verbosity = 2\n");
            agent.signal("-HUP");
        },
        cause: "the agent does not read /etc/wasp-agent/config.d/95-site.conf: its name does not",
        remedy: "mv --backup=numbered /etc/wasp-agent/config.d/95-site.conf /etc/wasp-agent/config.d/95-site.toml",
        check: "configuration",
        paste: true,
    },
    Broken {
        name: "a kubeconfig that is a dangling link",
        breaks: |n| {
            let link = n.host.path("/var/lib/kubelet/kubeconfig");
            fs::remove_file(&link).unwrap();
            symlink("/gone/kubeconfig", link).unwrap();
        },
        then: QUIET,
        cause: "/var/lib/kubelet/kubeconfig is a link to /gone/kubeconfig, which does not exist",
        remedy: "systemctl restart kubelet",
        check: "agent-problems",
        // The kubelet writes the file, if its bootstrap credentials allow it to.
        paste: false,
    },
    Broken {
        name: "the API server refuses",
        breaks: |n| {
            refuse(
                n,
                403,
                r#"pods is forbidden: User "system:node:node-a" cannot list resource "pods" in API group "" at the cluster scope"#,
            )
        },
        then: QUIET,
        cause: "refused: system:node:node-a may not list pods (403)",
        remedy: "wasp-agent check",
        check: "agent-problems",
        // An administrator of the cluster grants the permission.
        paste: false,
    },
    Broken {
        name: "the API server is broken",
        breaks: |n| refuse(n, 500, "etcdserver: request timed out"),
        then: QUIET,
        cause: "etcdserver: request timed out (500)",
        remedy: "journalctl -u kubelet",
        check: "agent-problems",
        // The cause is not on the node.
        paste: false,
    },
    Broken {
        name: "a clock that is years late",
        // The certificate begins as far in the future as the clock is late.
        breaks: |n| {
            drop(
                n.server
                    .rotate(NODE, Validity { from: 6 * 31_556_952, until: 8 * 31_556_952 })
                    .unwrap(),
            )
        },
        then: QUIET,
        cause: "this node's clock is wrong",
        remedy: "chronyc makestep",
        check: "agent-problems",
        // A command that sets this machine's clock cannot run here.
        paste: false,
    },
    Broken {
        name: "node.name is another node's",
        breaks: |n| {
            // The result of the fix.
            let fixed = "/etc/wasp-agent/config.d/99-zz.toml-99-check-node-name.toml";
            let _ = fs::remove_file(n.host.path(fixed));
            n.host.write("/etc/wasp-agent/config.d/99-zz.toml", "[node]\nname = \"node-b\"\n")
        },
        then: QUIET,
        cause: "node.name = \"node-b\", but the certificate is for node node-a",
        remedy: "/etc/wasp-agent/config.d/99-zz.toml-99-check-node-name.toml",
        check: "agent-problems",
        paste: true,
    },
    Broken {
        name: "a writer that fights",
        breaks: WELL,
        then: |n, _| {
            let pod = n.server.apply(&pod("vm-7", NODE, Some("100Mi"), None)).unwrap();
            let cgroup = n.host.container(uid(&pod), &container_id(1), "main", "max");
            let deadline = Instant::now() + PATIENCE;
            // The agent repairs every change until it counts as a fight.
            loop {
                let text = fs::read_to_string(n.host.path("/run/wasp-agent/status.json"))
                    .unwrap_or_default();
                if text.contains("\"contended\"") {
                    break;
                }
                assert!(Instant::now() < deadline, "{text}");
                n.host.set_limit(&cgroup, "max");
                std::thread::sleep(Duration::from_millis(5));
            }
        },
        cause: "1 limit that another writer keeps changing (default/vm-7)",
        remedy: "journalctl -u wasp-agent",
        check: "agent-problems",
        // Only a person can find this program.
        paste: false,
    },
    Broken {
        name: "hooks only in a folder that cannot be written",
        breaks: |n| {
            let files = [
                "/etc/wasp-agent/config.d/92-hook.toml",
                "/etc/crio/crio.conf.d/zz-site.conf-99-wasp-agent-hooks.conf",
            ];
            // The second is what the fix has made.
            for file in files {
                let _ = fs::remove_file(n.host.path(file));
            }
            // As a read-only directory, it takes no file.
            n.host.write("/srv/hooks.d", "");
            let dir = "[crio.runtime]\nhooks_dir = [\"/srv/hooks.d\"]\n";
            n.host.write("/etc/crio/crio.conf.d/zz-site.conf", dir);
        },
        then: QUIET,
        cause: "CRI-O reads /srv/hooks.d, where the agent cannot write",
        remedy: "/etc/crio/crio.conf.d/zz-site.conf-99-wasp-agent-hooks.conf",
        check: "crio-hooks-folder",
        paste: true,
    },
    Broken {
        name: "D-Bus is down",
        breaks: |n| {
            let slices = "[protection]\nprotected-slices = [\"system.slice\"]\n";
            n.host.write("/etc/wasp-agent/config.d/94-slices.toml", slices);
        },
        then: QUIET,
        cause: "cannot reach systemd at /run/dbus/system_bus_socket",
        remedy: "systemctl start dbus.socket",
        check: "agent-problems",
        // There is no systemd here; the case broken-nodes pastes it in a VM.
        paste: false,
    },
    Broken {
        name: "two swaps, and the slow one is filled first",
        breaks: |n| {
            n.host.write("/sys/devices/vdb/queue/rotational", "1\n");
            let slow = "/dev/dm-0 partition 33554432 1048576 10";
            swaps(&n.host, &[slow, "/dev/zram0 partition 1048576 0 5"]);
        },
        then: QUIET,
        cause: "/dev/dm-0 rotates and is filled first (priority 10)",
        remedy: "swapoff /dev/dm-0",
        check: "swap-devices",
        paste: true,
    },
    Broken {
        name: "two swaps without priorities, and the slow one came first",
        breaks: |n| {
            n.host.write("/sys/devices/vdb/queue/rotational", "1\n");
            let slow = "/dev/dm-0 partition 33554432 1048576 -2";
            swaps(&n.host, &[slow, "/dev/zram0 partition 1048576 0 -3"]);
        },
        then: QUIET,
        cause: "/dev/dm-0 rotates and is filled first (priority -2)",
        remedy: "swapon -p 10 /dev/zram0",
        check: "swap-devices",
        paste: true,
    },
    Broken {
        name: "swap is full",
        breaks: |n| swaps(&n.host, &["/dev/dm-0 partition 33554432 33554432 10"]),
        then: QUIET,
        cause: "swap is full",
        remedy: "wasp-agent status --all",
        check: "swap-used",
        // Pods must leave the node.
        paste: false,
    },
    Broken {
        name: "crun under another name",
        breaks: |n| {
            // The result of the fix.
            let fixed = "/etc/crio/crio.conf.d/99-wasp-agent-runtime.conf";
            let _ = fs::remove_file(n.host.path(fixed));
            let text = "[crio.runtime]\ndefault_runtime = \"fast\"\n\
                        [crio.runtime.runtimes.fast]\nruntime_path = \"/opt/bin/oci\"\n";
            n.host.write("/etc/crio/crio.conf.d/50-site.conf", text);
        },
        then: QUIET,
        cause: "fast (/opt/bin/oci): the agent supports only crun and runc",
        remedy: "/etc/crio/crio.conf.d/99-wasp-agent-runtime.conf",
        check: "crio-runtime",
        paste: true,
    },
    Broken {
        name: "a state file that was cut",
        breaks: |n| n.host.write("/run/wasp-agent/tunables.json", "{\"version\": 1, \"tun"),
        then: QUIET,
        cause: "cannot use /run/wasp-agent/tunables.json: it is cut off after 19 bytes",
        remedy: "mv /run/wasp-agent/tunables.json /run/wasp-agent/tunables.json.unreadable",
        check: "state",
        paste: true,
    },
    Broken {
        name: "an API server that is asked too much",
        breaks: |n| refuse(n, 429, "too many requests"),
        then: QUIET,
        cause: "the API server answers with an error",
        remedy: "journalctl -u kubelet",
        check: "agent-problems",
        // The cause is not on the node.
        paste: false,
    },
    Broken {
        name: "a certificate that has expired",
        breaks: |n| {
            drop(n.server.rotate(NODE, Validity { from: -7200, until: -3600 }).unwrap());
        },
        then: QUIET,
        cause: "the kubelet's client certificate has expired",
        remedy: "systemctl restart kubelet",
        check: "agent-problems",
        // An administrator of the cluster approves the certificate.
        paste: false,
    },
    Broken {
        name: "zram is full",
        breaks: |n| {
            let disk = "/dev/dm-0 partition 33554432 1048576 10";
            swaps(&n.host, &[disk, "/dev/zram0 partition 1048576 1048570 100"]);
        },
        then: QUIET,
        cause: "/dev/zram0 is full",
        remedy: "wasp-agent status --all",
        check: "swap-devices",
        // Pods must leave the node.
        paste: false,
    },
    Broken {
        name: "a disk that dies",
        breaks: |n| {
            swaps(&n.host, &["/dev/dm-0 partition 33554432 1048576 10"]);
            n.host.write("/sys/devices/vdb/device/ioerr_cnt", "0x120\n");
            n.host.write("/sys/devices/vdb/device/iorequest_cnt", "0x8000\n");
        },
        then: QUIET,
        cause: "the disk of /dev/dm-0 fails: 288 of 32768 requests to /dev/vdb ended with an error",
        remedy: "swapoff /dev/dm-0",
        check: "swap-devices",
        paste: true,
    },
    Broken {
        name: "a disk that is gone",
        breaks: |n| {
            swaps(&n.host, &["/dev/dm-0 partition 33554432 1048576 10"]);
            n.host.write("/sys/devices/vdb/device/state", "offline\n");
        },
        then: QUIET,
        cause: "the disk of /dev/dm-0 fails: /dev/vdb is offline",
        remedy: "swapoff /dev/dm-0",
        check: "swap-devices",
        paste: true,
    },
    Broken {
        name: "psi is off on OpenShift",
        breaks: |n| {
            openshift(&n.host);
            let _ = fs::remove_file(n.host.path("/proc/pressure/memory"));
        },
        then: QUIET,
        cause: "no pressure stall information",
        remedy: r#""kernelArguments":["psi=1"]"#,
        check: "psi",
        paste: true,
    },
    Broken {
        name: "the kubelet of OpenShift fails with swap",
        breaks: |n| {
            openshift(&n.host);
            unit(n, "--config-dir=/etc/openshift/kubelet.conf.d");
            n.host.write(
                "/etc/openshift/kubelet.conf.d/95-user.conf",
                &format!("{HEAD}failSwapOn: true\n"),
            );
        },
        then: QUIET,
        cause: "failSwapOn is true (/etc/openshift/kubelet.conf.d/95-user.conf)",
        remedy: r#""name":"99-worker-wasp-agent-kubelet-failswapon""#,
        check: "kubelet-fail-swap-on",
        paste: true,
    },
    Broken {
        name: "a typo in a file of a MachineConfig",
        breaks: |n| openshift(&n.host),
        then: |n, agent| {
            n.host.write("/etc/wasp-agent/config.d/50-cluster.toml", "overkommit-percent = 200\n");
            agent.signal("-HUP");
        },
        cause: "/etc/wasp-agent/config.d/50-cluster.toml:1: unknown key overkommit-percent",
        remedy: "oc get machineconfig",
        check: "configuration",
        // An administrator of the cluster corrects the MachineConfig.
        paste: false,
    },
    Broken {
        name: "a file of CRI-O with a mistake",
        breaks: |n| {
            let _ = fs::remove_file(n.host.path("/etc/wasp-agent/config.d/92-hook.toml"));
            n.host
                .write("/etc/crio/crio.conf.d/50-site.conf", "[crio.runtime]\nlog_level = info\n");
        },
        then: QUIET,
        cause: "cannot read /etc/crio/crio.conf.d/50-site.conf: it is not TOML (line 2, column 13)",
        remedy: "mv --backup=numbered /etc/crio/crio.conf.d/50-site.conf /etc/crio/50-site.conf.off",
        check: "crio-hooks-folder",
        paste: true,
    },
    Broken {
        name: "containerd, and a later drop-in that wants the hook",
        breaks: |n| {
            for file in ["92-hook.toml", "zz-local.toml-99-check-hook.toml"] {
                let _ = fs::remove_file(n.host.path(&format!("/etc/wasp-agent/config.d/{file}")));
            }
            let _ = fs::remove_dir_all(n.host.path("/etc/crio"));
            n.host.write("/run/containerd/containerd.sock", "");
            let hook = "[hook]\ninstall = true\n";
            n.host.write("/etc/wasp-agent/config.d/zz-local.toml", hook);
        },
        then: QUIET,
        cause: "containerd has no hooks directory",
        remedy: "/etc/wasp-agent/config.d/zz-local.toml-99-check-hook.toml",
        check: "crio-hooks-folder",
        paste: true,
    },
    Broken {
        name: "units of the DaemonSet",
        breaks: |n| n.host.write("/etc/systemd/system/swap-provision.service", "[Service]\n"),
        then: QUIET,
        cause: "/etc/systemd/system/swap-provision.service from the DaemonSet's MachineConfig",
        remedy: "rm /etc/systemd/system/swap-provision.service",
        check: "daemonset-units",
        paste: true,
    },
    Broken {
        name: "a certificate for metrics that is none",
        breaks: |n| {
            n.host.write("/etc/pki/tls.crt", "x\n");
            n.host.write("/etc/pki/tls.key", "x\n");
            let metrics = "[metrics]\nlisten = \"127.0.0.1:39753\"\ncertificate = \"/etc/pki/tls.crt\"\nkey = \"/etc/pki/tls.key\"\n";
            n.host.write("/etc/wasp-agent/config.d/91-metrics.toml", metrics);
        },
        then: QUIET,
        cause: "/etc/pki/tls.crt, which metrics.certificate names, has no certificate in PEM form",
        remedy: "openssl x509 -noout -in /etc/pki/tls.crt",
        check: "agent-problems",
        // A person installs a certificate.
        paste: false,
    },
    Broken {
        name: "the state directory takes no file",
        breaks: |n| {
            // Root may write everywhere, but not to a file whose place a directory has.
            let path = n.host.path("/run/wasp-agent/evictions.json");
            // The agent may have written its file again.
            while fs::create_dir_all(path.join("x")).is_err() {
                fs::remove_file(&path).unwrap();
            }
        },
        then: QUIET,
        cause: "cannot write /run/wasp-agent/evictions.json",
        remedy: "mv --backup=numbered /run/wasp-agent/evictions.json",
        check: "agent-problems",
        paste: true,
    },
    Broken {
        name: "a disk that dies, and no room in RAM for its pages",
        breaks: |n| {
            let meminfo = fs::read_to_string(n.host.path("/proc/meminfo")).unwrap();
            let available = "MemAvailable: 524288 kB\n";
            n.host.write("/proc/meminfo", &(meminfo.replace(available, "") + available));
            swaps(&n.host, &["/dev/dm-0 partition 33554432 1048576 10"]);
            n.host.write("/sys/devices/vdb/device/state", "offline\n");
        },
        then: QUIET,
        cause: "the disk of /dev/dm-0 fails: /dev/vdb is offline",
        remedy: "first move VMs away from the node: 1.0 GiB are in this swap, and RAM has 512.0 MiB available",
        check: "swap-devices",
        paste: true,
    },
    Broken {
        name: "the disk of the swap was replaced",
        breaks: |n| {
            let swap = "[swap]\nkind = \"partition\"\npath = \"/dev/mapper/wasp-swap\"\n";
            n.host.write("/etc/wasp-agent/config.d/90-swap.toml", swap);
            n.host.memory(64 * GIB, 0);
            swaps(&n.host, &[]);
        },
        then: QUIET,
        cause: "the device of swap.path, /dev/mapper/wasp-swap, does not exist",
        remedy: "systemctl restart 'systemd-cryptsetup@wasp\\x2dswap'",
        check: "swap",
        // A person chooses and partitions the new disk.
        paste: false,
    },
];

/// A writer that no budget of repairs detects, because it changes a limit only a second after each
/// repair.
pub(crate) const SLOW_WRITER: Broken = Broken {
    name: "a slow writer that fights",
    breaks: WELL,
    then: |n, _| {
        let pod = n.server.apply(&pod("vm-7", NODE, Some("100Mi"), None)).unwrap();
        let cgroup = n.host.container(uid(&pod), &container_id(1), "main", "max");
        let deadline = Instant::now() + 4 * PATIENCE;
        loop {
            let text = fs::read_to_string(n.host.path("/run/wasp-agent/status.json"));
            if text.unwrap_or_default().contains("\"contended\"") {
                break;
            }
            assert!(Instant::now() < deadline, "the writer is not named");
            n.host.set_limit(&cgroup, "max");
            std::thread::sleep(Duration::from_secs(1));
        }
    },
    cause: "1 limit that another writer keeps changing (default/vm-7)",
    remedy: "journalctl -u wasp-agent",
    check: "agent-problems",
    // Only a person can find this program.
    paste: false,
};
