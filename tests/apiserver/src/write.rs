//! Create, update and patch.

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::User;
use crate::json::{copy_field, list, map, name_suffix, remove, text, timestamp, uid};
use crate::raw::Raw;
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult, Subject};
use crate::store::{Inner, Key};
use crate::{apply, decoding, defaults, patch, resize, restriction, schema, strategy, tasks};

/// A written object, and whether it is new (201 instead of 200).
#[derive(Debug)]
pub(crate) struct Written {
    pub object: Value,
    pub created: bool,
}

/// Fills in and checks the fields that must match the request.
fn envelope(info: &RequestInfo, object: &mut Value) -> ApiResult<()> {
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value",
        ));
    }
    let (api_version, kind) = (info.resource.api_version(), info.resource.kind);
    let (has_version, has_kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    if !has_version.is_empty() && has_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({has_version}) does not match the expected API version \
             ({api_version})"
        )));
    }
    if !has_kind.is_empty() && has_kind != kind {
        return Err(ApiError::bad_request(format!(
            "{has_kind} in version {:?} cannot be handled as a {kind}: no kind {has_kind:?} is \
             registered for version {api_version:?}",
            info.resource.version
        )));
    }
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    map(&mut object["metadata"]);
    if info.resource.namespaced {
        let namespace = text(object, "/metadata/namespace");
        if !(namespace.is_empty() || namespace == info.namespace) {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
        object["metadata"]["namespace"] = json!(info.namespace);
    }
    strategy::to_stored(info, object);
    Ok(())
}

pub(crate) fn create(
    app: &App,
    user: &User,
    info: &RequestInfo,
    mut object: Value,
) -> ApiResult<Value> {
    envelope(info, &mut object)?;
    let mut store = app.store.lock();
    create_locked(app, &mut store, user, info, object)
}

fn create_locked(
    app: &App,
    store: &mut Inner,
    user: &User,
    info: &RequestInfo,
    mut object: Value,
) -> ApiResult<Value> {
    let resource = info.resource;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let prefix = text(&object, "/metadata/generateName").to_owned();
    if text(&object, "/metadata/name").is_empty() {
        if prefix.is_empty() {
            let problem = "Required value: name or generateName is required";
            return Err(ApiError::invalid(
                resource.group,
                resource.kind,
                "",
                "metadata.name",
                problem,
            ));
        }
        object["metadata"]["name"] = json!(format!("{prefix}{}", name_suffix()));
    }
    let name = text(&object, "/metadata/name").to_owned();
    if resource.namespaced && store.get(&Key::new("namespaces", "", &info.namespace)).is_none() {
        return Err(ApiError::not_found(&Subject {
            group: "",
            resource: "namespaces",
            name: &info.namespace,
        }));
    }
    restriction::on_create(user, info, &object, store)?;
    defaults::on_create(resource.plural, &mut object, store)?;
    strategy::on_create(info, &object)?;
    let meta = map(&mut object["metadata"]);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(field);
    }
    meta.insert("uid".to_owned(), json!(uid()));
    meta.insert("creationTimestamp".to_owned(), json!(timestamp(0)));
    let key = Key::new(resource.plural, info.scope(), &name);
    if store.get(&key).is_some() {
        let subject = Subject { group: resource.group, resource: resource.plural, name: &name };
        return Err(ApiError::already_exists(&subject));
    }
    if info.query.dry_run() {
        return Ok(object);
    }
    let object = (*store.put(key, object)).clone();
    app.after_write(store, resource.plural, &info.namespace);
    Ok(object)
}

fn same_name(info: &RequestInfo, object: &Value) -> ApiResult<()> {
    let given = text(object, "/metadata/name");
    if given == info.name {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({})",
        info.name
    )))
}

pub(crate) fn update(
    app: &App,
    user: &User,
    info: &RequestInfo,
    mut object: Value,
) -> ApiResult<Value> {
    envelope(info, &mut object)?;
    let mut store = app.store.lock();
    let key = Key::new(info.resource.plural, info.scope(), &info.name);
    let old = store.get(&key).cloned().ok_or_else(|| ApiError::not_found(&info.subject()))?;
    same_name(info, &object)?;
    if object["metadata"]["managedFields"].is_null() {
        copy_field(&old["metadata"], &mut object["metadata"], "managedFields");
    }
    replace(app, &mut store, user, info, &key, &old, object)
}

/// Replaces the object by `new`, after admission, strategy and validation.
fn replace(
    app: &App,
    store: &mut Inner,
    user: &User,
    info: &RequestInfo,
    key: &Key,
    old: &Value,
    mut new: Value,
) -> ApiResult<Value> {
    restriction::on_update(user, info, old, &new)?;
    apply::disown_changed(old, &mut new);
    let field = |v: &Value, name: &str| text(&v["metadata"], &format!("/{name}")).to_owned();
    let (wanted, rv) = (field(&new, "resourceVersion"), field(old, "resourceVersion"));
    if !(wanted.is_empty() || wanted == rv) {
        return Err(ApiError::stale(&info.subject()));
    }
    let (wanted, uid) = (field(&new, "uid"), field(old, "uid"));
    if !(wanted.is_empty() || wanted == uid) {
        let path = [key.resource.as_str(), &key.namespace, &key.name].join("/").replace("//", "/");
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{path}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object \
             meta: {uid}"
        );
        return Err(ApiError::conflict(&info.subject(), &why));
    }
    new["metadata"]["resourceVersion"] = json!(rv);
    if info.resource.plural == "pods" {
        defaults::containers(&mut new["spec"]);
        if info.subresource.is_empty() {
            defaults::tolerations(&mut new["spec"]);
        }
    }
    strategy::on_update(info, old, &mut new)?;
    resize::admit(info, store, old, &new)?;
    if new == *old || info.query.dry_run() {
        return Ok(new);
    }
    let meta = &new["metadata"];
    let done = !meta["deletionTimestamp"].is_null()
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && list(meta, "/finalizers").is_empty();
    let object = if done {
        store.remove(key);
        if info.resource.plural == "pods" {
            tasks::deleted(app, store, old, true);
        }
        new
    } else {
        (*store.put(key.clone(), new)).clone()
    };
    app.after_write(store, info.resource.plural, &info.namespace);
    Ok(object)
}

/// The patch formats by media type.
pub(crate) fn patch(
    app: &App,
    user: &User,
    info: &RequestInfo,
    media_type: &str,
    body: &[u8],
) -> ApiResult<Written> {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_apply = media_type == "application/apply-patch+yaml";
    let change: Value = if is_apply {
        let text = String::from_utf8_lossy(body);
        serde_json::from_str(&text)
            .or_else(|_| serde_saphyr::from_str(&text))
            .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?
    } else {
        serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?
    };
    let mut store = app.store.lock();
    let key = Key::new(info.resource.plural, info.scope(), &info.name);
    let old = store.get(&key).cloned();
    if is_apply {
        return server_side_apply(app, &mut store, user, info, &key, old.as_deref(), change);
    }
    let old = old.ok_or_else(|| ApiError::not_found(&info.subject()))?;
    let mut new = (*old).clone();
    strategy::from_stored(info, &mut new);
    if media_type != "application/json-patch+json" && !change.is_object() {
        let kind = if change.is_array() { "array" } else { "value" };
        return Err(ApiError::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {kind} into Go value of type \
             map[string]interface {{}}"
        )));
    }
    match media_type {
        "application/merge-patch+json" => patch::merge(&mut new, &change),
        "application/strategic-merge-patch+json" => {
            patch::strategic(&mut new, &change).map_err(|why| ApiError::new(500, "", why))?;
        }
        "application/json-patch+json" => {
            if !change.is_array() {
                return Err(ApiError::bad_request(
                    "error decoding patch: json: cannot unmarshal object into Go value of type \
                     []handlers.jsonPatchOp",
                ));
            }
            patch::json_patch(&mut new, &change).map_err(|_| ApiError::unprocessable())?;
        }
        _ => return Err(ApiError::unsupported_media_type()),
    }
    let doubled = serde_json::from_slice(body).map(|raw| decoding::doubled(&raw));
    let doubled = doubled.unwrap_or_default();
    if let Err(why) = typed_patch(info, doubled, &mut new) {
        let strategic = media_type == "application/strategic-merge-patch+json";
        let shown = if strategic { decoding::go(&change) } else { new.to_string() };
        let problem = format!("Invalid value: {shown:?}: {why}");
        return Err(ApiError::invalid("", "", "", "patch", &problem));
    }
    same_name(info, &new)?;
    envelope(info, &mut new)?;
    if new["metadata"]["uid"].is_null() {
        copy_field(&old["metadata"], &mut new["metadata"], "uid");
    }
    if old["metadata"]["uid"] != new["metadata"]["uid"] {
        let shown = &new["metadata"]["uid"];
        let problem = format!("Invalid value: {shown}: field is immutable");
        let problem = ("metadata.uid".to_owned(), problem);
        let r = info.resource;
        let twice = [problem.clone(), problem];
        return Err(ApiError::invalid_all(r.group, r.kind, &info.name, &twice));
    }
    let object = replace(app, &mut store, user, info, &key, &old, new)?;
    Ok(Written { object, created: false })
}

/// Returns a typed decoder's problems with the patched object, or the patch's own.
fn typed_patch(info: &RequestInfo, doubled: Vec<String>, new: &mut Value) -> Result<(), String> {
    let raw = Raw::from(&*new);
    let strict = info.directive.validation == decoding::Validation::Strict;
    let findings = schema::check(&schema::type_of(info.resource), &raw);
    if strict && findings.wrong.is_none() && !doubled.is_empty() {
        let mut both = findings;
        both.strict = [doubled, both.strict].concat();
        return both.message().map_or(Ok(()), Err);
    }
    info.directive.typed(&schema::type_of(info.resource), &raw, new)
}

fn server_side_apply(
    app: &App,
    store: &mut Inner,
    user: &User,
    info: &RequestInfo,
    key: &Key,
    old: Option<&Value>,
    mut wanted: Value,
) -> ApiResult<Written> {
    let manager = info.query.get("fieldManager");
    if manager.is_empty() {
        return Err(ApiError::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            "fieldManager",
            "Required value: is required for apply patch",
        ));
    }
    if !wanted["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    applicable(info, &mut wanted)?;
    envelope(info, &mut wanted)?;
    let force = info.query.flag("force") == Some(true);
    let owner = apply::Owner { manager, subresource: &info.subresource };
    let Some(old) = old else {
        if !info.subresource.is_empty() {
            return Err(ApiError::not_found(&info.subject()));
        }
        wanted["metadata"]["name"] = json!(info.name);
        let fields = apply::fields_of(&wanted);
        wanted["metadata"]["managedFields"] = apply::first_entry(&owner, &wanted, fields);
        let object = create_locked(app, store, user, info, wanted)?;
        return Ok(Written { object, created: true });
    };
    let mut new = apply::apply(&owner, old, &wanted, force)?;
    if let Some(rv) = remove(&mut wanted["metadata"], "resourceVersion") {
        new["metadata"]["resourceVersion"] = rv;
    }
    let object = replace(app, store, user, info, key, old, new)?;
    Ok(Written { object, created: false })
}

/// Server-side apply accepts no unknown fields, with any `fieldValidation`.
fn applicable(info: &RequestInfo, wanted: &mut Value) -> ApiResult<()> {
    let of = schema::type_of(info.resource);
    let findings = schema::check(&of, &Raw::from(&*wanted));
    let name = |pointer: &str| text(wanted, pointer).to_owned();
    let object = format!(
        "{}/{}; {}, Kind={}",
        info.scope(),
        info.name,
        if info.resource.group.is_empty() {
            format!("/{}", info.resource.version)
        } else {
            name("/apiVersion")
        },
        info.resource.kind
    );
    let problem = match (&findings.wrong, findings.strict.first()) {
        (Some(wrong), _) => wrong.clone(),
        (None, Some(unknown)) => {
            let path = unknown.split('"').nth(1).unwrap_or_default();
            format!(".{path}: field not declared in schema")
        }
        (None, None) => {
            schema::tidy(&of, wanted);
            return Ok(());
        }
    };
    let object = object.trim_start_matches('/');
    let message = format!("failed to create typed patch object ({object}): {problem}");
    Err(ApiError::new(500, "", message))
}
