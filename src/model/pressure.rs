//! How hard the node works for memory, at one moment.

use std::sync::Arc;

use super::{host::Monotonic, pod::PodUid};

/// Microseconds in which somebody, or everybody, waited for memory, since boot.
///
/// Source: Linux `Documentation/accounting/psi.rst`, `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalled {
    pub some_micros: u64,
    pub full_micros: u64,
}

/// What the signals go by. Counters count since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: Monotonic,
    pub swapped_in_pages: u64,
    pub swapped_out_pages: u64,
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    /// As cAdvisor defines it: what is used without inactive file cache.
    pub working_set_bytes: u64,
    /// Of the whole node; `None` where the kernel does not count it (`psi=1`).
    pub node: Option<Stalled>,
    /// Of `kubepods`.
    pub pods: Option<Stalled>,
}

/// What a container uses, by its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// In the pod's spec; `None` where it is not known, as for a sandbox.
    pub name: Option<Arc<str>>,
    pub working_set_bytes: u64,
    pub swap_bytes: u64,
}

/// What a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    pub uid: PodUid,
    pub containers: Vec<ContainerUsage>,
}

impl PodUsage {
    pub fn swap_bytes(&self) -> u64 {
        self.containers.iter().map(|container| container.swap_bytes).sum()
    }

    /// Memory and swap.
    pub fn bytes(&self) -> u64 {
        self.containers.iter().map(|c| c.working_set_bytes.saturating_add(c.swap_bytes)).sum()
    }
}
