//! Checks of cgroups, io.latency, pressure, zswap, tmpfs and systemd-oomd.

use super::{CheckOutcome, answered, fail, ok, skip, warn};
use crate::{
    config::settings::{ProtectionSettings, ReclaimMode, Settings, SwapKind},
    decide::{
        protection::{Swap, oomd_in, oomd_remedy, oomd_shown, oomd_unknown, protection},
        remedy::{boot_with, boot_without, set},
    },
    model::{
        check::{Asked, BusFacts, HostFacts},
        protection::SliceFacts,
        swap::SwapControl,
        system::System,
    },
};

/// The first Linux release with tmpfs `noswap`; the kubelet uses the same version.
const NOSWAP_SINCE: (u32, u32) = (6, 4);

/// Sets `kernel.zswap`, which takes effect when the swap is provisioned.
fn set_zswap(facts: &HostFacts, value: &str) -> Vec<String> {
    let value = format!("{value:?}");
    let mut lines = set(&facts.origins, "zswap", &[("kernel.zswap", &value)]);
    lines.push("systemctl restart wasp-swap".to_owned());
    lines
}

pub(super) fn cgroup_v2(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.kernel.controllers {
        Some(_) => ok("mounted at /sys/fs/cgroup"),
        None => fail("not mounted at /sys/fs/cgroup", [])
            .with(boot_with(&facts.system, "systemd.unified_cgroup_hierarchy=1")),
    }
}

pub(super) fn swap_controller(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match facts.kernel.swap_control {
        SwapControl::Works => ok("the kernel counts and limits swap for each cgroup"),
        control @ SwapControl::NoMemoryController => {
            fail("the kernel has no memory controller for cgroup v2", [])
                .with(swap_control_remedy(&facts.system, control))
        }
        control @ SwapControl::NotCounted => {
            fail("the kernel does not count swap for cgroups: there is no memory.swap.max", [])
                .with(swap_control_remedy(&facts.system, control))
        }
        SwapControl::Unknown => skip("no cgroup has a memory controller yet"),
    }
}

/// Returns the commands that make the kernel count and limit swap.
pub fn swap_control_remedy(system: &System, control: SwapControl) -> Vec<String> {
    match control {
        SwapControl::NoMemoryController => boot_without(system, "cgroup_disable=memory"),
        SwapControl::NotCounted => boot_without(system, "swapaccount=0"),
        SwapControl::Works | SwapControl::Unknown => vec!["wasp-agent check".to_owned()],
    }
}

pub(super) fn controllers_kubepods(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.kernel.kubepods {
        Some((name, controllers)) => controllers_of(facts, name, Some(controllers)),
        None => skip("no kubepods cgroup: the kubelet has not started yet"),
    }
}

pub(super) fn controllers_slices(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let outcomes = facts
        .kernel
        .slices
        .iter()
        .map(|(slice, controllers)| controllers_of(facts, &slice.unit, controllers.as_ref()));
    // The worst outcome counts.
    outcomes
        .reduce(|a, b| if b.level > a.level { b } else { a })
        .unwrap_or_else(|| skip("protection.protected-slices is empty"))
}

/// systemd and the kubelet enable controllers where they need them, if the kernel has them.
fn controllers_of(facts: &HostFacts, name: &str, here: Option<&Vec<String>>) -> CheckOutcome {
    let Some(offered) = &facts.kernel.controllers else {
        return skip("no cgroup v2");
    };
    let Some(here) = here else { return skip(format!("no cgroup {name}")) };
    let offers = |controller: &str| offered.iter().any(|c| c == controller);
    let has = |controller: &str| here.iter().any(|c| c == controller);
    let unit = if name.ends_with(".slice") {
        name.rsplit('/').next().unwrap_or(name)
    } else {
        "kubepods.slice"
    };
    match () {
        () if facts.kernel.swap_control == SwapControl::NoMemoryController => {
            skip("the kernel offers no memory controller (swap-controller)")
        }
        () if !offers("memory") => fail("the kernel offers no memory controller", [])
            .with(boot_without(&facts.system, "cgroup_disable=memory")),
        () if !has("memory") => fail(
            format!("{name} has no memory controller"),
            [&format!("systemctl set-property {unit} MemoryAccounting=yes")],
        ),
        () if !offers("io") => warn("the kernel offers no io controller (CONFIG_BLK_CGROUP)", [])
            .with(boot_without(&facts.system, "cgroup_disable=io")),
        () if !has("io") => {
            ok(format!("{name}: memory; io follows with the agent's latency target"))
        }
        () => ok(format!("{name}: memory, io")),
    }
}

pub(super) fn io_latency(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    if settings.protection.io_latency_target.is_none() {
        return skip("protection.io-latency-target-ms = 0");
    }
    let slices = &facts.kernel.slices;
    let has_file = slices.iter().any(|(slice, _)| slice.io_latency.is_some());
    let has_io = |controllers: &Option<Vec<String>>| {
        controllers.as_ref().is_some_and(|controllers| controllers.iter().any(|c| c == "io"))
    };
    // Where the io controller is enabled, a missing file means that the kernel lacks io.latency.
    let lacks_file = slices.iter().any(|(s, c)| s.io_latency.is_none() && has_io(c));
    match (has_file, lacks_file, facts.kernel.io_latency) {
        (true, ..) | (_, false, Some(true)) => ok("the kernel has io.latency"),
        (_, true, _) | (_, _, Some(false)) => {
            let keys = [("protection.io-latency-target-ms", "0")];
            let fix = ["systemctl set-property system.slice IOWeight=1000".to_owned()]
                .into_iter()
                .chain(set(&facts.origins, "io-latency", &keys))
                .chain(["# or boot a kernel that has it, such as RHEL's".to_owned()]);
            warn("this kernel has no io.latency (CONFIG_BLK_CGROUP_IOLATENCY)", [])
                .with(fix.collect())
        }
        (_, _, None) => skip(
            "the kernel's configuration cannot be read, and no slice has the io controller yet",
        ),
    }
}

pub(super) fn protection_in_force(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let slices = &facts.kernel.slices;
    if slices.is_empty() {
        return skip("protection.protected-slices is empty");
    }
    if facts.kernel.controllers.is_none() {
        return skip("no cgroup v2");
    }
    let started = match &facts.bus {
        Asked::Answered(bus) => is_active(bus, "wasp-agent.service"),
        Asked::NotAsked(_) | Asked::Failed(_) => facts.hook.published,
    };
    let missing: Vec<String> =
        slices.iter().filter_map(|(slice, _)| lacks(facts, settings, slice)).collect();
    match missing.join("; ") {
        none if none.is_empty() => {
            let units: Vec<&str> = slices.iter().map(|(slice, _)| &*slice.unit).collect();
            ok(format!("{} cannot swap", units.join(", ")))
        }
        _ if !started => skip("the agent sets it when it starts"),
        missing => warn(missing, ["systemctl restart wasp-agent"]),
    }
}

/// Another check reports a kernel without io.latency.
fn lacks(facts: &HostFacts, settings: &Settings, slice: &SliceFacts) -> Option<String> {
    let target = settings.protection.io_latency_target.filter(|_| slice.io_latency.is_some());
    let settings = ProtectionSettings { io_latency_target: target, ..settings.protection.clone() };
    let missing = protection(&settings, Swap::Denied, &facts.kernel.disks, slice).missing;
    (!missing.is_empty()).then(|| format!("{}: {}", slice.unit, missing.join(", ")))
}

pub(super) fn is_active(bus: &BusFacts, unit: &str) -> bool {
    bus.units.get(unit).is_some_and(|unit| unit.active == "active")
}

pub(super) fn psi(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.kernel.pressure {
        Ok(_) => ok("the kernel measures memory pressure"),
        Err(error) => warn(format!("no pressure stall information: {error}"), [])
            .with(boot_with(&facts.system, "psi=1")),
    }
}

pub(super) fn memory_pressure(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let Ok(node) = facts.kernel.pressure else { return skip("no pressure stall information") };
    // Eviction considers the pods' pressure only: a service that waits is no reason to move a VM.
    let (waits, whose) = match facts.kernel.pods_pressure {
        Some(waits) => (waits, "process of the pods"),
        None => (node, "process"),
    };
    let (full, some) = (waits.full_percent, waits.some_percent);
    let found =
        format!("in the last 10 s some {whose} waited {some:.0} %, all of them {full:.0} %");
    let limits = &settings.eviction.thresholds;
    if full <= limits.max_full_percent && some <= limits.max_some_percent {
        return ok(found);
    }
    let limits = format!("above {} %, {} %", limits.max_some_percent, limits.max_full_percent);
    warn(format!("{found}: {limits}"), ["wasp-agent status", "# then move VMs to other nodes"])
}

pub(super) fn zswap(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let zram = settings.swap.kind == SwapKind::Zram
        || facts.swap.areas.iter().any(|area| area.device.path.starts_with("/dev/zram"));
    let limits_of_reclaim = settings.reclaim.mode != ReclaimMode::Off
        && (settings.reclaim.zswap_max_percent.is_some()
            || settings.reclaim.zswap_writeback.is_some());
    match (facts.kernel.zswap, settings.kernel.zswap) {
        (None, Some(true)) => {
            let or = "# or boot a kernel with CONFIG_ZSWAP".to_owned();
            let fix = set_zswap(facts, "keep").into_iter().chain([or]).collect();
            warn("this kernel has no zswap, and kernel.zswap = \"on\"", []).with(fix)
        }
        (Some(is), Some(wanted)) if is != wanted => warn(
            format!("{}, but kernel.zswap = {}", on(is), on(wanted)),
            ["systemctl restart wasp-swap"],
        ),
        (Some(true), _) if zram => {
            warn("on, and swap is zram: the kernel compresses pages twice", [])
                .with(set_zswap(facts, "off"))
        }
        (None | Some(false), _) if limits_of_reclaim => warn(
            "off, but reclaim.zswap-max-percent or reclaim.zswap-writeback is set, which has an \
             effect only with zswap",
            [],
        )
        .with(set_zswap(facts, "on")),
        (None, _) => ok("the kernel has no zswap"),
        (Some(is), _) => ok(on(is)),
    }
}

fn on(is: bool) -> &'static str {
    if is { "on" } else { "off" }
}

pub(super) fn tmpfs_noswap(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let fix = [
        "# encrypt the swap: /usr/share/doc/wasp-agent/docs/swap.md",
        "# or boot Linux 6.4 or later: the kubelet then mounts tmpfs with noswap",
    ];
    let encrypted = !facts.swap.areas.is_empty()
        && facts.swap.areas.iter().all(|area| area.encrypted || area.in_ram);
    match (facts.kernel.pod_tmpfs, facts.kernel.release.as_deref().and_then(version)) {
        ((_, 1..), _) | ((0, _), None) if encrypted => ok("swap is encrypted or in RAM"),
        ((all, swappable @ 1..), _) => warn(
            format!("tmpfs volumes of pods that the kernel may swap: {swappable} of {all}"),
            fix,
        ),
        ((all @ 1.., 0), _) => {
            ok(format!("the kernel swaps no tmpfs volume of pods ({all} found)"))
        }
        (_, Some(version)) if version >= NOSWAP_SINCE => ok("the kernel supports it"),
        (_, Some((major, minor))) => skip(format!(
            "no pod has a tmpfs volume, and Linux {major}.{minor} may or may not support it"
        )),
        (_, None) => skip("no pod has a tmpfs volume, and the kernel's version cannot be read"),
    }
}

/// Parses the version in a kernel release: `6.12` in `6.12.0-55.el10.x86_64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn systemd_bus(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.bus {
        Asked::Answered(_) => ok("systemd answers"),
        Asked::NotAsked(why) => skip(*why),
        Asked::Failed(why) => fail(why.clone(), ["systemctl start dbus.socket"]),
    }
}

pub(super) fn systemd_oomd(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let bus = match answered(&facts.bus) {
        Ok(bus) => bus,
        Err(outcome) => return outcome,
    };
    match (&bus.oomd.kills[..], &bus.oomd.unknown) {
        ([], None) => ok("kills no pods"),
        ([], Some((slices, why))) => {
            warn(oomd_unknown(slices, why), []).with([oomd_shown(slices)].into())
        }
        (slices, _) => warn(format!("kills pods in {} when memory is short", oomd_in(slices)), [])
            .with(oomd_remedy(slices)),
    }
}
