//! Finds running pods whose cgroups the agent does not see.

use crate::model::counted::counted;
use std::{collections::BTreeSet, path::PathBuf};

use crate::model::pod::{ContainerKind, Pod, PodUid, Pods};

/// Returns pods that run according to the API server and have no container's cgroup.
pub fn without_cgroup(pods: &Pods, has_cgroup: impl Fn(&PodUid) -> bool) -> BTreeSet<PodUid> {
    let lost = pods.values().filter(|pod| runs(pod) && !has_cgroup(&pod.uid));
    lost.map(|pod| pod.uid.clone()).collect()
}

/// Returns true if a container of the pod runs, so that its cgroup must exist. A container in
/// CrashLoopBackOff has an ID but does not run, and may have no cgroup for minutes.
pub fn runs(pod: &Pod) -> bool {
    let lasting = |kind| matches!(kind, ContainerKind::Regular | ContainerKind::Sidecar);
    !pod.finished
        && !pod.is_terminating()
        && pod.containers.iter().any(|of| lasting(of.kind) && of.id.is_some() && of.running)
}

/// Describes containers whose cgroups have no `memory.swap.max`.
pub fn without_limit(count: usize) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{} no memory.swap.max: the agent sets and compares no limit there; \
             check that cgroup.subtree_control of the parent cgroups contains memory",
            counted(count, "container has", "containers have")
        )
    })
}

/// Formats the number and the places for a sentence.
pub fn lost_pods(count: usize, places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    format!(
        "{} no cgroup below {}: the agent sets and compares no limit there; \
         check cgroupRoot and --cgroup-root of the kubelet",
        counted(count, "running pod has", "running pods have"),
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
        one.containers[0].running = true;
        let lost = |pod: &Pod, seen: bool| {
            let pods = [(pod.uid.clone(), Arc::new(pod.clone()))].into();
            without_cgroup(&pods, |_| seen).len()
        };
        assert_eq!((lost(&one, false), lost(&one, true)), (1, 0));
        let finished = Pod { finished: true, ..one.clone() };
        assert_eq!(lost(&finished, false), 0);
        let mut crashed = one.clone();
        crashed.containers[0].running = false;
        assert_eq!(lost(&crashed, false), 0, "it waits to be started again");
        let mut waiting = one.clone();
        waiting.containers[0].id = None;
        assert_eq!(lost(&waiting, false), 0, "it has not started yet");
        let said = lost_pods(3, &["kubepods.slice".into(), "kubepods".into()]);
        assert!(said.starts_with("3 running pods have no cgroup below kubepods.slice or kubepods"));
    }
}
