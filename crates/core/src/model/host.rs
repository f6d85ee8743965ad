//! Facts about the host: memory, containers and their cgroups.

use std::{fmt, path::Path, sync::Arc};

use serde::Serialize;

use super::{
    pod::{ContainerId, PodUid},
    swap::SwapMax,
};

/// The node's memory, as `/proc/meminfo` and the kubelet count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeMemory {
    /// `MemTotal`, the kubelet's memory capacity of the node.
    pub ram_bytes: u64,
    /// `SwapTotal`: all active swap devices.
    pub swap_bytes: u64,
    /// Page size in bytes; the kernel keeps limits in whole pages.
    pub page_bytes: u64,
}

/// An active swap device or file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapDevice {
    /// As the kernel shows it: a path in which blanks and other special characters are escaped, for
    /// example as `\\040`.
    pub path: String,
    /// `partition` or `file`.
    pub kind: String,
    pub size_bytes: u64,
    pub used_bytes: u64,
    pub priority: i32,
}

/// Swap traffic since boot, in pages (`pswpin`, `pswpout` of `/proc/vmstat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwapTraffic {
    pub pages_in: u64,
    pub pages_out: u64,
    /// Number of allocations that had to reclaim memory themselves because the node was short of
    /// it.
    pub direct_reclaims: u64,
}

/// The program that manages a cgroup, in addition to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Manager {
    /// systemd, by this unit (`crio-ID.scope`, `kubepods-podUID.slice`).
    Systemd(Arc<str>),
    /// The runtime writes to cgroupfs itself (cgroup driver `cgroupfs`).
    Cgroupfs,
}

/// The kernel's counters of a cgroup's memory events; `None` if the kernel does not count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// `max` of `memory.swap.events`: allocations of swap that met the limit.
    pub swap_limit_hits: Option<u64>,
    /// `oom_kill` of `memory.events`.
    pub oom_kills: Option<u64>,
}

/// The holder of a limit: the container or pod of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    Container(ContainerId),
    Pod(PodUid),
}

impl Holder {
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Container(id) => Some(id),
            Self::Pod(_) => None,
        }
    }

    pub fn pod(&self) -> Option<&PodUid> {
        match self {
            Self::Container(_) => None,
            Self::Pod(uid) => Some(uid),
        }
    }
}

impl From<ContainerId> for Holder {
    fn from(id: ContainerId) -> Self {
        Self::Container(id)
    }
}

impl From<PodUid> for Holder {
    fn from(uid: PodUid) -> Self {
        Self::Pod(uid)
    }
}

/// The level of a cgroup: a pod's, a container's own in it, and the child that crun creates in
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum CgroupLevel {
    Pod,
    Container,
    RuntimeChild,
}

impl fmt::Display for CgroupLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod cgroup",
            Self::Container => "container cgroup",
            Self::RuntimeChild => "runtime's child cgroup",
        })
    }
}

/// A cgroup at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelFacts {
    pub level: CgroupLevel,
    /// The directory's inode: paths are reused, but the inode identifies the cgroup.
    pub inode: u64,
    /// `memory.swap.max`.
    pub swap_max: SwapMax,
    /// `memory.swap.current`, in bytes.
    pub swap_used_bytes: u64,
}

/// The role of the processes in a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Role {
    /// A container of the pod, by its name in the spec.
    Container(Arc<str>),
    /// The pod's sandbox (pause), a container's monitor, or another process outside of containers.
    Helper,
    /// Neither the API server nor the runtime's files identify it.
    Unknown,
}

/// A container's cgroup as found; its pod may be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerFacts {
    pub id: ContainerId,
    pub pod: PodUid,
    pub role: Role,
    pub manager: Manager,
    /// The runtime still works in it: the container's own program does not run yet.
    pub starting: bool,
    /// Path below the cgroup root.
    pub path: Arc<Path>,
    /// The levels, the container's own cgroup first.
    pub levels: Vec<LevelFacts>,
}

/// A pod's cgroup as found. It contains the cgroups of its containers, and keeps the memory that
/// outlives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodFacts {
    pub uid: PodUid,
    pub manager: Manager,
    /// Path below the cgroup root.
    pub path: Arc<Path>,
    pub level: LevelFacts,
}

/// The name of the cgroup that crun creates inside a container's scope.
pub const RUNTIME_CHILD: &str = "container";
