//! The words for how swap is granted.

use serde::{Deserialize, Serialize};

/// How much swap an eligible container gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Its share as the kubelet's LimitedSwap computes it.
    Limited,
    /// As much as it wants.
    Max,
    None,
}

/// Which containers get swap at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligibility {
    /// Those of Burstable pods, as the kubelet has it.
    Burstable,
    /// Of those, only KubeVirt's launcher pods.
    VirtLauncher,
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
