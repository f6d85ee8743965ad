//! What the kubelet's configuration says about swap and memory.

use std::path::PathBuf;

/// `KubeletConfiguration`, as far as it concerns swap. Absent is `None`: the kubelet's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeletConfig {
    /// As the host names it.
    pub path: PathBuf,
    pub fail_swap_on: Option<bool>,
    pub swap_behavior: Option<String>,
    /// `memory.available`, as written: a quantity or a percentage.
    pub eviction_hard_memory: Option<String>,
    pub eviction_soft_memory: Option<String>,
    /// `nodefs.available`.
    pub eviction_hard_nodefs: Option<String>,
    pub eviction_soft_nodefs: Option<String>,
    /// `evictionHard` is given: what it leaves out has no threshold (unless `mergeDefaults`).
    pub replaces_defaults: bool,
}
