//! The part of the agent that knows who grants swap, and from how much.

use crate::{
    config::settings::{GrantSettings, Grants},
    decide::kubelet_swap::KubeletSwap,
    observe::kubelet::Kubelet,
};

#[derive(Debug)]
pub(super) struct Granting {
    /// As configured; the kubelet's configuration decides which are in force.
    pub(super) configured: (Grants, GrantSettings),
    /// The kubelet's configuration, as it was read last.
    pub(super) kubelet: Kubelet,
    /// The swap that the kubelet shares out.
    pub(super) kubelet_swap: KubeletSwap,
    /// The swap, in bytes, that the current grants are shares of.
    pub(super) granted_from_bytes: u64,
}

impl Granting {
    pub(super) fn new(configured: (Grants, GrantSettings), swap_bytes: u64) -> Self {
        Self {
            configured,
            kubelet: Kubelet::default(),
            kubelet_swap: KubeletSwap::default(),
            granted_from_bytes: swap_bytes,
        }
    }
}
