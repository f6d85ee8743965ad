//! Finds other programs that do the agent's work on this node, by their files: OpenShift's own
//! swap, and the wasp-agent DaemonSet.
//!
//! Source: virt-platform-autopilot (MachineConfig `90-worker-swap-online`), OpenShift
//! Virtualization's documents on higher VM density.

use std::{fs, path::Path};

use super::{
    disks::device_number,
    node::{memory, swap_devices},
    swap::{area::swap_header, unescaped},
    units,
};
use crate::{
    model::rivals::{Job, Rival, Who},
    roots::Roots,
};

/// A directory for each pod of this node, `NAMESPACE_NAME_UID`, with a subdirectory for each
/// container. The kubelet creates it before it starts a container, and removes it with the pod.
const POD_LOGS: &str = "/var/log/pods";

/// Its opt-in asset `90-worker-file-based-swap-provisioning`. The DaemonSet's MachineConfig has a unit
/// of the same name.
const PROVISIONER: &str = "swap-provision.service";
/// The program of that unit; its argument is memoryOvercommitPercentage.
const PROVISIONER_PROGRAM: &str = "kubevirt-provision-file-swap.sh";

/// Units, drop-ins of units, and files by their absolute path.
const RIVALS: [(&str, Job, &str); 12] = [
    (
        "swap-disk-enable.service",
        Job::Swap,
        "switches on the partition with the label OCPSWAP, priority 100",
    ),
    (
        "ocpswap-file-enable.service",
        Job::Swap,
        "switches on the swapfile ocpswap.file below /var, priority 10",
    ),
    (PROVISIONER, Job::Swap, "creates the swapfile /var/tmp/ocpswap.file at boot"),
    (
        "kubevirt-tune-watermarks.service",
        Job::Watermarks,
        "sets vm.watermark_scale_factor at boot, from the kubelet's evictionHard",
    ),
    (
        "kubevirt-io-latency-setup.service",
        Job::Slices,
        "sets I/O latency targets of system.slice (5 ms) and kubepods.slice (50 ms)",
    ),
    (
        "remove-swap-for-burstable-hook.service",
        Job::Cleanup,
        "removes the OCI hook of the wasp-agent DaemonSet",
    ),
    (
        "remove-oci-hook-swap.service",
        Job::Cleanup,
        "removes the script of the wasp-agent DaemonSet's hook",
    ),
    (
        "system.slice.d/10-kubevirt-protect.conf",
        Job::Slices,
        "sets MemorySwapMax=0, IOWeight=800 and CPUWeight=800 of system.slice",
    ),
    (
        "kubepods.slice.d/10-kubevirt-io-priority.conf",
        Job::Slices,
        "sets IOWeight=100 of kubepods.slice",
    ),
    (
        "/run/systemd/system/system.slice.d/20-io-latency.conf",
        Job::Slices,
        "sets the I/O latency target of system.slice",
    ),
    (
        "/run/systemd/system/kubepods.slice.d/20-io-latency.conf",
        Job::Slices,
        "sets the I/O latency target of kubepods.slice",
    ),
    (
        "/etc/openshift/kubelet.conf.d/90-swap.conf",
        Job::Kubelet,
        "sets failSwapOn: false and swapBehavior: LimitedSwap",
    ),
];

/// The name of the autopilot's swapfile, which is in /var/tmp, or in /var in older versions.
const SWAPFILE: &str = "ocpswap.file";

/// Returns all that exist, are not masked, and have an effect on this node.
pub fn rivals(roots: &Roots) -> Vec<Rival> {
    let found = RIVALS.iter().filter_map(|(name, job, does)| {
        let path = match Path::new(name) {
            path if path.is_absolute() => {
                units::is_in_effect(roots, path).then(|| path.to_owned())?
            }
            _ if name.contains('/') => units::find_drop_in(roots, name)?,
            _ => {
                let unit = units::find(roots, name).filter(|unit| !unit.masked)?;
                let makes = *job != Job::Swap || makes_swap(roots, name, &unit.text);
                makes.then_some(unit.path)?
            }
        };
        Some(Rival { who: Who::Autopilot, path, job: *job, does })
    });
    let mut found: Vec<Rival> = found.collect();
    if !found.iter().any(|rival| rival.job == Job::Swap) {
        found.extend(swapfile_alone(roots));
    }
    found.extend(daemonset(roots));
    found
}

/// Finds the autopilot's swapfile in use where its unit is gone or masked.
fn swapfile_alone(roots: &Roots) -> Option<Rival> {
    let page_bytes = memory(roots).map_or(4096, |node| node.page_bytes);
    let is_ours = |path: &Path| {
        swap_header(roots, path, page_bytes)
            .is_ok_and(|header| header.is_some_and(|header| header.is_ours()))
    };
    let paths = swap_devices(roots).into_iter().map(|on| unescaped(&on.path));
    let path = paths
        .filter(|path| path.file_name().is_some_and(|name| name == SWAPFILE))
        .find(|path| !is_ours(path))?;
    let does = "is the swapfile of virt-platform-autopilot, and is on without a unit of it";
    Some(Rival { who: Who::Autopilot, path, job: Job::Swap, does })
}

/// The autopilot's units for swap are on every node. They do nothing where neither a partition nor a
/// file has been prepared.
fn makes_swap(roots: &Roots, name: &str, text: &str) -> bool {
    if name == PROVISIONER {
        return overcommit(text).is_some_and(|percent| percent > 100);
    }
    let on = swap_devices(roots);
    // The agent's own /dev and /var/tmp are private.
    text.lines().filter_map(|line| line.trim().strip_prefix("ConditionPathExists=/")).all(|path| {
        let path = Path::new("/").join(path);
        roots.path(&path).exists()
            || device_number(roots, &path).is_some()
            || on.iter().any(|on| Path::new(&on.path).file_name() == path.file_name())
    })
}

/// Returns the percentage in the autopilot's unit that makes a swapfile; `None` for another unit.
fn overcommit(unit: &str) -> Option<u32> {
    let (_, percent) = unit.split_once(PROVISIONER_PROGRAM)?;
    percent.split_whitespace().next()?.parse().ok()
}

/// Returns true if the autopilot has installed the unit `swap-provision.service`.
pub(super) fn provisions_file(roots: &Roots) -> bool {
    units::find(roots, PROVISIONER).is_some_and(|unit| unit.text.contains(PROVISIONER_PROGRAM))
}

/// Finds the DaemonSet's pod on this node.
fn daemonset(roots: &Roots) -> Vec<Rival> {
    let is_its = |name: &str| {
        name.split('_').nth(1).is_some_and(|pod| pod.starts_with("wasp-agent-"))
            && roots.path(POD_LOGS).join(name).join("wasp-agent").is_dir()
    };
    let mut found: Vec<Rival> = pod_logs(roots)
        .filter(|name| is_its(name))
        .map(|name| Rival {
            who: Who::DaemonSet,
            path: Path::new(POD_LOGS).join(name),
            job: Job::Limits,
            does: "sets swap limits every 20 s, and installs an OCI hook that removes them at \
                each container start",
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn pod_logs(roots: &Roots) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(roots.path(POD_LOGS)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Returns true if OpenShift Virtualization has its node pod here: its operator may deploy the
/// DaemonSet.
pub fn openshift_virtualization(roots: &Roots) -> bool {
    pod_logs(roots).any(|name| name.starts_with("openshift-cnv_virt-handler-"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::swap_header::SwapHeader;

    const UNITS: &str = "/etc/systemd/system";

    #[test]
    fn openshifts_own_swap_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(rivals(&roots), []);
        let unit = Path::new(UNITS).join("swap-disk-enable.service");
        let drop_in = "/etc/openshift/kubelet.conf.d/90-swap.conf";
        for path in [unit.as_path(), Path::new(drop_in)] {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), "# x\n").unwrap();
        }
        let masked = roots.path(Path::new(UNITS).join("ocpswap-file-enable.service"));
        std::os::unix::fs::symlink("/dev/null", masked).unwrap();
        let found: Vec<_> =
            rivals(&roots).into_iter().map(|rival| (rival.path, rival.job)).collect();
        assert_eq!(found, [(unit, Job::Swap), (drop_in.into(), Job::Kubelet)]);
    }

    #[test]
    fn units_are_found_and_masked_in_all_directories_of_systemd() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let write = |path: &str, text: &str| {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        };
        let found = || -> Vec<_> { rivals(&roots).into_iter().map(|rival| rival.path).collect() };
        let unit = "/run/systemd/system/kubevirt-tune-watermarks.service";
        write(unit, "[Service]\n");
        let drop_in = "/usr/lib/systemd/system/system.slice.d/10-kubevirt-protect.conf";
        write(drop_in, "[Slice]\n");
        assert_eq!(found(), [unit, drop_in].map(PathBuf::from));
        write("/etc/systemd/system/kubevirt-tune-watermarks.service", "");
        write("/run/systemd/system/system.slice.d/10-kubevirt-protect.conf", "");
        write("/etc/openshift/kubelet.conf.d/90-swap.conf", "");
        write("/proc/swaps", "Filename Type Size Used Priority\n/var/ocpswap.file file 8 0 10\n");
        assert_eq!(found(), [PathBuf::from("/var/ocpswap.file")], "masked, but its swap is on");
        let header = SwapHeader::ours(1 << 20, 4096, uuid::Uuid::nil()).unwrap();
        fs::create_dir_all(roots.path("/var")).unwrap();
        fs::write(roots.path("/var/ocpswap.file"), header.to_page(4096)).unwrap();
        assert_eq!(found(), Vec::<PathBuf>::new(), "the agent's own, at that path");
    }

    /// Source: virt-platform-autopilot, `90-worker-swap-online` and
    /// `90-worker-file-based-swap-provisioning`.
    #[test]
    fn a_unit_without_a_partition_or_file_makes_no_swap() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        };
        let unit = |name: &str| Path::new(UNITS).join(name);
        let units = || -> Vec<_> { rivals(&roots).into_iter().map(|r| r.path).collect() };
        let condition = "[Unit]\nConditionFirstBoot=no\nConditionPathExists=";
        let (disk, file) = (unit("swap-disk-enable.service"), unit("ocpswap-file-enable.service"));
        write(&disk, &format!("{condition}/dev/disk/by-partlabel/OCPSWAP\n"));
        write(&file, &format!("{condition}/var/tmp/ocpswap.file\n"));
        assert_eq!(units(), Vec::<PathBuf>::new());
        write(Path::new("/dev/disk/by-partlabel/OCPSWAP"), "");
        assert_eq!(units(), [disk]);
        fs::remove_file(roots.path("/dev/disk/by-partlabel/OCPSWAP")).unwrap();
        // Where /var/tmp is private, the file is seen only in /proc/swaps.
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n/var/tmp/ocpswap.file file 1024 0 10\n";
        write(Path::new("/proc/swaps"), swaps);
        assert_eq!(units(), [file]);
        fs::remove_file(roots.path("/proc/swaps")).unwrap();
        let provisioner = unit(PROVISIONER);
        for (percent, makes) in [("150", true), ("100", false)] {
            let start = format!("ExecStart=/usr/local/bin/{PROVISIONER_PROGRAM} {percent}\n");
            write(&provisioner, &format!("[Service]\n{start}"));
            assert_eq!(units(), if makes { vec![provisioner.clone()] } else { vec![] });
            assert!(provisions_file(&roots));
        }
        // The DaemonSet's unit of that name is no part of the autopilot.
        write(&provisioner, "[Service]\nExecStart=/bin/sh -c 'mkswap /var/tmp/swapfile'\n");
        assert_eq!(units(), Vec::<PathBuf>::new());
        assert!(!provisions_file(&roots));
    }

    #[test]
    fn the_daemonsets_pod_is_found_and_the_agents_own_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let make = |pod: &str, container: &str| {
            fs::create_dir_all(roots.path(POD_LOGS).join(pod).join(container)).unwrap();
        };
        make("openshift-monitoring_node-exporter-x7k2p_0a1b", "node-exporter");
        make("vms_wasp-agent-copy_0a1c", "main");
        make("openshift-cnv_wasp-agent_0a1d", "wasp-agent");
        assert_eq!(rivals(&roots), []);
        assert!(!openshift_virtualization(&roots));
        make("openshift-cnv_virt-handler-9dk2c_0a1e", "virt-handler");
        make("openshift-cnv_wasp-agent-tx5lq_0a1f", "wasp-agent");
        assert!(openshift_virtualization(&roots));
        let found: Vec<_> = rivals(&roots).into_iter().map(|r| (r.who, r.job, r.path)).collect();
        let path = Path::new(POD_LOGS).join("openshift-cnv_wasp-agent-tx5lq_0a1f");
        assert_eq!(found, [(Who::DaemonSet, Job::Limits, path)]);
    }
}
