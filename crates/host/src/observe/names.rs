//! Parses the names of cgroups, for both cgroup drivers and the conventions of several runtimes.
//!
//! Source: kubelet `pkg/kubelet/cm/cgroup_manager_linux.go` and `pod_container_manager_linux.go`;
//! the scopes of CRI-O, containerd and cri-dockerd.

use std::sync::Arc;

use crate::model::{
    host::Manager,
    pod::{ContainerId, PodUid},
};

/// The kind of a cgroup below `kubepods`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    QosClass,
    Pod(PodUid),
    Other,
}

/// The kind of a cgroup inside a pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InPod {
    Container(ContainerId, Manager),
    /// CRI-O's monitor, with `conmon_cgroup = "pod"`.
    Monitor(ContainerId, Manager),
    Other,
}

/// Classifies `name`, a child of `kubepods` or of a QoS class's cgroup.
pub fn below_kubepods(name: &str) -> Below {
    match below_root(name) {
        "kubepods-burstable.slice" | "kubepods-besteffort.slice" | "burstable" | "besteffort" => {
            Below::QosClass
        }
        name => pod_uid(name).map_or(Below::Other, Below::Pod),
    }
}

/// Returns a slice's name without the slices above `kubepods` (`cgroupRoot`).
fn below_root(name: &str) -> &str {
    match name.find("-kubepods-") {
        Some(at) if name.ends_with(".slice") => &name[at + 1..],
        _ => name,
    }
}

/// Recognizes the name of a QoS class's cgroup under any root.
pub fn is_burstable(name: &str) -> bool {
    matches!(below_root(name), "burstable" | "kubepods-burstable.slice")
}

fn pod_uid(name: &str) -> Option<PodUid> {
    if let Some(uid) = name.strip_prefix("pod") {
        return PodUid::new(uid);
    }
    let inner = name.strip_prefix("kubepods-")?.strip_suffix(".slice")?;
    let uid = ["", "burstable-", "besteffort-"]
        .iter()
        .find_map(|class| inner.strip_prefix(class)?.strip_prefix("pod"))?;
    // systemd nests slices at '-', so the kubelet writes '_' instead.
    (!uid.contains('-')).then(|| PodUid::new(&uid.replace('_', "-")))?
}

/// Classifies `name`, a child of a pod's cgroup.
pub fn in_pod(name: &str) -> InPod {
    let (stem, manager) = match name.strip_suffix(".scope") {
        Some(stem) => (stem, Manager::Systemd(Arc::from(name))),
        None => (name, Manager::Cgroupfs),
    };
    if let Some(id) = stem.strip_prefix("crio-conmon-") {
        return ContainerId::new(&format!("conmon{id}"))
            .map_or(InPod::Other, |id| InPod::Monitor(id, manager));
    }
    let id = ["crio-", "cri-containerd-", "docker-"]
        .iter()
        .find_map(|prefix| stem.strip_prefix(prefix))
        .or((manager == Manager::Cgroupfs).then_some(stem));
    id.and_then(ContainerId::new).map_or(InPod::Other, |id| InPod::Container(id, manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "9192cfa8-679c-444e-9bb8-9701e3620c02";
    const ID: &str = "6506db16ea97b09bdd2aa6ac6c3ca21e670f69b0e2233c99eafaebd597e53728";

    #[test]
    fn pods_are_found_under_both_drivers() {
        let underscored = UID.replace('-', "_");
        for name in [
            format!("kubepods-burstable-pod{underscored}.slice"),
            format!("kubepods-besteffort-pod{underscored}.slice"),
            format!("kubepods-pod{underscored}.slice"),
            format!("pod{UID}"),
            format!("kubelet-kubepods-burstable-pod{underscored}.slice"),
            format!("a-b-kubepods-pod{underscored}.slice"),
        ] {
            assert_eq!(below_kubepods(&name), Below::Pod(PodUid::new(UID).unwrap()), "{name}");
        }
        // A static pod's UID is a hash.
        let hash = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        assert_eq!(
            below_kubepods(&format!("kubepods-burstable-pod{hash}.slice")),
            Below::Pod(PodUid::new(hash).unwrap())
        );
        for name in [
            "kubepods-burstable.slice",
            "kubepods-besteffort.slice",
            "burstable",
            "besteffort",
            "kubelet-kubepods-burstable.slice",
        ] {
            assert_eq!(below_kubepods(name), Below::QosClass, "{name}");
        }
        for name in [
            "",
            "cgroup.procs",
            "kubepods-podx.slice",
            "kubepods-burstable-pod../..slice",
            "pod",
            "podium",
            "system.slice",
        ] {
            assert_eq!(below_kubepods(name), Below::Other, "{name}");
        }
    }

    #[test]
    fn containers_are_found_by_every_runtimes_name() {
        let id = ContainerId::new(ID).unwrap();
        for prefix in ["crio-", "cri-containerd-", "docker-"] {
            let name = format!("{prefix}{ID}.scope");
            let manager = Manager::Systemd(name.as_str().into());
            assert_eq!(in_pod(&name), InPod::Container(id.clone(), manager));
        }
        for name in [format!("crio-{ID}"), ID.to_owned()] {
            assert_eq!(in_pod(&name), InPod::Container(id.clone(), Manager::Cgroupfs), "{name}");
        }
        let monitor = format!("crio-conmon-{ID}.scope");
        assert!(matches!(in_pod(&monitor), InPod::Monitor(..)));
        for name in [
            "",
            "memory.max",
            "crio-.scope",
            "crio-a/b.scope",
            "other-123456789012.scope",
            &format!("{ID}.scope"),
        ] {
            assert_eq!(in_pod(name), InPod::Other, "{name}");
        }
    }
}
