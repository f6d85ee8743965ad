//! Handles one request: authentication, authorization, and the answer.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WARNING,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::answers::{About, Row};
use crate::app::App;
use crate::auth::{Peer, User};
use crate::body::Body;
use crate::faults::{Fault, Garbage};
use crate::read::View;
use crate::request::{Query, RequestInfo, Target, parse};
use crate::schema::{DELETE_OPTIONS, EVICTION};
use crate::stats::Entry;
use crate::status::{ApiError, ApiResult};
use crate::store::Key;
use crate::{
    authz, control, decoding, delete, eviction, read, resources, schema, tasks, watching, write,
};

/// An answer before its conversion to HTTP.
enum Answer {
    Json(u16, Value),
    Text(u16, String, Option<u64>),
    Stream(Body),
}

/// No answer: the server closes the connection.
#[derive(Debug)]
pub struct NoAnswer;

fn respond(answer: Answer, stats: &Entry, garbage: Option<Garbage>) -> Response<Body> {
    let (code, media_type, mut data, retry) = match answer {
        Answer::Stream(body) => {
            stats.answered(200);
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            return response;
        }
        Answer::Text(code, text, retry) => (code, TEXT, text.into_bytes(), retry),
        Answer::Json(code, value) => {
            let retry = value.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
            let mut data = value.to_string().into_bytes();
            data.push(b'\n');
            (code, JSON, data, retry.filter(|_| value["kind"] == "Status"))
        }
    };
    match garbage {
        Some(Garbage::Invalid) => data = b"<html>gateway error</html>".to_vec(),
        Some(Garbage::Truncated) => data.truncate(data.len() / 2),
        None => {}
    }
    stats.answered(code);
    stats.sent(data.len());
    let mut response = Response::new(Body::from(data));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    if let Some(seconds) = retry {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn refused(error: ApiError) -> Answer {
    Answer::Json(error.code, error.status)
}

/// Returns the user, unless the certificate was revoked.
fn authenticate(app: &App, peer: &Peer) -> Option<User> {
    let user = peer.user()?;
    let revoked = app.revoked.lock().unwrap_or_else(PoisonError::into_inner);
    let from = revoked.get(&user.name).copied().unwrap_or(0);
    (peer.serial() >= from).then_some(user)
}

pub async fn handle(
    app: Arc<App>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Body>, NoAnswer> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(user) = authenticate(&app, &peer) else {
        let stats = app.stats.of_path("", "", "unauthenticated");
        return Ok(respond(refused(ApiError::unauthorized()), &stats, None));
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let strict = app.strict.load(std::sync::atomic::Ordering::Relaxed);
    let target = match parse(&method, &path, query, strict) {
        Ok(target) => target,
        Err(error) => {
            let stats = app.stats.of_path(&user.name, method.as_str(), "bad request");
            return Ok(respond(refused(error), &stats, None));
        }
    };
    let Target::Resource(info) = target else {
        let verb = method.as_str().to_lowercase();
        if path.starts_with("/_test/") {
            // Requests for the counts are not counted.
            return Ok(respond(
                test_call(&app, &user, &method, &path, request).await,
                &Entry::default(),
                None,
            ));
        }
        let stats = app.stats.of_path(&user.name, &verb, &path);
        return Ok(respond(non_resource(&user, &verb, &path), &stats, None));
    };
    let stats = app.stats.of(&user.name, &info);
    let fault = {
        let mut faults = app.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.take(&user.name, &info).unwrap_or_default()
    };
    if fault.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    if fault.hang {
        std::future::pending::<()>().await;
    }
    let (parts, incoming) = request.into_parts();
    let body = if matches!(info.verb, "create" | "update" | "patch" | "delete") {
        match read_body(incoming).await {
            Ok(body) => body,
            Err(error) => return Ok(respond(refused(error), &stats, fault.garbage)),
        }
    } else {
        Bytes::new()
    };
    let number = app.record.add(&user.name, &info, &parts.headers, &body);
    let answer = answer(&app, &user, &info, &parts.headers, &body, &stats, &fault).await?;
    let garbage = if info.verb == "watch" { None } else { fault.garbage };
    let mut response = respond(answer, &stats, garbage);
    for warning in info.directive.warnings() {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    app.record.answered(number, response.status().as_u16());
    Ok(response)
}

/// Builds an answer from the table, about the request's pod.
fn given(app: &App, info: &RequestInfo, row: &Row) -> Answer {
    let key = Key::new("pods", &info.namespace, &info.name);
    let pod = app.store.lock().get(&key).map(|pod| (**pod).clone()).unwrap_or_default();
    match row.status(&About::pod(&info.namespace, &info.name, &pod)) {
        Some(status) => {
            let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            Answer::Json(code.unwrap_or(500), status)
        }
        None => Answer::Text(row.code, row.text.clone(), row.retry_after),
    }
}

/// Builds the answer to a request for a resource, or the effect of a fault.
async fn answer(
    app: &Arc<App>,
    user: &User,
    info: &RequestInfo,
    headers: &HeaderMap,
    body: &Bytes,
    stats: &Arc<Entry>,
    fault: &Fault,
) -> Result<Answer, NoAnswer> {
    let row = fault.row();
    let instead = fault.error().map(refused).or_else(|| row.map(|row| given(app, info, row)));
    let after = fault.after_commit || row.is_some_and(|row| row.committed);
    let cut = fault.reset || row.is_some_and(|row| row.cut);
    if (instead.is_some() || cut) && !after {
        return if cut { Err(NoAnswer) } else { instead.ok_or(NoAnswer) };
    }
    let carried_out = resource(app, user, info, headers, body, stats, fault).await;
    tasks::spawn(app);
    match (cut, instead) {
        (true, _) => Err(NoAnswer),
        (false, Some(instead)) => Ok(instead),
        (false, None) => Ok(carried_out.unwrap_or_else(refused)),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

async fn read_body(body: Incoming) -> ApiResult<Bytes> {
    let body = body.collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|e| ApiError::bad_request(format!("error reading the body: {e}")))
}

async fn resource(
    app: &Arc<App>,
    user: &User,
    info: &RequestInfo,
    headers: &HeaderMap,
    body: &Bytes,
    stats: &Arc<Entry>,
    fault: &Fault,
) -> ApiResult<Answer> {
    authz::authorize(user, info, &app.store.lock())?;
    decoding::query(info)?;
    let view = View::accepted(header(headers, &ACCEPT));
    let media_type = header(headers, &CONTENT_TYPE);
    let of = schema::type_of(info.resource);
    let typed = |of: &str, kind: &str| decoding::body(info, (of, kind), media_type, body);
    let ok = |code: u16, object: &Value| Answer::Json(code, view.show(info, object));
    let plain = info.subresource.is_empty();
    if info.resource.is_review() {
        if info.verb != "create" {
            return Err(ApiError::method_not_allowed());
        }
        let review = typed(&of, info.resource.kind)?;
        return Ok(Answer::Json(201, authz::review(user, review, &app.store.lock())?));
    }
    let answer = match (info.verb, info.subresource.as_str()) {
        ("get", "" | "status" | "resize") => ok(200, &read::get(app, info)?),
        ("list", _) => Answer::Json(200, fresh_list(app, info, view).await?),
        ("watch", _) => {
            Answer::Stream(watching::watch(app, info, view, stats.clone(), fault.clone())?)
        }
        ("create", "eviction") => {
            let body = typed(EVICTION, "Eviction")?;
            Answer::Json(201, eviction::evict(app, user, info, &body)?)
        }
        ("create", "") if info.name.is_empty() => {
            let body = typed(&of, info.resource.kind)?;
            ok(201, &write::create(app, user, info, body)?)
        }
        ("update", "" | "status" | "resize") if !info.name.is_empty() => {
            let body = typed(&of, info.resource.kind)?;
            ok(200, &write::update(app, user, info, body)?)
        }
        ("patch", "" | "status" | "resize") if !info.name.is_empty() => {
            let written = write::patch(app, user, info, media_type, body)?;
            ok(if written.created { 201 } else { 200 }, &written.object)
        }
        ("delete", "") if plain => {
            let options = match body.is_empty() {
                true => Value::Null,
                false => typed(DELETE_OPTIONS, "DeleteOptions")?,
            };
            Answer::Json(200, {
                let object = delete::delete(app, user, info, options)?;
                if object["kind"] == "Status" { object } else { view.show(info, &object) }
            })
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    Ok(answer)
}

/// Waits for a list from the future for three seconds, as the watch cache does.
async fn fresh_list(app: &Arc<App>, info: &RequestInfo, view: View) -> ApiResult<Value> {
    let mut answer = read::list(app, info, view);
    for _ in 0..30 {
        match &answer {
            Err(error) if error.code == 504 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer = read::list(app, info, view);
            }
            _ => break,
        }
    }
    answer
}

fn non_resource(user: &User, verb: &str, path: &str) -> Answer {
    if let Err(error) = authz::authorize_path(user, verb, path)
        .and_then(|()| authz::authorize_unserved(user, verb, path))
    {
        return refused(error);
    }
    let health = ["/healthz", "/livez", "/readyz"];
    match path {
        "/version" => Answer::Json(
            200,
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2-test",
                   "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
                   "goVersion": "", "compiler": "rustc", "platform": "linux/amd64"}),
        ),
        _ if health.contains(&path) => Answer::Text(200, "ok".to_owned(), None),
        _ => match resources::discovery(path) {
            Some(document) => Answer::Json(200, document),
            None if resources::serves_group_version_of(path) => refused(ApiError::no_resource()),
            None => Answer::Text(404, "404 page not found\n".to_owned(), None),
        },
    }
}

async fn test_call(
    app: &Arc<App>,
    user: &User,
    method: &Method,
    path: &str,
    request: Request<Incoming>,
) -> Answer {
    let verb = method.as_str().to_lowercase();
    if let Err(error) = authz::authorize_path(user, &verb, path) {
        return refused(error);
    }
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(error) => return refused(error),
    };
    let called = control::call(app, method, path, &body);
    tasks::spawn(app);
    match called {
        Ok(value) => Answer::Json(200, value),
        Err(error) => refused(error),
    }
}
