//! What tests may tell the server, under `/_test/`, with an administrator's certificate:
//!
//! | call | does |
//! |---|---|
//! | `GET`, `DELETE /_test/requests` | counts per user, verb, resource, selector; resets them |
//! | `POST /_test/faults` | adds one [`Fault`] or a list of them |
//! | `GET`, `DELETE /_test/faults` | those still set; clears them |
//! | `POST /_test/drop-watches` | closes all open watches |
//! | `POST /_test/compact` | empties the watch history |
//! | `POST /_test/load` | a list of objects, written as given, status included, in one go |
//! | `POST /_test/revoke` | `{"user": ..., "beforeSerial": N}`: older certificates get 401 |

use std::sync::PoisonError;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::faults::Fault;
use crate::json::{text, timestamp, uid};
use crate::resources::of_object;
use crate::status::{ApiError, ApiResult};
use crate::store::Key;
use crate::{defaults, patch};

pub fn add_fault(app: &App, fault: Fault) {
    if let Some(ms) = fault.close_listener_ms {
        app.outage.send_modify(|(count, time)| {
            *count += 1;
            *time = Duration::from_millis(ms);
        });
        return;
    }
    app.faults.lock().unwrap_or_else(PoisonError::into_inner).add(fault);
}

pub fn drop_watches(app: &App) {
    app.drop_watches.send_modify(|count| *count += 1);
}

pub fn revoke(app: &App, user: &str, before_serial: u64) {
    let mut revoked = app.revoked.lock().unwrap_or_else(PoisonError::into_inner);
    revoked.insert(user.to_owned(), before_serial);
}

/// Creates or replaces an object with the status that it came with, and its namespace if need be.
pub fn load(app: &App, mut object: Value) -> ApiResult<()> {
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

pub fn call(app: &App, method: &Method, path: &str, body: &[u8]) -> ApiResult<Value> {
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
        (&Method::POST, "/_test/revoke") => {
            let given = parse()?;
            revoke(app, text(&given, "/user"), given["beforeSerial"].as_u64().unwrap_or(0));
        }
        _ => return Err(ApiError::new(404, "NotFound", "no such test call")),
    }
    Ok(json!({}))
}
