//! The words for how swap is granted.

use serde::{Deserialize, Serialize};

crate::vocabulary! {
    /// How much swap an eligible container gets.
    pub enum Policy {
        /// Its share as the kubelet's LimitedSwap computes it.
        Limited = "limited",
        /// As much as it wants.
        Max = "max",
        None = "none",
    }
}

crate::vocabulary! {
    /// Which containers get swap at all.
    pub enum Eligibility {
        /// Those of Burstable pods, as the kubelet has it.
        Burstable = "burstable",
        /// Of those, only KubeVirt's launcher pods.
        VirtLauncher = "virt-launcher",
    }
}

/// Whose own word on its swap counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishRules {
    /// The annotations of pods count.
    #[serde(default)]
    pub annotations: bool,
    /// Names, or beginnings of names that end in `*`, of namespaces that get no swap.
    #[serde(default)]
    pub no_swap_namespaces: Vec<String>,
    /// Of namespaces that get swap only where a pod asks for it.
    #[serde(default)]
    pub opt_in_namespaces: Vec<String>,
}
