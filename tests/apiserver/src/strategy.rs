//! What an update may change: the strategies and validation of each resource
//! (pkg/registry/core/*/strategy.go, pkg/apis/core/validation).

use serde_json::{Value, json};

use crate::json::{copy_field, empty, number, text};
use crate::request::RequestInfo;
use crate::resize;
use crate::status::{ApiError, ApiResult};

/// Metadata that only the server sets.
const SYSTEM_FIELDS: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Puts back what the request may not change, and validates the rest.
pub fn on_update(info: &RequestInfo, old: &Value, new: &mut Value) -> ApiResult<()> {
    let plural = info.resource.plural;
    for field in SYSTEM_FIELDS {
        copy_field(&old["metadata"], &mut new["metadata"], field);
    }
    let has_status = info.resource.has_subresource("status");
    if info.subresource == "status" {
        copy_field(old, new, "spec");
        if plural == "pods" {
            copy_field(&old["metadata"], &mut new["metadata"], "ownerReferences");
            copy_field(&old["status"], &mut new["status"], "qosClass");
        }
    } else if has_status {
        copy_field(old, new, "status");
    }
    match plural {
        "pods" if info.subresource.is_empty() => pod_spec(info, old, new)?,
        "pods" if info.subresource == "resize" => {
            resize::prepare(old, new);
            resize::validate(info, old, new)?;
        }
        "events" => event(info, new)?,
        _ => {}
    }
    if matches!(plural, "pods" | "poddisruptionbudgets") && old["spec"] != new["spec"] {
        new["metadata"]["generation"] = json!(number(old, "/metadata/generation") + 1);
    }
    Ok(())
}

pub fn on_create(info: &RequestInfo, object: &Value) -> ApiResult<()> {
    if info.resource.plural == "events" { event(info, object) } else { Ok(()) }
}

/// Of a pod's spec only a few fields can change after create.
fn pod_spec(info: &RequestInfo, old: &Value, new: &Value) -> ApiResult<()> {
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for field in ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"] {
            crate::json::remove(&mut spec, field);
        }
        spec
    };
    if fixed(old) == fixed(new) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "",
        "Pod",
        &info.name,
        "spec",
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
         additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
         set to 1 if it was previously negative)",
    ))
}

/// pkg/apis/core/validation/events.go; the event is in its core/v1 form.
fn event(info: &RequestInfo, event: &Value) -> ApiResult<()> {
    let new_api = info.resource.group == "events.k8s.io";
    let name = text(event, "/metadata/name");
    let invalid = |field: &str, problem: &str| {
        Err(ApiError::invalid(info.resource.group, "Event", name, field, problem))
    };
    let namespace = text(event, "/metadata/namespace");
    let about = text(event, "/involvedObject/namespace");
    let mismatch = || {
        let problem = format!("Invalid value: {about:?}: does not match event.namespace");
        invalid("involvedObject.namespace", &problem)
    };
    if empty(&event["eventTime"]) {
        let fits = if about.is_empty() { namespace == "default" } else { namespace == about };
        if !fits {
            return mismatch();
        }
        return if new_api { invalid("eventTime", "Required value") } else { Ok(()) };
    }
    if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
        return mismatch();
    }
    let reporter = if new_api { "reportingController" } else { "reportingComponent" };
    for (pointer, field, limit) in [
        ("/reportingComponent", reporter, usize::MAX),
        ("/reportingInstance", "reportingInstance", 128),
        ("/action", "action", 128),
        ("/reason", "reason", 128),
    ] {
        let value = text(event, pointer);
        if value.is_empty() {
            return invalid(field, "Required value");
        }
        if value.len() > limit {
            return invalid(
                field,
                &format!("Invalid value: \"\": can have at most {limit} characters"),
            );
        }
    }
    if text(event, "/message").len() > 1024 {
        return invalid("message", "Invalid value: \"\": can have at most 1024 characters");
    }
    if new_api {
        let kind = text(event, "/type");
        if !matches!(kind, "Normal" | "Warning") {
            return invalid("type", &format!("Invalid value: \"\": has invalid value: {kind}"));
        }
        for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
            if !empty(&event[field]) {
                return invalid(field, "Invalid value: \"\": needs to be unset");
            }
        }
        if !empty(&event["series"]) && number(event, "/series/count") < 2 {
            return invalid("series.count", "Invalid value: \"\": should be at least 2");
        }
    }
    Ok(())
}

/// Fields that core/v1 and events.k8s.io/v1 name differently (pkg/apis/events/v1/conversion.go).
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Objects are stored in one version; events come and go in two.
pub fn to_stored(info: &RequestInfo, object: &mut Value) {
    convert(info, object, |(core, new)| (new, core), "v1");
}

pub fn from_stored(info: &RequestInfo, object: &mut Value) {
    convert(info, object, |(core, new)| (core, new), "events.k8s.io/v1");
}

fn convert(
    info: &RequestInfo,
    object: &mut Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
    api_version: &str,
) {
    if info.resource.group != "events.k8s.io" {
        return;
    }
    for pair in EVENT_FIELDS {
        let (from, to) = direction(pair);
        if let Some(value) = crate::json::remove(object, from) {
            object[to] = value;
        }
    }
    object["apiVersion"] = json!(api_version);
}
