//! What proactive reclaim sees of a pod and of the node at one moment.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{host::Monotonic, pod::PodUid};

/// One line of a cgroup's `memory.pressure` or `io.pressure`: `some`.
///
/// Source: Linux `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Some {
    pub avg10: f64,
    pub avg60: f64,
    pub total_micros: u64,
}

/// A pod's cgroup as it is now. Counters count since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodMemory {
    /// `memory.current`
    pub current_bytes: u64,
    /// `anon` of `memory.stat`.
    pub anon_bytes: u64,
    /// `inactive_file + active_file` of `memory.stat`: cache that can be read again.
    pub file_bytes: u64,
    /// The larger of `memory.min` and `memory.low`.
    pub protected_bytes: u64,
    /// `memory.swap.current`
    pub swap_bytes: u64,
    /// `memory.swap.max`; `None` without a limit.
    pub swap_max_bytes: Option<u64>,
    /// `workingset_refault_anon` and `workingset_refault_file`.
    pub refaults_anon_pages: u64,
    pub refaults_file_pages: u64,
    pub memory: Some,
    /// `None` where the io controller does not count it.
    pub io: Option<Some>,
}

/// A pod that may be reclaimed from, as its cgroup is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub uid: PodUid,
    /// `None` where it cannot be read, or the kernel does not count stalls.
    pub memory: Option<PodMemory>,
    /// Why the pod is left alone whatever its memory is.
    pub left_alone: Option<Held>,
}

/// What reclaim needs to know of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeLook {
    pub at: Monotonic,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub page_bytes: u64,
    /// The highest ratio of an eviction signal to its threshold; `None` where none was measured.
    pub nearest_signal: Option<f64>,
    /// Requests that waited in the queue of the swap's disk, on average since the last look.
    pub disk_queue: Option<f64>,
    /// When the data above is from; it must not be old.
    pub sampled: Monotonic,
    /// The list of pods is the API server's own.
    pub pods_are_fresh: bool,
}

/// Why nothing is reclaimed from a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The node.
    Stale,
    Signal,
    Disk,
    NodeSwap,
    Budget,
    /// The pod, whatever its memory is.
    Starting,
    Migrating,
    Leaving,
    /// The pod's memory.
    Unreadable,
    FirstLook,
    MemoryPressure,
    IoPressure,
    Refaults,
    BackingOff,
    PodSwap,
    Floor,
    InProgress,
}

impl Held {
    pub const ALL: [Self; 17] = [
        Self::Stale,
        Self::Signal,
        Self::Disk,
        Self::NodeSwap,
        Self::Budget,
        Self::Starting,
        Self::Migrating,
        Self::Leaving,
        Self::Unreadable,
        Self::FirstLook,
        Self::MemoryPressure,
        Self::IoPressure,
        Self::Refaults,
        Self::BackingOff,
        Self::PodSwap,
        Self::Floor,
        Self::InProgress,
    ];

    /// In a fixed vocabulary, for metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Signal => "signal",
            Self::Disk => "disk",
            Self::NodeSwap => "node-swap",
            Self::Budget => "budget",
            Self::Starting => "starting",
            Self::Migrating => "migrating",
            Self::Leaving => "leaving",
            Self::Unreadable => "unreadable",
            Self::FirstLook => "first-look",
            Self::MemoryPressure => "memory-pressure",
            Self::IoPressure => "io-pressure",
            Self::Refaults => "refaults",
            Self::BackingOff => "backing-off",
            Self::PodSwap => "pod-swap",
            Self::Floor => "floor",
            Self::InProgress => "in-progress",
        }
    }

    /// The reason is one of the whole node: it holds for all pods.
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::Stale | Self::Signal | Self::Disk | Self::NodeSwap)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stale => "the agent's data is not current",
            Self::Signal => "an eviction signal is near its threshold",
            Self::Disk => "the disk of the swap is busy",
            Self::NodeSwap => "the node's swap is used up to reclaim.max-swap-percent",
            Self::Budget => "the budget of written bytes is used up",
            Self::Starting => "the pod has started only now",
            Self::Migrating => "its VM migrates",
            Self::Leaving => "the pod is leaving",
            Self::Unreadable => {
                "its cgroup cannot be read, or the kernel does not count its stalls"
            }
            Self::FirstLook => "it is looked at for the first time",
            Self::MemoryPressure => "its processes waited for memory",
            Self::IoPressure => "its processes waited for a disk",
            Self::Refaults => "memory that was reclaimed came back",
            Self::BackingOff => "it needed memory back a short time ago",
            Self::PodSwap => "it uses its swap grant up to reclaim.max-swap-percent",
            Self::Floor => "it is at its floor",
            Self::InProgress => "the last reclaim is not complete",
        })
    }
}

/// What came of asking the kernel to reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// What was asked for in all writes together.
    pub asked_bytes: u64,
    /// By how much the pod's swap has grown meanwhile.
    pub swapped_bytes: u64,
    /// By how much `memory.current` fell.
    pub freed_bytes: u64,
    /// How long the writes took: the kernel counts it as waiting for memory of the agent itself.
    pub micros: u64,
    /// The kernel found no more to reclaim (EAGAIN).
    pub exhausted: bool,
    /// The pod's cgroup is gone.
    pub gone: bool,
}
