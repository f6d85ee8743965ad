//! Pods that run and yet are not seen.

use std::{collections::BTreeSet, path::PathBuf};

use crate::model::pod::{ContainerKind, Pod, PodUid, Pods};

/// Pods that run, as the API server says, and have no container's cgroup.
pub fn without_cgroup(pods: &Pods, has_cgroup: impl Fn(&PodUid) -> bool) -> BTreeSet<PodUid> {
    let lost = pods.values().filter(|pod| runs(pod) && !has_cgroup(&pod.uid));
    lost.map(|pod| pod.uid.clone()).collect()
}

/// Whether a container of it has been started and should be there.
pub fn runs(pod: &Pod) -> bool {
    let lasting = |kind| matches!(kind, ContainerKind::Regular | ContainerKind::Sidecar);
    !pod.finished
        && !pod.is_terminating()
        && pod.containers.iter().any(|of| lasting(of.kind) && of.id.is_some())
}

/// For a sentence.
pub fn lost_pods(count: usize, places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    let pods = if count == 1 { "pod has" } else { "pods have" };
    format!(
        "{count} running {pods} no cgroup below {}: no limit is set or compared there; compare \
         cgroupRoot and --cgroup-root of the kubelet",
        places.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{fixtures::pod, model::pod::ContainerId};

    #[test]
    fn a_running_pod_without_a_cgroup_is_lost() {
        let mut one = pod("a", &["1 - 1Gi -"]);
        one.containers[0].id = ContainerId::new(&"a".repeat(64));
        let lost = |pod: &Pod, seen: bool| {
            let pods = [(pod.uid.clone(), Arc::new(pod.clone()))].into();
            without_cgroup(&pods, |_| seen).len()
        };
        assert_eq!((lost(&one, false), lost(&one, true)), (1, 0));
        let finished = Pod { finished: true, ..one.clone() };
        assert_eq!(lost(&finished, false), 0);
        let mut waiting = one.clone();
        waiting.containers[0].id = None;
        assert_eq!(lost(&waiting, false), 0, "it has not started yet");
        let said = lost_pods(3, &["kubepods.slice".into(), "kubepods".into()]);
        assert!(said.starts_with("3 running pods have no cgroup below kubepods.slice or kubepods"));
    }
}
