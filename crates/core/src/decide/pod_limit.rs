//! Computes the swap limit of a pod's own cgroup. Memory that outlives a container stays charged to
//! the pod: shared memory in its IPC namespace, files of an emptyDir with medium Memory. Without a
//! limit there, each restart of a container can add more of it.
//!
//! Source: `AggregateContainerRequests` in `k8s.io/component-helpers/resource`, for the containers
//! of a pod that run together.

use super::{
    grant::{Grant, Reason, grant, none, pod_denied},
    wish,
};
use crate::{
    config::settings::GrantSettings,
    model::{
        host::NodeMemory,
        pod::{ContainerKind, Pod},
        swap::SwapMax,
    },
};

/// Returns the largest sum of grants of containers of `pod` that run together.
pub fn pod_grant(settings: &GrantSettings, node: &NodeMemory, pod: Option<&Pod>) -> Grant {
    let Some(pod) = pod else { return none(Reason::UnknownPod) };
    if let Some(reason) = pod_denied(settings, pod) {
        return none(reason);
    }
    let swap_max = together(pod, |container| grant(settings, node, pod, container).swap_max);
    let swap_max = swap_max.min(wish::of_pod(&settings.wishes, pod));
    Grant { swap_max, reason: Reason::Together }
}

/// The sum over the regular containers and all sidecars, or over an init container and the sidecars
/// before it, whichever is larger.
fn together(pod: &Pod, of: impl Fn(&crate::model::pod::Container) -> SwapMax) -> SwapMax {
    let (mut regular, mut sidecars, mut init) = (SwapMax::ZERO, SwapMax::ZERO, SwapMax::ZERO);
    for container in &pod.containers {
        match container.kind {
            ContainerKind::Regular => regular = plus(regular, of(container)),
            ContainerKind::Sidecar => sidecars = plus(sidecars, of(container)),
            ContainerKind::Init => init = init.max(plus(sidecars, of(container))),
            ContainerKind::Ephemeral => {}
        }
    }
    plus(regular, sidecars).max(init)
}

pub(super) fn plus(one: SwapMax, other: SwapMax) -> SwapMax {
    match (one, other) {
        (SwapMax::Bytes(one), SwapMax::Bytes(other)) => SwapMax::Bytes(one.saturating_add(other)),
        _ => SwapMax::Max,
    }
}

#[cfg(test)]
#[path = "pod_limit_tests.rs"]
mod tests;
