//! The changes that an update may make: the strategies and validation of each resource
//! (pkg/registry/core/*/strategy.go, pkg/apis/core/validation).

use serde_json::{Value, json};

use crate::json::{copy_field, empty, number, same, text};
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

/// Restores the fields that the request may not change, and validates the rest.
pub(crate) fn on_update(info: &RequestInfo, old: &Value, new: &mut Value) -> ApiResult<()> {
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
        "events" => event(info, Some(old), new)?,
        _ => {}
    }
    if matches!(plural, "pods" | "poddisruptionbudgets") && old["spec"] != new["spec"] {
        new["metadata"]["generation"] = json!(number(old, "/metadata/generation") + 1);
    }
    Ok(())
}

pub(crate) fn on_create(info: &RequestInfo, object: &Value) -> ApiResult<()> {
    if info.resource.plural == "events" { event(info, None, object) } else { Ok(()) }
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
    for field in ["containers", "initContainers"] {
        let count = |pod: &Value| pod["spec"][field].as_array().map_or(0, Vec::len);
        if count(old) != count(new) {
            let problem = format!(
                "Forbidden: pod updates may not add or remove {}",
                if field == "containers" { "containers" } else { "init containers" }
            );
            let path = format!("spec.{field}");
            return Err(ApiError::invalid("", "Pod", &info.name, &path, &problem));
        }
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

/// `ValidateQualifiedName`.
fn name_problems(name: &str) -> Vec<String> {
    const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start \
                        and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
                        '123-abc', regex used for validation is \
                        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let plain = |part: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(inside)
    };
    let invalid = |why: &str| format!("Invalid value: {name:?}: {why}");
    let mut problems = Vec::new();
    let part = match name.split('/').collect::<Vec<_>>()[..] {
        [part] => part,
        [prefix, part] => {
            if prefix.is_empty() {
                problems.push(invalid("prefix part must be non-empty"));
            }
            part
        }
        _ => {
            return vec![invalid(&format!(
                "a valid label key {NAME} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            ))];
        }
    };
    if part.is_empty() {
        problems.push(invalid("name part must be non-empty"));
    } else if part.len() > 63 {
        problems.push(invalid("name part must be no more than 63 characters"));
    }
    if !plain(part) {
        problems.push(invalid(&format!("name part {NAME}")));
    }
    problems
}

type Problems = Vec<(String, String)>;

/// pkg/apis/core/validation/events.go; the event is in its core/v1 form.
fn event(info: &RequestInfo, old: Option<&Value>, event: &Value) -> ApiResult<()> {
    let new_api = info.resource.group == "events.k8s.io";
    let mut problems = legacy_event(new_api, event);
    if new_api {
        match old {
            None => new_event(event, &mut problems),
            Some(old) => event_update(old, event, &mut problems),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_all("", "Event", text(event, "/metadata/name"), &problems))
}

fn legacy_event(new_api: bool, event: &Value) -> Problems {
    let mut problems = Problems::new();
    let mut invalid = |field: &str, problem: &str| problems.push((field.into(), problem.into()));
    let namespace = text(event, "/metadata/namespace");
    let about = text(event, "/involvedObject/namespace");
    let fits = if empty(&event["eventTime"]) {
        if about.is_empty() { namespace == "default" } else { namespace == about }
    } else {
        !about.is_empty() || matches!(namespace, "default" | "kube-system")
    };
    if !fits {
        let problem = format!("Invalid value: {about:?}: does not match event.namespace");
        invalid("involvedObject.namespace", &problem);
    }
    if empty(&event["eventTime"]) {
        return problems;
    }
    let reporter = if new_api { "reportingController" } else { "reportingComponent" };
    let name = text(event, "/reportingComponent");
    if name.is_empty() {
        invalid(reporter, "Required value");
    }
    for problem in name_problems(name) {
        invalid(reporter, &problem);
    }
    for field in ["reportingInstance", "action", "reason"] {
        let value = event[field].as_str().unwrap_or_default();
        if value.is_empty() {
            invalid(field, "Required value");
        }
        if value.len() > 128 {
            invalid(field, "Invalid value: \"\": can have at most 128 characters");
        }
    }
    if text(event, "/message").len() > 1024 {
        invalid("message", "Invalid value: \"\": can have at most 1024 characters");
    }
    problems
}

fn series(event: &Value, problems: &mut Problems) {
    if empty(&event["series"]) {
        return;
    }
    if number(event, "/series/count") < 2 {
        problems.push(("series.count".into(), "Invalid value: \"\": should be at least 2".into()));
    }
    if empty(&event["series"]["lastObservedTime"]) {
        problems.push(("series.lastObservedTime".into(), "Required value".into()));
    }
}

/// Validates an event from the new API.
fn new_event(event: &Value, problems: &mut Problems) {
    series(event, problems);
    if empty(&event["eventTime"]) {
        problems.push(("eventTime".into(), "Required value".into()));
    }
    let kind = text(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        problems.push(("type".into(), format!("Invalid value: \"\": has invalid value: {kind}")));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if !empty(&event[field]) {
            problems.push((field.into(), "Invalid value: \"\": needs to be unset".into()));
        }
    }
}

/// In the new API only the series of an event can change.
fn event_update(old: &Value, event: &Value, problems: &mut Problems) {
    if !same(&old["series"], &event["series"]) {
        series(event, problems);
    }
    for (field, name) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        if !same(&old[field], &event[field]) {
            let problem = format!("Invalid value: {}: field is immutable", event[field]);
            problems.push((name.into(), problem));
        }
    }
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

/// Objects are stored in one version; events exist in two.
pub(crate) fn to_stored(info: &RequestInfo, object: &mut Value) {
    convert(info, object, |(core, new)| (new, core), "v1");
}

pub(crate) fn from_stored(info: &RequestInfo, object: &mut Value) {
    convert(info, object, |(core, new)| (core, new), "events.k8s.io/v1");
    for field in ["reportingController", "reportingInstance"] {
        if info.resource.group == "events.k8s.io" && object[field] == "" {
            crate::json::remove(object, field);
        }
    }
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
