//! The swap limit of a pod's own cgroup. Memory that outlives a container stays charged to it: shared
//! memory in the pod's IPC namespace, files of an emptyDir whose medium is memory. Without a limit
//! there, a pod collects as much of it as it has restarts.
//!
//! Source: `AggregateContainerRequests` in `k8s.io/component-helpers/resource`: which containers of a
//! pod run together.

use super::grant::{Grant, Reason, grant, none, pod_denied};
use crate::{
    config::settings::GrantSettings,
    model::{
        host::NodeMemory,
        pod::{ContainerKind, Pod},
        swap::SwapMax,
    },
};

/// The most that containers of `pod` that run together are granted.
pub fn pod_grant(settings: &GrantSettings, node: &NodeMemory, pod: Option<&Pod>) -> Grant {
    let Some(pod) = pod else { return none(Reason::UnknownPod) };
    if let Some(reason) = pod_denied(settings, pod) {
        return none(reason);
    }
    let swap_max = together(pod, |container| grant(settings, node, pod, container).swap_max);
    Grant { swap_max, reason: Reason::Together }
}

/// The regular containers and all sidecars, or an init container and the sidecars before it,
/// whichever is more.
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
