//! OpenShift's own swap on this node, by the files that bring it.
//!
//! Source: virt-platform-autopilot (MachineConfig `90-worker-swap-online`), OpenShift
//! Virtualization's documents on higher VM density.

use std::{fs, path::Path};

use crate::{
    model::rivals::{Job, Rival},
    roots::Roots,
};

const UNITS: &str = "/etc/systemd/system";

/// Below one of the folders of units, or anywhere.
const RIVALS: [(&str, Job, &str); 11] = [
    (
        "swap-disk-enable.service",
        Job::Swap,
        "switches on the partition with the label OCPSWAP, priority 100",
    ),
    (
        "ocpswap-file-enable.service",
        Job::Swap,
        "makes the swapfile ocpswap.file below /var and switches it on, priority 10",
    ),
    (
        "kubevirt-tune-watermarks.service",
        Job::Watermarks,
        "sets vm.watermark_scale_factor at boot, by the kubelet's evictionHard",
    ),
    (
        "kubevirt-io-latency-setup.service",
        Job::Slices,
        "sets IO latency targets of system.slice (5 ms) and kubepods.slice (50 ms)",
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
        "gives system.slice MemorySwapMax=0, IOWeight=800 and CPUWeight=800",
    ),
    (
        "kubepods.slice.d/10-kubevirt-io-priority.conf",
        Job::Slices,
        "gives kubepods.slice IOWeight=100",
    ),
    (
        "/run/systemd/system/system.slice.d/20-io-latency.conf",
        Job::Slices,
        "sets the IO latency target of system.slice",
    ),
    (
        "/run/systemd/system/kubepods.slice.d/20-io-latency.conf",
        Job::Slices,
        "sets the IO latency target of kubepods.slice",
    ),
    (
        "/etc/openshift/kubelet.conf.d/90-swap.conf",
        Job::Kubelet,
        "sets failSwapOn: false and swapBehavior: LimitedSwap",
    ),
];

/// All that there are, but for those that are masked.
pub fn rivals(roots: &Roots) -> Vec<Rival> {
    let found = RIVALS.iter().filter_map(|(name, job, does)| {
        let path = Path::new(UNITS).join(name);
        let place = roots.path(&path);
        let masked = fs::read_link(&place).is_ok_and(|target| target == Path::new("/dev/null"));
        let there = !masked && place.symlink_metadata().is_ok();
        there.then_some(Rival { path, job: *job, does })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openshifts_own_swap_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(rivals(&roots), []);
        let unit = Path::new(UNITS).join("swap-disk-enable.service");
        let drop_in = "/etc/openshift/kubelet.conf.d/90-swap.conf";
        for path in [unit.as_path(), Path::new(drop_in)] {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), "").unwrap();
        }
        let masked = roots.path(Path::new(UNITS).join("ocpswap-file-enable.service"));
        std::os::unix::fs::symlink("/dev/null", masked).unwrap();
        let found: Vec<_> =
            rivals(&roots).into_iter().map(|rival| (rival.path, rival.job)).collect();
        assert_eq!(found, [(unit, Job::Swap), (drop_in.into(), Job::Kubelet)]);
    }
}
