//! A pod, reduced to what swap grants and eviction need of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::quantity::Quantity;

/// A pod's UID as it names cgroups: for a mirror pod that of the static pod behind it.
///
/// Shared, since the same UID keys pods, cgroups and records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// `None` where `text` could not be a UID: it names files and cgroups, so it must be plain.
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

/// A container's ID as the runtime names it, without `cri-o://`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// `None` where `text` could not be an ID: it names files, cgroups and systemd units.
    pub fn new(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric());
        (plain && (12..=128).contains(&text.len())).then(|| Self(text.into()))
    }

    /// From a pod status: `cri-o://ID`, `containerd://ID`.
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

/// Whether `text` could name a namespace, a pod or a container: of the characters of DNS names.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    text.len() <= 253 && text.bytes().all(plain)
}

/// The Quality of Service class, by which the kubelet also arranges cgroups.
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

/// The two resources that decide on a QoS class. An absent entry is `None`, not zero.
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
    /// Runs to its end before the others start.
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
    /// From the spec: what is wanted.
    #[serde(default)]
    pub spec: Resources,
    /// From the status: what the kubelet has given the running container, once it says so. Differs
    /// from the spec while an in-place resize is deferred or under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Resources>,
    /// From the status: the running container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ContainerId>,
}

impl Container {
    /// What counts for the container's cgroup now.
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
    /// Annotation `kubernetes.io/config.source`: `api` unless the kubelet read a file or a URL.
    #[serde(default)]
    pub config_source: Option<String>,
    /// Annotation `kubernetes.io/config.mirror` is there.
    #[serde(default)]
    pub mirror: bool,
    /// `status.qosClass`, which never changes once set.
    #[serde(default)]
    pub qos_class: Option<QosClass>,
    /// `spec.resources`: pod-level resources (KEP-2837).
    #[serde(default)]
    pub resources: Option<Resources>,
    /// Label `kubevirt.io: virt-launcher`.
    #[serde(default)]
    pub virt_launcher: bool,
    /// It has been told to stop (`metadata.deletionTimestamp`).
    #[serde(default)]
    pub terminating: bool,
    /// Its containers have ended for good (`status.phase` Succeeded or Failed).
    #[serde(default)]
    pub finished: bool,
    /// `metadata.creationTimestamp`, in seconds since the epoch.
    #[serde(default)]
    pub created: i64,
    /// `spec.terminationGracePeriodSeconds`
    #[serde(default = "default_grace")]
    pub grace_seconds: u64,
    /// All containers of the spec, of every kind.
    #[serde(deserialize_with = "exactly")]
    pub containers: Vec<Container>,
}

/// A `Vec` that grew while it was read has room for four.
fn exactly<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Container>, D::Error> {
    Box::<[Container]>::deserialize(deserializer).map(<[Container]>::into_vec)
}

/// What the API server sets where nothing is said.
fn default_grace() -> u64 {
    30
}

impl Pod {
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| &*container.name == name)
    }

    pub fn container_by_id(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.iter().find(|container| container.id.as_ref() == Some(id))
    }
}

/// Pods of one node by UID, in one order everywhere.
pub type Pods = BTreeMap<PodUid, Arc<Pod>>;
