//! What on the host keeps pods from swapping as they are granted.

use super::swap::SwapMax;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// The cgroups above pods, the outermost first.
    pub above_pods: Vec<Ancestor>,
    /// `vm.swappiness` and `vm.overcommit_memory`; `None` where they cannot be read.
    pub swappiness: Option<u64>,
    pub overcommit_memory: Option<u64>,
}

/// A cgroup that pods are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Below the cgroup root.
    pub path: String,
    pub swap_max: SwapMax,
    /// `memory.high` and `memory.current`, where there is such a bound.
    pub high: Option<(u64, u64)>,
}

impl Ancestor {
    /// The unit's name, or the cgroup's.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub fn is_unit(&self) -> bool {
        self.path.ends_with(".slice")
    }
}
