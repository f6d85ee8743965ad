//! The file that the agent writes for the OCI hook: `/run/wasp-agent/hook.json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::policy::{Eligibility, Policy, WishRules};

crate::vocabulary! {
    /// The hook's treatment of a container whose grant is not published.
    pub enum WhenUnknown {
        Estimate = "estimate",
        Deny = "deny",
    }
}

/// The inputs of an estimate, in addition to the container's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateSettings {
    pub policy: Policy,
    pub eligibility: Eligibility,
    pub when_unknown: WhenUnknown,
    /// Namespace names, or prefixes that end in `*`.
    pub denied_namespaces: Vec<String>,
    pub ram_bytes: u64,
    /// The swap to share among pods, in bytes.
    pub swap_for_pods_bytes: u64,
    /// Rules for the pod's own wishes.
    #[serde(default)]
    pub wishes: WishRules,
    /// Places of pods' cgroups, below the cgroup root; empty: the usual places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PathBuf>,
}
