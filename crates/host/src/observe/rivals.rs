//! Finds other programs that do the agent's work on this node, by their files: OpenShift's own
//! swap, and the wasp-agent DaemonSet.
//!
//! Source: virt-platform-autopilot (MachineConfig `90-worker-swap-online`), OpenShift
//! Virtualization's documents on higher VM density.

use std::{fs, path::Path};

use crate::{
    model::rivals::{Job, Rival, Who},
    roots::Roots,
};

/// A folder for each pod of this node, `NAMESPACE_NAME_UID`, with a subfolder for each container.
/// The kubelet creates it before it starts a container, and removes it with the pod.
const POD_LOGS: &str = "/var/log/pods";
const UNITS: &str = "/etc/systemd/system";

/// Files below one of the unit folders, or with an absolute path.
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

/// Returns all that exist and are not masked.
pub fn rivals(roots: &Roots) -> Vec<Rival> {
    let found = RIVALS.iter().filter_map(|(name, job, does)| {
        let path = Path::new(UNITS).join(name);
        let place = roots.path(&path);
        let masked = fs::read_link(&place).is_ok_and(|target| target == Path::new("/dev/null"));
        let there = !masked && place.symlink_metadata().is_ok();
        there.then_some(Rival { who: Who::Autopilot, path, job: *job, does })
    });
    found.chain(daemonset(roots)).collect()
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
