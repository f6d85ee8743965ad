//! The defaults that the server fills in on create (pkg/apis/core/v1/defaults.go), the Priority
//! admission plugin, and the pod's QoS class (pkg/apis/core/v1/helper/qos).

use serde_json::{Value, json};

use crate::json::{default, list, text};
use crate::quantity;
use crate::status::{ApiError, ApiResult, Subject};
use crate::store::{Inner, Key};

const CONTAINER_LISTS: [&str; 2] = ["initContainers", "containers"];

/// Applies defaults and the parts of the strategy for create.
pub(crate) fn on_create(plural: &str, object: &mut Value, store: &Inner) -> ApiResult<()> {
    match plural {
        "pods" => pod(object, store)?,
        "nodes" => {
            default(object, "spec", json!({}));
            default(object, "status", json!({}));
        }
        "namespaces" => {
            let name = text(object, "/metadata/name").to_owned();
            default(&mut object["metadata"], "labels", json!({}));
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        "poddisruptionbudgets" => {
            object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0,
                                      "desiredHealthy": 0, "expectedPods": 0});
            object["metadata"]["generation"] = json!(1);
        }
        "events" => {
            default(object, "source", json!({}));
            default(object, "reportingComponent", "");
            default(object, "reportingInstance", "");
        }
        "priorityclasses" => default(object, "preemptionPolicy", "PreemptLowerPriority"),
        _ => {}
    }
    Ok(())
}

fn pod(object: &mut Value, store: &Inner) -> ApiResult<()> {
    let name = text(object, "/metadata/name").to_owned();
    if list(object, "/spec/containers").is_empty() {
        return Err(ApiError::invalid("", "Pod", &name, "spec.containers", "Required value"));
    }
    priority(object, store, &name)?;
    let spec = &mut object["spec"];
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    default(spec, "enableServiceLinks", true);
    containers(spec);
    tolerations(spec);
    crate::resize::check_requests(&name, spec)?;
    object["status"] = json!({"phase": "Pending", "qosClass": qos(object)});
    object["metadata"]["generation"] = json!(1);
    Ok(())
}

/// The DefaultTolerationSeconds admission plugin.
pub(crate) fn tolerations(spec: &mut Value) {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = all.iter().any(|t| {
            (text(t, "/key").is_empty() || t["key"] == key)
                && matches!(text(t, "/effect"), "" | "NoExecute")
        });
        if !tolerated {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                            "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = Value::Array(all);
}

/// Restores the defaults of containers that an update leaves out.
pub(crate) fn containers(spec: &mut Value) {
    for field in CONTAINER_LISTS {
        for c in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            container(c);
        }
    }
}

fn container(c: &mut Value) {
    let image = text(c, "/image");
    let tag = image.rsplit('/').next().unwrap_or_default();
    let latest = !tag.contains(':') && !tag.contains('@') || tag.ends_with(":latest");
    default(c, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(c, "terminationMessagePath", "/dev/termination-log");
    default(c, "terminationMessagePolicy", "File");
    default(c, "resources", json!({}));
    let resources = &mut c["resources"];
    if let Some(limits) = resources["limits"].as_object().cloned() {
        default(resources, "requests", json!({}));
        for (name, value) in limits {
            default(&mut resources["requests"], &name, value);
        }
    }
}

/// The Priority admission plugin.
fn priority(object: &mut Value, store: &Inner, pod_name: &str) -> ApiResult<()> {
    let class = text(object, "/spec/priorityClassName").to_owned();
    let (value, policy) = if class.is_empty() {
        let global = store
            .list("priorityclasses", "")
            .find(|(_, c)| c["globalDefault"].as_bool() == Some(true));
        if let Some((key, _)) = global {
            object["spec"]["priorityClassName"] = json!(key.name);
        }
        global.map_or((0, Value::Null), |(_, c)| {
            (c["value"].as_i64().unwrap_or(0), c["preemptionPolicy"].clone())
        })
    } else {
        let found = store.get(&Key::new("priorityclasses", "", &class)).ok_or_else(|| {
            let subject = Subject { group: "", resource: "pods", name: pod_name };
            ApiError::forbidden(&subject, &format!("no PriorityClass with name {class} was found"))
        })?;
        (found["value"].as_i64().unwrap_or(0), found["preemptionPolicy"].clone())
    };
    object["spec"]["priority"] = json!(value);
    let policy = policy.as_str().unwrap_or("PreemptLowerPriority");
    default(&mut object["spec"], "preemptionPolicy", policy);
    Ok(())
}

/// Returns Guaranteed, Burstable or BestEffort, from CPU and memory of all containers.
pub(crate) fn qos(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let all: Vec<&Value> = if spec["resources"].is_object() {
        vec![&spec["resources"]]
    } else {
        CONTAINER_LISTS
            .iter()
            .flat_map(|f| spec[*f].as_array().into_iter().flatten())
            .map(|c| &c["resources"])
            .collect()
    };
    let amount = |r: &Value, kind: &str, name: &str| {
        quantity::of(&r[kind][name]).filter(|amount| amount.sign() > 0)
    };
    let (mut any, mut guaranteed) = (false, !all.is_empty());
    for resources in all {
        for name in ["cpu", "memory"] {
            let (request, limit) =
                (amount(resources, "requests", name), amount(resources, "limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos_follows_the_rules() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, init, want) in [
            (json!([{}]), json!([]), "BestEffort"),
            (json!([{"resources": {"limits": both}}]), json!([]), "Guaranteed"),
            (
                json!([{"resources": {"limits": both,
                        "requests": {"cpu": "1000m", "memory": "1048576Ki"}}}]),
                json!([]),
                "Guaranteed",
            ),
            (json!([{"resources": {"limits": both}}, {}]), json!([]), "Burstable"),
            (json!([{"resources": {"limits": both}}]), json!([{}]), "Burstable"),
            (json!([{"resources": {"requests": {"memory": "1"}}}]), json!([]), "Burstable"),
            (json!([{"resources": {"requests": {"memory": "0"}}}]), json!([]), "BestEffort"),
            (
                json!([{"resources": {"requests": {"hugepages-2Mi": "2Mi"}}}]),
                json!([]),
                "BestEffort",
            ),
        ] {
            let pod = json!({"spec": {"containers": containers, "initContainers": init}});
            assert_eq!(qos(&pod), want, "{pod}");
        }
    }
}
