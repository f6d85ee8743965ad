//! A pod's memory request, and the time in which it must end.

use crate::model::{
    clock::UnixTime,
    pod::{Container, ContainerKind, Pod},
    quantity::Quantity,
};

/// Returns the seconds until the pod must end, after an eviction or since its deletion began.
pub(crate) fn ends_within(pod: &Pod, now: UnixTime) -> u64 {
    match pod.deletion_deadline {
        Some(deadline) => deadline.since(now).as_secs(),
        None => pod.grace_seconds,
    }
}

/// Returns the pod's memory request in bytes, as the kubelet computes it: the pod-level request if
/// there is one, else the most that its containers request at the same time; plus the overhead of
/// its runtime class.
///
/// Source: `GetResourceRequestQuantity` of the kubelet, `PodRequests` of component-helpers.
pub(crate) fn request(pod: &Pod) -> u64 {
    let whole = pod.resources.and_then(|resources| resources.requests.memory).and_then(bytes);
    let request = whole.unwrap_or_else(|| {
        at_most_together(pod, |container| {
            container.effective().requests.memory.and_then(bytes).unwrap_or(0)
        })
    });
    // The kubelet adds no overhead to a request of 0.
    let overhead = pod.overhead.and_then(bytes).filter(|_| request > 0);
    request.saturating_add(overhead.unwrap_or(0))
}

/// Returns the largest sum of `amount` over containers of the pod that run at the same time: the
/// regular containers and the sidecars, or an init container and the sidecars that start before it.
fn at_most_together(pod: &Pod, amount: impl Fn(&Container) -> u64) -> u64 {
    let (mut regular, mut sidecars, mut most) = (0_u64, 0_u64, 0_u64);
    // The containers are in the order of the spec.
    for container in &pod.containers {
        let amount = amount(container);
        match container.kind {
            ContainerKind::Regular => regular = regular.saturating_add(amount),
            ContainerKind::Sidecar => sidecars = sidecars.saturating_add(amount),
            ContainerKind::Init => most = most.max(sidecars.saturating_add(amount)),
            ContainerKind::Ephemeral => {}
        }
        most = most.max(sidecars);
    }
    most.max(regular.saturating_add(sidecars))
}

pub(super) fn bytes(quantity: Quantity) -> Option<u64> {
    u64::try_from(quantity.value()).ok()
}
