//! Pods in the API server's form, reduced to the needed fields: others cost neither memory nor
//! time, and fields that a newer API server adds do no harm.
//!
//! Source: Kubernetes API reference, `core/v1 Pod`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::model::{
    clock::UnixTime,
    plain::plain,
    pod::{
        Container, ContainerId, ContainerKind, LONGEST_ANNOTATION, Migration, Owner, OwnerKind,
        Pod, PodUid, QosClass, ResourceList, Resources, SWAP_LIMIT_OF, is_kept, is_name,
    },
};

/// Number of kept annotations that name no container of the pod.
const UNKNOWN_CONTAINERS: usize = 4;

/// A pod in JSON.
#[derive(Clone, Debug, Deserialize)]
pub struct WirePod {
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// Absent in bookmarks.
    #[serde(default, deserialize_with = "or_null")]
    spec: PodSpec,
    #[serde(default, deserialize_with = "or_null")]
    status: PodStatus,
}

/// Treats `null` as absent, as Go does.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Skips `managedFields` and the like, which are most of an object's metadata.
fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        generation: Option<i64>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let slim = Slim::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        generation: slim.generation,
        resource_version: slim.resource_version,
        labels: slim.labels,
        annotations: slim.annotations,
        creation_timestamp: slim.creation_timestamp,
        deletion_timestamp: slim.deletion_timestamp,
        owner_references: slim.owner_references,
        ..ObjectMeta::default()
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    priority: Option<i32>,
    termination_grace_period_seconds: Option<i64>,
    overhead: Option<ResourceList>,
    #[serde(deserialize_with = "or_null")]
    volumes: Vec<Volume>,
    resources: Option<WireResources>,
    #[serde(deserialize_with = "or_null")]
    containers: Vec<SpecContainer>,
    #[serde(deserialize_with = "or_null")]
    init_containers: Vec<SpecContainer>,
    #[serde(deserialize_with = "or_null")]
    ephemeral_containers: Vec<SpecContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    empty_dir: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecContainer {
    name: String,
    restart_policy: Option<String>,
    #[serde(deserialize_with = "or_null")]
    resources: WireResources,
    liveness_probe: Option<IgnoredAny>,
    readiness_probe: Option<Probe>,
    startup_probe: Option<Probe>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Probe {
    exec: Option<IgnoredAny>,
}

impl SpecContainer {
    /// Returns true if the kubelet runs commands in it, or kills it when it does not answer. The
    /// kubelet tries a startup probe until it has succeeded once.
    fn probed(&self, started: Option<bool>) -> bool {
        let exec = |probe: &Option<Probe>| probe.as_ref().is_some_and(|probe| probe.exec.is_some());
        let starting = self.startup_probe.is_some() && started == Some(false);
        let commands = exec(&self.readiness_probe) || exec(&self.startup_probe);
        self.liveness_probe.is_some() || commands || starting
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    qos_class: Option<String>,
    phase: Option<String>,
    /// The generation that the kubelet has seen last (since 1.33).
    observed_generation: Option<i64>,
    /// The state of a resize (before 1.33).
    resize: Option<String>,
    #[serde(deserialize_with = "or_null")]
    conditions: Vec<PodCondition>,
    #[serde(deserialize_with = "or_null")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_null")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_null")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    state: Option<ContainerState>,
    /// The startup probe has succeeded, or there is none.
    started: Option<bool>,
    /// The resources that the kubelet has allocated (KEP-1287): newer than `resources` during a
    /// resize, and absent with kubelets without the feature.
    allocated_resources: Option<ResourceList>,
    resources: Option<WireResources>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct WireResources {
    requests: Option<ResourceList>,
    limits: Option<ResourceList>,
}

impl PodStatus {
    /// Returns true if the spec may have resources that the kubelet has not allocated: it has put
    /// a resize off, or has not seen the present `generation` yet.
    ///
    /// Source: KEP-1287.
    fn is_resize_pending(&self, generation: Option<i64>) -> bool {
        let pending = |condition: &PodCondition| {
            condition.type_ == "PodResizePending" && condition.status == "True"
        };
        let unseen = self.observed_generation.zip(generation).is_some_and(|(seen, now)| seen < now);
        let before_1_33 =
            matches!(self.resize.as_deref(), Some("Proposed" | "Deferred" | "Infeasible"));
        self.conditions.iter().any(pending) || unseen || before_1_33
    }
}

impl From<WireResources> for Resources {
    fn from(wire: WireResources) -> Self {
        Self {
            requests: wire.requests.unwrap_or_default(),
            limits: wire.limits.unwrap_or_default(),
        }
    }
}

impl ContainerStatus {
    /// Returns the resources of the running container, if the kubelet reports them.
    fn actual(&self) -> Option<Resources> {
        let mut resources = Resources::from(self.resources?);
        if let Some(memory) = self.allocated_resources.and_then(|allocated| allocated.memory) {
            resources.requests.memory = Some(memory);
        }
        Some(resources)
    }
}

/// Converts to a pod; `None` without usable names and UID. `also` are annotations to keep in
/// addition to the known ones.
pub fn pod(wire: WirePod, also: &[String]) -> Option<Pod> {
    let WirePod { metadata, spec, status } = wire;
    let annotations = metadata.annotations.unwrap_or_default();
    let labels = metadata.labels.unwrap_or_default();
    let owner = owner(metadata.owner_references.unwrap_or_default());
    // The kubelet makes its Node the owner of the mirror pods that it creates; NodeRestriction
    // requires that. Without that owner, the pod's author may have written the annotation.
    let owned_by_node = owner.as_ref().is_some_and(|owner| {
        owner.kind == OwnerKind::Node && Some(&*owner.name) == spec.node_name.as_deref()
    });
    let mirror = annotations.get("kubernetes.io/config.mirror").filter(|_| owned_by_node);
    // A mirror pod's annotation is the UID under which the kubelet runs the static pod: a hash
    // without dashes, unlike the API server's UIDs. With another pod's UID there, the mirror pod
    // would replace that pod.
    let uid = match mirror {
        Some(hash) => Some(hash).filter(|hash| !hash.contains('-')),
        None => metadata.uid.as_ref(),
    };
    let uid = uid.and_then(|uid| PodUid::new(uid))?;
    let qos_class = match status.qos_class.as_deref() {
        Some("Guaranteed") => Some(QosClass::Guaranteed),
        Some("Burstable") => Some(QosClass::Burstable),
        Some("BestEffort") => Some(QosClass::BestEffort),
        _ => None,
    };
    let resizes = status.is_resize_pending(metadata.generation);
    let containers = [
        (spec.init_containers, &status.init_container_statuses, ContainerKind::Init),
        (spec.containers, &status.container_statuses, ContainerKind::Regular),
        (spec.ephemeral_containers, &status.ephemeral_container_statuses, ContainerKind::Ephemeral),
    ];
    let containers: Box<[Container]> = containers
        .into_iter()
        .flat_map(|(specs, statuses, kind)| {
            specs.into_iter().map(move |spec| container(spec, statuses, kind, resizes))
        })
        .collect();
    let pod = Pod {
        uid,
        namespace: metadata.namespace.unwrap_or_default().into(),
        name: metadata.name?.into(),
        priority: spec.priority,
        mirror: mirror.is_some(),
        owner,
        annotations: kept(&annotations, also, &containers),
        qos_class,
        resources: spec.resources.map(Resources::from),
        virt_launcher: labels.get("kubevirt.io").is_some_and(|value| value == "virt-launcher"),
        // virt-controller adds this condition to the pod's own, as its readiness gate.
        vm_paused: status.conditions.iter().any(|condition| {
            condition.type_ == "kubevirt.io/virtual-machine-unpaused" && condition.status == "False"
        }),
        shows_migrations: annotations
            .contains_key("descheduler.alpha.kubernetes.io/request-evict-only"),
        migration: migration(&labels, &annotations, spec.node_name.as_deref()),
        deletion_deadline: metadata.deletion_timestamp.map(|time| UnixTime(time.0.as_second())),
        evicted_by_api: status.conditions.iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && condition.reason.as_deref() == Some("EvictionByEvictionAPI")
        }),
        disrupted: status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True"),
        local_storage: spec.volumes.iter().any(|volume| volume.empty_dir.is_some()),
        overhead: spec.overhead.and_then(|overhead| overhead.memory),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        created: UnixTime(metadata.creation_timestamp.map_or(0, |time| time.0.as_second())),
        grace_seconds: spec.termination_grace_period_seconds.map_or(30, grace_seconds),
        // A `Vec` that grew has spare room.
        containers: containers.into_vec(),
    };
    let mut names = pod.containers.iter().map(|container| &container.name);
    let named = is_name(&pod.namespace) && is_name(&pod.name) && names.all(|name| is_name(name));
    named.then_some(pod)
}

/// Returns the annotations that matter. Keeps a few that name no container, so that the agent can
/// report them.
fn kept(
    annotations: &PodTexts,
    also: &[String],
    containers: &[Container],
) -> Vec<(Arc<str>, Arc<str>)> {
    let mut unknown = 0;
    let mut counts = |key: &str| match key.strip_prefix(SWAP_LIMIT_OF) {
        Some(name) if !containers.iter().any(|container| &*container.name == name) => {
            unknown += 1;
            unknown <= UNKNOWN_CONTAINERS && is_kept(key, also)
        }
        _ => is_kept(key, also),
    };
    annotations
        .iter()
        .filter(|(key, _)| counts(key))
        .map(|(key, value)| (Arc::from(key.as_str()), marked(value)))
        .collect()
}

/// Returns the controller, else the first owner.
fn owner(references: Vec<OwnerReference>) -> Option<Owner> {
    let controls = |owner: &OwnerReference| owner.controller == Some(true);
    let place = references.iter().position(controls).unwrap_or(0);
    let found = references.into_iter().nth(place)?;
    Some(Owner {
        kind: OwnerKind::new(&found.api_version, &found.kind),
        controller: controls(&found),
        name: shortened(&found.name),
        uid: shortened(&found.uid),
    })
}

/// Returns a text of a pod's author, truncated and made printable.
fn shortened(value: &str) -> Arc<str> {
    let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= LONGEST_ANNOTATION;
    let text: String = value.char_indices().take_while(fits).map(|(_, letter)| letter).collect();
    plain(&text).into()
}

/// As [`shortened`], with a mark where text is missing, so that the rest is not taken for the value.
fn marked(value: &str) -> Arc<str> {
    match value.len() > LONGEST_ANNOTATION {
        true => format!("{}…", shortened(value)).into(),
        false => shortened(value),
    }
}

type PodTexts = BTreeMap<String, String>;

/// Returns the state of a migration that the launcher pod on `node` shows.
fn migration(labels: &PodTexts, annotations: &PodTexts, node: Option<&str>) -> Option<Migration> {
    if labels.get("kubevirt.io").is_none_or(|value| value != "virt-launcher") {
        return None;
    }
    if annotations.contains_key("descheduler.alpha.kubernetes.io/eviction-in-progress") {
        return Some(Migration::Leaving);
    }
    // The label stays forever on a pod that was a migration's target.
    labels.get("kubevirt.io/migrationJobUID")?;
    let runs_on = labels.get("kubevirt.io/nodeName").map(String::as_str);
    Some(if runs_on.is_some() && runs_on == node {
        let ready = annotations.get("kubevirt.io/migration-target-ready-timestamp");
        let ready = ready.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Migration::Arrived { ready: ready.map(|time| UnixTime(time.as_second())) }
    } else {
        Migration::Arriving
    })
}

/// Kubernetes treats a negative period as 1.
fn grace_seconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(1)
}

fn container(
    spec: SpecContainer,
    statuses: &[ContainerStatus],
    kind: ContainerKind,
    resizes: bool,
) -> Container {
    let status = statuses.iter().find(|status| status.name == spec.name);
    let kind = match spec.restart_policy.as_deref() {
        Some("Always") if kind == ContainerKind::Init => ContainerKind::Sidecar,
        _ => kind,
    };
    let spec_resources = Resources::from(spec.resources);
    let mut actual = status.and_then(ContainerStatus::actual);
    // The kubelet reports the limit of the pod for a container that has none of its own, but grants by
    // the container's.
    if let Some(actual) = &mut actual
        && spec_resources.limits.memory.is_none()
    {
        actual.limits.memory = None;
    }
    Container {
        request_unknown: resizes && actual.is_none(),
        probed: spec.probed(status.and_then(|status| status.started)),
        name: Arc::from(spec.name),
        kind,
        spec: spec_resources,
        actual,
        id: status.and_then(|s| s.container_id.as_deref()).and_then(ContainerId::from_status),
        running: status.and_then(|s| s.state.as_ref()).is_some_and(|state| state.running.is_some()),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
