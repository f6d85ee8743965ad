//! Tracks the swap and the RAM that the kubelet counts. The kubelet reads both once, when it starts, and
//! LimitedSwap grants shares of that: what is added later counts only after a restart of the kubelet.
//!
//! Source: Kubernetes `pkg/kubelet/kubelet.go` (`setCachedMachineInfo`).

use std::time::Duration;

use crate::model::{clock::SinceStart, host::NodeMemory, swap::human_bytes};

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
    /// The node's RAM at that moment, in bytes.
    had_ram: u64,
    /// `status.nodeInfo.swap.capacity` of the Node (Kubernetes 1.34 and later), in bytes.
    told: Option<u64>,
}

impl KubeletSwap {
    /// Records the PID of the running kubelet; `node` is the node now.
    pub fn kubelet_is(&mut self, process: Option<u32>, node: &NodeMemory, now: SinceStart) {
        if self.process == Some(process) {
            return;
        }
        let noticed = self.process.map(|_| now);
        let (was_on, had_ram) = (node.swap_bytes, node.ram_bytes);
        let process = Some(process);
        *self = Self { process, noticed, was_on, had_ram, told: None };
    }

    /// Records the swap that the Node object reports now.
    pub fn node_tells(&mut self, bytes: Option<u64>, now: SinceStart) {
        let is_of_this_kubelet = self.noticed.is_none_or(|at| now.since(at) >= TOLD_WITHIN);
        if is_of_this_kubelet && bytes.is_some() {
            self.told = bytes;
        }
    }

    /// Returns the RAM that the kubelet counts, in bytes. `node_bytes` is the node's RAM now.
    pub fn ram_bytes(&self, node_bytes: u64) -> u64 {
        self.process.flatten().map_or(node_bytes, |_| self.had_ram)
    }

    /// Returns the bytes, and true if they are certain. `node_bytes` is all swap of the node now.
    pub fn bytes(&self, node_bytes: u64) -> (u64, bool) {
        match (self.told, self.process.flatten()) {
            (Some(told), _) => (told, true),
            (None, Some(_)) => (self.was_on, false),
            (None, None) => (node_bytes, false),
        }
    }

    /// Describes the problem if the kubelet sets the limits and counts other swap or RAM than the node
    /// has.
    pub fn is_outdated(&self, node: &NodeMemory) -> Option<String> {
        let swap = ("swap", self.bytes(node.swap_bytes).0, node.swap_bytes);
        let ram = ("RAM", self.ram_bytes(node.ram_bytes), node.ram_bytes);
        // A balloon may change RAM by less than is shown.
        let shown =
            |(what, counted, has): (_, u64, u64)| (what, human_bytes(counted), human_bytes(has));
        let differs = [swap, ram].map(shown).into_iter().find(|(_, counted, has)| counted != has);
        differs.map(|(what, counted, has)| {
            format!(
                "the kubelet counts {counted} of {what}, the node has {has}: the kubelet reads it only \
                 when it starts, and sets limits from that value; restart the kubelet (systemctl \
                 restart kubelet)"
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
        swap.kubelet_is(None, &node(GIB), at(0));
        assert_eq!(swap.bytes(2 * GIB), (2 * GIB, false), "no kubelet is seen");
        swap.kubelet_is(Some(7), &node(0), at(10));
        assert_eq!(swap.bytes(GIB), (0, false));
        swap.kubelet_is(Some(7), &node(GIB), at(20));
        assert_eq!(swap.bytes(GIB), (0, false));
        let text = swap.is_outdated(&node(GIB)).unwrap();
        assert!(text.contains("counts 0 B of swap, the node has 1.0 GiB"), "{text}");
        swap.kubelet_is(Some(9), &node(GIB), at(30));
        assert_eq!(swap.bytes(GIB), (GIB, false));
        assert_eq!(swap.is_outdated(&node(GIB)), None);
    }

    /// A node with 8 GiB of RAM.
    fn node(swap_bytes: u64) -> NodeMemory {
        NodeMemory { ram_bytes: 8 * GIB, swap_bytes, page_bytes: 4096 }
    }

    #[test]
    fn ram_that_is_added_later_does_not_count_until_the_kubelet_restarts() {
        let grown = NodeMemory { ram_bytes: 16 * GIB, ..node(GIB) };
        let mut swap = KubeletSwap::default();
        assert_eq!(swap.ram_bytes(16 * GIB), 16 * GIB, "no kubelet is seen");
        swap.kubelet_is(Some(7), &node(GIB), at(0));
        swap.kubelet_is(Some(7), &grown, at(10));
        assert_eq!(swap.ram_bytes(grown.ram_bytes), 8 * GIB);
        let text = swap.is_outdated(&grown).unwrap();
        assert!(text.contains("counts 8.0 GiB of RAM, the node has 16.0 GiB"), "{text}");
        swap.kubelet_is(Some(9), &grown, at(30));
        assert_eq!(swap.is_outdated(&grown), None);
    }

    #[test]
    fn the_node_knows_best_but_not_of_a_kubelet_that_has_just_started() {
        let mut swap = KubeletSwap::default();
        swap.kubelet_is(Some(7), &node(GIB), at(0));
        swap.node_tells(None, at(1));
        assert_eq!(swap.bytes(GIB), (GIB, false));
        swap.node_tells(Some(0), at(1));
        assert_eq!(swap.bytes(GIB), (0, true), "it was there before the agent");
        swap.kubelet_is(Some(9), &node(GIB), at(100));
        swap.node_tells(Some(0), at(130));
        assert_eq!(swap.bytes(GIB), (GIB, false), "that may be of the kubelet before");
        swap.node_tells(Some(GIB / 2), at(160));
        assert_eq!(swap.bytes(GIB), (GIB / 2, true));
    }
}
