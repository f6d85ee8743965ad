//! Properties of the host that keep pods from using their swap grant.

use std::path::PathBuf;

use super::swap::SwapMax;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// The cgroups above pods, outermost first.
    pub above_pods: Vec<Ancestor>,
    /// `vm.swappiness` and `vm.overcommit_memory`; `None` if they cannot be read.
    pub swappiness: Option<u64>,
    pub overcommit_memory: Option<u64>,
}

/// A cgroup above pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Path below the cgroup root.
    pub path: String,
    pub swap_max: SwapMax,
    /// `memory.high` and `memory.current`, if `memory.high` is set.
    pub high: Option<(u64, u64)>,
    /// Drop-ins of a unit that set one of the two limits, and override `systemctl set-property`.
    pub drop_ins: Vec<PathBuf>,
}

impl Ancestor {
    /// Returns the name of the unit, or of the cgroup.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub fn is_besteffort(&self) -> bool {
        matches!(self.name(), "besteffort") || self.name().ends_with("-besteffort.slice")
    }

    pub fn is_unit(&self) -> bool {
        self.path.ends_with(".slice")
    }

    /// Returns true for the cgroup of the BestEffort pods, which get no swap.
    pub fn is_best_effort(&self) -> bool {
        self.name().trim_end_matches(".slice").ends_with("besteffort")
    }
}
