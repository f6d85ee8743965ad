//! The resize subresource of pods: the changes that it allows, and the errors for others
//! (pkg/registry/core/pod/strategy.go, `ValidatePodResize` in pkg/apis/core/validation).

use serde_json::{Value, json};

use crate::defaults::qos;
use crate::json::{copy_field, empty, list, remove, same, text};
use crate::quantity::{self, Quantity};
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult};
use crate::store::{Inner, Key};

const LISTS: [&str; 2] = ["initContainers", "containers"];
const KINDS: [&str; 2] = ["requests", "limits"];
const MUTABLE: [&str; 2] = ["cpu", "memory"];

fn amount(value: &Value) -> Option<Quantity> {
    quantity::of(value)
}

fn same_names(old: &Value, new: &Value, field: &str) -> bool {
    let names = |pod: &Value| -> Vec<String> {
        list(&pod["spec"], &format!("/{field}"))
            .iter()
            .map(|c| text(c, "/name").to_owned())
            .collect()
    };
    names(old) == names(new)
}

/// Restores everything but resources, unless the containers differ: validation reports that.
pub(crate) fn prepare(old: &Value, new: &mut Value) {
    let count = |pod: &Value, field: &str| list(&pod["spec"], &format!("/{field}")).len();
    if LISTS.iter().any(|field| count(old, field) != count(new, field)) {
        return;
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        copy_field(&old["metadata"], &mut new["metadata"], field);
    }
    let mut spec = old["spec"].clone();
    copy_field(&new["spec"], &mut spec, "resources");
    for field in LISTS {
        if !same_names(old, new, field) {
            copy_field(&new["spec"], &mut spec, field);
            continue;
        }
        let given = list(&new["spec"], &format!("/{field}"));
        let kept = spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
        for (kept, given) in kept.zip(given) {
            let before = kept["resources"].clone();
            copy_field(given, kept, "resources");
            copy_field(given, kept, "resizePolicy");
            keep_spelling(&before, &mut kept["resources"]);
        }
    }
    new["spec"] = spec;
}

/// "1000m" instead of "1" is no change.
fn keep_spelling(old: &Value, new: &mut Value) {
    for kind in KINDS {
        for (name, value) in new[kind].as_object_mut().into_iter().flatten() {
            let before = &old[kind][name.as_str()];
            if amount(before).is_some() && amount(before) == amount(value) {
                *value = before.clone();
            }
        }
        if new[kind].is_null() {
            remove(new, kind);
        }
    }
}

/// Returns the container without the amounts that may change.
fn fixed(container: &Value) -> Value {
    let mut container = container.clone();
    for kind in KINDS {
        for name in MUTABLE {
            remove(&mut container["resources"][kind], name);
        }
        if empty(&container["resources"][kind]) {
            remove(&mut container["resources"], kind);
        }
    }
    if empty(&container["resources"]) {
        remove(&mut container, "resources");
    }
    container
}

/// Returns true if a field was removed.
fn removed(old: &Value, new: &Value) -> bool {
    old.as_object().into_iter().flatten().any(|(name, _)| new[name.as_str()].is_null())
}

/// A wrong field, and its problem.
type Problem = (String, String);

fn forbidden(field: impl Into<String>, why: &str) -> Problem {
    (field.into(), format!("Forbidden: {why}"))
}

/// `what` is "resource" or "pod-level resource".
fn removals(old: &Value, new: &Value, what: &str, path: &str, problems: &mut Vec<Problem>) {
    for kind in KINDS {
        if removed(&old[kind], &new[kind]) {
            let why = format!("{what} {kind} cannot be removed");
            problems.push(forbidden(format!("{path}.{kind}"), &why));
        }
    }
}

/// Finds requests above their limits.
fn excesses(resources: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name.as_str()];
        if amount(limit).is_some() && amount(request) > amount(limit) {
            let shown = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            let why = format!(
                "Invalid value: {:?}: must be less than or equal to {name} limit of {}",
                shown(request),
                shown(limit)
            );
            problems.push((format!("{path}.requests"), why));
        }
    }
}

/// Finds amounts below zero.
fn negatives(resources: &Value, path: &str, problems: &mut Vec<Problem>) {
    for kind in KINDS {
        for (name, value) in resources[kind].as_object().into_iter().flatten() {
            if let Some(amount) = amount(value).filter(|amount| amount.sign() < 0) {
                let why = "must be greater than or equal to 0";
                let why = format!("Invalid value: {:?}: {why}", amount.written());
                problems.push((format!("{path}.{kind}[{name}]"), why));
            }
        }
    }
}

/// Rejects a new pod with amounts below zero, or requests above its limits.
pub(crate) fn check_requests(name: &str, spec: &Value) -> ApiResult<()> {
    let mut problems = Vec::new();
    for field in ["containers", "initContainers"] {
        for (n, c) in list(spec, &format!("/{field}")).iter().enumerate() {
            let path = format!("spec.{field}[{n}].resources");
            negatives(&c["resources"], &path, &mut problems);
            excesses(&c["resources"], &path, &mut problems);
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_all("", "Pod", name, &problems))
}

/// The node's kubelet reports resources if it supports resize; without a running container this is
/// unknown.
fn supported(pod: &Value) -> bool {
    let running = list(pod, "/status/containerStatuses")
        .iter()
        .find(|status| !status["state"]["running"].is_null());
    running.is_none_or(|status| !status["resources"].is_null())
}

fn others(old: &Value, new: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for field in ["containers", "initContainers"] {
        let pointer = format!("/{field}");
        let (before, after) = (list(&old["spec"], &pointer), list(&new["spec"], &pointer));
        if before.len() != after.len() {
            let why = format!("{field} may not be added or removed on resize");
            problems.push(forbidden(format!("spec.{field}"), &why));
            continue;
        }
        for (n, (before, after)) in before.iter().zip(after).enumerate() {
            if before["name"] != after["name"] {
                let why = format!("{field} may not be renamed or reordered on resize");
                problems.push(forbidden(format!("spec.{field}[{n}].name"), &why));
            }
        }
    }
    problems
}

/// Checks the resources of the pod as a whole.
fn pod_level(old: &Value, new: &Value, problems: &mut Vec<Problem>) {
    if !old.is_null() && new.is_null() {
        let why = "pod-level resources cannot be removed";
        problems.push(forbidden("spec.resources", why));
        return;
    }
    removals(old, new, "pod-level resource", "spec.resources", problems);
    let fixed = |resources: &Value| fixed(&json!({"resources": resources}));
    if fixed(old) != fixed(new) {
        let why = "only cpu and memory resources are mutable at pod-level";
        problems.push(forbidden("spec", why));
    }
}

fn problems(old: &Value, new: &Value) -> Vec<Problem> {
    if !old["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return vec![forbidden("[]", "static pods cannot be resized")];
    }
    let mut problems = Vec::new();
    for field in LISTS {
        for (n, c) in list(&new["spec"], &format!("/{field}")).iter().enumerate() {
            if text(c, "/image").is_empty() {
                problems.push((format!("spec.{field}[{n}].image"), "Required value".to_owned()));
            }
            excesses(&c["resources"], &format!("spec.{field}[{n}].resources"), &mut problems);
        }
    }
    let class = text(old, "/status/qosClass");
    if (if class.is_empty() { qos(old) } else { class }) != qos(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        problems.push(("spec".to_owned(), format!("Invalid value: {class:?}: {why}")));
    }
    if !supported(old) {
        problems.push(forbidden("spec", "Pod running on node without support for resize"));
    }
    pod_level(&old["spec"]["resources"], &new["spec"]["resources"], &mut problems);
    let others = others(old, new);
    if !others.is_empty() {
        problems.extend(others);
        return problems;
    }
    let pairs = |field: &'static str| {
        let pointer = format!("/{field}");
        let after = list(&new["spec"], &pointer);
        list(&old["spec"], &pointer).iter().zip(after).enumerate()
    };
    for field in LISTS {
        for (n, (before, after)) in pairs(field) {
            let path = format!("spec.{field}[{n}].resources");
            removals(&before["resources"], &after["resources"], "resource", &path, &mut problems);
        }
    }
    for (_, (before, after)) in pairs("containers") {
        if !same(&fixed(before), &fixed(after)) {
            problems.push(forbidden("spec", "only cpu and memory resources are mutable"));
        }
    }
    for (n, (before, after)) in pairs("initContainers") {
        let path = format!("spec.initContainers[{n}]");
        if !same(&fixed(before), &fixed(after)) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            problems.push(forbidden(path.clone(), why));
        }
        let restarts = list(after, "/resizePolicy")
            .iter()
            .filter(|policy| policy["restartPolicy"] == "RestartContainer");
        if before != after && after["restartPolicy"] != "Always" {
            let why = "non-sidecar init containers with a resize policy of RestartContainer \
                       cannot be resized";
            problems.extend(restarts.map(|_| forbidden(path.clone(), why)));
        }
    }
    problems
}

pub(crate) fn validate(info: &RequestInfo, old: &Value, new: &Value) -> ApiResult<()> {
    let problems = problems(old, new);
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_all("", "Pod", &info.name, &problems))
}

/// The NodeDeclaredFeatures admission plugin: some resizes need nodes that declare support.
pub(crate) fn admit(info: &RequestInfo, store: &Inner, old: &Value, new: &Value) -> ApiResult<()> {
    if info.resource.plural != "pods" || info.subresource != "resize" {
        return Ok(());
    }
    let init = |pod: &Value| -> Vec<Value> {
        let plain = list(pod, "/spec/initContainers")
            .iter()
            .filter(|c| c["restartPolicy"] != "Always")
            .map(|c| c["resources"].clone());
        plain.collect()
    };
    let mut needs = Vec::new();
    if old["spec"]["resources"] != new["spec"]["resources"] {
        needs.push("InPlacePodLevelResourcesVerticalScaling");
    }
    if init(old) != init(new) {
        needs.push("InPlacePodVerticalScalingInitContainers");
    }
    let name = text(old, "/spec/nodeName");
    let why = match store.get(&Key::new("nodes", "", name)) {
        _ if needs.is_empty() => return Ok(()),
        None => format!("node {name:?} not found"),
        Some(node) => {
            let declared = list(node, "/status/declaredFeatures");
            needs.retain(|need| !declared.iter().any(|d| d == need));
            if needs.is_empty() {
                return Ok(());
            }
            let needs = needs.join(", ");
            format!("pod update requires features {needs} which are not available on node {name:?}")
        }
    };
    Err(ApiError::forbidden(&info.subject(), &why))
}
