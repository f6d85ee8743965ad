//! Vocabularies of the grant policy.

use serde::{Deserialize, Serialize};

crate::vocabulary! {
    /// The amount of swap for an eligible container.
    pub enum Policy {
        /// Its share as the kubelet's LimitedSwap computes it.
        Limited = "limited",
        /// Unlimited.
        Max = "max",
        None = "none",
    }
}

crate::vocabulary! {
    /// The containers that may get swap.
    pub enum Eligibility {
        /// Those of Burstable pods, like the kubelet.
        Burstable = "burstable",
        /// Of those, only KubeVirt's launcher pods.
        VirtLauncher = "virt-launcher",
    }
}

/// Rules for the wishes of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishRules {
    /// Annotations of pods count.
    #[serde(default)]
    pub annotations: bool,
    /// Namespaces that get no swap: names, or prefixes that end in `*`.
    #[serde(default)]
    pub no_swap_namespaces: Vec<String>,
    /// Namespaces that get swap only if a pod asks for it.
    #[serde(default)]
    pub opt_in_namespaces: Vec<String>,
}
