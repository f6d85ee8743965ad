//! Memory pressure on the node, at one moment.

use std::sync::Arc;

use super::{clock::SinceBoot, pod::PodUid};

/// Microseconds since boot in which some, or all, processes waited for memory.
///
/// Source: Linux `Documentation/accounting/psi.rst`, `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalled {
    pub some_micros: u64,
    pub full_micros: u64,
}

/// The input of the eviction signals. Counters count since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: SinceBoot,
    pub swapped_in_pages: u64,
    pub swapped_out_pages: u64,
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    /// As cAdvisor defines it: memory in use, without inactive file cache.
    pub working_set_bytes: u64,
    /// Number of allocations that had to reclaim memory themselves because the node was short of it
    /// (`allocstall_*` of `/proc/vmstat`); reclaim within a cgroup's limit does not count.
    pub direct_reclaims: u64,
    /// Sum over the protected slices; `None` if the kernel does not count it (`psi=1`). Not the
    /// whole node: `/proc/pressure/memory` includes the kernel's own kswapd.
    pub system: Option<Stalled>,
    /// Stalls of `kubepods`.
    pub pods: Option<Stalled>,
}

/// The memory use of a container, from its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Name in the pod's spec; `None` if it is unknown, as for a sandbox.
    pub name: Option<Arc<str>>,
    pub working_set_bytes: u64,
    pub swap_bytes: u64,
}

/// Counters of a pod's cgroup since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// `None` if the kernel does not count it.
    pub stalled: Option<Stalled>,
    /// Number of allocations that hit a memory limit of the pod or of a container (`max` of
    /// `memory.events`).
    pub limit_hits: u64,
    /// Pages that returned from swap: `pswpin` of `memory.stat` since Linux 6.13, else
    /// `workingset_refault_anon`.
    pub pages_in: u64,
}

/// The memory of a pod's own cgroup: of its containers, plus memory that outlived one, such as
/// shared memory of its IPC namespace and files of an emptyDir with medium Memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceUsage {
    /// `memory.current` without `inactive_file` of `memory.stat`.
    pub working_set_bytes: u64,
    /// `memory.swap.current`.
    pub swap_bytes: u64,
}

/// The memory use of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    pub uid: PodUid,
    pub containers: Vec<ContainerUsage>,
    /// `None` if the pod's cgroup cannot be read.
    pub slice: Option<SliceUsage>,
    /// `None` as for [`PodUsage::slice`].
    pub effort: Option<Effort>,
}

impl PodUsage {
    /// Returns the swap of the pod's cgroup; if unknown, the sum over its containers.
    pub fn swap_bytes(&self) -> u64 {
        self.slice.map_or_else(|| self.in_containers().swap_bytes, |slice| slice.swap_bytes)
    }

    /// Returns the working set, from the same source as [`PodUsage::swap_bytes`].
    pub fn working_set_bytes(&self) -> u64 {
        let in_containers = || self.in_containers().working_set_bytes;
        self.slice.map_or_else(in_containers, |slice| slice.working_set_bytes)
    }

    /// Returns working set plus swap.
    pub fn bytes(&self) -> u64 {
        self.working_set_bytes().saturating_add(self.swap_bytes())
    }

    /// Returns the pod's swap that belongs to none of its containers; 0 if the pod's cgroup cannot
    /// be read.
    pub fn swap_outside_bytes(&self) -> u64 {
        self.swap_bytes().saturating_sub(self.in_containers().swap_bytes)
    }

    fn in_containers(&self) -> SliceUsage {
        self.containers.iter().fold(SliceUsage::default(), |sum, used| SliceUsage {
            working_set_bytes: sum.working_set_bytes.saturating_add(used.working_set_bytes),
            swap_bytes: sum.swap_bytes.saturating_add(used.swap_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod with a restarted container that left shared memory behind: 30.7 MiB in the running
    /// container, 293.7 MB in the pod's cgroup.
    #[test]
    fn what_outlived_a_container_is_the_pods() {
        let container = |swap_bytes| ContainerUsage {
            name: Some("main".into()),
            working_set_bytes: 20 << 20,
            swap_bytes,
        };
        let mut usage = PodUsage {
            uid: PodUid::new("9192cfa8-679c-444e-9bb8-9701e3620c02").unwrap(),
            containers: vec![container(32_191_283), container(0)],
            slice: Some(SliceUsage { working_set_bytes: 50 << 20, swap_bytes: 293_700_000 }),
            effort: None,
        };
        assert_eq!(usage.swap_bytes(), 293_700_000);
        assert_eq!(usage.swap_outside_bytes(), 261_508_717);
        assert_eq!(usage.bytes(), (50 << 20) + 293_700_000);
        usage.slice = None;
        assert_eq!((usage.swap_bytes(), usage.swap_outside_bytes()), (32_191_283, 0));
        assert_eq!(usage.bytes(), (40 << 20) + 32_191_283);
        // Because they are read one after another, the containers may sum up to more than the pod.
        usage.slice = Some(SliceUsage::default());
        assert_eq!(usage.swap_outside_bytes(), 0);
    }
}
