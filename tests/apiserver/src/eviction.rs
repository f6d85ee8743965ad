//! POST pods/eviction (policy/v1; pkg/registry/core/pod/storage/eviction.go).

use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::User;
use crate::json::{list, text, timestamp};
use crate::kubevirt::DryRun;
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult, success};
use crate::store::Key;
use crate::{delete, pdb, restriction, tasks};

/// The two ways to ask for a dry run must agree.
fn dry_run(info: &RequestInfo, options: &Value) -> ApiResult<DryRun> {
    let given: Vec<&str> =
        list(options, "/dryRun").iter().map(|v| v.as_str().unwrap_or_default()).collect();
    let asked = info.query.all("dryRun");
    if !(given.is_empty() || asked.is_empty() || given == asked) {
        let why = format!(
            "Non-matching dry-run options in request and content: [{}] and [{}]",
            asked.join(" "),
            given.join(" ")
        );
        return Err(ApiError::new(500, "", why));
    }
    Ok(DryRun { by_query: asked.contains(&"All"), by_options: given.contains(&"All") })
}

pub(crate) fn evict(
    app: &App,
    user: &User,
    info: &RequestInfo,
    eviction: &Value,
) -> ApiResult<Value> {
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
    let mut kubevirt = app.kubevirt.lock().unwrap_or_else(PoisonError::into_inner);
    let mut store = app.store.lock();
    restriction::on_eviction(user, info, &store)?;
    if text(eviction, "/metadata/name") != info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = eviction["deleteOptions"].clone();
    let asked = dry_run(info, &options)?;
    let dry_run = asked.by_query || asked.by_options;
    let key = Key::new("pods", &info.namespace, &info.name);
    if let Some(pod) = store.get(&key).cloned() {
        kubevirt.budgets(&mut store, &info.namespace);
        let admitted = kubevirt.admit(&mut store, &key, &pod, asked);
        tasks::end_migrations(app, &mut kubevirt);
        app.after_write(&mut store, "pods", &info.namespace);
        admitted?;
    }
    let pod = store.get(&key).cloned().ok_or_else(|| ApiError::not_found(&info.subject()))?;
    let phase = text(&pod, "/status/phase");
    let free = matches!(phase, "Succeeded" | "Failed" | "Pending")
        || !pod["metadata"]["deletionTimestamp"].is_null();
    if !free {
        pdb::ask(&mut store, &pod, dry_run)?;
    }
    delete::check_preconditions(info, &pod, &options)?;
    delete::validate(&options)?;
    if !dry_run {
        let mut marked = (*pod).clone();
        set_condition(&mut marked);
        store.put(key.clone(), marked);
        // They were met before the condition changed the resourceVersion.
        crate::json::remove(&mut options, "preconditions");
        let outcome = delete::delete_object(&mut store, info, &key, &options, false)?;
        tasks::deleted(app, &mut store, &pod, !outcome.remains);
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
