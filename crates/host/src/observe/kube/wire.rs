//! Pods in the API server's form, reduced to the needed fields: others cost neither memory nor
//! time, and fields that a newer API server adds do no harm.
//!
//! Source: Kubernetes API reference, `core/v1 Pod`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::model::{
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
    /// Returns true if the kubelet runs commands in it, or kills it when it does not answer. A
    /// startup probe has succeeded once a container runs, unless it is an exec probe that the
    /// kubelet still tries.
    fn probed(&self) -> bool {
        let exec = |probe: &Option<Probe>| probe.as_ref().is_some_and(|probe| probe.exec.is_some());
        self.liveness_probe.is_some() || exec(&self.readiness_probe) || exec(&self.startup_probe)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    qos_class: Option<String>,
    phase: Option<String>,
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
    let containers = [
        (spec.init_containers, &status.init_container_statuses, ContainerKind::Init),
        (spec.containers, &status.container_statuses, ContainerKind::Regular),
        (spec.ephemeral_containers, &status.ephemeral_container_statuses, ContainerKind::Ephemeral),
    ];
    let containers: Box<[Container]> = containers
        .into_iter()
        .flat_map(|(specs, statuses, kind)| {
            specs.into_iter().map(move |spec| container(spec, statuses, kind))
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
        migration: migration(&labels, &annotations, spec.node_name.as_deref()),
        deletion_deadline: metadata.deletion_timestamp.map(|time| time.0.as_second()),
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
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
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
        .map(|(key, value)| (Arc::from(key.as_str()), shortened(value)))
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
        Migration::Arrived { ready: ready.map(|time| time.as_second()) }
    } else {
        Migration::Arriving
    })
}

/// Kubernetes treats a negative period as 1.
fn grace_seconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(1)
}

fn container(spec: SpecContainer, statuses: &[ContainerStatus], kind: ContainerKind) -> Container {
    let status = statuses.iter().find(|status| status.name == spec.name);
    let kind = match spec.restart_policy.as_deref() {
        Some("Always") if kind == ContainerKind::Init => ContainerKind::Sidecar,
        _ => kind,
    };
    Container {
        probed: spec.probed(),
        name: Arc::from(spec.name),
        kind,
        spec: spec.resources.into(),
        actual: status.and_then(ContainerStatus::actual),
        id: status.and_then(|s| s.container_id.as_deref()).and_then(ContainerId::from_status),
        running: status.and_then(|s| s.state.as_ref()).is_some_and(|state| state.running.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasp_core::fixtures::resources;

    const ID: &str = "6506db16ea97b09bdd2aa6ac6c3ca21e670f69b0e2233c99eafaebd597e53728";

    fn parse(json: &str) -> Option<Pod> {
        pod(serde_json::from_str(json).unwrap(), &[])
    }

    #[test]
    fn takes_what_counts_from_a_pod() {
        let pod = parse(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod",
            "metadata":{{"name":"vm","namespace":"vms","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
              "labels":{{"kubevirt.io":"virt-launcher"}},"annotations":{{"kubernetes.io/config.source":"api"}},
              "creationTimestamp":"2026-11-22T00:00:00Z","deletionTimestamp":"2026-11-22T00:01:00Z",
              "managedFields":[{{"manager":"kubelet","fieldsV1":{{"f:status":{{}}}}}}]}},
            "spec":{{"priority":5,"terminationGracePeriodSeconds":180,"nodeName":"node-a",
              "initContainers":[{{"name":"side","restartPolicy":"Always","resources":{{"requests":{{"memory":"20Mi"}}}}}},
                                {{"name":"init","resources":{{}}}}],
              "containers":[{{"name":"compute","resources":{{"requests":{{"cpu":"1","memory":"4Gi"}},"limits":{{"memory":"8Gi"}}}}}}],
              "ephemeralContainers":[{{"name":"debug"}}]}},
            "status":{{"qosClass":"Burstable","containerStatuses":[{{"name":"compute","containerID":"cri-o://{ID}",
              "allocatedResources":{{"cpu":"1","memory":"3Gi"}},
              "resources":{{"requests":{{"cpu":"1","memory":"2Gi"}},"limits":{{"memory":"8Gi"}}}}}}]}}}}"#
        ))
        .unwrap();
        assert_eq!((&*pod.namespace, &*pod.name, pod.priority), ("vms", "vm", Some(5)));
        assert!(pod.virt_launcher && !pod.mirror && !pod.finished);
        assert_eq!(pod.deletion_deadline, Some(1_795_305_660));
        assert_eq!((pod.created, pod.grace_seconds), (1_795_305_600, 180));
        assert_eq!(pod.qos_class, Some(QosClass::Burstable));
        let kinds: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("side", ContainerKind::Sidecar),
                ("init", ContainerKind::Init),
                ("compute", ContainerKind::Regular),
                ("debug", ContainerKind::Ephemeral)
            ]
        );
        let compute = pod.container("compute").unwrap();
        assert_eq!(compute.id, ContainerId::new(ID));
        assert_eq!(compute.spec, resources("1 - 4Gi 8Gi"));
        assert_eq!(compute.effective(), resources("1 - 3Gi 8Gi"), "as allocated");
        assert_eq!(pod.container_by_id(&ContainerId::new(ID).unwrap()), Some(compute));
    }

    /// The statuses are a kubelet's: of a running, a waiting and an ended container.
    #[test]
    fn a_container_runs_while_its_state_says_so() {
        let of = |state: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
                "spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running","containerStatuses":[
                {"name":"c","ready":false,"restartCount":7,"containerID":"cri-o://ID",STATE}]}}"#;
            parse(&json.replace("ID", ID).replace("STATE", state)).unwrap().containers[0].running
        };
        assert!(of(r#""state":{"running":{"startedAt":"2026-11-22T00:00:00Z"}}"#));
        assert!(of(r#""state":{"running":{}}"#));
        for state in [
            r#""state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s restarting failed container"}}"#,
            r#""state":{"terminated":{"exitCode":1,"reason":"Error"}}"#,
            r#""state":{"running":null}"#,
            r#""state":{}"#,
            r#""state":null"#,
            r#""started":false"#,
        ] {
            assert!(!of(state), "{state}");
        }
    }

    #[test]
    fn a_mirror_pod_runs_under_the_static_pods_uid() {
        let pod = parse(
            r#"{"metadata":{"name":"etcd","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
            "annotations":{"kubernetes.io/config.mirror":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kubernetes.io/config.source":"file"},
            "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"u","controller":true}]},
            "spec":{"nodeName":"node-a","containers":[]}}"#,
        )
        .unwrap();
        assert_eq!(pod.uid.as_str(), "0a1b2c3d4e5f60718293a4b5c6d7e8f9");
        assert!(pod.mirror);
    }

    /// The mirror pod would replace the pod with this UID.
    #[test]
    fn a_mirror_pod_cannot_have_an_api_pods_uid() {
        let of = |mirror: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
                "annotations":{"kubernetes.io/config.mirror":"UID"},
                "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"u","controller":true}]},
                "spec":{"nodeName":"node-a"}}"#;
            parse(&json.replace("UID", mirror))
        };
        assert_eq!(of("9192cfa8-679c-444e-9bb8-9701e3620c02"), None);
        assert!(of("9192cfa8679c444e9bb89701e3620c02").unwrap().mirror);
    }

    /// Regression: annotations of its author exempted a pod from eviction forever.
    #[test]
    fn only_a_pod_that_this_node_owns_is_a_mirror() {
        for owner in [
            "",
            r#"{"apiVersion":"v1","kind":"Node","name":"node-b","uid":"u","controller":true}"#,
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"node-a","uid":"u","controller":true}"#,
        ] {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
                "annotations":{"kubernetes.io/config.mirror":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kubernetes.io/config.source":"file"},
                "ownerReferences":[OWNER]},"spec":{"nodeName":"node-a"}}"#;
            let pod = parse(&json.replace("OWNER", owner)).unwrap();
            assert!(!pod.mirror, "{owner}");
            assert_eq!(pod.uid.as_str(), "00000000-679c-444e-9bb8-9701e3620c02");
            assert_eq!(crate::decide::grant::critical(&pod), None);
        }
    }

    #[test]
    fn owners_annotations_and_volumes_are_kept_as_far_as_they_count() {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "ownerReferences":[{"apiVersion":"v1","kind":"Other","name":"a","uid":"1"},
                {"apiVersion":"apps/v1","kind":"DaemonSet","name":"ds","uid":"2","controller":true}],
            "annotations":{"descheduler.alpha.kubernetes.io/evict":"false","a/b":"c","my/own":"LONG","other":"x"}},
            "spec":{"overhead":{"memory":"120Mi","cpu":"1"},
                "volumes":[{"name":"a","hostPath":{"path":"/"}},{"name":"b","emptyDir":{"medium":"Memory"}}]},
            "status":{"conditions":[{"type":"Ready","status":"True"},
                {"type":"DisruptionTarget","status":"True","reason":"EvictionByEvictionAPI"}]}}"#;
        let json = json.replace("LONG", &"é".repeat(100));
        let pod = pod(serde_json::from_str(&json).unwrap(), &["my/own".to_owned()]).unwrap();
        let owner = pod.owner.clone().unwrap();
        assert_eq!((owner.kind, &*owner.name, &*owner.uid), (OwnerKind::DaemonSet, "ds", "2"));
        assert_eq!(pod.annotation("descheduler.alpha.kubernetes.io/evict"), Some("false"));
        assert_eq!(pod.annotation("my/own"), Some("é".repeat(32).as_str()));
        assert_eq!(pod.annotations.len(), 2);
        assert!(pod.local_storage && pod.evicted_by_api);
        assert_eq!(pod.overhead.map(|overhead| overhead.value()), Some(120 << 20));
    }

    #[test]
    fn a_pod_that_anybody_ends_is_disrupted_and_only_the_eviction_api_evicts() {
        let of = |condition: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
                "status":{"conditions":[{"type":"DisruptionTarget",CONDITION}]}}"#;
            let pod = parse(&json.replace("CONDITION", condition)).unwrap();
            (pod.disrupted, pod.evicted_by_api)
        };
        assert_eq!(of(r#""status":"True","reason":"EvictionByEvictionAPI""#), (true, true));
        assert_eq!(of(r#""status":"True","reason":"TerminationByKubelet""#), (true, false));
        assert_eq!(of(r#""status":"True""#), (true, false));
        assert_eq!(of(r#""status":"False","reason":"TerminationByKubelet""#), (false, false));
    }

    #[test]
    fn annotations_of_swap_are_kept_for_containers_that_exist() {
        let many: String = (0..50).map(|i| format!(r#""swap.wasp.io/limit.x{i}":"0","#)).collect();
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "annotations":{MANY"swap.wasp.io/limit":"25%","swap.wasp.io/limit.compute":"0","swap.wasp.io/other":"1"}},
            "spec":{"containers":[{"name":"compute"}]}}"#;
        let pod = parse(&json.replace("MANY", &many)).unwrap();
        assert_eq!(pod.annotation("swap.wasp.io/limit"), Some("25%"));
        assert_eq!(pod.annotation("swap.wasp.io/limit.compute"), Some("0"));
        assert_eq!(pod.annotations.len(), 2 + UNKNOWN_CONTAINERS);
    }

    /// The condition in virt-controller's form (`pkg/virt-controller/watch`,
    /// `syncPausedConditionToPod`).
    #[test]
    fn a_launcher_shows_that_its_vm_is_paused() {
        let of = |status: &str, reason: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
                "labels":{"kubevirt.io":"virt-launcher"}},"spec":{},"status":{"conditions":[
                {"type":"Ready","status":"True"},{"lastProbeTime":"2023-07-18T13:48:56Z",
                "lastTransitionTime":"2023-07-18T13:48:56Z","message":"m","reason":"REASON","status":"STATUS",
                "type":"kubevirt.io/virtual-machine-unpaused"}]}}"#;
            parse(&json.replace("STATUS", status).replace("REASON", reason)).unwrap().vm_paused
        };
        assert!(of("False", "Paused"));
        assert!(!of("True", "NotPaused"));
    }

    #[test]
    fn probes_that_a_frozen_container_would_not_answer_are_seen() {
        let of = |probe: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
                "spec":{"containers":[{"name":"c"PROBE}]}}"#;
            parse(&json.replace("PROBE", probe)).unwrap().containers[0].probed
        };
        assert!(!of(""));
        assert!(of(r#","livenessProbe":{"httpGet":{"port":80}}"#));
        assert!(of(r#","readinessProbe":{"exec":{"command":["true"]}}"#));
        assert!(!of(r#","readinessProbe":{"httpGet":{"port":80}},"livenessProbe":null"#));
        assert!(of(r#","startupProbe":{"exec":{"command":["true"]}}"#));
    }

    /// Values of launcher pods of KubeVirt 1.0 to 1.9.
    #[test]
    fn a_launcher_shows_its_part_in_a_migration() {
        let of = |labels: &str, annotations: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
                "labels":{"kubevirt.io":"virt-launcher"LABELS},"annotations":{ANNOTATIONS}},"spec":{"nodeName":"node-a"}}"#;
            parse(&json.replace("LABELS", labels).replace("ANNOTATIONS", annotations))
                .unwrap()
                .migration
        };
        assert_eq!(of(r#","kubevirt.io/nodeName":"node-a""#, ""), None);
        for value in ["kubevirt", "true", ""] {
            let shown =
                format!(r#""descheduler.alpha.kubernetes.io/eviction-in-progress":"{value}""#);
            assert_eq!(of("", &shown), Some(Migration::Leaving));
        }
        let job = r#","kubevirt.io/migrationJobUID":"u""#;
        assert_eq!(of(job, ""), Some(Migration::Arriving), "a decentralized migration");
        let elsewhere = format!(r#"{job},"kubevirt.io/nodeName":"node-b""#);
        assert_eq!(of(&elsewhere, ""), Some(Migration::Arriving));
        let here = format!(r#"{job},"kubevirt.io/nodeName":"node-a""#);
        assert_eq!(of(&here, ""), Some(Migration::Arrived { ready: None }));
        let ready = r#""kubevirt.io/migration-target-ready-timestamp":"2026-11-22T00:00:00Z""#;
        assert_eq!(of(&here, ready), Some(Migration::Arrived { ready: Some(1_795_305_600) }));
    }

    #[test]
    fn what_is_no_usable_pod_is_left_out() {
        for json in [
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"name":"p"}}"#,
            r#"{"metadata":{"name":"p","uid":"../../etc"}}"#,
            r#"{"metadata":{"name":"p\n","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
            r#"{"metadata":{"name":"p","namespace":"\u001b[2J","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
            r#"{"metadata":{"name":"p","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"},"spec":{"containers":[{"name":"a b"}]}}"#,
            r#"{"metadata":{"uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
        ] {
            assert_eq!(parse(json), None, "{json}");
        }
        let odd = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","resources":{"requests":{"memory":"lots"}}}]}}"#;
        assert!(serde_json::from_str::<WirePod>(odd).is_err());
    }
}
