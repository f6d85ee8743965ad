//! What the agent leaves for the OCI hook: `/run/wasp-agent/hook.json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::policy::{Eligibility, Policy};

crate::vocabulary! {
    /// What the hook does for a container whose grant is not published.
    pub enum WhenUnknown {
        Estimate = "estimate",
        Deny = "deny",
    }
}

/// All that an estimate needs beside the container's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSettings {
    pub policy: Policy,
    pub eligibility: Eligibility,
    pub when_unknown: WhenUnknown,
    /// Names, or beginnings of names that end in `*`.
    pub denied_namespaces: Vec<String>,
    pub ram_bytes: u64,
    /// What is shared out among pods.
    pub swap_for_pods_bytes: u64,
    /// Where pods' cgroups are, below the cgroup root; empty: where they usually are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PathBuf>,
}
