//! The Pod object, and the values that a kubelet derives from it.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::node::Node;

const CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// `NAME[,request=Q][,limit=Q][,cpu=Q][,cpu-limit=Q]`
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerSpec {
    pub(crate) name: String,
    pub(crate) request: Option<String>,
    pub(crate) limit: Option<String>,
    pub(crate) cpu: Option<String>,
    pub(crate) cpu_limit: Option<String>,
}

impl FromStr for ContainerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut spec =
            Self { name: parts.next().unwrap_or_default().to_owned(), ..Self::default() };
        for part in parts {
            let value = part.split_once('=').map(|(_, value)| value.to_owned());
            match part.split('=').next() {
                Some("request") => spec.request = value,
                Some("limit") => spec.limit = value,
                Some("cpu") => spec.cpu = value,
                Some("cpu-limit") => spec.cpu_limit = value,
                _ => return Err(format!("unknown key in {part}")),
            }
        }
        Ok(spec)
    }
}

pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) containers: &'a [ContainerSpec],
    pub(crate) inits: &'a [ContainerSpec],
    pub(crate) sidecars: &'a [ContainerSpec],
    pub(crate) priority: Option<i64>,
    pub(crate) priority_class: Option<&'a str>,
    pub(crate) annotations: &'a [String],
    pub(crate) labels: &'a [String],
    pub(crate) command: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// The facts about a container of a pod.
pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    pub(crate) spec: &'a Value,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Init,
    Sidecar,
    Main,
}

/// A Pod as in the API server. Its uid is the one on the node: a static pod's is a hash, and its
/// mirror in the API has another.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) object: Value,
    pub(crate) uid: String,
}

impl Pod {
    pub(crate) fn from_manifest(mut object: Value) -> Result<Self> {
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("default");
        }
        if object["spec"]["nodeName"].is_null() {
            object["spec"]["nodeName"] = json!(hostname());
        }
        // Until the API server assigns one.
        let uid = random_uid()?;
        let pod = Self { object, uid };
        if pod.name().is_empty() || pod.containers().is_empty() {
            bail!("a pod needs a name and containers");
        }
        Ok(pod)
    }

    pub(crate) fn from_parts(parts: &Parts) -> Result<Self> {
        let container = |spec: &ContainerSpec, command: &str| {
            let map = |memory: &Option<String>, cpu: &Option<String>| -> Map<String, Value> {
                [("memory", memory), ("cpu", cpu)]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?))))
                    .collect()
            };
            let mut requests = map(&spec.request, &spec.cpu);
            let limits = map(&spec.limit, &spec.cpu_limit);
            // The API server's defaulting: a limit without a request is also the request.
            for (key, value) in &limits {
                requests.entry(key.clone()).or_insert_with(|| value.clone());
            }
            let mut resources = Map::new();
            for (key, map) in [("requests", requests), ("limits", limits)] {
                if !map.is_empty() {
                    resources.insert(key.to_owned(), Value::Object(map));
                }
            }
            json!({
                "name": spec.name, "image": "localhost/busybox:latest", "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", command], "resources": resources,
            })
        };
        let pairs = |list: &[String]| -> Map<String, Value> {
            list.iter()
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (key.to_owned(), json!(value)))
                .collect()
        };
        let mut inits: Vec<Value> = parts.inits.iter().map(|c| container(c, "true")).collect();
        for sidecar in parts.sidecars {
            let mut sidecar = container(sidecar, parts.command);
            sidecar["restartPolicy"] = json!("Always");
            inits.push(sidecar);
        }
        let containers: Vec<Value> =
            parts.containers.iter().map(|c| container(c, parts.command)).collect();
        let mut spec = json!({
            "nodeName": hostname(), "hostNetwork": true, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 30, "containers": containers,
        });
        if !inits.is_empty() {
            spec["initContainers"] = json!(inits);
        }
        // As admission sets it: the class's value, or 0.
        let class_value = match parts.priority_class {
            Some("system-node-critical") => 2_000_001_000,
            Some("system-cluster-critical") => CRITICAL_PRIORITY,
            _ => 0,
        };
        spec["priority"] = json!(parts.priority.unwrap_or(class_value));
        let own_class = parts.priority.map(|value| format!("priority-{value}"));
        if let Some(class) = parts.priority_class.or(own_class.as_deref()) {
            spec["priorityClassName"] = json!(class);
        }
        Self::from_manifest(json!({
            "metadata": {
                "name": parts.name, "namespace": parts.namespace,
                "annotations": pairs(parts.annotations), "labels": pairs(parts.labels),
            },
            "spec": spec,
        }))
    }

    /// Turns it into a static pod, which the kubelet read from a file.
    pub(crate) fn make_static(&mut self) -> Result<()> {
        self.uid = random_uid()?.replace('-', "");
        let hash = json!(self.uid);
        let annotations = &mut self.object["metadata"]["annotations"];
        annotations["kubernetes.io/config.source"] = json!("file");
        annotations["kubernetes.io/config.hash"] = hash.clone();
        // Only its mirror has this annotation; see `annotations`.
        annotations["kubernetes.io/config.mirror"] = hash;
        // As the kubelet does, and NodeRestriction requires.
        let node = self.object["spec"]["nodeName"].clone();
        self.object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "Node", "name": node, "uid": node, "controller": true,
        }]);
        Ok(())
    }

    fn is_mirrored(&self) -> bool {
        self.annotation("kubernetes.io/config.mirror").is_some()
            && self.annotation("kubernetes.io/config.hash") == Some(self.uid.as_str())
    }

    pub(crate) fn create(&mut self, api: &Api) -> Result<()> {
        let class = self.object["spec"]["priorityClassName"].as_str();
        if let Some(class) = class.filter(|class| class.starts_with("priority-")) {
            let value = &self.object["spec"]["priority"];
            api.post_unless_exists(
                "/apis/scheduling.k8s.io/v1/priorityclasses",
                &json!({
                    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                    "metadata": {"name": class}, "value": value,
                }),
            )?;
        }
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace());
        let object = api.post(&path, &self.object)?;
        if !self.is_mirrored() {
            object["metadata"]["uid"]
                .as_str()
                .context("the API server gave no uid")?
                .clone_into(&mut self.uid);
        }
        self.object = object;
        Ok(())
    }

    pub(crate) fn delete(&self, api: &Api) -> Result<()> {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        api.delete(&self.path(), &options)?;
        Ok(())
    }

    /// Sends a user's resize. A list in a merge patch replaces the whole.
    pub(crate) fn patch_spec(&mut self, api: &Api) -> Result<()> {
        let patch = json!({"spec": {"containers": self.object["spec"]["containers"]}});
        self.object = api.patch(&format!("{}/resize", self.path()), &patch)?;
        Ok(())
    }

    pub(crate) fn patch_status(&self, api: &Api, status: &Value) -> Result<()> {
        api.patch(&format!("{}/status", self.path()), &json!({"status": status}))?;
        Ok(())
    }

    pub(crate) fn set_resources(
        &mut self,
        container: &str,
        request: Option<&str>,
        limit: Option<&str>,
    ) -> Result<()> {
        let spec = self.object["spec"]["containers"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .find(|spec| spec["name"] == container)
            .with_context(|| format!("no container {container}"))?;
        for (key, value) in [("requests", request), ("limits", limit)] {
            if let Some(value) = value {
                spec["resources"][key]["memory"] = json!(value);
            }
        }
        Ok(())
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace(), self.name())
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.object["metadata"]["annotations"][key].as_str()
    }

    /// Returns the annotations for the container runtime: those of the pod that the kubelet read.
    pub(crate) fn annotations(&self) -> Map<String, Value> {
        let mut map =
            self.object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        if self.is_mirrored() {
            map.remove("kubernetes.io/config.mirror");
        }
        map.entry("kubernetes.io/config.source").or_insert_with(|| json!("api"));
        map
    }

    pub(crate) fn labels(&self) -> Map<String, Value> {
        let labels = &self.object["metadata"]["labels"];
        labels.as_object().cloned().unwrap_or_default()
    }

    /// Returns the containers in the order of their start.
    pub(crate) fn containers(&self) -> Vec<Container<'_>> {
        let of = |key: &str| self.object["spec"][key].as_array().into_iter().flatten();
        let inits = of("initContainers").map(|spec| {
            let sidecar = spec["restartPolicy"] == "Always";
            (spec, if sidecar { Kind::Sidecar } else { Kind::Init })
        });
        inits
            .chain(of("containers").map(|spec| (spec, Kind::Main)))
            .map(|(spec, kind)| Container {
                name: spec["name"].as_str().unwrap_or_default(),
                spec,
                kind,
            })
            .collect()
    }

    pub(crate) fn qos(&self) -> Qos {
        let containers = self.containers();
        let resource = |kind: &str, key: &str, c: &Container| {
            c.spec["resources"][kind][key].as_str().map(str::to_owned)
        };
        let named = |c: &Container, key| {
            resource("requests", key, c).is_some() || resource("limits", key, c).is_some()
        };
        let fixed = |c: &Container, key| {
            resource("limits", key, c).is_some()
                && resource("limits", key, c) == resource("requests", key, c)
        };
        if !containers.iter().any(|c| named(c, "memory") || named(c, "cpu")) {
            Qos::BestEffort
        } else if containers.iter().all(|c| fixed(c, "memory") && fixed(c, "cpu")) {
            Qos::Guaranteed
        } else {
            Qos::Burstable
        }
    }

    pub(crate) fn is_critical(&self) -> bool {
        let from_file =
            self.annotation("kubernetes.io/config.source").is_some_and(|source| source != "api");
        let priority = self.object["spec"]["priority"].as_i64();
        from_file
            || self.annotation("kubernetes.io/config.mirror").is_some()
            || priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY)
    }

    /// Returns the value that a kubelet with `swapBehavior: LimitedSwap` writes to memory.swap.max.
    ///
    /// Source: Kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`,
    /// `GetContainerSwapBehavior` and `calcSwapForBurstablePods`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the kubelet computes in float64"
    )]
    pub(crate) fn limited_swap(&self, container: &Container, node: &Node) -> Result<u64> {
        let request = memory(container.spec, "requests")?.unwrap_or(0);
        let limit = memory(container.spec, "limits")?.unwrap_or(0);
        if self.is_critical()
            || self.qos() != Qos::Burstable
            || request == limit
            || request > node.memory_bytes
        {
            return Ok(0);
        }
        let proportion = request as f64 / node.memory_bytes as f64;
        Ok((proportion * node.swap_bytes as f64) as u64)
    }

    /// Computes the kubelet's formula: the more memory a container requests, the later the kernel
    /// kills it.
    pub(crate) fn oom_score_adj(&self, container: &Container, memory_bytes: u64) -> Result<i64> {
        if self.is_critical() || self.qos() == Qos::Guaranteed {
            return Ok(-997);
        }
        if self.qos() == Qos::BestEffort {
            return Ok(1000);
        }
        let own = |c: &Container| -> Result<i64> {
            let share = 1000 * memory(c.spec, "requests")?.unwrap_or(0) / memory_bytes;
            Ok(match 1000 - i64::try_from(share)? {
                adj if adj < 3 => 3,
                1000 => 999,
                adj => adj,
            })
        };
        let mut adj = own(container)?;
        if container.kind == Kind::Sidecar {
            for main in self.containers().iter().filter(|c| c.kind == Kind::Main) {
                adj = adj.min(own(main)?);
            }
        }
        Ok(adj)
    }
}

/// Returns a container's memory request or limit in bytes.
pub(crate) fn memory(spec: &Value, kind: &str) -> Result<Option<u64>> {
    spec["resources"][kind]["memory"].as_str().map(bytes).transpose()
}

/// Parses a whole quantity of bytes, such as `100Mi`.
pub(crate) fn bytes(quantity: &str) -> Result<u64> {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &quantity[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        unit => bail!("unit {unit} of {quantity}"),
    };
    let number: u64 = digits.parse().with_context(|| format!("quantity {quantity}"))?;
    number.checked_mul(unit).context("quantity too large")
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.as_deref().unwrap_or("node-a").trim().to_owned()
}

pub(crate) fn random_uid() -> Result<String> {
    let source = Path::new("/proc/sys/kernel/random/uuid");
    Ok(std::fs::read_to_string(source)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        let containers: Vec<ContainerSpec> = vec![spec.parse().unwrap_or_default()];
        Pod::from_parts(&Parts {
            name: "p",
            namespace: "default",
            containers: &containers,
            inits: &[],
            sidecars: &[],
            priority: None,
            priority_class: None,
            annotations: &[],
            labels: &[],
            command: "true",
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
    }

    #[test]
    fn qos_is_the_api_servers() {
        for (spec, qos) in [
            ("c", Qos::BestEffort),
            ("c,request=1Mi", Qos::Burstable),
            ("c,request=1Mi,limit=1Mi", Qos::Burstable),
            ("c,limit=1Mi,cpu-limit=1", Qos::Guaranteed),
            ("c,request=1Mi,limit=1Mi,cpu=1,cpu-limit=1", Qos::Guaranteed),
        ] {
            assert_eq!(pod(spec).qos(), qos, "{spec}");
        }
    }

    #[test]
    fn oom_score_is_the_kubelets() {
        // On a node of 4 GiB, as measured.
        for (spec, adj) in [
            ("c,request=200Mi", 952),
            ("c,request=100Mi,limit=300Mi", 976),
            ("c", 1000),
            ("c,cpu=1", 999),
            ("c,request=1Mi,limit=1Mi,cpu=1,cpu-limit=1", -997),
        ] {
            let pod = pod(spec);
            let adjusted = pod.oom_score_adj(&pod.containers()[0], 4 << 30);
            assert_eq!(adjusted.ok(), Some(adj), "{spec}");
        }
    }

    /// Amounts from Kubernetes' own TestCalcSwapForBurstablePods.
    #[test]
    fn limited_swap_is_the_kubelets() {
        let swap = |spec: &str, memory_gib: u64, swap_gib: u64| {
            let pod = pod(spec);
            let node = Node { memory_bytes: memory_gib << 30, swap_bytes: swap_gib << 30 };
            pod.limited_swap(&pod.containers()[0], &node).ok()
        };
        assert_eq!(swap("c,request=1Gi", 80, 4), Some(53_687_091));
        assert_eq!(swap("c,request=2Gi", 40, 2), Some(107_374_182));
        assert_eq!(swap("c,request=5Gi", 150, 40), Some(1_431_655_765));
        for spec in ["c", "c,cpu=1", "c,request=1Gi,limit=1Gi", "c,request=81Gi"] {
            assert_eq!(swap(spec, 80, 4), Some(0), "{spec}");
        }
    }

    #[test]
    fn quantities() {
        assert_eq!(bytes("100Mi").ok(), Some(104_857_600));
        assert_eq!(bytes("5").ok(), Some(5));
        assert!(bytes("1.5Gi").is_err());
    }
}
