//! Input and output of `wasp-agent check`.

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
    origin::{Origins, SettingOrigin},
    program::ProgramFacts,
    protection::{Disks, SliceFacts},
    published::Published,
    rivals::Rival,
    runtime::{CrioDropIns, DefaultRuntime, Runtime},
    swap::SwapControl,
    system::System,
    unknown::Unknown,
    watermarks::Watermarks,
};

crate::vocabulary! {
    /// The result level of a check. The worst level determines the exit status.
    #[derive(PartialOrd, Ord)]
    pub enum CheckLevel {
        Ok = "ok",
        /// The check could not, or need not, be made.
        Skip = "skip",
        Warn = "warn",
        Fail = "fail",
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    pub id: &'static str,
    pub level: CheckLevel,
    pub found: String,
    /// The reason why the check matters.
    pub why: &'static str,
    /// Commands, or lines for a file; empty if there is nothing to fix.
    pub fix: Vec<String>,
}

/// The answer to a query of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    Answered(T),
    /// The reason for not asking.
    NotAsked(&'static str),
    Failed(String),
}

/// All facts about the host. `Err` is the reason why a fact is unknown.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The facts are from a running host, not from the directory of an image.
    pub live: bool,
    pub system: System,
    pub origins: Origins,
    pub configuration: Result<(), Wrong>,
    pub agent: AgentFacts,
    /// State files that cannot be read, and have no check of their own.
    pub unreadable_state: Vec<UnreadableFile>,
    pub obstacles: Obstacles,
    pub kernel: KernelFacts,
    pub node: Result<NodeMemory, Unknown>,
    /// `MemAvailable`; `None` if unknown.
    pub available_bytes: Option<u64>,
    pub swap: SwapFacts,
    pub kubelet: Result<Option<KubeletConfig>, Unknown>,
    /// The commands for a configuration of the kubelet that cannot be read.
    pub kubelet_remedy: Vec<String>,
    pub watermarks: Result<Watermarks, Unknown>,
    pub runtime: Result<Runtime, Unknown>,
    /// The commands for a configuration of CRI-O that cannot be read.
    pub runtime_remedy: Vec<String>,
    pub crio: CrioDropIns,
    /// `None`: CRI-O's own default.
    pub default_runtime: Result<Option<DefaultRuntime>, Unknown>,
    pub hook: HookFacts,
    pub leftovers: Leftovers,
    pub rivals: Vec<Rival>,
    /// VMs among the pods that the agent has published.
    pub guests: Vec<Guest>,
    /// OpenShift Virtualization runs pods on this node.
    pub openshift_virtualization: bool,
    pub bus: Asked<BusFacts>,
    pub api: Asked<ApiFacts>,
}

/// A problem in the configuration on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub text: String,
    /// Commands that leave the wrong lines out.
    pub remedy: Vec<String>,
    pub instead: Instead,
}

/// The settings that the checks use while those on disk are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Those of the running agent.
    InForce,
    /// Those of an agent that has ended since the node booted.
    LastInForce,
    Defaults,
}

/// The state that the running agent reports.
#[derive(Clone, Debug)]
pub struct AgentFacts {
    /// The last publication; `Ok(None)` if there is none.
    pub published: Result<Option<Published>, Unknown>,
    /// The process that published it still runs.
    pub running: bool,
    /// Time since the publication.
    pub age: Option<Duration>,
    /// Settings on disk that differ from those in effect: key, value on disk, value in effect.
    pub differs: Vec<(String, String, String)>,
    /// Space for `/run/wasp-agent`; `None` if unknown.
    pub run: Option<Space>,
    pub not_read: Vec<NotRead>,
}

/// A file in the configuration's directories that the agent does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRead {
    pub path: PathBuf,
    pub why: &'static str,
    /// A free name: one that the agent reads, if the content is a configuration; else one that
    /// shows that the file is set aside.
    pub target: PathBuf,
}

/// Free space of the file system at a mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub mount_point: PathBuf,
    pub free_bytes: u64,
    pub free_files: u64,
    pub read_only: bool,
}

#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `None` without cgroup v2.
    pub controllers: Option<Vec<String>>,
    /// The kubelet's top cgroup and its controllers, if it exists.
    pub kubepods: Option<(String, Vec<String>)>,
    pub swap_control: SwapControl,
    /// Each protected slice, with its controllers.
    pub slices: Vec<(SliceFacts, Option<Vec<String>>)>,
    /// Disks that get io.latency targets.
    pub disks: Disks,
    /// CONFIG_BLK_CGROUP_IOLATENCY, if the kernel's configuration can be read.
    pub io_latency: Option<bool>,
    pub pressure: Result<MemoryWaits, Unknown>,
    /// Memory pressure of all pods together; `None` while they have no cgroup.
    pub pods_pressure: Option<MemoryWaits>,
    /// True if zswap is on; `None` if the kernel has none.
    pub zswap: Option<bool>,
    /// `/proc/sys/kernel/osrelease`.
    pub release: Option<String>,
    /// Number of the pods' tmpfs volumes (Secrets, projected tokens), and of those that may swap.
    pub pod_tmpfs: (usize, usize),
}

/// Share of the last 10 s in which some, or all, processes waited for memory, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryWaits {
    pub some_percent: f64,
    pub full_percent: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapFacts {
    pub areas: Vec<SwapArea>,
    /// The device that `swap.path` names exists, or no partition is configured.
    pub device_exists: bool,
    /// Directories that the node depends on, and their disks.
    pub beside: Vec<(&'static str, Vec<String>)>,
    /// The steps that `wasp-agent provision` would take, in words.
    pub provisioning: Asked<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapArea {
    pub device: SwapDevice,
    /// Compressed RAM without writeback to a disk.
    pub in_ram: bool,
    /// Empty if unknown.
    pub disks: Vec<String>,
    /// Encrypted by dm-crypt.
    pub encrypted: bool,
    /// A rotating disk.
    pub rotating: bool,
    /// Evidence that one of the disks fails.
    pub failing: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFacts {
    /// The directories that CRI-O reads, with their state.
    pub folders: BTreeMap<PathBuf, FolderState>,
    /// Path and content of the installed definition.
    pub definition: Option<(PathBuf, String)>,
    pub program: ProgramFacts,
    /// Other programs' hooks that set swap limits, and the evidence.
    pub foreign: Vec<(PathBuf, String)>,
    /// The agent is installed at its package's path.
    pub agent_installed: bool,
    /// The agent has requested the hook since the node booted.
    pub published: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderState {
    Missing,
    /// As far as this process sees; the agent's unit has its own view of the file system.
    Writable,
    ReadOnly,
}

/// A state file of the agent that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableFile {
    pub path: String,
    /// The error, with the path.
    pub text: String,
    /// The content that the file should have.
    pub holds: &'static str,
}

/// Remains of the DaemonSet agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub hooks: Vec<PathBuf>,
    pub units: Vec<PathBuf>,
    /// The DaemonSet's swapfile, and true if the kernel swaps to it.
    pub swapfile: Option<(PathBuf, bool)>,
}

/// Facts from systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusFacts {
    pub oomd: OomdFacts,
    /// The units by name.
    pub units: BTreeMap<&'static str, UnitFacts>,
}

/// The slices with pods that systemd-oomd may kill in, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OomdFacts {
    /// It kills in these.
    pub kills: Vec<String>,
    /// For these, systemd does not answer; with the reason for the first.
    pub unknown: Option<(Vec<String>, Unknown)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `not-found` if there is no such unit.
    pub load: String,
    pub active: String,
    pub status: String,
    /// `auto-restart` between two starts.
    pub sub: String,
    /// `enabled`, `disabled`, `masked`.
    pub file: String,
    /// Result of its last run.
    pub result: String,
    /// Number of restarts by systemd since the last manual start.
    pub restarts: u32,
}

/// The kubelet's credentials, and the API server's answers to them.
#[derive(Clone, Debug)]
pub struct ApiFacts {
    pub credentials: Result<CredentialFacts, Unknown>,
    /// The commands for credentials that cannot be used.
    pub remedy: Vec<String>,
    /// By the check's id: the permission, or the reason why it is unknown.
    pub permissions: BTreeMap<&'static str, Result<Permission, Unknown>>,
    /// The permission of `eviction.guard-kubeconfig`'s credentials to patch the node; `None` if
    /// there are no such credentials.
    pub guard: Option<Result<Permission, Unknown>>,
    /// Keys of the Node's taints.
    pub taints: Result<Vec<String>, Unknown>,
    /// The minor version of the kubelet, if the Node reports it.
    pub kubelet_minor: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFacts {
    /// The path on the host.
    pub kubeconfig: PathBuf,
    pub server: String,
    pub node_name: String,
    pub certificate_expires: Option<SystemTime>,
    pub certificate_begins: Option<SystemTime>,
    /// The name of the node that the certificate is for.
    pub certificate_name: Option<String>,
    /// Where `node.name` is set.
    pub name_origin: Option<SettingOrigin>,
    /// The time of these facts.
    pub now: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    Allowed,
    Denied(String),
}

/// A request that the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessCheck {
    /// The id of the check.
    pub id: &'static str,
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub about: AccessSubject,
}

/// The object of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessSubject {
    /// The node's own object, by name.
    Node,
    /// The node's pods, by a field selector.
    Pods,
    Anything,
}

/// With the node's credentials for the cordon; with other credentials for the taint.
pub const PATCH_NODE: AccessCheck = AccessCheck {
    id: "may-patch-node",
    verb: "patch",
    group: "",
    resource: "nodes",
    subresource: "",
    about: AccessSubject::Node,
};

/// All requests that the agent makes, depending on its configuration.
pub const ACCESSES: [AccessCheck; 8] = [
    AccessCheck {
        id: "may-list-pods",
        verb: "list",
        group: "",
        resource: "pods",
        subresource: "",
        about: AccessSubject::Pods,
    },
    AccessCheck {
        id: "may-watch-pods",
        verb: "watch",
        group: "",
        resource: "pods",
        subresource: "",
        about: AccessSubject::Pods,
    },
    AccessCheck {
        id: "may-evict-pods",
        verb: "create",
        group: "",
        resource: "pods",
        subresource: "eviction",
        about: AccessSubject::Anything,
    },
    AccessCheck {
        id: "may-delete-pods",
        verb: "delete",
        group: "",
        resource: "pods",
        subresource: "",
        about: AccessSubject::Anything,
    },
    AccessCheck {
        id: "may-get-node",
        verb: "get",
        group: "",
        resource: "nodes",
        subresource: "",
        about: AccessSubject::Node,
    },
    PATCH_NODE,
    AccessCheck {
        id: "may-patch-node-status",
        verb: "patch",
        group: "",
        resource: "nodes",
        subresource: "status",
        about: AccessSubject::Node,
    },
    AccessCheck {
        id: "may-create-events",
        verb: "create",
        group: "",
        resource: "events",
        subresource: "",
        about: AccessSubject::Anything,
    },
];
