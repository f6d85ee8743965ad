//! POST pods/eviction (policy/v1), and a stand-in for the webhook that KubeVirt puts before it.

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::User;
use crate::json::{text, timestamp};
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult, success};
use crate::store::Key;
use crate::{delete, pdb, restriction};

/// On a virt-launcher pod: its VM can live-migrate.
pub const MIGRATABLE: &str = "test.wasp/live-migratable";

/// virt-launcher-eviction-interceptor: a VM that can move is moved instead of evicted.
fn webhook(pod: &Value) -> ApiResult<()> {
    let meta = &pod["metadata"];
    if meta["labels"]["kubevirt.io"] != "virt-launcher" || meta["annotations"][MIGRATABLE] != "true"
    {
        return Ok(());
    }
    let domain = text(meta, "/annotations/kubevirt.io~1domain");
    let name = match text(meta, "/labels/vm.kubevirt.io~1name") {
        "" if domain.is_empty() => text(meta, "/name"),
        "" => domain,
        name => name,
    };
    // A webhook's own answer carries no reason and no details.
    Err(ApiError::new(
        429,
        "",
        format!(
            "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the \
             request: Eviction triggered evacuation of VMI \"{}/{name}\"",
            text(meta, "/namespace"),
        ),
    ))
}

pub fn evict(app: &App, user: &User, info: &RequestInfo, eviction: &Value) -> ApiResult<Value> {
    let kind = text(eviction, "/kind");
    if !(kind.is_empty() || kind == "Eviction") {
        let api_version = text(eviction, "/apiVersion");
        let version = api_version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "{kind} in version {api_version:?} cannot be handled as a Eviction: converting \
             ({version}.{kind}) to (policy.Eviction): unknown conversion"
        )));
    }
    let given = text(eviction, "/metadata/namespace");
    if !(given.is_empty() || given == info.namespace) {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let mut store = app.store.lock();
    restriction::on_eviction(user, info, &store)?;
    if text(eviction, "/metadata/name") != info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let key = Key::new("pods", &info.namespace, &info.name);
    if let Some(pod) = store.get(&key) {
        webhook(pod)?;
    }
    let mut options = eviction["deleteOptions"].clone();
    let dry_run =
        info.query.dry_run() || crate::json::list(&options, "/dryRun").iter().any(|v| v == "All");
    let pod = store.get(&key).cloned().ok_or_else(|| ApiError::not_found(&info.subject()))?;
    let phase = text(&pod, "/status/phase");
    let free = matches!(phase, "Succeeded" | "Failed" | "Pending")
        || !pod["metadata"]["deletionTimestamp"].is_null();
    if !free {
        pdb::ask(&mut store, &pod, dry_run)?;
    }
    delete::check_preconditions(info, &pod, &options)?;
    if !dry_run {
        let mut marked = (*pod).clone();
        set_condition(&mut marked);
        store.put(key.clone(), marked);
        // They held before the condition moved the resourceVersion.
        crate::json::remove(&mut options, "preconditions");
        delete::delete_object(&mut store, info, &key, &options, false)?;
        app.after_write(&mut store, "pods", &info.namespace);
    }
    Ok(success(Some(201)))
}

fn set_condition(pod: &mut Value) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": timestamp(0), "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|c| c["type"] == "DisruptionTarget") {
        Some(place) if place["status"] == "True" => {}
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    pod["status"]["conditions"] = Value::Array(conditions);
}
