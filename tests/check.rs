//! `wasp-agent check` on directories that stand for hosts, and with an API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use serde_json::Value;
use support::{
    Agent, FakeHost, NODE, api_server,
    node::{GIB, HOOK, KUBELET, healthy, mounts, own_hook, pressure, recorded, selinux, swaps},
};
use test_apiserver::pki::Validity;
use wasp_agent::{
    config::settings::{SchedulingGuard, Settings},
    decide::check::{CHECKS, check},
    model::check::{ApiFacts, Asked, CheckLevel, CheckLine, Permission},
    observe::check::api,
    roots::Roots,
};

fn run(host: &FakeHost, arguments: &[&str]) -> (i32, String, String) {
    let output = Agent::command(host, arguments).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Returns the line of `id` in the program's JSON, and its exit status.
fn line(host: &FakeHost, id: &str) -> (i32, String, String) {
    let (code, out, err) = run(host, &["check", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let lines = report["checks"].as_array().unwrap();
    let line = lines.iter().find(|line| line["id"] == id).unwrap();
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (code, text("level"), text("found"))
}

/// A change of the healthy host, and the expected result of its check.
type Breaking = (&'static str, &'static str, &'static str, fn(&FakeHost));

#[rustfmt::skip]
const BREAKINGS: &[Breaking] = &[
    ("configuration", "fail", "unknown key nonsense", |h| h.write("/etc/wasp-agent/wasp-agent.toml", "nonsense = 1\n")),
    ("cgroup-v2", "fail", "not mounted", |h| fs::remove_file(h.path("/sys/fs/cgroup/cgroup.controllers")).unwrap()),
    ("controllers-kubepods", "fail", "kubepods.slice has no memory", |h| h.write("/sys/fs/cgroup/kubepods.slice/cgroup.controllers", "cpu\n")),
    ("controllers-slices", "fail", "system.slice has no memory", |h| h.write("/sys/fs/cgroup/system.slice/cgroup.controllers", "cpu\n")),
    ("io-latency", "warn", "CONFIG_BLK_CGROUP_IOLATENCY", |h| fs::remove_file(h.path("/sys/fs/cgroup/system.slice/io.latency")).unwrap()),
    ("io-latency", "warn", "CONFIG_BLK_CGROUP_IOLATENCY", |h| {
        fs::remove_file(h.path("/sys/fs/cgroup/system.slice/io.latency")).unwrap();
        h.write("/sys/fs/cgroup/system.slice/cgroup.controllers", "memory\n");
        h.write("/usr/lib/modules/5.14.0-570.el9.x86_64/config", "# CONFIG_BLK_CGROUP_IOLATENCY is not set\n");
    }),
    ("protection", "warn", "memory.swap.max is max", |h| h.write("/sys/fs/cgroup/system.slice/memory.swap.max", "max\n")),
    ("protection", "warn", "has no effect on /dev/vdb", |h| h.write("/sys/fs/cgroup/system.slice/io.latency", "254:0 target=50000\n")),
    ("psi", "warn", "no pressure stall information", |h| fs::remove_file(h.path("/proc/pressure/memory")).unwrap()),
    ("psi", "warn", "no avg10 of \"full\"", |h| h.write("/proc/pressure/memory", "some avg10=0.00 avg60=0.00\nfull")),
    ("memory-pressure", "warn", "all of them 45 %", |h| pressure(h, "97.10", "45.00")),
    ("memory-pressure", "warn", "of the pods waited 97 %", |h| {
        let line = |what: &str, avg10: &str| format!("{what} avg10={avg10} avg60=0.00 avg300=0.00 total=9\n");
        h.write("/sys/fs/cgroup/kubepods.slice/memory.pressure", &(line("some", "97.10") + &line("full", "45.00")));
    }),
    ("zswap", "warn", "compresses pages twice", |h| {
        h.write("/sys/module/zswap/parameters/enabled", "Y\n");
        swaps(h, &["/dev/zram0 partition 33554432 0 100"]);
    }),
    ("tmpfs-noswap", "warn", "may swap: 1 of 1", |h| {
        mounts(h, "size=1k");
        h.write("/sys/devices/dm-0/dm/uuid", "LVM-x\n");
    }),
    ("swap", "warn", "none is configured", |h| {
        h.memory(64 * GIB, 0);
        h.write("/etc/wasp-agent/config.d/90-swap.toml", "");
        swaps(h, &[]);
    }),
    ("swap", "fail", "0 B of swap, but 8.0 GiB are configured", |h| {
        h.memory(64 * GIB, 0);
        h.write("/etc/wasp-agent/config.d/90-swap.toml", "swap.size = \"8Gi\"\n");
        swaps(h, &[]);
    }),
    ("swap-provisioning", "fail", "/dev/mapper/wasp-swap", |_| {}),
    ("swap-provisioning", "warn", "it would make a swapfile of 1.0 MiB", |h| {
        h.write("/etc/wasp-agent/config.d/90-swap.toml", "[swap]\nsize = \"1Mi\"\nreserve = \"1Mi\"\n");
        swaps(h, &[]);
    }),
    ("swap-used", "warn", "30.0 GiB of 32.0 GiB used", |h| swaps(h, &["/dev/dm-0 partition 33554432 31457280 10"])),
    ("swap-encryption", "warn", "/dev/dm-0 is not encrypted", |h| h.write("/sys/devices/dm-0/dm/uuid", "LVM-x\n")),
    ("swap-disk", "warn", "/var/lib/swapfile is on /dev/vda, like /var", |h| swaps(h, &["/var/lib/swapfile file 33554432 0 10"])),
    ("swap-disk", "warn", "like /var and /var/lib/etcd", |h| {
        swaps(h, &["/var/lib/swapfile file 33554432 0 10"]);
        h.write("/var/lib/etcd/member", "");
    }),
    ("kubelet-config", "fail", "cannot read /etc/kubernetes/kubelet.conf", |h| h.write("/etc/kubernetes/kubelet.conf", "kind: [")),
    ("kubelet-config", "ok", "flags of kubelet.service", |h| {
        h.write("/etc/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet --config=/etc/kubernetes/kubelet.conf\n");
    }),
    ("kubelet-config", "fail", "/srv/k does not exist", |h| {
        h.write("/etc/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet --config=/srv/k\n");
    }),
    ("kubelet-config", "warn", "FailSwapOn is not failSwapOn", |h| h.write("/etc/kubernetes/kubelet.conf", &format!("{KUBELET}FailSwapOn: true\n"))),
    ("swap-controller", "fail", "no memory.swap.max", |h| fs::remove_file(h.path("/sys/fs/cgroup/system.slice/memory.swap.max")).unwrap()),
    ("other-swap", "ok", "virt-platform-autopilot is on this node; kept: swap", |h| {
        h.write("/etc/systemd/system/ocpswap-file-enable.service", "[Service]\n");
        h.write("/etc/wasp-agent/config.d/95-file.toml", "[swap]\nkind = \"file\"\npath = \"/var/swap\"\n");
    }),
    ("other-swap", "warn", "priority 10, and the agent creates no second swap: the node has 32.0 GiB of swap, but 64.0 GiB are", |h| {
        h.write("/etc/systemd/system/ocpswap-file-enable.service", "[Service]\n");
        h.write("/etc/wasp-agent/config.d/95-file.toml", "overcommit-percent = 200\n[swap]\nkind = \"file\"\npath = \"/var/swap\"\n");
    }),
    ("other-swap", "warn", "swap.path, /dev/mapper/wasp-swap, is not used", |h| h.write("/etc/systemd/system/ocpswap-file-enable.service", "[Service]\n")),
    ("other-swap", "ok", "added by the agent: swap, repair", |h| {
        h.write("/etc/systemd/system/ocpswap-file-enable.service", "[Unit]\nConditionPathExists=/var/tmp/ocpswap.file\n");
        h.write("/etc/systemd/system/kubevirt-tune-watermarks.service", "[Service]\n");
    }),
    ("daemonset-units", "ok", "none", |h| h.write("/etc/systemd/system/swap-provision.service", "ExecStart=/usr/local/bin/kubevirt-provision-file-swap.sh 150\n")),
    ("other-swap", "ok", "virt-platform-autopilot is on this node; kept: slices", |h| h.write("/etc/systemd/system/system.slice.d/10-kubevirt-protect.conf", "[Slice]\n")),
    ("other-swap", "warn", "openshift-cnv_wasp-agent-x_y", |h| fs::create_dir_all(h.path("/var/log/pods/openshift-cnv_wasp-agent-x_y/wasp-agent")).unwrap()),
    ("other-swap", "ok", "leave it at 100", |h| fs::create_dir_all(h.path("/var/log/pods/openshift-cnv_virt-handler-x_y/virt-handler")).unwrap()),
    ("kubelet-config", "skip", "node.kubelet-config", |h| fs::remove_file(h.path("/etc/kubernetes/kubelet.conf")).unwrap()),
    ("kubelet-fail-swap-on", "fail", "failSwapOn is true (the default)", |h| h.write("/etc/kubernetes/kubelet.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")),
    ("kubelet-swap-behavior", "warn", "the kubelet sets swap limits", |h| {
        h.write("/etc/wasp-agent/wasp-agent.toml", "grants = \"agent\"\n");
        h.write("/etc/kubernetes/kubelet.conf", &format!("{KUBELET}memorySwap:\n  swapBehavior: LimitedSwap\n"));
    }),
    ("kubelet-swap-behavior", "fail", "no program sets swap limits", |h| h.write("/etc/wasp-agent/wasp-agent.toml", "grants = \"kubelet\"\n")),
    ("watermarks", "warn", "the kubelet evicts below 1.0 GiB", |h| h.write("/etc/kubernetes/kubelet.conf", &KUBELET.replace("100Mi", "1Gi"))),
    ("crio-hooks-folder", "warn", "CRI-O reads /srv/hooks", |h| h.write("/etc/crio/crio.conf.d/99-x.conf", "[crio.runtime]\nhooks_dir = [\"/srv/hooks\"]\n")),
    ("crio-hooks-folder", "warn", "no CRI-O here", |h| fs::remove_dir_all(h.path("/etc/crio")).unwrap()),
    ("crio-hooks-folder", "fail", "cannot read /etc/crio/crio.conf", |h| h.write("/etc/crio/crio.conf", "[crio\n")),
    ("crio-runtime", "warn", "kata: the agent supports only crun and runc", |h| h.write("/etc/crio/crio.conf.d/99-x.conf", "[crio.runtime]\ndefault_runtime = \"kata\"\n")),
    ("hook-installed", "warn", "is missing from the directories", |h| fs::remove_file(h.path(HOOK)).unwrap()),
    ("hook-installed", "warn", "was changed", |h| h.write(HOOK, r#"{"hook":{"path":"/usr/bin/wasp-hook"}}"#)),
    ("hook-program", "fail", "/usr/bin/wasp-hook is missing", |h| fs::remove_file(h.path("/usr/bin/wasp-hook")).unwrap()),
    ("hook-program", "fail", "is not executable", |h| fs::set_permissions(own_hook(h), fs::Permissions::from_mode(0o644)).unwrap()),
    ("hook-label", "fail", "no label, which CRI-O may not run", |h| { own_hook(h); selinux(h, "1") }),
    ("hook-label", "warn", "SELinux is not enforcing now", |h| { own_hook(h); selinux(h, "0") }),
    ("hook-label", "skip", "no SELinux", |h| h.write("/sys/fs/selinux/enforce", "1")),
    ("daemonset-hook", "fail", "swap-for-burstable-wasp-agent-x.json", |h| h.write("/run/containers/oci/hooks.d/swap-for-burstable-wasp-agent-x.json", "{}")),
    ("daemonset-hook", "fail", "/opt/oci-hook-swap.sh", |h| h.write("/opt/oci-hook-swap.sh", "")),
    ("daemonset-units", "warn", "swap-provision.service", |h| h.write("/etc/systemd/system/swap-provision.service", "[Service]\n")),
];

#[test]
fn each_check_of_the_hosts_files_finds_what_is_broken() {
    let whole = healthy();
    for (id, level, text, breaks) in BREAKINGS {
        let before = line(&whole, id);
        let host = healthy();
        breaks(&host);
        let (code, found_level, found) = line(&host, id);
        assert_eq!(found_level, *level, "{id}: {found}");
        assert!(found.contains(text), "{id}: {text} is not in {found}");
        let least = match *level {
            "fail" => 2,
            "warn" => 1,
            _ => 0,
        };
        assert!(code >= least, "{id}: exit status {code}");
        // The partition of the healthy host cannot be opened; the label needs SELinux.
        let well = match *id {
            "swap-provisioning" => "fail",
            "hook-label" => "skip",
            _ => "ok",
        };
        assert_eq!(before.1, well, "{id} on the healthy host: {}", before.2);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn the_hooks_label_is_read() {
    let host = healthy();
    selinux(&host, "1");
    let label = |label: &[u8]| {
        let program = host.path("/usr/bin/wasp-hook");
        rustix::fs::setxattr(program, "security.selinux", label, rustix::fs::XattrFlags::empty())
    };
    if let Err(error) = label(b"system_u:object_r:bin_t:s0\0") {
        eprintln!("SKIPPED: only root may label files ({error})");
        return;
    }
    assert_eq!(line(&host, "hook-label").1, "ok");
    label(b"unconfined_u:object_r:user_home_t:s0\0").unwrap();
    let (_, level, found) = line(&host, "hook-label");
    assert_eq!(level, "fail");
    assert!(found.contains("unconfined_u:object_r:user_home_t:s0, which CRI-O"), "{found}");
}

#[test]
fn a_folder_without_a_kernel_is_looked_at_before_anything_is_installed() {
    let host = healthy();
    for gone in ["/proc", "/sys", "/run", "/usr"] {
        fs::remove_dir_all(host.path(gone)).unwrap();
    }
    let (code, out, err) = run(&host, &["check"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains(
            "SKIP  cgroup-v2              this directory is an image: it has no running kernel\n"
        ),
        "{out}"
    );
    host.write(
        "/etc/kubernetes/kubelet.conf",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    );
    let (code, out, _) = run(&host, &["check"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("failSwapOn: false\\n' >> /etc/kubernetes/kubelet.conf"), "{out}");
}

#[test]
fn brief_is_a_line_for_each_trouble_and_never_asks() {
    let host = healthy();
    let (code, out, err) = run(&host, &["check", "--brief"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    host.write("/opt/oci-hook-swap.sh", "");
    fs::remove_file(host.path("/proc/pressure/memory")).unwrap();
    let (code, out, _) = run(&host, &["check", "--brief"]);
    assert_eq!(code, 2);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("FAIL daemonset-hook: /opt/oci-hook-swap.sh"), "{out}");
    assert!(lines[1].starts_with("WARN psi: ") && lines[1].contains("; fix: grubby"), "{out}");

    // The journal interprets priorities.
    let path = host.path("/journal");
    let file = fs::File::create(&path).unwrap();
    let stream = file.metadata().map(|m| format!("{}:{}", m.dev(), m.ino())).unwrap();
    let mut command = Agent::command(&host, &["check", "--brief"]);
    command.env("JOURNAL_STREAM", stream).stdout(file).status().unwrap();
    let out = fs::read_to_string(path).unwrap();
    assert!(out.starts_with("<3>FAIL ") && out.contains("\n<4>WARN psi"), "{out}");
}

#[test]
fn json_is_versioned_and_has_every_check() {
    let (code, out, _) = run(&healthy(), &["check", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["version"]), (2, &Value::from(2)));
    let checks = report["checks"].as_array().unwrap();
    let ids: BTreeSet<&str> = checks.iter().map(|check| check["id"].as_str().unwrap()).collect();
    assert_eq!(ids, CHECKS.iter().map(|check| check.id).collect());
    let failed = checks.iter().filter(|check| check["level"] == "fail").count();
    assert_eq!(report["summary"]["fail"], failed);
    let sum: u64 = report["summary"].as_object().unwrap().values().flat_map(Value::as_u64).sum();
    assert_eq!(sum, checks.len() as u64);
    assert!(
        checks
            .iter()
            .all(|c| c["found"].is_string() && c["why"].is_string() && c["fix"].is_array())
    );
}

// --- the API server

fn asked(host: &FakeHost, settings: &Settings) -> ApiFacts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(api::facts(&Roots::at(host.root()), settings, None))
}

/// Returns the lines about `answers` on an otherwise healthy host.
fn lines_about(answers: ApiFacts, settings: &Settings) -> Vec<CheckLine> {
    let mut facts = recorded(&healthy());
    facts.api = Asked::Answered(answers);
    check(&facts, settings, false)
}

fn level(lines: &[CheckLine], id: &str) -> CheckLevel {
    lines.iter().find(|line| line.id == id).unwrap().level
}

#[test]
fn a_nodes_credentials_are_allowed_what_the_agent_needs() {
    let (_data, server) = api_server();
    let host = healthy();
    host.use_kubeconfig(&server);
    let mut settings = Settings::defaults();
    let facts = asked(&host, &settings);
    assert_eq!(facts.credentials.as_ref().unwrap().node_name, NODE);
    assert!(facts.permissions.values().all(|p| *p == Ok(Permission::Allowed)), "{facts:?}");
    assert_eq!(facts.taints, Ok(vec![]));

    // Other credentials have to set the taint.
    settings.eviction.guard = SchedulingGuard::Taint;
    settings.eviction.guard_kubeconfig = Some("/srv/guard".into());
    let error = asked(&host, &settings).guard.unwrap().unwrap_err();
    assert!(error.to_string().contains("no kubeconfig of the kubelet at /srv/guard"), "{error}");
    fs::create_dir_all(host.path("/srv")).unwrap();
    std::os::unix::fs::symlink(server.admin_kubeconfig(), host.path("/srv/guard")).unwrap();
    assert_eq!(asked(&host, &settings).guard, Some(Ok(Permission::Allowed)));
    settings.eviction.guard = SchedulingGuard::Condition;

    // The node may not read another node's pods.
    settings.node_name = Some("node-b".to_owned());
    let lines = lines_about(asked(&host, &settings), &settings);
    assert_eq!(level(&lines, "kubeconfig"), CheckLevel::Fail, "{lines:#?}");
    for of_the_same_cause in ["may-list-pods", "may-watch-pods", "may-evict-pods"] {
        assert_eq!(level(&lines, of_the_same_cause), CheckLevel::Skip);
    }
    assert_eq!(level(&lines, "api-server"), CheckLevel::Ok);
    assert_eq!(level(&lines, "daemonset-taint"), CheckLevel::Skip, "another's Node cannot be read");
}

#[test]
fn trouble_with_the_credentials_and_the_server_is_told_apart() {
    let (_data, mut server) = api_server();
    let host = healthy();
    let settings = Settings::defaults();
    let lines = lines_about(asked(&host, &settings), &settings);
    assert_eq!(level(&lines, "kubeconfig"), CheckLevel::Fail);
    assert_eq!(level(&lines, "certificate"), CheckLevel::Skip);

    host.use_kubeconfig(&server);
    server.rotate(NODE, Validity::expired()).unwrap();
    let lines = lines_about(asked(&host, &settings), &settings);
    assert_eq!(level(&lines, "certificate"), CheckLevel::Fail, "{lines:#?}");
    assert_eq!(level(&lines, "api-server"), CheckLevel::Skip, "its cause is the certificate");
    assert_eq!(level(&lines, "may-list-pods"), CheckLevel::Skip);

    server.rotate(NODE, Validity::for_the_next(Duration::from_secs(86_400))).unwrap();

    server.stop().unwrap();
    let began = std::time::Instant::now();
    let lines = lines_about(asked(&host, &settings), &settings);
    assert_eq!(level(&lines, "api-server"), CheckLevel::Fail);
    assert!(began.elapsed() < Duration::from_secs(15), "it waits no longer than it must");
}

#[test]
fn the_daemonsets_taint_is_found() {
    let (_data, server) = api_server();
    let host = healthy();
    host.use_kubeconfig(&server);
    let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
        "spec": {"taints": [{"key": "waspEvictionTaint", "effect": "NoSchedule"}]}});
    server.apply(&node).unwrap();
    let settings = Settings::defaults();
    let lines = lines_about(asked(&host, &settings), &settings);
    let taint = lines.iter().find(|line| line.id == "daemonset-taint").unwrap();
    assert_eq!(taint.level, CheckLevel::Warn, "{taint:?}");
    assert_eq!(taint.fix, ["oc adm taint node node-a waspEvictionTaint-"]);
}
