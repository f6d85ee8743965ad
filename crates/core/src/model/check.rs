//! What `wasp-agent check` goes by, and what it says.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    guest::Guest,
    host::{NodeMemory, SwapDevice},
    kubelet::KubeletConfig,
    obstacles::Obstacles,
    program::ProgramFacts,
    protection::{Disks, SliceFacts},
    published::Published,
    rivals::Rival,
    runtime::Runtime,
    swap::SwapControl,
    watermarks::Watermarks,
};

crate::vocabulary! {
    /// How well something is. The worst counts for the exit status.
    #[derive(PartialOrd, Ord)]
    pub enum Level {
        Ok = "ok",
        /// Could not or need not be looked at.
        Skip = "skip",
        Warn = "warn",
        Fail = "fail",
    }
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub id: &'static str,
    pub level: Level,
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// Commands, or lines for a file; empty where nothing is to be mended.
    pub mend: Vec<String>,
}

/// What somebody else was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    Answered(T),
    /// And why not.
    NotAsked(&'static str),
    Failed(String),
}

/// Everything that was seen of the host. `Err` is why it could not be seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// A kernel runs here: it is no folder of an image.
    pub live: bool,
    pub configuration: Result<(), Wrong>,
    pub agent: AgentFacts,
    pub obstacles: Obstacles,
    pub kernel: KernelFacts,
    pub node: Result<NodeMemory, String>,
    pub swap: SwapFacts,
    pub kubelet: Result<Option<KubeletConfig>, String>,
    pub watermarks: Result<Watermarks, String>,
    pub runtime: Result<Runtime, String>,
    /// `None`: CRI-O's own default.
    pub default_runtime: Result<Option<String>, String>,
    pub hook: HookFacts,
    pub leftovers: Leftovers,
    pub rivals: Vec<Rival>,
    /// VMs of the pods that the agent has published.
    pub guests: Vec<Guest>,
    /// OpenShift Virtualization has its pods here.
    pub openshift_virtualization: bool,
    pub bus: Asked<BusFacts>,
    pub api: Asked<ApiFacts>,
}

/// The configuration on disk cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub text: String,
    /// Commands that leave the wrong lines out.
    pub remedy: Vec<String>,
}

/// What the running agent tells.
#[derive(Clone, Debug)]
pub struct AgentFacts {
    /// What it has published last; `Ok(None)` where there is nothing.
    pub published: Result<Option<Published>, String>,
    /// The process that has published it is there.
    pub running: bool,
    /// Since it was published.
    pub age: Option<Duration>,
    /// Settings on disk that are not those in force: key, on disk, in force.
    pub differs: Vec<(String, String, String)>,
    /// Of `/run`; `None` where nobody can tell.
    pub run: Option<Space>,
    /// Files in the configuration's folders that are not read, since their names end otherwise.
    pub not_read: Vec<PathBuf>,
}

/// What a file system has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub free_files: u64,
    pub read_only: bool,
}

#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `None` without cgroup v2.
    pub controllers: Option<Vec<String>>,
    /// The kubelet's top cgroup and its controllers, if it is there.
    pub kubepods: Option<(String, Vec<String>)>,
    pub swap_control: SwapControl,
    /// Each protected slice, and its controllers.
    pub slices: Vec<(SliceFacts, Option<Vec<String>>)>,
    /// Disks that io.latency targets are set for.
    pub disks: Disks,
    /// CONFIG_BLK_CGROUP_IOLATENCY, where the kernel's configuration can be read.
    pub io_latency: Option<bool>,
    pub pressure: Result<MemoryWaits, String>,
    /// Of the pods together; `None` where they have no cgroup yet.
    pub pods_pressure: Option<MemoryWaits>,
    /// Whether zswap is on; `None` where the kernel has none.
    pub zswap: Option<bool>,
    /// `/proc/sys/kernel/osrelease`
    pub release: Option<String>,
    /// Pods' tmpfs volumes (Secrets, projected tokens), and those of them that may swap.
    pub pod_tmpfs: (usize, usize),
}

/// Part of the last 10 s in which somebody, or everybody, waited for memory, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryWaits {
    pub some_percent: f64,
    pub full_percent: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapFacts {
    pub areas: Vec<SwapArea>,
    /// Folders that the node cannot do without, and the disks that they are on.
    pub beside: Vec<(&'static str, Vec<String>)>,
    /// What `wasp-agent provision` would do, in words.
    pub provisioning: Asked<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapArea {
    pub device: SwapDevice,
    /// Compressed RAM that nothing is written back from: it has no disk.
    pub in_ram: bool,
    /// None where they cannot be told.
    pub disks: Vec<String>,
    /// By dm-crypt.
    pub encrypted: bool,
    /// A disk that turns.
    pub rotating: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFacts {
    /// The folders that CRI-O reads, as they are.
    pub folders: BTreeMap<PathBuf, FolderState>,
    /// Where it was found, and what it says.
    pub definition: Option<(PathBuf, String)>,
    pub program: ProgramFacts,
    /// Hooks of others that set swap limits, and what tells so.
    pub foreign: Vec<(PathBuf, String)>,
    /// The agent is where its package has it.
    pub agent_installed: bool,
    /// The agent has had it installed since the node booted.
    pub published: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderState {
    Missing,
    /// As far as this process sees: the agent's unit has a view of its own.
    Writable,
    ReadOnly,
}

/// What the DaemonSet agent has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub hooks: Vec<PathBuf>,
    pub units: Vec<PathBuf>,
}

/// What systemd says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusFacts {
    /// The slice above pods in which systemd-oomd kills.
    pub oomd: Option<&'static str>,
    /// By name.
    pub units: BTreeMap<&'static str, UnitFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `not-found` where there is no such unit.
    pub load: String,
    pub active: String,
    pub status: String,
    /// `auto-restart` between two starts.
    pub sub: String,
    /// `enabled`, `disabled`, `masked`.
    pub file: String,
    /// Why it ended last.
    pub result: String,
    /// How often systemd has restarted it since somebody started it.
    pub restarts: u32,
}

/// What the kubelet's credentials are, and what the API server says to them.
#[derive(Clone, Debug)]
pub struct ApiFacts {
    pub credentials: Result<CredentialFacts, String>,
    /// By the check's id: whether it is allowed, and the reason why not.
    pub permissions: BTreeMap<&'static str, Result<Permission, String>>,
    /// Whether the credentials of `eviction.guard-kubeconfig` may patch the node; `None`: there are
    /// none to ask.
    pub guard: Option<Result<Permission, String>>,
    /// Keys of the Node's taints.
    pub taints: Result<Vec<String>, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFacts {
    /// As the host names it.
    pub kubeconfig: PathBuf,
    pub server: String,
    pub node_name: String,
    pub certificate_expires: Option<SystemTime>,
    pub certificate_begins: Option<SystemTime>,
    /// The node that the certificate is for.
    pub certificate_name: Option<String>,
    /// When this was looked at.
    pub now: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    Allowed,
    Denied(String),
}

/// A request that the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Of the check.
    pub id: &'static str,
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub about: About,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The node's own object, by its name.
    Node,
    /// The node's pods, by a field selector.
    Pods,
    Anything,
}

/// Of the node for the cordon; by other credentials, for the taint.
pub const PATCH_NODE: Access = Access {
    id: "may-patch-node",
    verb: "patch",
    group: "",
    resource: "nodes",
    subresource: "",
    about: About::Node,
};

/// All requests that the agent makes, if it is configured so.
pub const ACCESSES: [Access; 8] = [
    Access {
        id: "may-list-pods",
        verb: "list",
        group: "",
        resource: "pods",
        subresource: "",
        about: About::Pods,
    },
    Access {
        id: "may-watch-pods",
        verb: "watch",
        group: "",
        resource: "pods",
        subresource: "",
        about: About::Pods,
    },
    Access {
        id: "may-evict-pods",
        verb: "create",
        group: "",
        resource: "pods",
        subresource: "eviction",
        about: About::Anything,
    },
    Access {
        id: "may-delete-pods",
        verb: "delete",
        group: "",
        resource: "pods",
        subresource: "",
        about: About::Anything,
    },
    Access {
        id: "may-get-node",
        verb: "get",
        group: "",
        resource: "nodes",
        subresource: "",
        about: About::Node,
    },
    PATCH_NODE,
    Access {
        id: "may-patch-node-status",
        verb: "patch",
        group: "",
        resource: "nodes",
        subresource: "status",
        about: About::Node,
    },
    Access {
        id: "may-create-events",
        verb: "create",
        group: "events.k8s.io",
        resource: "events",
        subresource: "",
        about: About::Anything,
    },
];
