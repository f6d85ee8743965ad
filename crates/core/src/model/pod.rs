//! A pod, reduced to the fields that grants and eviction need.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{clock::UnixTime, quantity::Quantity};

/// A pod's UID as in the names of its cgroups: for a mirror pod the UID of the static pod behind
/// it.
///
/// Shared, because the same UID is the key of pods, cgroups and records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// Returns `None` if `text` is not safe as a UID: it becomes part of file and cgroup names.
    pub fn new(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && (8..=64).contains(&text.len())).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PodUid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or(text)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container's ID as the runtime gives it, without `cri-o://`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// Returns `None` if `text` is not safe as an ID: it becomes part of file, cgroup and unit
    /// names.
    pub fn new(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric());
        (plain && (12..=128).contains(&text.len())).then(|| Self(text.into()))
    }

    /// Parses the ID of a pod status: `cri-o://ID`, `containerd://ID`.
    pub fn from_status(text: &str) -> Option<Self> {
        Self::new(text.split_once("://")?.1)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or(text)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns true if `text` can name a namespace, a pod or a container: it has only characters of DNS
/// names.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    text.len() <= 253 && text.bytes().all(plain)
}

/// The Quality of Service class, which also determines the place of the pod's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}

/// The two resources that determine a QoS class. An absent entry is `None`, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceList {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// Requests and limits of a container or of a whole pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default)]
    pub requests: ResourceList,
    #[serde(default)]
    pub limits: ResourceList,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerKind {
    #[default]
    Regular,
    /// Runs to completion before the regular containers start.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Ephemeral,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: Arc<str>,
    #[serde(default)]
    pub kind: ContainerKind,
    /// The requested resources, from the spec.
    #[serde(default)]
    pub spec: Resources,
    /// From the status: the resources that the kubelet has given the running container, if
    /// reported. They differ from the spec while an in-place resize is deferred or in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Resources>,
    /// A resize of the pod is pending, and `actual` is absent: the kubelet starts the container with
    /// the resources that it has allocated, which may be those before the resize.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub request_unknown: bool,
    /// The kubelet runs commands in it (an exec probe or hook), or kills it when it does not answer
    /// (a liveness probe).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probed: bool,
    /// From the status: the ID of the running container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ContainerId>,
    /// From the status: the kubelet reports it as running (`state.running`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
}

impl Container {
    /// Returns the resources that apply to the container's cgroup now.
    pub fn effective(&self) -> Resources {
        self.actual.unwrap_or(self.spec)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub uid: PodUid,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `spec.priority`. The agent may not read priority classes.
    #[serde(default)]
    pub priority: Option<i32>,
    /// The mirror of a static pod: it has the annotation `kubernetes.io/config.mirror`, and this
    /// Node owns it. Only a kubelet can create such a pod.
    #[serde(default)]
    pub mirror: bool,
    /// The owner reference with `controller: true`, else the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The annotations that eviction or grants use (see [`is_kept`]), each at most
    /// [`LONGEST_ANNOTATION`] bytes long, and a mark if they were longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(Arc<str>, Arc<str>)>,
    /// `status.qosClass`, which never changes once set.
    #[serde(default)]
    pub qos_class: Option<QosClass>,
    /// `spec.resources`: pod-level resources (KEP-2837).
    #[serde(default)]
    pub resources: Option<Resources>,
    /// Label `kubevirt.io: virt-launcher`.
    #[serde(default)]
    pub virt_launcher: bool,
    /// KubeVirt has paused the VM (condition `kubevirt.io/virtual-machine-unpaused` is False).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vm_paused: bool,
    /// The state of a migration, from KubeVirt's labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// KubeVirt shows each migration on this launcher pod: it has the annotation
    /// `descheduler.alpha.kubernetes.io/request-evict-only`, as since KubeVirt 1.3.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shows_migrations: bool,
    /// `metadata.deletionTimestamp`: the end of the grace period of a
    /// pod that is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_deadline: Option<UnixTime>,
    /// A client has used the Eviction API on it (condition `DisruptionTarget`, reason
    /// `EvictionByEvictionAPI`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evicted_by_api: bool,
    /// Some component is about to end it (condition `DisruptionTarget` with any reason: the
    /// Eviction API, the kubelet, preemption, a taint, garbage collection).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disrupted: bool,
    /// It has a volume whose content is lost with the pod (`emptyDir`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_storage: bool,
    /// `spec.overhead.memory`, of its runtime class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Quantity>,
    /// Its containers have ended permanently (`status.phase` Succeeded or Failed).
    #[serde(default)]
    pub finished: bool,
    /// `metadata.creationTimestamp`.
    #[serde(default)]
    pub created: UnixTime,
    /// `spec.terminationGracePeriodSeconds`.
    #[serde(default = "default_grace")]
    pub grace_seconds: u64,
    /// All containers of the spec, of every kind.
    #[serde(deserialize_with = "exactly")]
    pub containers: Vec<Container>,
}

/// Gives a `Vec` its exact size: one that grows while it is read has room for four.
fn exactly<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Container>, D::Error> {
    Box::<[Container]>::deserialize(deserializer).map(<[Container]>::into_vec)
}

/// The API server's default.
fn default_grace() -> u64 {
    30
}

/// The object that created a pod, and creates it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub kind: OwnerKind,
    pub name: Arc<str>,
    /// The same for all pods of one workload; for a VM also before and after a migration.
    pub uid: Arc<str>,
    /// `controller: true`.
    #[serde(default)]
    pub controller: bool,
}

/// The kinds of owners that matter, by their name in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerKind {
    Node,
    Pod,
    DaemonSet,
    Job,
    VirtualMachineInstance,
    Other,
}

impl OwnerKind {
    /// Considers the group too: for an unknown group, the API server does not check that the owner
    /// exists.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            ("", "Node") => Self::Node,
            ("", "Pod") => Self::Pod,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("batch", "Job") => Self::Job,
            ("kubevirt.io", "VirtualMachineInstance") => Self::VirtualMachineInstance,
            _ => Self::Other,
        }
    }
}

/// The state of a launcher pod in a live migration, as far as a node can see it. virt-controller
/// writes all of it, but the author of any pod can write the same: nothing here may exempt a pod
/// forever.
///
/// Source: KubeVirt 1.0 to 1.9, `pkg/virt-controller`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migration {
    /// Its VM is being evacuated to another node (KubeVirt 1.3 and later show it).
    Leaving,
    /// Its VM is arriving: the launcher is a migration's target and the VM still runs elsewhere.
    Arriving,
    /// Its VM has arrived by a migration.
    Arrived {
        /// The time at which the VM was ready here, if the launcher shows it.
        ready: Option<UnixTime>,
    },
}

/// Longer annotation values are truncated: the agent understands none that is longer.
pub const LONGEST_ANNOTATION: usize = 64;

/// The descheduler's opt-out that KubeVirt documents for VMs.
pub const PREFER_NO_EVICTION: &str = "descheduler.alpha.kubernetes.io/prefer-no-eviction";
/// The descheduler's opt-in, and opt-out if the value is "false".
pub const DESCHEDULER_EVICT: &str = "descheduler.alpha.kubernetes.io/evict";
/// The cluster autoscaler's opt-out if the value is "false".
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// The most swap that each container of the pod may have: see `decide::wish`.
pub const SWAP_LIMIT: &str = "swap.wasp.io/limit";
/// The same for the container whose name follows.
pub const SWAP_LIMIT_OF: &str = "swap.wasp.io/limit.";
/// Turns proactive reclaim from the pod on or off: "true" or "false" (`reclaim.pods`).
pub const RECLAIM: &str = "wasp-agent.kubevirt.io/reclaim";

/// Returns true if the agent keeps the annotation `key` of a pod; `also` are the configured keys
/// (`eviction.opt-out-annotations`).
pub fn is_kept(key: &str, also: &[String]) -> bool {
    [PREFER_NO_EVICTION, DESCHEDULER_EVICT, SAFE_TO_EVICT, SWAP_LIMIT, RECLAIM].contains(&key)
        || key.starts_with(SWAP_LIMIT_OF)
        || also.iter().any(|other| other == key)
}

impl Pod {
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value)
    }

    /// Returns true if the pod is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.deletion_deadline.is_some()
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| &*container.name == name)
    }

    pub fn container_by_id(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.iter().find(|container| container.id.as_ref() == Some(id))
    }
}

/// Pods of one node, ordered by UID.
pub type Pods = BTreeMap<PodUid, Arc<Pod>>;
