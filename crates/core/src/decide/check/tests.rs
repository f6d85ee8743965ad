//! Runs each check to success and to failure, on prepared facts.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    config::settings::{EvictionMode, Grants, Policy, ReclaimMode, SchedulingGuard, SwapSize},
    decide::hook::{VERSION, definition},
    model::{
        check::{
            ACCESSES, AgentFacts, ApiFacts, BusFacts, CredentialFacts, FolderState, HookFacts,
            Instead, KernelFacts, Leftovers, MemoryWaits, Permission, Space, SwapArea, SwapFacts,
            UnitFacts, UnreadableFile, Wrong,
        },
        guest::Guest,
        host::{NodeMemory, SwapDevice},
        kubelet::{KubeletConfig, MEMORY_AVAILABLE, Origin, Sourced, Teller},
        obstacles::{Ancestor, Obstacles},
        program::{Image, ProgramFacts, ProgramTarget, SeLinux},
        protection::{DeviceNumber, Disks, SliceFacts},
        published::{self, Published},
        rivals::{Job, Rival, Who},
        runtime::{DefaultRuntime, Runtime},
        swap::{SwapControl, SwapMax},
        trouble::Severity,
        watermarks::{Watermarks, Zone},
    },
};

mod healthy;

use healthy::*;

type Change = fn(&mut HostFacts, &mut Settings);

/// One change of the healthy node, and the words that its check must report.
#[rustfmt::skip]
const CASES: &[(&str, CheckLevel, &str, Change)] = &[
    ("configuration", CheckLevel::Fail, "unknown key", |f, _| f.configuration = Err(Wrong { text: "1 problem\n  x: unknown key y".into(), remedy: names(&["wasp-agent check-config"]), instead: Instead::InForce })),
    ("cgroup-v2", CheckLevel::Fail, "not mounted", |f, _| f.kernel.controllers = None),
    ("swap-controller", CheckLevel::Fail, "no memory.swap.max", |f, _| f.kernel.swap_control = SwapControl::NotCounted),
    ("swap-controller", CheckLevel::Fail, "no memory controller", |f, _| f.kernel.swap_control = SwapControl::NoMemoryController),
    ("swap-controller", CheckLevel::Skip, "no cgroup", |f, _| f.kernel.swap_control = SwapControl::Unknown),
    ("controllers-kubepods", CheckLevel::Fail, "no memory controller", |f, _| f.kernel.kubepods = Some(("kubepods".into(), names(&["io"])))),
    ("controllers-kubepods", CheckLevel::Fail, "the kernel offers no memory", |f, _| f.kernel.controllers = Some(names(&["io"]))),
    ("controllers-kubepods", CheckLevel::Warn, "no io controller", |f, _| f.kernel.controllers = Some(names(&["memory"]))),
    ("controllers-kubepods", CheckLevel::Skip, "has not started", |f, _| f.kernel.kubepods = None),
    ("controllers-slices", CheckLevel::Fail, "system.slice has no memory", |f, _| f.kernel.slices[0].1 = Some(vec![])),
    ("controllers-slices", CheckLevel::Ok, "io follows", |f, _| f.kernel.slices[0].1 = Some(names(&["memory"]))),
    ("controllers-slices", CheckLevel::Skip, "no cgroup system.slice", |f, _| f.kernel.slices[0].1 = None),
    ("controllers-slices", CheckLevel::Skip, "is empty", |f, _| f.kernel.slices.clear()),
    ("io-latency", CheckLevel::Warn, "CONFIG_BLK_CGROUP_IOLATENCY", |f, _| f.kernel.slices[0].0.io_latency = None),
    ("io-latency", CheckLevel::Skip, "target-ms = 0", |_, s| s.protection.io_latency_target = None),
    ("io-latency", CheckLevel::Skip, "cannot be read", |f, _| { f.kernel.slices.clear(); f.kernel.io_latency = None; }),
    ("io-latency", CheckLevel::Warn, "no io.latency", |f, _| { f.kernel.slices.clear(); f.kernel.io_latency = Some(false); }),
    ("protection", CheckLevel::Warn, "memory.swap.max is max", |f, _| f.kernel.slices[0].0.swap_max = Some(SwapMax::Max)),
    ("protection", CheckLevel::Warn, "has no effect on /dev/vda", |f, _| f.kernel.slices[0].0.io_latency = Some([].into())),
    ("protection", CheckLevel::Ok, "cannot swap", |f, _| f.kernel.slices[0].0.io_latency = None),
    ("protection", CheckLevel::Skip, "when it starts", |f, _| {
        f.kernel.slices[0].0.swap_max = Some(SwapMax::Max);
        bus(f).units.clear();
    }),
    ("protection", CheckLevel::Skip, "no cgroup v2", |f, _| f.kernel.controllers = None),
    ("psi", CheckLevel::Warn, "Operation not supported", |f, _| f.kernel.pressure = Err("Operation not supported".into())),
    ("memory-pressure", CheckLevel::Ok, "process of the pods waited 2 %", |f, _| {
        f.kernel.pressure = Ok(MemoryWaits { some_percent: 95.0, full_percent: 31.0 });
        f.kernel.pods_pressure = Some(MemoryWaits { some_percent: 2.0, full_percent: 1.0 });
    }),
    ("memory-pressure", CheckLevel::Warn, "process of the pods waited 95 %", |f, _| f.kernel.pods_pressure = Some(MemoryWaits { some_percent: 95.0, full_percent: 31.0 })),
    ("memory-pressure", CheckLevel::Warn, "waited 95 %, all of them 31 %", |f, _| f.kernel.pressure = Ok(MemoryWaits { some_percent: 95.0, full_percent: 31.0 })),
    ("zswap", CheckLevel::Warn, "compresses pages twice", |f, _| { f.kernel.zswap = Some(true); f.swap.areas[0].device.path = "/dev/zram0".into(); }),
    ("zswap", CheckLevel::Warn, "off, but kernel.zswap = on", |_, s| s.kernel.zswap = Some(true)),
    ("zswap", CheckLevel::Warn, "an effect only with zswap", |_, s| {
        s.reclaim.mode = ReclaimMode::On;
        s.reclaim.zswap_max_percent = Some(25);
    }),
    ("zswap", CheckLevel::Ok, "off", |_, s| s.reclaim.zswap_writeback = Some(false)),
    ("zswap", CheckLevel::Warn, "has no zswap", |f, s| { f.kernel.zswap = None; s.kernel.zswap = Some(true); }),
    ("zswap", CheckLevel::Ok, "the kernel has no zswap", |f, _| f.kernel.zswap = None),
    ("tmpfs-noswap", CheckLevel::Warn, "may swap: 2 of 3", |f, _| { f.kernel.pod_tmpfs = (3, 2); f.swap.areas[0].encrypted = false; }),
    ("tmpfs-noswap", CheckLevel::Warn, "may swap: 2 of 3", |f, _| { f.kernel.pod_tmpfs = (3, 2); (f.swap.areas[0].encrypted, f.swap.areas[0].disks) = (false, vec![]); }),
    ("tmpfs-noswap", CheckLevel::Ok, "encrypted or in RAM", |f, _| { f.kernel.pod_tmpfs = (3, 2); (f.swap.areas[0].encrypted, f.swap.areas[0].in_ram) = (false, true); }),
    ("tmpfs-noswap", CheckLevel::Ok, "encrypted", |f, _| f.kernel.pod_tmpfs = (3, 2)),
    ("tmpfs-noswap", CheckLevel::Ok, "the kernel supports it", |f, _| f.kernel.pod_tmpfs = (0, 0)),
    ("tmpfs-noswap", CheckLevel::Skip, "Linux 5.14", |f, _| { f.kernel.pod_tmpfs = (0, 0); f.kernel.release = Some("5.14.0-427.el9".into()); }),
    ("systemd-bus", CheckLevel::Fail, "no answer within 5 s", |f, _| f.bus = Asked::Failed("no answer within 5 s".into())),
    ("systemd-oomd", CheckLevel::Warn, "kills pods in -.slice when", |f, _| bus(f).oomd.kills = vec!["-.slice".into()]),
    ("systemd-oomd", CheckLevel::Warn, "does not tell whether systemd-oomd kills in -.slice: x", |f, _| bus(f).oomd.unknown = Some((vec!["-.slice".into()], "x".into()))),
    ("systemd-oomd", CheckLevel::Skip, "no answer", |f, _| f.bus = Asked::Failed("x".into())),
    ("swap", CheckLevel::Fail, "has 0 B of swap, but 32.0 GiB are configured", |f, _| { f.node.as_mut().unwrap().swap_bytes = 0; f.swap.areas.clear(); }),
    ("swap", CheckLevel::Fail, "has 8.0 GiB of swap, but 32.0 GiB", |f, _| f.node.as_mut().unwrap().swap_bytes = 8 * GIB),
    ("swap", CheckLevel::Warn, "and none is configured", |f, s| {
        f.node.as_mut().unwrap().swap_bytes = 0;
        f.swap.areas.clear();
        s.swap.size = SwapSize::Overcommit { percent: 100 };
    }),
    ("swap", CheckLevel::Fail, "cannot read", |f, _| f.node = Err("cannot read /proc/meminfo".into())),
    ("swap", CheckLevel::Skip, "the kubelet's configuration prevents swap", |f, _| { no_swap(f); refuse_swap(f); }),
    ("swap", CheckLevel::Skip, "it cannot be made (swap-provisioning)", |f, _| { no_swap(f); f.swap.provisioning = Asked::Failed("x".into()); }),
    ("swap-provisioning", CheckLevel::Skip, "it would make (swap)", |f, _| { no_swap(f); f.swap.provisioning = Asked::Answered(vec!["make".into()]); }),
    ("swap-provisioning", CheckLevel::Skip, "the device is missing (swap)", |f, _| { no_swap(f); f.swap.device_exists = false; f.swap.provisioning = Asked::Failed("x".into()); }),
    ("swap-provisioning", CheckLevel::Fail, "would leave", |f, _| f.swap.provisioning = Asked::Failed("a swapfile would leave 1 GiB free".into())),
    ("swap-provisioning", CheckLevel::Warn, "it would switch on", |f, _| f.swap.provisioning = Asked::Answered(vec!["switch on /dev/x".into()])),
    ("swap-used", CheckLevel::Warn, "30.0 GiB of 32.0 GiB used, more than 80 %", |f, _| f.swap.areas[0].device.used_bytes = 30 * GIB),
    ("swap-used", CheckLevel::Skip, "no swap", |f, _| f.swap.areas.clear()),
    ("swap-encryption", CheckLevel::Warn, "/dev/dm-0 is not encrypted", |f, _| f.swap.areas[0].encrypted = false),
    ("swap-encryption", CheckLevel::Ok, "not on a disk", |f, _| (f.swap.areas[0].in_ram, f.swap.areas[0].disks) = (true, vec![])),
    ("swap-encryption", CheckLevel::Warn, "cannot find the disk of /dev/dm-0", |f, _| f.swap.areas[0].disks.clear()),
    ("swap-disk", CheckLevel::Warn, "is on /dev/vdb, like /var and /var/lib/etcd", |f, _| f.swap.beside = vec![("/var", names(&["/dev/vdb"])), ("/var/lib/etcd", names(&["/dev/vdb"]))]),
    ("swap-disk", CheckLevel::Ok, "on no disk", |f, _| (f.swap.areas[0].in_ram, f.swap.areas[0].disks) = (true, vec![])),
    ("swap-disk", CheckLevel::Warn, "cannot find the disk of /dev/dm-0", |f, _| f.swap.areas[0].disks.clear()),
    ("kubelet-config", CheckLevel::Fail, "cannot read /etc/x", |f, _| f.kubelet = Err("cannot read /etc/x: y".into())),
    ("kubelet-config", CheckLevel::Fail, "evictionHard memory.available: \"101%\"", |f, _| {
        kubelet(f).eviction_hard.insert(MEMORY_AVAILABLE.into(), Sourced::default_value("101%".into()));
    }),
    ("kubelet-config", CheckLevel::Fail, "cgroupsPerQOS is false", |f, _| kubelet(f).cgroups_per_qos.value = false),
    ("kubelet-config", CheckLevel::Warn, "given twice", |f, _| kubelet(f).warnings.push("/etc/x: failSwapOn is given twice".into())),
    ("kubelet-config", CheckLevel::Ok, "flags of the running kubelet (process 7)", |f, _| kubelet(f).told_by = Teller::Process(7)),
    ("kubelet-fail-swap-on", CheckLevel::Fail, "a flag of kubelet.service", |f, _| {
        kubelet(f).fail_swap_on = Sourced::new(true, Origin::Flag(Teller::Unit("kubelet.service".into())));
    }),
    ("kubelet-config", CheckLevel::Skip, "node.kubelet-config", |f, _| f.kubelet = Ok(None)),
    ("kubelet-fail-swap-on", CheckLevel::Fail, "failSwapOn is true (the default)", |f, _| kubelet(f).fail_swap_on = Sourced::default_value(true)),
    ("kubelet-fail-swap-on", CheckLevel::Warn, "failSwapOn is true", |f, s| {
        kubelet(f).fail_swap_on.value = true;
        f.swap.areas.clear();
        s.swap.size = SwapSize::Overcommit { percent: 100 };
    }),
    ("kubelet-fail-swap-on", CheckLevel::Skip, "not known", |f, _| f.kubelet = Ok(None)),
    ("kubelet-swap-behavior", CheckLevel::Ok, "NoSwap (the default): the agent sets swap limits", |f, _| kubelet(f).swap_behavior.value = "NoSwap".into()),
    ("kubelet-swap-behavior", CheckLevel::Ok, "LimitedSwap (the default): the kubelet sets swap limits", |f, _| kubelet(f).swap_behavior.value = "LimitedSwap".into()),
    ("crio-hooks-folder", CheckLevel::Skip, "no hook is configured", |f, _| kubelet(f).swap_behavior.value = "LimitedSwap".into()),
    ("crio-hooks-folder", CheckLevel::Skip, "no hook is configured", |f, _| (f.kubelet, f.hook.definition) = (Err("cannot read /etc/x".into()), None)),
    ("kubelet-swap-behavior", CheckLevel::Warn, "limits.policy", |f, s| {
        kubelet(f).swap_behavior.value = "LimitedSwap".into();
        s.grant.policy = Policy::Max;
    }),
    ("kubelet-swap-behavior", CheckLevel::Warn, "the kubelet sets swap limits: ", |f, s| {
        kubelet(f).swap_behavior.value = "LimitedSwap".into();
        s.grants = Grants::Agent;
    }),
    ("kubelet-swap-behavior", CheckLevel::Fail, "no program sets swap limits: swapBehavior is NoSwap (the default)", |f, s| {
        kubelet(f).swap_behavior.value = "NoSwap".into();
        s.grants = Grants::Kubelet;
    }),
    ("watermarks", CheckLevel::Warn, "the kubelet evicts below 1.0 GiB", |f, _| { kubelet(f).eviction_soft.insert(MEMORY_AVAILABLE.into(), Sourced::default_value("1Gi".into())); }),
    ("watermarks", CheckLevel::Skip, "zoneinfo", |f, _| f.watermarks = Err("cannot read zoneinfo".into())),
    ("crio-hooks-folder", CheckLevel::Warn, "CRI-O reads /srv/hooks", |f, _| f.runtime = Ok(Runtime::Crio(vec!["/srv/hooks".into()]))),
    ("crio-hooks-folder", CheckLevel::Warn, "/run/containers/oci/hooks.d is missing", |f, _| (f.hook.definition, f.hook.folders) = (None, [("/run/containers/oci/hooks.d".into(), FolderState::Missing)].into())),
    ("crio-hooks-folder", CheckLevel::Warn, "where the agent cannot write", |f, _| (f.hook.definition, f.hook.folders) = (None, [("/run/containers/oci/hooks.d".into(), FolderState::ReadOnly)].into())),
    ("crio-hooks-folder", CheckLevel::Ok, "/run/containers/oci/hooks.d", |f, _| f.hook.definition = None),
    ("crio-hooks-folder", CheckLevel::Ok, "/run/containers", |f, _| (f.hook.definition, f.hook.published) = (None, false)),
    ("crio-hooks-folder", CheckLevel::Warn, "containerd", |f, _| f.runtime = Ok(Runtime::Containerd)),
    ("crio-hooks-folder", CheckLevel::Warn, "no CRI-O here", |f, _| f.runtime = Ok(Runtime::Unknown)),
    ("crio-hooks-folder", CheckLevel::Fail, "crio.conf: x", |f, _| f.runtime = Err("cannot read crio.conf: x".into())),
    ("crio-hooks-folder", CheckLevel::Skip, "hook.install", |_, s| s.hook.install = false),
    ("crio-runtime", CheckLevel::Warn, "kata: the agent supports only", |f, _| f.default_runtime = runtime("kata", None)),
    ("crio-runtime", CheckLevel::Ok, "fast (/usr/bin/crun)", |f, _| f.default_runtime = runtime("fast", Some("/usr/bin/crun"))),
    ("crio-runtime", CheckLevel::Warn, "crun (/opt/oci): the agent supports only", |f, _| f.default_runtime = runtime("crun", Some("/opt/oci"))),
    ("crio-runtime", CheckLevel::Ok, "own default", |f, _| f.default_runtime = Ok(None)),
    ("crio-runtime", CheckLevel::Skip, "not known", |f, _| f.runtime = Ok(Runtime::Containerd)),
    ("hook-installed", CheckLevel::Warn, "99-wasp-agent.json is missing", |f, _| f.hook.definition = None),
    ("hook-installed", CheckLevel::Skip, "its program cannot run (hook-program)", |f, _| { f.hook.definition = None; f.hook.program.mode = Some(0o644); }),
    ("hook-installed", CheckLevel::Skip, "(crio-hooks-folder)", |f, _| { f.hook.definition = None; f.hook.folders.clear(); }),
    ("hook-installed", CheckLevel::Warn, "was changed", |f, _| f.hook.definition.as_mut().unwrap().1.push('x')),
    ("hook-installed", CheckLevel::Skip, "when it starts", |f, _| { f.hook.definition = None; f.hook.published = false; }),
    ("hook-program", CheckLevel::Fail, "no container can start: /usr/bin/wasp-hook is missing", |f, _| f.hook.program.mode = None),
    ("hook-program", CheckLevel::Fail, "not executable", |f, _| f.hook.program.mode = Some(0o644)),
    ("hook-program", CheckLevel::Fail, "/usr is mounted with noexec", |f, _| f.hook.program.noexec = Some("/usr".into())),
    ("hook-program", CheckLevel::Fail, "is another program than wasp-hook", |f, _| f.hook.program.image = Ok(Image { target: TARGET, interpreter: None, version: None })),
    ("hook-program", CheckLevel::Warn, "has version 9.9.9", |f, _| f.hook.program.image = Ok(Image { target: TARGET, interpreter: None, version: Some("9.9.9".into()) })),
    ("hook-program", CheckLevel::Fail, "is missing", |f, _| { f.hook.program.mode = None; f.hook.definition = None; }),
    ("foreign-hook", CheckLevel::Fail, "50-swap.json: its program /opt/x sets", |f, _| f.hook.foreign = vec![("/etc/containers/oci/hooks.d/50-swap.json".into(), "its program /opt/x sets swap limits".into())]),
    ("limits-above-pods", CheckLevel::Fail, "memory.swap.max of kubepods.slice is 0", |f, _| f.obstacles.above_pods[0].swap_max = SwapMax::ZERO),
    ("limits-above-pods", CheckLevel::Fail, "above its memory.high", |f, _| f.obstacles.above_pods[0].high = Some((GIB, 2 * GIB))),
    ("limits-above-pods", CheckLevel::Skip, "no cgroup", |f, _| f.obstacles.above_pods.clear()),
    ("swappiness", CheckLevel::Warn, "vm.swappiness is 0", |f, _| f.obstacles.swappiness = Some(0)),
    ("overcommit-memory", CheckLevel::Warn, "vm.overcommit_memory is 2", |f, _| f.obstacles.overcommit_memory = Some(2)),
    ("swap-devices", CheckLevel::Warn, "/dev/dm-0 rotates: a VM", |f, _| f.swap.areas[0].rotating = true),
    ("swap-devices", CheckLevel::Warn, "/dev/sdb rotates and is filled first (priority 100)", |f, _| {
        let mut slow = f.swap.areas[0].clone();
        (slow.device.path, slow.device.priority, slow.rotating) = ("/dev/sdb".into(), 100, true);
        f.swap.areas.push(slow);
    }),
    ("swap-devices", CheckLevel::Warn, "/dev/zram0 is full", |f, _| {
        let mut zram = f.swap.areas[0].clone();
        (zram.device.path, zram.device.priority, zram.device.used_bytes) = ("/dev/zram0".into(), 100, 32 * GIB);
        zram.in_ram = true;
        f.swap.areas.push(zram);
    }),
    ("agent-service", CheckLevel::Fail, "is masked", |f, _| { bus(f).units.insert("wasp-agent.service", UnitFacts { load: "masked".into(), ..service("inactive", "") }); }),
    ("agent-service", CheckLevel::Fail, "fails repeatedly (exit-code): 12 restarts", |f, _| { bus(f).units.insert("wasp-agent.service", UnitFacts { sub: "auto-restart".into(), result: "exit-code".into(), restarts: 12, ..service("activating", "") }); }),
    ("agent-service", CheckLevel::Fail, "fails repeatedly: 4 restarts", |f, _| { bus(f).units.insert("wasp-agent.service", UnitFacts { restarts: 4, ..service("active", "") }); }),
    ("agent-service", CheckLevel::Warn, "the next boot does not start it", |f, _| { bus(f).units.insert("wasp-agent.service", UnitFacts { file: "disabled".into(), ..service("active", "x") }); }),
    ("agent-problems", CheckLevel::Fail, "1 limit that another writer", |f, _| report(f, "contended", Severity::Fail, "1 limit that another writer keeps changing (default/vm-7)")),
    ("agent-problems", CheckLevel::Ok, "1 container still above", |f, _| report(f, "above-grant", Severity::Note, "1 container still above its grant")),
    ("agent-problems", CheckLevel::Ok, "none", |f, _| {
        report(f, "swappiness", Severity::Warn, "vm.swappiness is 0");
        f.obstacles.swappiness = Some(0);
    }),
    ("agent-problems", CheckLevel::Fail, "has published nothing for 4000 s", |f, _| f.agent.age = Some(Duration::from_secs(4000))),
    ("agent-problems", CheckLevel::Skip, "is not running", |f, _| f.agent.running = false),
    ("agent-problems", CheckLevel::Fail, "is not running; it was until", |f, _| { f.agent.running = false; f.bus = Asked::Failed("x".into()); }),
    ("agent-settings", CheckLevel::Fail, "eviction.mode: \"off\" on disk, \"enforce\" in effect", |f, _| f.agent.differs = vec![("eviction.mode".into(), "\"off\"".into(), "\"enforce\"".into())]),
    ("run-space", CheckLevel::Fail, "/run is full", |f, _| f.agent.run = Some(space(0, 10_000))),
    ("run-space", CheckLevel::Fail, "no free inode", |f, _| f.agent.run = Some(space(GIB, 0))),
    ("configuration", CheckLevel::Warn, "90-x.conf: its name does not end", |f, _| f.agent.not_read = vec![crate::model::check::NotRead { path: "/etc/wasp-agent/config.d/90-x.conf".into(), why: "its name does not end in .toml", target: "/etc/wasp-agent/config.d/90-x.toml".into() }]),
    ("hook-program", CheckLevel::Skip, "not installed", |f, _| {
        f.hook.program.mode = None;
        f.hook.definition = None;
        f.hook.agent_installed = false;
    }),
    ("hook-label", CheckLevel::Fail, "user_home_t:s0, which CRI-O may not run", |f, _| f.hook.program.selinux = Some(SeLinux { enforces: true, label: Some("unconfined_u:object_r:user_home_t:s0".into()) })),
    ("hook-label", CheckLevel::Warn, "no label", |f, _| f.hook.program.selinux = Some(SeLinux { enforces: false, label: None })),
    ("hook-label", CheckLevel::Skip, "no SELinux", |f, _| f.hook.program.selinux = None),
    ("daemonset-hook", CheckLevel::Fail, "/opt/oci-hook-swap.sh, which removes", |f, _| f.leftovers.hooks = vec!["/opt/oci-hook-swap.sh".into()]),
    ("other-swap", CheckLevel::Ok, "virt-platform-autopilot is on this node; kept: swap;", |f, _| f.rivals = vec![rival("swap-disk-enable.service", Job::Swap, "switches on x")]),
    ("other-swap", CheckLevel::Warn, "swap-disk-enable.service switches on x, and the agent creates no second swap: the node has 1.0 GiB of swap", |f, _| {
        f.node.as_mut().unwrap().swap_bytes = GIB;
        f.rivals = vec![rival("swap-disk-enable.service", Job::Swap, "switches on x")];
    }),
    ("other-swap", CheckLevel::Ok, "added by the agent: swap, repair of limits", |f, _| f.rivals = vec![rival("x", Job::Watermarks, "sets the watermarks")]),
    ("other-swap", CheckLevel::Ok, "virt-platform-autopilot is on this node", |f, s| {
        f.rivals = vec![rival("swap-disk-enable.service", Job::Swap, "is next to ours")];
        s.swap.beside_others = true;
    }),
    ("other-swap", CheckLevel::Ok, "kept: slices; added by the agent: io.latency", |f, _| f.rivals = vec![rival("x", Job::Slices, "gives kubepods.slice a weight")]),
    ("other-swap", CheckLevel::Warn, "set protection.io-latency-target-ms = 5", |f, _| f.rivals = vec![rival("/run/systemd/system/system.slice.d/20-io-latency.conf", Job::Slices, "sets targets")]),
    ("other-swap", CheckLevel::Warn, "the DaemonSet wasp-agent is on this node; contradicts: sets limits (/var/log/pods/x)", |f, _| f.rivals = vec![rival("/var/log/pods/x", Job::Limits, "sets limits")]),
    ("other-swap", CheckLevel::Ok, "would deploy the DaemonSet", |f, _| f.openshift_virtualization = true),
    ("vm-requests", CheckLevel::Warn, "1 of 2 VMs: the request is all of the guest's memory, so there is no overcommit: vms/b", |f, _| f.guests.push(guest("vms/b", 4 * GIB, 5 * GIB))),
    ("vm-requests", CheckLevel::Skip, "no VM", |f, _| f.guests.clear()),
    ("configuration", CheckLevel::Fail, "the other checks use the settings in effect", |f, _| f.configuration = Err(Wrong { text: "x".into(), remedy: names(&["wasp-agent check-config"]), instead: Instead::InForce })),
    ("run-space", CheckLevel::Fail, "/run/wasp-agent is read-only", |f, _| f.agent.run = Some(Space { mount_point: "/run/wasp-agent".into(), read_only: true, ..space(GIB, 9) })),
    ("daemonset-units", CheckLevel::Warn, "/var/tmp/swapfile, is in use", |f, _| f.leftovers.swapfile = Some(("/var/tmp/swapfile".into(), true))),
    ("hook-program", CheckLevel::Fail, "does not start: libz.so.9", |f, _| f.hook.program.not_started = Some("libz.so.9: no such file".into())),
    ("daemonset-units", CheckLevel::Warn, "swap-provision.service", |f, _| f.leftovers.units = vec!["/etc/systemd/system/swap-provision.service".into()]),
    ("daemonset-taint", CheckLevel::Warn, "waspEvictionTaint on node-a", |f, _| api(f).taints = Ok(names(&["waspEvictionTaint"]))),
    ("kubeconfig", CheckLevel::Fail, "no kubeconfig", |f, _| api(f).credentials = Err("no kubeconfig of the kubelet".into())),
    ("certificate", CheckLevel::Fail, "expired 3 h ago", |f, _| { let c = credentials(f); c.certificate_expires = Some(c.now - Duration::from_secs(3 * 3600 + 5)); }),
    ("kubeconfig", CheckLevel::Fail, "node.name = \"node-a\", but the certificate is for node b", |f, _| credentials(f).certificate_name = Some("b".into())),
    ("certificate", CheckLevel::Fail, "this node's clock is wrong", |f, _| { let c = credentials(f); c.certificate_begins = Some(c.now + Duration::from_secs(1)); }),
    ("certificate", CheckLevel::Warn, "expires in 50 min", |f, _| { let c = credentials(f); c.certificate_expires = Some(c.now + Duration::from_secs(3000)); }),
    ("certificate", CheckLevel::Ok, "no client certificate", |f, _| credentials(f).certificate_expires = None),
    ("api-server", CheckLevel::Fail, "https://api:6443/: no answer within 5 s", |f, _| api(f).permissions.values_mut().for_each(|p| *p = Err("no answer within 5 s".into()))),
    ("api-server", CheckLevel::Warn, "does not answer every request", |f, _| { api(f).permissions.insert("may-create-events", Err("429".into())); }),
    ("api-server", CheckLevel::Skip, "no credentials", |f, _| api(f).credentials = Err("x".into())),
    ("may-list-pods", CheckLevel::Fail, "system:node:node-a may not do it: not yours", |f, _| deny(f, "may-list-pods")),
    ("may-list-pods", CheckLevel::Fail, "system:node:node-a may do nothing that the agent needs: not yours", |f, _| deny_all(f)),
    ("may-watch-pods", CheckLevel::Skip, "like all that the agent asks for (may-list-pods)", |f, _| deny_all(f)),
    ("may-watch-pods", CheckLevel::Skip, "the node's name is wrong (kubeconfig)", |f, _| { credentials(f).certificate_name = Some("node-b".into()); deny(f, "may-watch-pods"); }),
    ("may-list-pods", CheckLevel::Skip, "429", |f, _| { api(f).permissions.insert("may-list-pods", Err("429".into())); }),
    ("may-watch-pods", CheckLevel::Fail, "may not do it", |f, _| deny(f, "may-watch-pods")),
    ("may-evict-pods", CheckLevel::Warn, "may not do it", |f, s| { deny(f, "may-evict-pods"); s.eviction.mode = EvictionMode::Observe; }),
    ("may-evict-pods", CheckLevel::Fail, "may not do it", |f, s| { deny(f, "may-evict-pods"); s.eviction.mode = EvictionMode::Enforce; }),
    ("may-evict-pods", CheckLevel::Skip, "off", |_, s| s.eviction.mode = EvictionMode::Off),
    ("may-delete-pods", CheckLevel::Warn, "may not do it", |f, _| deny(f, "may-delete-pods")),
    ("may-delete-pods", CheckLevel::Skip, "last-resort", |_, s| s.eviction.last_resort = None),
    ("may-get-node", CheckLevel::Warn, "may not do it", |f, _| deny(f, "may-get-node")),
    ("may-patch-node", CheckLevel::Warn, "may not do it", |f, _| deny(f, "may-patch-node")),
    ("may-patch-node", CheckLevel::Skip, "neither", |_, s| s.eviction.guard = SchedulingGuard::Condition),
    ("may-patch-node", CheckLevel::Ok, "by eviction.guard-kubeconfig", |f, s| {
        s.eviction.guard = SchedulingGuard::Taint;
        api(f).guard = Some(Ok(Permission::Allowed));
    }),
    ("may-patch-node", CheckLevel::Warn, "guard-kubeconfig may not do it", |f, s| {
        s.eviction.guard = SchedulingGuard::Taint;
        api(f).guard = Some(Ok(Permission::Denied("no".into())));
    }),
    ("may-patch-node", CheckLevel::Warn, "no kubeconfig", |f, s| {
        s.eviction.guard = SchedulingGuard::Taint;
        api(f).guard = Some(Err("no kubeconfig".into()));
    }),
    ("may-patch-node-status", CheckLevel::Skip, "none", |_, s| s.eviction.guard = SchedulingGuard::None),
    ("daemonset-taint", CheckLevel::Skip, "the agent's own", |f, s| {
        api(f).taints = Ok(names(&["waspEvictionTaint"]));
        s.eviction.guard = SchedulingGuard::Taint;
    }),
    ("may-patch-node-status", CheckLevel::Warn, "may not do it", |f, _| deny(f, "may-patch-node-status")),
    ("may-create-events", CheckLevel::Warn, "may not do it", |f, _| deny(f, "may-create-events")),
    ("state", CheckLevel::Warn, "it is empty", |f, _| f.unreadable_state.push(UnreadableFile { path: "/run/x.json".into(), text: "cannot use /run/x.json: it is empty".into(), holds: "x" })),
    ("swap-used", CheckLevel::Fail, "swap is full", |f, _| { let d = &mut f.swap.areas[0].device; d.used_bytes = d.size_bytes; }),
    ("agent-service", CheckLevel::Skip, "failed: the configuration is invalid", |f, _| { f.configuration = Err(Wrong { text: "x".into(), remedy: Vec::new(), instead: Instead::Defaults }); bus(f).units.insert("wasp-agent.service", service("failed", "x")); }),
    ("agent-service", CheckLevel::Fail, "failed: x", |f, _| { bus(f).units.insert("wasp-agent.service", service("failed", "x")); }),
    ("agent-service", CheckLevel::Fail, "failed", |f, _| { bus(f).units.insert("wasp-agent.service", service("failed", "")); }),
    ("agent-service", CheckLevel::Warn, "inactive", |f, _| { bus(f).units.insert("wasp-agent.service", service("inactive", "")); }),
    ("swap-service", CheckLevel::Warn, "inactive", |f, _| { bus(f).units.insert("wasp-swap.service", service("inactive", "")); }),
    ("swap-service", CheckLevel::Skip, "not installed", |f, _| { bus(f).units.insert("wasp-swap.service", UnitFacts { load: "not-found".into(), ..UnitFacts::default() }); }),
];

#[test]
fn a_healthy_node_is_well_in_every_respect() {
    let lines = check(&healthy(), &settings(), false);
    let ids: Vec<&str> = lines.iter().map(|line| line.id).collect();
    assert_eq!(ids, CHECKS.iter().map(|check| check.id).collect::<Vec<_>>());
    let other: Vec<_> = lines.iter().filter(|line| line.level != CheckLevel::Ok).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(exit_status(&lines), 0);
}

#[test]
fn each_check_says_what_it_finds() {
    for (id, level, text, change) in CASES {
        let (mut facts, mut settings) = (healthy(), settings());
        change(&mut facts, &mut settings);
        let lines = check(&facts, &settings, false);
        let line = lines.iter().find(|line| line.id == *id).unwrap();
        assert_eq!(line.level, *level, "{line:#?}");
        assert!(line.found.contains(text), "{text} is not in {line:#?}");
        let fixes = *level >= CheckLevel::Warn && !text.starts_with("cannot read");
        assert!(!fixes || !line.fix.is_empty(), "nothing fixes {line:#?}");
        assert!(line.fix.is_empty() || *level >= CheckLevel::Warn, "{line:#?}");
        assert!(
            exit_status(&lines)
                >= match level {
                    CheckLevel::Fail => 2,
                    CheckLevel::Warn => 1,
                    _ => 0,
                }
        );
    }
}

#[test]
fn each_check_is_made_to_complain_once() {
    let complaining = CASES.iter().filter(|(_, level, ..)| *level >= CheckLevel::Warn).map(|c| c.0);
    let complaining: BTreeSet<&str> = complaining.collect();
    assert_eq!(complaining, CHECKS.iter().map(|check| check.id).collect());
}

/// Words that a line of a remedy may begin with: a command, or a `#` remark that a shell ignores.
const COMMANDS: [&str; 30] = [
    "#",
    "chmod",
    "chronyc",
    "crio",
    "curl",
    "df",
    "dnf",
    "rpm",
    "du",
    "echo",
    "grubby",
    "if",
    "journalctl",
    "ls",
    "lsblk",
    "mkdir",
    "mount",
    "mv",
    "oc",
    "printf",
    "restorecon",
    "rm",
    "rpm-ostree",
    "sed",
    "swapoff",
    "swapon",
    "sysctl",
    "systemctl",
    "unset",
    "wasp-agent",
];

#[test]
fn each_line_of_a_remedy_is_a_command() {
    for (id, _, _, change) in CASES {
        let (mut facts, mut settings) = (healthy(), settings());
        change(&mut facts, &mut settings);
        for line in check(&facts, &settings, false).iter().filter(|line| line.id == *id) {
            for command in line.fix.iter().filter(|command| *command != "x") {
                let first = command.split(' ').next().unwrap();
                assert!(COMMANDS.contains(&first), "{id}: {command}");
                assert!(
                    first == "#" || !command.contains(", then") && !command.ends_with([',', ':']),
                    "{id}: {command}"
                );
            }
        }
    }
}

#[test]
fn brief_asks_nobody_and_leaves_out_what_the_agent_sees_to() {
    let mut facts = healthy();
    facts.bus = Asked::NotAsked("no");
    facts.api = Asked::NotAsked("no");
    facts.swap.provisioning = Asked::NotAsked("no");
    let lines = check(&facts, &settings(), true);
    assert!(lines.iter().all(|line| line.level == CheckLevel::Ok), "{lines:#?}");
    assert!(lines.len() > 15 && lines.iter().all(|line| line.id != "hook-installed"));
}

#[test]
fn of_a_folder_only_files_are_judged() {
    let mut facts = healthy();
    facts.live = false;
    facts.kernel.controllers = None;
    let lines = check(&facts, &settings(), false);
    let level = |id: &str| lines.iter().find(|line| line.id == id).unwrap().level;
    assert_eq!(
        (level("cgroup-v2"), level("kubelet-fail-swap-on")),
        (CheckLevel::Skip, CheckLevel::Ok)
    );
    assert_eq!(exit_status(&lines), 0);
}
