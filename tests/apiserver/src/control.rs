//! The calls with which tests control the server, under `/_test/`, with an administrator's certificate:
//!
//! | call | does |
//! |---|---|
//! | `GET`, `DELETE /_test/requests` | counts per user, verb, resource, selector; resets them |
//! | `POST /_test/faults` | adds one [`Fault`] or a list of them |
//! | `GET`, `DELETE /_test/faults` | those still set; clears them |
//! | `POST /_test/drop-watches` | closes all open watches |
//! | `POST /_test/compact` | empties the watch history |
//! | `POST /_test/load` | a list of objects, written as given, status included, in one go |
//! | `GET`, `DELETE /_test/record` | the requests, one by one, with headers and bodies; forgets them |
//! | `POST /_test/strict` | `{"strict": false}`: fields that do not exist are dropped with a warning |
//! | `POST /_test/kubevirt` | [`World`]: which KubeVirt runs |
//! | `POST /_test/kubevirt/start` | `{"namespace", "vm", "to"}`: a migration that nobody evicted for |
//! | `POST /_test/kubevirt/succeed`, `fail`, `cancel` | `{"namespace", "vm"}`: ends a migration |
//! | `POST /_test/controllers` | [`Controllers`]: whether they bring pods back |
//! | `GET /_test/answers` | the answers that a fault can name |
//! | `POST /_test/revoke` | `{"user": ..., "beforeSerial": N}`: older certificates get 401 |

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::answers;
use crate::app::App;
use crate::controllers::Controllers;
use crate::faults::Fault;
use crate::json::{text, timestamp, uid};
use crate::kubevirt::World;
use crate::resources::of_object;
use crate::status::{ApiError, ApiResult};
use crate::store::Key;
use crate::{defaults, patch, schema, tasks};

pub(crate) fn add_fault(app: &App, fault: Fault) {
    if let Some(ms) = fault.close_listener_ms {
        app.outage.send_modify(|(count, time)| {
            *count += 1;
            *time = Duration::from_millis(ms);
        });
        return;
    }
    app.faults.lock().unwrap_or_else(PoisonError::into_inner).add(fault);
}

pub(crate) fn drop_watches(app: &App) {
    app.drop_watches.send_modify(|count| *count += 1);
}

pub(crate) fn revoke(app: &App, user: &str, before_serial: u64) {
    let mut revoked = app.revoked.lock().unwrap_or_else(PoisonError::into_inner);
    revoked.insert(user.to_owned(), before_serial);
}

/// Creates or replaces an object including its status, and its namespace if that is missing.
pub(crate) fn load(app: &App, mut object: Value) -> ApiResult<()> {
    let resource = of_object(&object).ok_or_else(|| ApiError::bad_request("unknown kind"))?;
    let mut store = app.store.lock();
    let namespace = match text(&object, "/metadata/namespace") {
        _ if !resource.namespaced => String::new(),
        "" => "default".to_owned(),
        given => given.to_owned(),
    };
    let home = Key::new("namespaces", "", &namespace);
    if !namespace.is_empty() && store.get(&home).is_none() {
        let mut made = json!({"apiVersion": "v1", "kind": "Namespace",
                              "metadata": {"name": namespace}});
        defaults::on_create("namespaces", &mut made, &store)?;
        store.put(home, made);
    }
    schema::tidy(&schema::type_of(resource), &mut object);
    let status = object.get("status").cloned().unwrap_or_default();
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["metadata"]["uid"] = json!(uid());
    object["metadata"]["creationTimestamp"] = json!(timestamp(0));
    defaults::on_create(resource.plural, &mut object, &store)?;
    if status.is_object() {
        patch::merge(&mut object["status"], &status);
    }
    let key = Key::new(resource.plural, &namespace, text(&object, "/metadata/name"));
    if let Some(old) = store.get(&key) {
        object["metadata"]["uid"] = old["metadata"]["uid"].clone();
    }
    store.put(key, object);
    app.after_write(&mut store, resource.plural, &namespace);
    Ok(())
}

fn settings<T: serde::de::DeserializeOwned>(given: Value) -> ApiResult<T> {
    serde_json::from_value(given).map_err(|e| ApiError::bad_request(e.to_string()))
}

/// Starts or ends a migration.
fn migration(app: &App, what: &str, given: &Value) -> ApiResult<()> {
    let mut kubevirt = app.kubevirt.lock().unwrap_or_else(PoisonError::into_inner);
    let mut store = app.store.lock();
    let vm = (text(given, "/namespace").to_owned(), text(given, "/vm").to_owned());
    let done = match what {
        "start" => kubevirt.migrate(&mut store, &vm, text(given, "/to")),
        "succeed" => kubevirt.finish(&mut store, &vm, true),
        "fail" => kubevirt.finish(&mut store, &vm, false),
        "cancel" => kubevirt.cancel(&mut store, &vm),
        _ => return Err(ApiError::new(404, "NotFound", "no such test call")),
    };
    done.map_err(ApiError::bad_request)?;
    tasks::end_migrations(app, &mut kubevirt);
    app.after_write(&mut store, "pods", &vm.0);
    Ok(())
}

pub(crate) fn call(app: &App, method: &Method, path: &str, body: &[u8]) -> ApiResult<Value> {
    let parse = || -> ApiResult<Value> {
        serde_json::from_slice(body).map_err(|e| ApiError::bad_request(e.to_string()))
    };
    let faults = || app.faults.lock().unwrap_or_else(PoisonError::into_inner);
    match (method, path) {
        (&Method::GET, "/_test/requests") => return Ok(app.stats.report()),
        (&Method::DELETE, "/_test/requests") => app.stats.clear(),
        (&Method::GET, "/_test/faults") => return Ok(json!({"faults": faults().all()})),
        (&Method::DELETE, "/_test/faults") => faults().clear(),
        (&Method::POST, "/_test/faults") => {
            let given = parse()?;
            let given = if given.is_array() { given } else { json!([given]) };
            let given: Vec<Fault> = serde_json::from_value(given)
                .map_err(|e| ApiError::bad_request(format!("not a fault: {e}")))?;
            if let Some(why) = given.iter().find_map(Fault::problem) {
                return Err(ApiError::bad_request(why));
            }
            given.into_iter().for_each(|fault| add_fault(app, fault));
        }
        (&Method::POST, "/_test/drop-watches") => drop_watches(app),
        (&Method::POST, "/_test/compact") => app.store.lock().compact(),
        (&Method::POST, "/_test/load") => {
            let given = parse()?;
            let objects = given.as_array().cloned().unwrap_or_default();
            let count = objects.len();
            objects.into_iter().try_for_each(|object| load(app, object))?;
            return Ok(json!({"loaded": count}));
        }
        (&Method::GET, "/_test/record") => return Ok(json!({"requests": app.record.all()})),
        (&Method::DELETE, "/_test/record") => app.record.clear(),
        (&Method::GET, "/_test/answers") => {
            let rows = answers::all().iter().map(|row| json!({"name": row.name, "who": row.who}));
            return Ok(json!({"answers": rows.collect::<Vec<_>>()}));
        }
        (&Method::POST, "/_test/strict") => {
            app.strict.store(parse()?["strict"] != false, Ordering::Relaxed);
        }
        (&Method::POST, "/_test/kubevirt") => {
            let world: World = settings(parse()?)?;
            let mut kubevirt = app.kubevirt.lock().unwrap_or_else(PoisonError::into_inner);
            kubevirt.set(world).map_err(ApiError::bad_request)?;
        }
        (&Method::POST, "/_test/controllers") => {
            let controllers: Controllers = settings(parse()?)?;
            *app.controllers.lock().unwrap_or_else(PoisonError::into_inner) = controllers;
        }
        (&Method::POST, path) if path.starts_with("/_test/kubevirt/") => {
            migration(app, &path["/_test/kubevirt/".len()..], &parse()?)?;
        }
        (&Method::POST, "/_test/revoke") => {
            let given = parse()?;
            revoke(app, text(&given, "/user"), given["beforeSerial"].as_u64().unwrap_or(0));
        }
        _ => return Err(ApiError::new(404, "NotFound", "no such test call")),
    }
    Ok(json!({}))
}
