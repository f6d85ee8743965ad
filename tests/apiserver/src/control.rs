//! What tests may tell the server, under `/_test/`, with an administrator's certificate:
//!
//! | call | does |
//! |---|---|
//! | `GET`, `DELETE /_test/requests` | counts per user, verb, resource, selector; resets them |
//! | `POST /_test/faults` | adds one [`Fault`] or a list of them |
//! | `GET`, `DELETE /_test/faults` | those still set; clears them |
//! | `POST /_test/drop-watches` | closes all open watches |
//! | `POST /_test/compact` | empties the watch history |
//! | `POST /_test/revoke` | `{"user": ..., "beforeSerial": N}`: older certificates get 401 |

use std::sync::PoisonError;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::faults::Fault;
use crate::json::text;
use crate::status::{ApiError, ApiResult};

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
        (&Method::POST, "/_test/revoke") => {
            let given = parse()?;
            revoke(app, text(&given, "/user"), given["beforeSerial"].as_u64().unwrap_or(0));
        }
        _ => return Err(ApiError::new(404, "NotFound", "no such test call")),
    }
    Ok(json!({}))
}
