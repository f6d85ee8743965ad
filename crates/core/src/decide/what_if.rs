//! Computes the effect of another overcommit percentage, for `wasp-agent plan
//! --overcommit-percent`.

use serde::Serialize;

use super::{
    grant::{grant, swap_for_pods},
    provision::wanted_bytes,
};
use crate::{
    config::settings::{GrantSettings, Settings, SwapSize},
    model::{
        host::NodeMemory,
        pod::{ContainerKind, Pods},
        quantity::Quantity,
        swap::SwapMax,
    },
};

/// A container's grant now and with the other percentage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GrantChange {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub memory_request: Option<Quantity>,
    pub now: SwapMax,
    pub then: SwapMax,
    /// The grant that the kubelet's LimitedSwap would give of the same swap: without `eligibility`,
    /// `policy` and `system-reserved-percent`.
    pub limited_swap: SwapMax,
}

/// The effect of the other percentage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhatIf {
    pub overcommit_percent: u64,
    pub ram_bytes: u64,
    pub swap_bytes_now: u64,
    pub swap_bytes_then: u64,
    /// The part of `swap_bytes_then` that is not the agent's and would stay.
    pub others_bytes: u64,
    pub for_pods_bytes_now: u64,
    pub for_pods_bytes_then: u64,
    pub containers: Vec<GrantChange>,
}

/// Returns the settings with that percentage, otherwise unchanged.
pub fn with_percent(settings: &Settings, percent: u64) -> Settings {
    let mut then = settings.clone();
    then.swap.size = SwapSize::Overcommit { percent };
    then
}

/// Computes the grants on a node whose swap has the size for `percent`.
pub fn what_if(settings: &Settings, node: &NodeMemory, pods: &Pods, percent: u64) -> WhatIf {
    let ours_now = wanted_bytes(&settings.swap, node).unwrap_or(0);
    let others_bytes = node.swap_bytes.saturating_sub(ours_now);
    // The header of a swapfile takes a page, which is not other programs' swap.
    let others_bytes = if others_bytes <= node.page_bytes { 0 } else { others_bytes };
    let ours = wanted_bytes(&with_percent(settings, percent).swap, node).unwrap_or(0);
    let then = NodeMemory { swap_bytes: others_bytes.saturating_add(ours), ..*node };
    let kubelets = GrantSettings::LIMITED_SWAP;
    let mut containers = Vec::new();
    for pod in pods.values().filter(|pod| !pod.finished) {
        for container in pod.containers.iter().filter(|c| c.kind != ContainerKind::Ephemeral) {
            let of = |settings, node| grant(settings, node, pod, container).swap_max;
            containers.push(GrantChange {
                namespace: pod.namespace.to_string(),
                pod: pod.name.to_string(),
                container: container.name.to_string(),
                memory_request: container.effective().requests.memory,
                now: of(&settings.grant, node),
                then: of(&settings.grant, &then),
                limited_swap: of(&kubelets, &then),
            });
        }
    }
    containers.sort();
    WhatIf {
        overcommit_percent: percent,
        ram_bytes: node.ram_bytes,
        swap_bytes_now: node.swap_bytes,
        swap_bytes_then: then.swap_bytes,
        others_bytes,
        for_pods_bytes_now: swap_for_pods(&settings.grant, node),
        for_pods_bytes_then: swap_for_pods(&settings.grant, &then),
        containers,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixtures::pod;

    const GIB: u64 = 1 << 30;

    fn pods() -> Pods {
        let pods = [
            pod("vm", &["- - 2Gi 4Gi"]),
            pod("batch", &["- - - -"]),
            pod("sure", &["1 1 1Gi 1Gi"]),
        ];
        pods.into_iter().map(|pod| (pod.uid.clone(), Arc::new(pod))).collect()
    }

    fn node(swap: u64) -> NodeMemory {
        NodeMemory { ram_bytes: 16 * GIB, swap_bytes: swap * GIB, page_bytes: 4096 }
    }

    #[test]
    fn grants_grow_with_the_swap() {
        let mut settings = with_percent(&Settings::defaults(), 150);
        settings.grant.system_reserved_percent = 50;
        let found = what_if(&settings, &node(8), &pods(), 200);
        assert_eq!((found.swap_bytes_then, found.others_bytes), (16 * GIB, 0));
        assert_eq!((found.for_pods_bytes_now, found.for_pods_bytes_then), (4 * GIB, 8 * GIB));
        let of = |name: &str| found.containers.iter().find(|change| change.pod == name).unwrap();
        // 2 of 16 GiB are an eighth: of 4, of 8, and of 16 GiB without the reserved part.
        let vm = of("vm");
        assert_eq!(vm.now, SwapMax::Bytes(GIB / 2));
        assert_eq!(vm.then, SwapMax::Bytes(GIB));
        assert_eq!(vm.limited_swap, SwapMax::Bytes(2 * GIB));
        for name in ["batch", "sure"] {
            assert_eq!((of(name).then, of(name).limited_swap), (SwapMax::ZERO, SwapMax::ZERO));
        }
    }

    #[test]
    fn swap_of_others_stays_and_100_percent_is_none_of_ours() {
        let settings = with_percent(&Settings::defaults(), 150);
        let found = what_if(&settings, &node(11), &pods(), 200);
        assert_eq!((found.swap_bytes_then, found.others_bytes), (19 * GIB, 3 * GIB));
        let none = what_if(&settings, &node(8), &pods(), 100);
        assert_eq!((none.swap_bytes_then, none.for_pods_bytes_then), (0, 0));
        assert!(none.containers.iter().all(|change| change.then == SwapMax::ZERO));
    }
}
