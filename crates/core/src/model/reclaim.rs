//! Facts about a pod and the node for proactive reclaim, at one moment.

use std::fmt;

use super::{clock::SinceBoot, pod::PodUid};

/// The line `some` of a cgroup's `memory.pressure` or `io.pressure`.
///
/// Source: Linux `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Some {
    pub avg10: f64,
    pub avg60: f64,
    pub total_micros: u64,
}

/// Memory of a pod's cgroup now. Counters count since its creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodMemory {
    /// `memory.current`.
    pub current_bytes: u64,
    /// `anon` of `memory.stat`.
    pub anon_bytes: u64,
    /// `inactive_file + active_file` of `memory.stat`: cache that can be read again.
    pub file_bytes: u64,
    /// The larger of `memory.min` and `memory.low`.
    pub protected_bytes: u64,
    /// `memory.swap.current`.
    pub swap_bytes: u64,
    /// `memory.swap.max`; `None` without a limit.
    pub swap_max_bytes: Option<u64>,
    /// `workingset_refault_anon` and `workingset_refault_file`.
    pub refaults_anon_pages: u64,
    pub refaults_file_pages: u64,
    pub memory: Some,
    /// `None` if the io controller does not count it.
    pub io: Option<Some>,
}

/// A pod that reclaim may take memory from, with its cgroup's current state.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub uid: PodUid,
    /// `None` if it cannot be read, or the kernel does not count stalls.
    pub memory: Option<PodMemory>,
    /// The reason for reclaiming nothing from the pod, independent of its memory.
    pub left_alone: Option<HeldBack>,
}

/// Facts about the node for reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeLook {
    pub at: SinceBoot,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub page_bytes: u64,
    /// The highest ratio of an eviction signal to its threshold; `None` if none was measured.
    pub nearest_signal: Option<f64>,
    /// Average number of requests that waited in the queue of the swap's disk since the last look.
    pub disk_queue: Option<f64>,
    /// The time of the data above, which must be recent.
    pub sampled: SinceBoot,
    /// The list of pods comes from the API server.
    pub pods_are_fresh: bool,
}

crate::vocabulary! {
    /// The reason for reclaiming nothing from a pod.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum HeldBack {
        /// Reasons of the node: this and the next four.
        Stale = "stale",
        Signal = "signal",
        Disk = "disk",
        NodeSwap = "node-swap",
        Budget = "budget",
        /// Reasons of the pod, independent of its memory: this and the next three.
        Starting = "starting",
        Migrating = "migrating",
        Leaving = "leaving",
        Suspended = "suspended",
        /// Reasons in the pod's memory: all that follow.
        Unreadable = "unreadable",
        FirstLook = "first-look",
        MemoryPressure = "memory-pressure",
        IoPressure = "io-pressure",
        Refaults = "refaults",
        BackingOff = "backing-off",
        PodSwap = "pod-swap",
        Floor = "floor",
        InProgress = "in-progress",
    }
}

impl HeldBack {
    /// Returns true for a reason of the whole node, which applies to all pods.
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::Stale | Self::Signal | Self::Disk | Self::NodeSwap)
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stale => "the agent's data is not current",
            Self::Signal => "an eviction signal is near its threshold",
            Self::Disk => "the disk of the swap is busy",
            Self::NodeSwap => "the node's swap is in use up to reclaim.max-swap-percent",
            Self::Budget => "the budget for written bytes is used up",
            Self::Starting => "the pod has started recently",
            Self::Migrating => "its VM is migrating",
            Self::Leaving => "the pod is being deleted",
            Self::Suspended => "the pod is suspended",
            Self::Unreadable => {
                "its cgroup cannot be read, or the kernel does not count its stalls"
            }
            Self::FirstLook => "the agent sees it for the first time",
            Self::MemoryPressure => "its processes waited for memory",
            Self::IoPressure => "its processes waited for a disk",
            Self::Refaults => "reclaimed memory came back",
            Self::BackingOff => "it needed memory back recently",
            Self::PodSwap => "it uses its swap grant up to reclaim.max-swap-percent",
            Self::Floor => "it is at its floor",
            Self::InProgress => "the last reclaim has not ended",
        })
    }
}

/// The result of asking the kernel to reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Requested bytes of all writes together.
    pub asked_bytes: u64,
    /// Bytes by which the pod's swap has grown during the request.
    pub swapped_bytes: u64,
    /// Bytes by which `memory.current` fell.
    pub freed_bytes: u64,
    /// Duration of the writes, in microseconds.
    pub micros: u64,
    /// The kernel found no more to reclaim (EAGAIN).
    pub exhausted: bool,
    /// The pod's cgroup no longer exists.
    pub gone: bool,
}
