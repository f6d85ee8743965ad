//! What was seen of the host: memory, containers and their cgroups.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    pod::{ContainerId, PodUid},
    swap::SwapMax,
};

/// Time since boot. Never goes back, whatever happens to the wall clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize,
)]
pub struct Monotonic(pub Duration);

impl std::ops::Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Monotonic {
    /// Zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The node's memory, as `/proc/meminfo` and the kubelet count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeMemory {
    /// `MemTotal`: what the kubelet calls the node's memory capacity.
    pub ram_bytes: u64,
    /// `SwapTotal`: all active swap devices.
    pub swap_bytes: u64,
    /// The kernel keeps limits in whole pages of this size.
    pub page_bytes: u64,
}

/// An active swap device or file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapDevice {
    /// As the kernel shows it: a path, with blanks and the like escaped as `\\040`.
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
    /// How often an allocation had to reclaim memory itself because the node was short of it.
    pub direct_reclaims: u64,
}

/// Who sets a cgroup's limits beside us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Manager {
    /// systemd, for this unit (`crio-ID.scope`, `kubepods-podUID.slice`).
    Systemd(Arc<str>),
    /// The runtime writes cgroupfs itself (`cgroupfs` cgroup driver).
    Cgroupfs,
}

/// What the kernel counts of a cgroup's memory; `None` where it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// `max` of `memory.swap.events`: an allocation of swap met the limit.
    pub swap_limit_hits: Option<u64>,
    /// `oom_kill` of `memory.events`.
    pub oom_kills: Option<u64>,
}

/// The holder of a limit: whose cgroup it is.
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

/// A pod's cgroup, a container's own in it, and the child that crun makes in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    Pod,
    Container,
    RuntimeChild,
}

impl fmt::Display for Level {
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
    pub level: Level,
    /// The folder's inode: paths are used again, inodes tell whether it is still the same cgroup.
    pub inode: u64,
    /// `memory.swap.max`.
    pub swap_max: SwapMax,
    /// `memory.swap.current`, in bytes.
    pub swap_used_bytes: u64,
}

/// What kind of process runs in a container's cgroup, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Role {
    /// A container of the pod, by its name in the spec.
    Container(Arc<str>),
    /// The pod's sandbox (pause), a container's monitor, or anything else that is no container.
    Helper,
    /// Neither the API nor the runtime's files tell.
    Unknown,
}

/// A container's cgroup as it was found, whether or not its pod is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerFacts {
    pub id: ContainerId,
    pub pod: PodUid,
    pub role: Role,
    pub manager: Manager,
    /// The runtime is still at work in it: the container's own program does not run yet.
    pub starting: bool,
    /// Below the cgroup root.
    pub path: PathBuf,
    /// The container's cgroup first.
    pub levels: Vec<LevelFacts>,
}

/// A pod's cgroup as it was found. It holds the cgroups of its containers, and keeps the memory that
/// outlives one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodFacts {
    pub uid: PodUid,
    pub manager: Manager,
    /// Below the cgroup root.
    pub path: PathBuf,
    pub level: LevelFacts,
}

/// The name of the cgroup that crun makes inside a container's scope.
pub const RUNTIME_CHILD: &str = "container";
