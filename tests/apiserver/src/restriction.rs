//! The NodeRestriction admission plugin
//! (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::auth::User;
use crate::json::{list, same, text};
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult, Subject};
use crate::store::{Inner, Key};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Labels of kubernetes.io that a kubelet may set (k8s.io/kubelet, pkg/apis).
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

fn within(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn forbidden_label(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    if within(namespace, "node-restriction.kubernetes.io") {
        return true;
    }
    let official = within(namespace, "kubernetes.io") || within(namespace, "k8s.io");
    let kubelets = KUBELET_LABELS.contains(&key)
        || within(namespace, "kubelet.kubernetes.io")
        || within(namespace, "node.kubernetes.io");
    official && !kubelets
}

/// Returns the forbidden labels among those that differ, joined as in the message.
fn forbidden_changes(old: &Value, new: &Value) -> Option<String> {
    let keys = |v: &Value| {
        v.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<BTreeSet<_>>()
    };
    let changed: Vec<String> = keys(old)
        .union(&keys(new))
        .filter(|k| old.get(k) != new.get(k) && forbidden_label(k))
        .cloned()
        .collect();
    (!changed.is_empty()).then(|| changed.join(", "))
}

fn refuse<T>(info: &RequestInfo, name: &str, why: &str) -> ApiResult<T> {
    let subject = Subject { group: info.resource.group, resource: info.resource.plural, name };
    Err(ApiError::forbidden(&subject, why))
}

pub(crate) fn on_create(
    user: &User,
    info: &RequestInfo,
    object: &Value,
    store: &Inner,
) -> ApiResult<()> {
    let Some(node) = user.node() else { return Ok(()) };
    let name = text(object, "/metadata/name");
    match info.resource.plural {
        "nodes" if name != node => {
            let why = format!("node {node:?} is not allowed to modify node {name:?}");
            refuse(info, name, &why)
        }
        "nodes" => match forbidden_changes(&Value::Null, &object["metadata"]["labels"]) {
            Some(labels) => {
                let why =
                    format!("node {node:?} is not allowed to set the following labels: {labels}");
                refuse(info, name, &why)
            }
            None => Ok(()),
        },
        "pods" => pod_create(node, info, object, store),
        _ => Ok(()),
    }
}

fn pod_create(node: &str, info: &RequestInfo, pod: &Value, store: &Inner) -> ApiResult<()> {
    let name = text(pod, "/metadata/name");
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        let why = format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        );
        return refuse(info, name, &why);
    }
    if text(pod, "/spec/nodeName") != node {
        let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
        return refuse(info, name, &why);
    }
    let owners = list(pod, "/metadata/ownerReferences");
    let is_node = |o: &Value| o["apiVersion"] == "v1" && o["kind"] == "Node" && o["name"] == node;
    match owners {
        [owner] if is_node(owner) => {
            if owner["controller"] != true {
                let why = format!(
                    "node {node:?} can only create pods with a controller owner reference set to \
                     itself"
                );
                return refuse(info, name, &why);
            }
            let uid =
                store.get(&Key::new("nodes", "", node)).map_or("", |n| text(n, "/metadata/uid"));
            let given = text(owner, "/uid");
            if given != uid {
                let why = format!("node {node} UID mismatch: expected {given} got {uid}");
                return refuse(info, name, &why);
            }
            Ok(())
        }
        [_, _, ..] => {
            let why = format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            );
            refuse(info, name, &why)
        }
        _ => {
            let why =
                format!("node {node:?} can only create pods with an owner reference set to itself");
            refuse(info, name, &why)
        }
    }
}

/// Runs before the strategy restores protected fields: a taint in a patch of nodes/status is
/// rejected, not ignored.
pub(crate) fn on_update(
    user: &User,
    info: &RequestInfo,
    old: &Value,
    new: &Value,
) -> ApiResult<()> {
    let Some(node) = user.node() else { return Ok(()) };
    let name = &info.name;
    match info.resource.plural {
        "nodes" => {
            if name != node {
                let why = format!("node {node:?} is not allowed to modify node {name:?}");
                return refuse(info, name, &why);
            }
            if !same(&old["spec"]["taints"], &new["spec"]["taints"]) {
                return refuse(
                    info,
                    name,
                    &format!("node {node:?} is not allowed to modify taints"),
                );
            }
            if !same(&old["metadata"]["ownerReferences"], &new["metadata"]["ownerReferences"]) {
                let why = format!("node {node:?} is not allowed to modify ownerReferences");
                return refuse(info, name, &why);
            }
            match forbidden_changes(&old["metadata"]["labels"], &new["metadata"]["labels"]) {
                Some(labels) => {
                    refuse(info, name, &format!("is not allowed to modify labels: {labels}"))
                }
                None => Ok(()),
            }
        }
        "pods" => {
            if text(old, "/spec/nodeName") != node {
                let why = format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to \
                     itself"
                );
                return refuse(info, name, &why);
            }
            if !same(&old["metadata"]["labels"], &new["metadata"]["labels"]) {
                let why = format!("node {node:?} cannot update labels through pod status");
                return refuse(info, name, &why);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Returns the pod as the plugin's informer knows it; the error names "pod", not "pods".
fn existing<'a>(info: &RequestInfo, store: &'a Inner) -> ApiResult<&'a Value> {
    store.get(&Key::new("pods", &info.namespace, &info.name)).map(|pod| &**pod).ok_or_else(|| {
        ApiError::not_found(&Subject { group: "", resource: "pod", name: &info.name })
    })
}

pub(crate) fn on_delete(user: &User, info: &RequestInfo, store: &Inner) -> ApiResult<()> {
    let Some(node) = user.node().filter(|_| info.resource.plural == "pods") else { return Ok(()) };
    // Checked after the pod was found, so that a missing pod gives plain "pods not found".
    let pod = store.get(&Key::new("pods", &info.namespace, &info.name));
    if text(pod.ok_or_else(|| ApiError::not_found(&info.subject()))?, "/spec/nodeName") == node {
        return Ok(());
    }
    let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
    refuse(info, &info.name, &why)
}

pub(crate) fn on_eviction(user: &User, info: &RequestInfo, store: &Inner) -> ApiResult<()> {
    let Some(node) = user.node() else { return Ok(()) };
    if text(existing(info, store)?, "/spec/nodeName") == node {
        return Ok(());
    }
    let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
    refuse(info, &info.name, &why)
}

#[cfg(test)]
mod tests {
    use super::forbidden_label;

    #[test]
    fn labels() {
        for (label, forbidden) in [
            ("example.com/x", false),
            ("plain", false),
            ("feature.node.kubernetes.io/x", false),
            ("node.kubernetes.io/x", false),
            ("kubelet.kubernetes.io/x", false),
            ("kubernetes.io/hostname", false),
            ("kubernetes.io/other", true),
            ("foo.kubernetes.io/x", true),
            ("foo.k8s.io/x", true),
            ("notkubernetes.io/x", false),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
        ] {
            assert_eq!(forbidden_label(label), forbidden, "{label}");
        }
    }
}
