//! Pods as the API server sends them, reduced to the fields that count: what is left out costs
//! neither memory nor time, and what a newer API server adds does no harm.
//!
//! Source: Kubernetes API reference, `core/v1 Pod`.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{
    plain::plain,
    pod::{
        Container, ContainerId, ContainerKind, Pod, PodUid, QosClass, ResourceList, Resources,
        is_name,
    },
};

/// A pod as kube's `Api` wants it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WirePod {
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// Absent in bookmarks.
    #[serde(default, skip_serializing)]
    spec: Spec,
    #[serde(default, skip_serializing)]
    status: Status,
}

impl kube::Resource for WirePod {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Everything but `managedFields` and the like, which are most of an object's metadata.
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
        ..ObjectMeta::default()
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    priority: Option<i32>,
    termination_grace_period_seconds: Option<u64>,
    resources: Option<WireResources>,
    containers: Vec<SpecContainer>,
    init_containers: Vec<SpecContainer>,
    ephemeral_containers: Vec<SpecContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecContainer {
    name: String,
    restart_policy: Option<String>,
    resources: WireResources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    qos_class: Option<String>,
    phase: Option<String>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    /// What the kubelet has allocated (KEP-1287); newer than `resources` while a resize is under
    /// way, and left out by kubelets without the feature.
    allocated_resources: Option<ResourceList>,
    resources: Option<WireResources>,
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
    /// What the running container has, if the kubelet says so.
    fn actual(&self) -> Option<Resources> {
        let mut resources = Resources::from(self.resources?);
        if let Some(memory) = self.allocated_resources.and_then(|allocated| allocated.memory) {
            resources.requests.memory = Some(memory);
        }
        Some(resources)
    }
}

/// `None` for what is no pod with usable names and UID.
pub fn pod(wire: WirePod) -> Option<Pod> {
    let WirePod { metadata, spec, status } = wire;
    let annotations = metadata.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(name);
    let mirror = annotation("kubernetes.io/config.mirror");
    // A mirror pod's annotation is the UID under which the kubelet runs the static pod: a hash, without
    // the dashes of the API server's UIDs. Who may create pods may write there whose UID he likes.
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
        config_source: annotation("kubernetes.io/config.source")
            .map(|source| plain(source).into_owned()),
        mirror: mirror.is_some(),
        qos_class,
        resources: spec.resources.map(Resources::from),
        virt_launcher: metadata
            .labels
            .is_some_and(|labels| labels.get("kubevirt.io").is_some_and(|v| v == "virt-launcher")),
        terminating: metadata.deletion_timestamp.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
        grace_seconds: spec.termination_grace_period_seconds.unwrap_or(30),
        // A `Vec` that grew has room for four.
        containers: containers.into_vec(),
    };
    let mut names = pod.containers.iter().map(|container| &container.name);
    let named = is_name(&pod.namespace) && is_name(&pod.name) && names.all(|name| is_name(name));
    named.then_some(pod)
}

fn container(spec: SpecContainer, statuses: &[ContainerStatus], kind: ContainerKind) -> Container {
    let status = statuses.iter().find(|status| status.name == spec.name);
    let kind = match spec.restart_policy.as_deref() {
        Some("Always") if kind == ContainerKind::Init => ContainerKind::Sidecar,
        _ => kind,
    };
    Container {
        name: Arc::from(spec.name),
        kind,
        spec: spec.resources.into(),
        actual: status.and_then(ContainerStatus::actual),
        id: status.and_then(|s| s.container_id.as_deref()).and_then(ContainerId::from_status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::grant::tests::resources;

    const ID: &str = "6506db16ea97b09bdd2aa6ac6c3ca21e670f69b0e2233c99eafaebd597e53728";

    fn parse(json: &str) -> Option<Pod> {
        pod(serde_json::from_str(json).unwrap())
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
        assert!(pod.virt_launcher && !pod.mirror && pod.terminating && !pod.finished);
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

    #[test]
    fn a_mirror_pod_runs_under_the_static_pods_uid() {
        let pod = parse(
            r#"{"metadata":{"name":"etcd","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
            "annotations":{"kubernetes.io/config.mirror":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kubernetes.io/config.source":"file"}},
            "spec":{"containers":[]}}"#,
        )
        .unwrap();
        assert_eq!(pod.uid.as_str(), "0a1b2c3d4e5f60718293a4b5c6d7e8f9");
        assert!(pod.mirror);
    }

    /// It would take the place of the pod that has this UID.
    #[test]
    fn a_mirror_pod_cannot_have_an_api_pods_uid() {
        let of = |mirror: &str| {
            let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
                "annotations":{"kubernetes.io/config.mirror":"UID","kubernetes.io/config.source":"\u001b[2J"}}}"#;
            parse(&json.replace("UID", mirror))
        };
        assert_eq!(of("9192cfa8-679c-444e-9bb8-9701e3620c02"), None);
        let source = of("9192cfa8679c444e9bb89701e3620c02").unwrap().config_source;
        assert_eq!(source.as_deref(), Some("\\u{1b}[2J"));
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
