//! What the kubelet counts as the node's swap. It reads that once, when it starts, and LimitedSwap is a
//! share of it: swap that came later counts for the kubelet only after its restart.

use std::time::Duration;

use crate::model::{host::Monotonic, swap::human_bytes};

/// A kubelet that has started tells the API server its swap within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// The swap as the kubelet counts it, as far as it can be known.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubeletSwap {
    /// The process of the kubelet, whether there is one; `None` before the first look.
    process: Option<Option<u32>>,
    /// When this process was first seen; `None` for one that was there before the agent.
    noticed: Option<Monotonic>,
    /// All swap of the node at that moment.
    was_on: u64,
    /// `status.nodeInfo.swap.capacity` of the Node (Kubernetes 1.34 and later).
    told: Option<u64>,
}

impl KubeletSwap {
    /// The kubelet that runs, by its process ID; the node's swap is `swap_bytes` now.
    pub fn kubelet_is(&mut self, process: Option<u32>, swap_bytes: u64, now: Monotonic) {
        if self.process == Some(process) {
            return;
        }
        let noticed = self.process.map(|_| now);
        *self = Self { process: Some(process), noticed, was_on: swap_bytes, told: None };
    }

    /// What the Node has told of its swap just now.
    pub fn node_tells(&mut self, bytes: Option<u64>, now: Monotonic) {
        let is_of_this_kubelet = self.noticed.is_none_or(|at| now.since(at) >= TOLD_WITHIN);
        if is_of_this_kubelet && bytes.is_some() {
            self.told = bytes;
        }
    }

    /// In bytes, and whether that is certain. `node_bytes` is all swap of the node now.
    pub fn bytes(&self, node_bytes: u64) -> (u64, bool) {
        match (self.told, self.process.flatten()) {
            (Some(told), _) => (told, true),
            (None, Some(_)) => (self.was_on, false),
            (None, None) => (node_bytes, false),
        }
    }

    /// What there is to report where the kubelet grants.
    pub fn is_outdated(&self, node_bytes: u64) -> Option<String> {
        let (counted, _) = self.bytes(node_bytes);
        (counted != node_bytes).then(|| {
            format!(
                "the kubelet counts {} of swap, the node has {}: the kubelet reads it only when \
                 it starts, and sets limits from that value; restart the kubelet (systemctl \
                 restart kubelet)",
                human_bytes(counted),
                human_bytes(node_bytes)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn swap_that_comes_later_does_not_count_until_the_kubelet_restarts() {
        let mut swap = KubeletSwap::default();
        assert_eq!(swap.bytes(GIB), (GIB, false));
        swap.kubelet_is(None, GIB, at(0));
        assert_eq!(swap.bytes(2 * GIB), (2 * GIB, false), "no kubelet is seen");
        swap.kubelet_is(Some(7), 0, at(10));
        assert_eq!(swap.bytes(GIB), (0, false));
        swap.kubelet_is(Some(7), GIB, at(20));
        assert_eq!(swap.bytes(GIB), (0, false));
        let text = swap.is_outdated(GIB).unwrap();
        assert!(text.contains("counts 0 B of swap, the node has 1.0 GiB"), "{text}");
        swap.kubelet_is(Some(9), GIB, at(30));
        assert_eq!(swap.bytes(GIB), (GIB, false));
        assert_eq!(swap.is_outdated(GIB), None);
    }

    #[test]
    fn the_node_knows_best_but_not_of_a_kubelet_that_has_just_started() {
        let mut swap = KubeletSwap::default();
        swap.kubelet_is(Some(7), GIB, at(0));
        swap.node_tells(None, at(1));
        assert_eq!(swap.bytes(GIB), (GIB, false));
        swap.node_tells(Some(0), at(1));
        assert_eq!(swap.bytes(GIB), (0, true), "it was there before the agent");
        swap.kubelet_is(Some(9), GIB, at(100));
        swap.node_tells(Some(0), at(130));
        assert_eq!(swap.bytes(GIB), (GIB, false), "that may be of the kubelet before");
        swap.node_tells(Some(GIB / 2), at(160));
        assert_eq!(swap.bytes(GIB), (GIB / 2, true));
    }
}
