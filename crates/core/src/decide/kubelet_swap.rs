//! Tracks the swap that the kubelet counts. The kubelet reads the node's swap once, when it starts,
//! and LimitedSwap grants shares of that: swap added later counts only after a restart of the
//! kubelet.

use std::time::Duration;

use crate::model::{clock::SinceStart, swap::human_bytes};

/// A kubelet reports its swap to the API server within this time after its start.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// The swap that the kubelet counts, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubeletSwap {
    /// PID of the kubelet, or `Some(None)` if none runs; `None` before the first look.
    process: Option<Option<u32>>,
    /// The time at which this process was first seen; `None` if it started before the agent.
    noticed: Option<SinceStart>,
    /// All swap of the node at that moment, in bytes.
    was_on: u64,
    /// `status.nodeInfo.swap.capacity` of the Node (Kubernetes 1.34 and later), in bytes.
    told: Option<u64>,
}

impl KubeletSwap {
    /// Records the PID of the running kubelet; `swap_bytes` is the node's swap now.
    pub fn kubelet_is(&mut self, process: Option<u32>, swap_bytes: u64, now: SinceStart) {
        if self.process == Some(process) {
            return;
        }
        let noticed = self.process.map(|_| now);
        *self = Self { process: Some(process), noticed, was_on: swap_bytes, told: None };
    }

    /// Records the swap that the Node object reports now.
    pub fn node_tells(&mut self, bytes: Option<u64>, now: SinceStart) {
        let is_of_this_kubelet = self.noticed.is_none_or(|at| now.since(at) >= TOLD_WITHIN);
        if is_of_this_kubelet && bytes.is_some() {
            self.told = bytes;
        }
    }

    /// Returns the bytes, and true if they are certain. `node_bytes` is all swap of the node now.
    pub fn bytes(&self, node_bytes: u64) -> (u64, bool) {
        match (self.told, self.process.flatten()) {
            (Some(told), _) => (told, true),
            (None, Some(_)) => (self.was_on, false),
            (None, None) => (node_bytes, false),
        }
    }

    /// Describes the problem if the kubelet sets the limits and counts less swap than the node has.
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

    fn at(seconds: u64) -> SinceStart {
        SinceStart(Duration::from_secs(seconds))
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
