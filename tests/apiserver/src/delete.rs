//! DELETE, with and without grace, with finalizers and preconditions (apiserver,
//! pkg/registry/rest/delete.go; pkg/registry/core/pod/strategy.go).

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::User;
use crate::json::{list, number, text, timestamp};
use crate::request::RequestInfo;
use crate::restriction;
use crate::status::{ApiError, ApiResult, Subject, success};
use crate::store::{Inner, Key};
use crate::tasks;

pub(crate) fn check_preconditions(
    info: &RequestInfo,
    object: &Value,
    options: &Value,
) -> ApiResult<()> {
    for (field, label, tail) in [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ] {
        let want = text(&options["preconditions"], &format!("/{field}"));
        let have = text(&object["metadata"], &format!("/{field}"));
        if !want.is_empty() && want != have {
            let why = format!(
                "the {label} in the precondition ({want}) does not match the {label} in record \
                 ({have}). {tail}"
            );
            let subject = Subject { resource: info.resource.kind, ..info.subject() };
            return Err(ApiError::conflict(&subject, &why));
        }
    }
    Ok(())
}

/// `ValidateDeleteOptions` (apimachinery, pkg/apis/meta/v1/validation).
pub(crate) fn validate(options: &Value) -> ApiResult<()> {
    let mut problems = Vec::new();
    let policy = options["propagationPolicy"].as_str();
    if let Some(policy) = policy {
        if !options["orphanDependents"].is_null() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            problems.push(("propagationPolicy", format!("Invalid value: {policy:?}: {why}")));
        }
        if !["Foreground", "Background", "Orphan"].contains(&policy) {
            let known = "\"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            let why = format!("Unsupported value: {policy:?}: supported values: {known}");
            problems.push(("propagationPolicy", why));
        }
    }
    let asked = list(options, "/dryRun");
    if asked.iter().any(|value| value != "All") {
        let why = format!("Unsupported value: {}: supported values: \"All\"", Value::from(asked));
        problems.push(("dryRun", why));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = problems.into_iter().map(|(f, why)| (f.to_owned(), why)).collect();
    Err(ApiError::invalid_all("meta.k8s.io", "DeleteOptions", "", &problems))
}

/// Returns the object's grace period in seconds; only pods that run somewhere get one.
fn grace(info: &RequestInfo, object: &Value, options: &Value) -> i64 {
    let ended = matches!(text(object, "/status/phase"), "Failed" | "Succeeded");
    if info.resource.plural != "pods" || text(object, "/spec/nodeName").is_empty() || ended {
        return 0;
    }
    let given = options["gracePeriodSeconds"].as_i64();
    let seconds =
        given.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if seconds < 0 { 1 } else { seconds }
}

/// The result for the object.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub object: Value,
    /// It still exists, being deleted.
    pub remains: bool,
}

pub(crate) fn delete_object(
    store: &mut Inner,
    info: &RequestInfo,
    key: &Key,
    options: &Value,
    dry_run: bool,
) -> ApiResult<Outcome> {
    let object = store.get(key).cloned().ok_or_else(|| ApiError::not_found(&info.subject()))?;
    check_preconditions(info, &object, options)?;
    let meta = &object["metadata"];
    let going = !meta["deletionTimestamp"].is_null();
    let current = number(meta, "/deletionGracePeriodSeconds");
    let finalizers = !list(meta, "/finalizers").is_empty();
    let untouched = |remains| Ok(Outcome { object: (*object).clone(), remains });
    // Only pods get marked first; a pod that must go immediately needs no second mark.
    let graceful = info.resource.plural == "pods" && !(going && current == 0);
    if !graceful && !finalizers {
        let mut last = (*object).clone();
        last["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        if !dry_run {
            store.remove(key);
        }
        return Ok(Outcome { object: last, remains: false });
    }
    let (at, seconds) = if going {
        // A delete in progress can be shortened, but never delayed.
        match options["gracePeriodSeconds"].as_i64() {
            Some(given) if graceful && given < current => hastened(meta, current, given),
            _ => return untouched(true),
        }
    } else {
        let seconds = grace(info, &object, options);
        (timestamp(seconds), seconds)
    };
    let mut marked = (*object).clone();
    marked["metadata"]["deletionTimestamp"] = json!(at);
    marked["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
    if !going && let Some(generation) = meta["generation"].as_i64() {
        marked["metadata"]["generation"] = json!(generation + 1);
    }
    let remains = seconds > 0 || finalizers;
    if dry_run {
        return Ok(Outcome { object: marked, remains });
    }
    // Watches see the mark even of a pod that disappears immediately.
    let object = (*store.put(key.clone(), marked)).clone();
    if !remains {
        store.remove(key);
    }
    Ok(Outcome { object, remains })
}

/// Returns the new end of a deletion in progress, not before now, and its grace.
fn hastened(meta: &Value, current: i64, given: i64) -> (String, i64) {
    let given = if given < 0 { 1 } else { given };
    let now = jiff::Timestamp::now().as_second();
    let planned = text(meta, "/deletionTimestamp").parse::<jiff::Timestamp>();
    let end = planned.map_or(now, |at| at.as_second()) - current + given;
    if end < now { (timestamp(0), given.min(1)) } else { (timestamp(end - now), given) }
}

pub(crate) fn delete(
    app: &App,
    user: &User,
    info: &RequestInfo,
    options: Value,
) -> ApiResult<Value> {
    let mut options = if options.is_object() { options } else { json!({}) };
    let text_of_grace = info.query.get("gracePeriodSeconds");
    if let Ok(seconds) = text_of_grace.parse::<i64>() {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    let dry_run = info.query.dry_run() || list(&options, "/dryRun").iter().any(|v| v == "All");
    let mut store = app.store.lock();
    let plural = info.resource.plural;
    let key = Key::new(plural, info.scope(), &info.name);
    restriction::on_delete(user, info, &store)?;
    validate(&options)?;
    let old = store.get(&key).cloned();
    let outcome = delete_object(&mut store, info, &key, &options, dry_run)?;
    if !dry_run {
        if let Some(pod) = old.filter(|_| plural == "pods") {
            tasks::deleted(app, &mut store, &pod, !outcome.remains);
        }
        app.after_write(&mut store, plural, &info.namespace);
    }
    if outcome.remains || plural == "pods" {
        return Ok(outcome.object);
    }
    let mut status = success(None);
    status["details"] = json!({"name": info.name, "kind": plural,
                               "uid": outcome.object["metadata"]["uid"]});
    if !info.resource.group.is_empty() {
        status["details"]["group"] = json!(info.resource.group);
    }
    Ok(status)
}
