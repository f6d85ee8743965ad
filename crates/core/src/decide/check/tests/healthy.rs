//! The facts of a node without problems, and how the cases change them.

use super::*;
use crate::model::{
    check::OomdFacts, origin::Origins, runtime::CrioDropIns, system::System, unknown::Unknown,
};

pub(super) const GIB: u64 = 1 << 30;
pub(super) const TARGET: ProgramTarget = ProgramTarget { class: 2, data: 1, machine: 62 };
pub(super) const VDA: DeviceNumber = DeviceNumber { major: 254, minor: 0 };

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn space(free_bytes: u64, free_files: u64) -> Space {
    Space { mount_point: "/run".into(), free_bytes, free_files, read_only: false }
}

pub(super) fn service(active: &str, status: &str) -> UnitFacts {
    UnitFacts {
        load: "loaded".into(),
        active: active.into(),
        status: status.into(),
        sub: "running".into(),
        file: "enabled".into(),
        result: "success".into(),
        restarts: 0,
    }
}

/// A node without problems, whose swap is on a separate encrypted partition.
pub(super) fn healthy() -> HostFacts {
    let slice = SliceFacts {
        unit: "system.slice".into(),
        properties: None,
        swap_max: Some(SwapMax::ZERO),
        io_latency: Some([(VDA, 50_000)].into()),
    };
    let both = names(&["cpu", "io", "memory"]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    HostFacts {
        live: true,
        system: System::default(),
        origins: Origins::new(),
        available_bytes: Some(8 * GIB),
        configuration: Ok(()),
        agent: AgentFacts {
            published: Ok(Some(Published::default())),
            running: true,
            age: Some(Duration::from_secs(2)),
            differs: vec![],
            run: Some(space(GIB, 1000)),
            not_read: vec![],
        },
        obstacles: Obstacles {
            above_pods: vec![Ancestor {
                path: "kubepods.slice".into(),
                swap_max: SwapMax::Max,
                high: None,
                drop_ins: Vec::new(),
            }],
            swappiness: Some(60),
            overcommit_memory: Some(1),
        },
        kernel: KernelFacts {
            controllers: Some(both.clone()),
            kubepods: Some(("kubepods.slice".into(), both.clone())),
            slices: vec![(slice, Some(both))],
            disks: Disks::from([(VDA, "/dev/vda".to_owned())]),
            swap_control: SwapControl::Works,
            io_latency: Some(true),
            pressure: Ok(MemoryWaits { some_percent: 1.0, full_percent: 0.0 }),
            pods_pressure: None,
            zswap: Some(false),
            release: Some("6.12.0-55.el10.x86_64".into()),
            pod_tmpfs: (3, 0),
        },
        node: Ok(NodeMemory { ram_bytes: 64 * GIB, swap_bytes: 32 * GIB, page_bytes: 4096 }),
        swap: SwapFacts {
            device_exists: true,
            areas: vec![SwapArea {
                device: SwapDevice {
                    path: "/dev/dm-0".into(),
                    kind: "partition".into(),
                    size_bytes: 32 * GIB,
                    used_bytes: GIB,
                    priority: 10,
                },
                disks: names(&["/dev/vdb"]),
                in_ram: false,
                encrypted: true,
                rotating: false,
                failing: None,
            }],
            beside: vec![("/var", names(&["/dev/vda"]))],
            provisioning: Asked::Answered(vec![]),
        },
        kubelet: Ok(Some(KubeletConfig {
            file: Some("/etc/kubernetes/kubelet.conf".into()),
            fail_swap_on: Sourced::new(false, Origin::File("/etc/kubernetes/kubelet.conf".into())),
            ..KubeletConfig::default()
        })),
        unreadable_state: Vec::new(),
        kubelet_remedy: names(&["journalctl -u kubelet"]),
        watermarks: Ok(Watermarks {
            zones: vec![Zone { managed: 1 << 24, min: 1 << 15, low: 1 << 16 }],
            page_bytes: 4096,
            min_free_kbytes: 131_072,
            scale_factor: 10,
        }),
        runtime: Ok(Runtime::Crio(vec!["/run/containers/oci/hooks.d".into()])),
        runtime_remedy: names(&["systemctl restart crio"]),
        crio: CrioDropIns { folder: "/etc/crio/crio.conf.d".into(), last: None },
        default_runtime: runtime("crun", None),
        hook: HookFacts {
            folders: [("/run/containers/oci/hooks.d".into(), FolderState::Writable)].into(),
            definition: Some((
                "/run/containers/oci/hooks.d/99-wasp-agent.json".into(),
                definition("/usr/bin/wasp-hook".as_ref()),
            )),
            program: ProgramFacts {
                path: "/usr/bin/wasp-hook".into(),
                mode: Some(0o755),
                is_file: true,
                noexec: None,
                no_interpreter: None,
                not_started: None,
                image: Ok(Image {
                    target: TARGET,
                    interpreter: None,
                    version: Some(VERSION.to_owned()),
                }),
                machine: Some(TARGET),
                selinux: Some(SeLinux {
                    enforces: true,
                    label: Some("system_u:object_r:bin_t:s0".into()),
                }),
            },
            foreign: vec![],
            agent_installed: true,
            published: true,
        },
        leftovers: Leftovers::default(),
        rivals: vec![],
        guests: vec![guest("vms/a", 4 * GIB, 3 * GIB)],
        openshift_virtualization: false,
        bus: Asked::Answered(BusFacts {
            oomd: OomdFacts::default(),
            units: [
                ("wasp-agent.service", service("active", "Swap 32.0 GiB: …")),
                ("wasp-swap.service", service("active", "")),
            ]
            .into(),
        }),
        api: Asked::Answered(ApiFacts {
            credentials: Ok(CredentialFacts {
                kubeconfig: "/var/lib/kubelet/kubeconfig".into(),
                server: "https://api:6443/".into(),
                node_name: "node-a".into(),
                certificate_expires: Some(now + Duration::from_secs(20 * 86_400)),
                certificate_begins: Some(now - Duration::from_secs(86_400)),
                certificate_name: Some("node-a".into()),
                name_origin: None,
                now,
            }),
            remedy: names(&["systemctl restart kubelet"]),
            permissions: ACCESSES
                .iter()
                .map(|access| (access.id, Ok(Permission::Allowed)))
                .collect(),
            guard: None,
            taints: Ok(vec![]),
            kubelet_minor: Some(34),
        }),
    }
}

/// Settings that ask for everything that can be configured.
pub(super) fn settings() -> Settings {
    let mut settings = Settings::defaults();
    settings.eviction.last_resort = Some(Duration::from_secs(300));
    settings.eviction.guard = SchedulingGuard::Cordon;
    settings.swap.size = SwapSize::Overcommit { percent: 150 };
    settings
}

pub(super) fn bus(facts: &mut HostFacts) -> &mut BusFacts {
    match &mut facts.bus {
        Asked::Answered(bus) => bus,
        _ => panic!(),
    }
}

pub(super) fn api(facts: &mut HostFacts) -> &mut ApiFacts {
    match &mut facts.api {
        Asked::Answered(api) => api,
        _ => panic!(),
    }
}

pub(super) fn credentials(facts: &mut HostFacts) -> &mut CredentialFacts {
    api(facts).credentials.as_mut().unwrap()
}

pub(super) fn kubelet(facts: &mut HostFacts) -> &mut KubeletConfig {
    facts.kubelet.as_mut().unwrap().as_mut().unwrap()
}

/// Adds a problem to those that the agent has published.
pub(super) fn report(facts: &mut HostFacts, kind: &str, severity: Severity, text: &str) {
    let problem = published::ProblemStatus {
        kind: kind.into(),
        severity,
        text: text.into(),
        pods: vec![],
        remedy: vec!["x".into()],
    };
    let published = Published { problems: vec![problem], ..Published::default() };
    facts.agent.published = Ok(Some(published));
}

pub(super) fn rival(unit: &str, job: Job, does: &'static str) -> Rival {
    let who = if job == Job::Limits { Who::DaemonSet } else { Who::Autopilot };
    Rival { who, path: unit.into(), job, does }
}

pub(super) fn guest(pod: &str, guest_bytes: u64, request_bytes: u64) -> Guest {
    Guest { pod: pod.into(), guest_bytes, request_bytes }
}

pub(super) fn deny(facts: &mut HostFacts, id: &'static str) {
    api(facts).permissions.insert(id, Ok(Permission::Denied("not yours".into())));
}

pub(super) fn no_swap(facts: &mut HostFacts) {
    facts.node.as_mut().unwrap().swap_bytes = 0;
    facts.swap.areas.clear();
}

pub(super) fn refuse_swap(facts: &mut HostFacts) {
    let config = facts.kubelet.as_mut().unwrap().as_mut().unwrap();
    config.fail_swap_on = Sourced::new(true, Origin::Default);
}

pub(super) fn deny_all(facts: &mut HostFacts) {
    let all = api(facts).permissions.values_mut();
    all.for_each(|permission| *permission = Ok(Permission::Denied("not yours".into())));
}

pub(super) fn runtime(name: &str, path: Option<&str>) -> Result<Option<DefaultRuntime>, Unknown> {
    Ok(Some(DefaultRuntime { name: name.to_owned(), path: path.map(Into::into) }))
}
