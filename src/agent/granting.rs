//! The part of the agent that knows which program grants swap, and how much swap it divides.

use crate::{
    config::settings::{GrantSettings, Grants},
    decide::kubelet_swap::KubeletSwap,
    model::host::NodeMemory,
    observe::kubelet::Kubelet,
};

#[derive(Debug)]
pub(super) struct Granting {
    /// As configured; the kubelet's configuration decides which are in effect.
    pub(super) configured: (Grants, GrantSettings),
    /// The kubelet's configuration, as it was read last.
    pub(super) kubelet: Kubelet,
    /// The kubelet's configuration has been read once.
    pub(super) kubelet_was_read: bool,
    /// The swap that the kubelet shares out.
    pub(super) kubelet_swap: KubeletSwap,
    /// The node as the program counts it whose grants are in effect.
    pub(super) granted_from: NodeMemory,
}

impl Granting {
    pub(super) fn new(configured: (Grants, GrantSettings), node: NodeMemory) -> Self {
        Self {
            configured,
            kubelet: Kubelet::default(),
            kubelet_was_read: false,
            kubelet_swap: KubeletSwap::default(),
            granted_from: node,
        }
    }

    /// Returns the node as the granting program counts it, and true if that is certain.
    pub(super) fn granted_from(&self, grants: Grants, node: NodeMemory) -> (NodeMemory, bool) {
        if grants != Grants::Kubelet {
            return (node, true);
        }
        let (swap_bytes, certain) = self.kubelet_swap.bytes(node.swap_bytes);
        let ram_bytes = self.kubelet_swap.ram_bytes(node.ram_bytes);
        (NodeMemory { swap_bytes, ram_bytes, ..node }, certain)
    }
}
