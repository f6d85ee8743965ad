//! A complete node in a directory, for `wasp-agent check`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use wasp_agent::{
    config::settings::Settings,
    model::check::{
        ACCESSES, ApiFacts, Asked, BusFacts, CredentialFacts, HostFacts, OomdFacts, Permission,
        UnitFacts,
    },
    model::published::Published,
    observe::{
        check::{Scope, gather},
        kubelet,
    },
    roots::Roots,
};

use super::{FakeHost, MIB, NODE};

pub(crate) const GIB: u64 = 1024 * MIB;
pub(crate) const HOOK: &str = "/run/containers/oci/hooks.d/99-wasp-agent.json";
pub(crate) const KUBELET: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\nevictionHard:\n  \
                       memory.available: 100Mi\n";

/// A node of 64 GiB with its system on vda, and an encrypted swap of 32 GiB on vdb.
pub(crate) fn healthy() -> FakeHost {
    let host = FakeHost::new(64 * GIB, 32 * GIB);
    host.write("/usr/lib/wasp-agent/config.d/10-test.toml", "");
    let swap = "overcommit-percent = 150\n[swap]\nkind = \"partition\"\npath = \"/dev/mapper/wasp-swap\"\n";
    host.write("/etc/wasp-agent/config.d/90-swap.toml", swap);
    for (folder, controllers) in [
        ("", "cpu io memory"),
        ("/kubepods.slice", "cpu io memory"),
        ("/system.slice", "io memory"),
    ] {
        host.write(&format!("/sys/fs/cgroup{folder}/cgroup.controllers"), controllers);
    }
    host.write("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    host.write("/sys/fs/cgroup/system.slice/memory.swap.max", "0\n");
    host.write(
        "/sys/fs/cgroup/system.slice/io.latency",
        "254:0 target=50000\n254:16 target=50000\n",
    );
    pressure(&host, "0.50", "0.00");
    host.write("/sys/module/zswap/parameters/enabled", "N\n");
    host.write("/proc/sys/kernel/osrelease", "5.14.0-570.el9.x86_64\n");
    for (device, number, slave) in
        [("vda", "254:0", ""), ("vdb", "254:16", ""), ("dm-0", "253:0", "vdb")]
    {
        let folder = format!("/sys/devices/{device}");
        host.write(&format!("{folder}/dev"), &format!("{number}\n"));
        if !slave.is_empty() {
            host.write(&format!("{folder}/slaves/{slave}"), "");
            host.write(&format!("{folder}/dm/uuid"), "CRYPT-PLAIN-wasp-swap\n");
        }
        for link in [format!("/sys/dev/block/{number}"), format!("/sys/class/block/{device}")] {
            fs::create_dir_all(host.path(&link).parent().unwrap()).unwrap();
            symlink(host.path(&folder), host.path(&link)).unwrap();
        }
    }
    host.write("/var/lib/kubelet/x", "");
    swaps(&host, &["/dev/dm-0 partition 33554432 1048576 10"]);
    mounts(&host, "noswap");
    host.write(
        "/proc/zoneinfo",
        "Node 0, zone Normal\n min 32768\n low 65536\n managed 16777216\n",
    );
    host.write("/proc/sys/vm/min_free_kbytes", "131072\n");
    host.write("/proc/sys/vm/watermark_scale_factor", "10\n");
    host.write("/etc/kubernetes/kubelet.conf", KUBELET);
    host.write(
        "/etc/crio/crio.conf.d/00-default.conf",
        "[crio.runtime]\ndefault_runtime = \"crun\"\n",
    );
    let hook = r#"{"version":"1.0.0","hook":{"path":"/usr/bin/wasp-hook"},"when":{"always":true},"stages":["createRuntime"]}"#;
    let hook: Value = serde_json::from_str(hook).unwrap();
    host.write(HOOK, &format!("{hook}\n"));
    host.write("/run/wasp-agent/hook.json", "{}");
    for program in ["wasp-agent", "wasp-hook"] {
        let path = format!("/usr/bin/{program}");
        link_program(&host, &path);
    }
    host
}

/// Links to the hook's program as cargo has built it.
fn link_program(host: &FakeHost, path: &str) {
    fs::create_dir_all(host.path(path).parent().unwrap()).unwrap();
    let name = Path::new(path).file_name().unwrap();
    symlink(super::agent_binary().with_file_name(name), host.path(path)).unwrap();
}

/// Copies the hook's program to the host, for tests that break it.
pub(crate) fn own_hook(host: &FakeHost) -> PathBuf {
    let path = host.path("/usr/bin/wasp-hook");
    let built = fs::canonicalize(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::copy(built, &path).unwrap();
    path
}

pub(crate) fn pressure(host: &FakeHost, some: &str, full: &str) {
    let line =
        |what: &str, avg10: &str| format!("{what} avg10={avg10} avg60=0.00 avg300=0.00 total=9\n");
    host.write("/proc/pressure/memory", &(line("some", some) + &line("full", full)));
}

pub(crate) fn swaps(host: &FakeHost, lines: &[&str]) {
    host.write("/proc/swaps", &format!("Filename Type Size Used Priority\n{}\n", lines.join("\n")));
    for (file, rest) in lines.iter().filter_map(|line| line.split_once(" file ")) {
        // As mkswap(8) writes it: include/linux/swap.h, `union swap_header`.
        let kib: u32 = rest.split(' ').next().unwrap().parse().unwrap();
        let last_page = kib / 4;
        let mut page = vec![0; 4096];
        page[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
        page[1028..1032].copy_from_slice(&last_page.to_ne_bytes());
        page[4086..].copy_from_slice(b"SWAPSPACE2");
        fs::create_dir_all(host.path(file).parent().unwrap()).unwrap();
        fs::write(host.path(file), &page).unwrap();
        let whole = fs::OpenOptions::new().write(true).open(host.path(file)).unwrap();
        whole.set_len((u64::from(last_page) + 1) * 4096).unwrap();
    }
}

/// Makes the host a node of the pool `worker` of OpenShift, with a file of its MachineConfig.
pub(crate) fn openshift(host: &FakeHost) {
    host.write("/etc/os-release", "ID=\"rhcos\"\nVARIANT_ID=coreos\n");
    host.write("/run/ostree-booted", "");
    let current = serde_json::json!({
        "metadata": { "name": "rendered-worker-0123abcd" },
        "spec": { "config": { "storage": { "files": [
            { "path": "/etc/wasp-agent/config.d/50-cluster.toml" },
            { "path": "/etc/crio/crio.conf.d/50-pool.conf" },
        ] } } },
    });
    host.write("/etc/machine-config-daemon/currentconfig", &current.to_string());
}

pub(crate) fn selinux(host: &FakeHost, enforce: &str) {
    host.write("/etc/selinux/config", "SELINUX=enforcing\n");
    host.write("/sys/fs/selinux/enforce", enforce);
}

/// Mounts the system on vda, and a pod's Secret on a tmpfs with `option`.
pub(crate) fn mounts(host: &FakeHost, option: &str) {
    let secret = "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/y";
    let text = format!(
        "21 1 254:0 / / rw - xfs /dev/vda rw\n22 21 0:40 / {secret} rw - tmpfs tmpfs rw,{option}\n"
    );
    host.write("/proc/self/mountinfo", &text);
}

/// Gathers facts from the host's files, with the answers of systemd and the API server of a healthy
/// node.
pub(crate) fn recorded(host: &FakeHost) -> HostFacts {
    let roots = Roots::at(host.root());
    let loaded = wasp_agent::observe::settings::load(&roots, |_| None);
    let (settings, configuration) = match &loaded {
        Ok((settings, resolved)) => (settings.clone(), Ok(resolved)),
        Err(problems) => (Settings::defaults(), Err(problems)),
    };
    let scope = Scope { bus: Err("later"), api: Err("later") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = Asked::Answered(vec![]);
    let kubelet = kubelet::config(&roots, &settings);
    let mut facts =
        runtime.block_on(gather(&roots, &settings, configuration, kubelet, made, scope));
    let status =
        "Swap 32.0 GiB: 87 of 212 containers in 96 pods may swap up to 7.2 GiB; 1.0 GiB used.";
    let unit = |status: &str| UnitFacts {
        load: "loaded".into(),
        active: "active".into(),
        status: status.into(),
        sub: "running".into(),
        file: "enabled".into(),
        result: "success".into(),
        restarts: 0,
    };
    facts.bus = Asked::Answered(BusFacts {
        oomd: OomdFacts::default(),
        units: [
            ("wasp-agent.service", unit(status)),
            ("wasp-swap.service", unit("RAM 64.0 GiB, swap /dev/dm-0 (32.0 GiB)")),
        ]
        .into(),
    });
    facts.agent.published = Ok(Some(Published::default()));
    facts.agent.running = true;
    facts.agent.age = Some(Duration::from_secs(2));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    facts.api = Asked::Answered(ApiFacts {
        credentials: Ok(CredentialFacts {
            kubeconfig: "/var/lib/kubelet/kubeconfig".into(),
            server: "https://api-int.example:6443/".into(),
            node_name: NODE.into(),
            certificate_expires: Some(now + Duration::from_secs(20 * 86_400)),
            certificate_begins: Some(now - Duration::from_secs(86_400)),
            certificate_name: Some(NODE.into()),
            name_origin: None,
            now,
        }),
        remedy: Vec::new(),
        permissions: ACCESSES.iter().map(|a| (a.id, Ok(Permission::Allowed))).collect(),
        guard: None,
        taints: Ok(vec![]),
        kubelet_minor: Some(34),
    });
    facts
}
