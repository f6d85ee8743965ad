//! Suspended pods: the agent's record of them, and the messages of the control socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    clock::SinceBoot,
    pod::{ContainerId, PodUid, QosClass, Resources},
    swap::SwapMax,
};

/// The stage of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendStage {
    /// The agent freezes its processes and moves its memory to swap.
    Falling,
    Asleep,
}

/// A suspended pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    pub uid: PodUid,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub qos_class: QosClass,
    pub stage: SuspendStage,
    /// A VM that KubeVirt has paused: the agent does not freeze its launcher.
    pub vm: bool,
    /// Time since boot.
    pub since: SinceBoot,
    /// The pod-level resources at suspension: a resize resumes the pod.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// The limit of the pod's cgroup at suspension.
    #[serde(default)]
    pub swap_max: Option<SwapMax>,
    pub containers: Vec<Sleeper>,
}

/// A container of a suspended pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleeper {
    pub name: Arc<str>,
    pub id: ContainerId,
    /// `None` if systemd does not manage the cgroup.
    pub unit: Option<Arc<str>>,
    /// Path below the cgroup root.
    pub path: PathBuf,
    pub inode: u64,
    /// Its resources at suspension: a resize resumes the pod.
    pub resources: Resources,
    pub spec: Resources,
    /// Bytes of its memory that may go to swap.
    pub budget_bytes: u64,
    /// Its swap limit while it is being suspended, if free swap has no room for all of its memory.
    #[serde(default)]
    pub bound_bytes: Option<u64>,
    /// The part of the budget that `suspend.reserve` lends while the pod is suspended.
    #[serde(default)]
    pub lent_bytes: u64,
    /// The lowest limit of its levels at suspension.
    #[serde(default)]
    pub swap_max: Option<SwapMax>,
    /// Signals that were pending before the freeze, by process.
    #[serde(default)]
    pub pending: BTreeMap<u32, u64>,
    /// Its processes, once all of them are frozen.
    #[serde(default)]
    pub processes: Option<BTreeSet<u32>>,
    /// The kubelet may run commands in it, which does not resume it.
    #[serde(default)]
    pub probed: bool,
    /// `memory.current` and `memory.swap.current`.
    pub before: Usage,
    pub after: Option<Usage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    /// The part of the memory that the kernel can drop without swap.
    pub file_bytes: u64,
}

/// The processes of a container, as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessesSeen {
    /// The value of `cgroup.freeze` requests it.
    pub freezing: bool,
    /// `cgroup.events` reports all of them as frozen.
    pub frozen: bool,
    pub processes: BTreeSet<u32>,
    /// Pending signals by process, where there are any: bit 0 is signal 1.
    pub pending: BTreeMap<u32, u64>,
}

/// A running container that may be suspended, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: Arc<str>,
    pub id: ContainerId,
    pub unit: Option<Arc<str>>,
    pub path: PathBuf,
    pub inode: u64,
    pub starting: bool,
    /// The lowest limit of all its levels.
    pub swap_max: SwapMax,
    /// True if no annotation lowers its grant.
    pub may_borrow: bool,
    pub pending: BTreeMap<u32, u64>,
    pub usage: Usage,
}

/// The request of a command to the agent: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "command")]
pub enum SuspendRequest {
    Suspend {
        namespace: String,
        pod: String,
        #[serde(default)]
        dry_run: bool,
        #[serde(default)]
        force: bool,
    },
    Resume {
        namespace: String,
        pod: String,
    },
    Suspended,
}

/// The agent's answer: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Reply {
    Done { text: String, rows: Vec<SuspendRow> },
    Refused { text: String },
}

/// A container, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendRow {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub qos_class: QosClass,
    pub state: String,
    pub memory_before_bytes: u64,
    /// In a dry run: the expected value.
    pub memory_after_bytes: u64,
    pub swap_bytes: u64,
    /// Bytes that `suspend.reserve` lends it beyond its grant.
    #[serde(default)]
    pub lent_bytes: u64,
}
