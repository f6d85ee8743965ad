//! Get and list.

use serde_json::{Value, json};

use crate::app::App;
use crate::json::{map, text};
use crate::request::RequestInfo;
use crate::status::{ApiError, ApiResult};
use crate::store::Key;
use crate::strategy::from_stored;

/// The form of objects that the client accepts, from its Accept header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    /// `application/json;as=PartialObjectMetadata` and its list.
    MetadataOnly,
}

impl View {
    pub(crate) fn accepted(header: &str) -> Self {
        if header.contains("as=PartialObjectMetadata") { Self::MetadataOnly } else { Self::Whole }
    }

    /// Returns an object in this client's form.
    pub(crate) fn show(self, info: &RequestInfo, object: &Value) -> Value {
        if self == Self::MetadataOnly {
            return json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                          "metadata": object["metadata"]});
        }
        let mut object = object.clone();
        from_stored(info, &mut object);
        object
    }
}

pub(crate) fn get(app: &App, info: &RequestInfo) -> ApiResult<Value> {
    let key = Key::new(info.resource.plural, info.scope(), &info.name);
    let store = app.store.lock();
    let object = store.get(&key).ok_or_else(|| ApiError::not_found(&info.subject()))?;
    Ok((**object).clone())
}

pub(crate) fn check_fields(info: &RequestInfo) -> ApiResult<()> {
    match info.fields.unsupported(info.resource.plural) {
        None => Ok(()),
        Some(field) => Err(ApiError::bad_request(format!("field label not supported: {field}"))),
    }
}

pub(crate) fn invalid_options<T>(field: &str, problem: &str) -> ApiResult<T> {
    Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", field, problem))
}

/// apimachinery, pkg/apis/meta/internalversion/validation
fn check_options(info: &RequestInfo) -> ApiResult<()> {
    let (rv, matching) =
        (info.query.get("resourceVersion"), info.query.get("resourceVersionMatch"));
    if info.query.flag("sendInitialEvents").is_some() {
        let problem = "Forbidden: sendInitialEvents is forbidden for list";
        return invalid_options("sendInitialEvents", problem);
    }
    let field = "resourceVersionMatch";
    match matching {
        "" => Ok(()),
        _ if rv.is_empty() => invalid_options(
            field,
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        _ if !info.query.get("continue").is_empty() => invalid_options(
            field,
            "Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
        "Exact" if rv == "0" => invalid_options(
            field,
            "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" | "NotOlderThan" => Ok(()),
        other => invalid_options(field, &format!("Unsupported value: {other:?}")),
    }
}

/// The start of the next page: after this key, in the list at `rv` (-1 for the newest).
struct Continue {
    rv: i64,
    after: Key,
}

impl Continue {
    fn encode(&self) -> String {
        let token = json!({"v": "meta.k8s.io/v1", "rv": self.rv, "ns": self.after.namespace,
                           "start": self.after.name});
        openssl::base64::encode_block(token.to_string().as_bytes())
    }

    fn decode(info: &RequestInfo, text: &str) -> ApiResult<Self> {
        let parse = || {
            let token: Value =
                serde_json::from_slice(&openssl::base64::decode_block(text).ok()?).ok()?;
            Some(Self {
                rv: token["rv"].as_i64()?,
                after: Key::new(
                    info.resource.plural,
                    token["ns"].as_str()?,
                    token["start"].as_str()?,
                ),
            })
        };
        parse().ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }
}

/// The error for a list newer than the server's state.
pub(crate) fn too_large(rv: u64, current: u64) -> ApiError {
    ApiError::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {rv}, current: {current}"),
    )
    .retry_after(1)
    .cause("ResourceVersionTooLarge", "Too large resource version", "")
}

pub(crate) fn list(app: &App, info: &RequestInfo, view: View) -> ApiResult<Value> {
    check_fields(info)?;
    check_options(info)?;
    let rv = info.query.number("resourceVersion")?;
    let mut limit = info.query.number("limit")?.unwrap_or(0);
    if rv == Some(0) {
        // Served from the watch cache, which does not page.
        limit = 0;
    }
    let limit = usize::try_from(limit).ok().filter(|l| *l > 0).unwrap_or(usize::MAX);
    let store = app.store.lock();
    if let Some(wanted) = rv.filter(|wanted| *wanted > store.rv()) {
        return Err(too_large(wanted, store.rv()));
    }
    let token = info.query.get("continue");
    let page = if token.is_empty() { None } else { Some(Continue::decode(info, token)?) };
    let exact = info.query.get("resourceVersionMatch") == "Exact";
    let at = match &page {
        Some(page) => u64::try_from(page.rv).unwrap_or(store.rv()),
        None if exact => rv.unwrap_or(store.rv()),
        None => store.rv(),
    };
    let (plural, scope) = (info.resource.plural, info.scope());
    let objects = store.list_at(plural, scope, info.node(), at).map_err(|_| match &page {
        Some(page) => {
            let mut error = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue \
                 token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, \
                 modified, or deleted between the time the first chunk was returned and now may \
                 show up in the list.",
            );
            let inconsistent = Continue { rv: -1, after: page.after.clone() };
            error.status["metadata"]["continue"] = json!(inconsistent.encode());
            error
        }
        None => ApiError::expired("The resourceVersion for the provided list is too old."),
    })?;
    let mut found = objects.iter().filter(|(key, object)| {
        page.as_ref().is_none_or(|p| **key > p.after)
            && (info.name.is_empty() || key.name == info.name)
            && info.labels.matches(object)
            && info.fields.matches(object)
    });
    let mut items = Vec::new();
    let mut last: Option<&Key> = None;
    for (key, object) in found.by_ref().take(limit) {
        let mut item = view.show(info, object);
        if view == View::Whole {
            // Items of a typed list do not repeat the list's kind.
            map(&mut item).retain(|k, _| k != "kind" && k != "apiVersion");
        }
        items.push(item);
        last = Some(key);
    }
    let mut metadata = json!({"resourceVersion": at.to_string()});
    let left = found.count();
    // The server stops at the limit, and does not know if any of the rest matches the labels. There
    // is an index only for the node's name.
    let node = info.node();
    let more = last.is_some_and(|last| {
        items.len() >= limit
            && objects.iter().any(|(key, object)| {
                key > last && node.is_none_or(|node| text(object, "/spec/nodeName") == node)
            })
    });
    if let (Some(last), true) = (last, more) {
        let rv = i64::try_from(at).unwrap_or(i64::MAX);
        metadata["continue"] = json!(Continue { rv, after: last.clone() }.encode());
        if info.labels.is_empty() && info.fields.is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    let (kind, api_version) = match view {
        View::Whole => (format!("{}List", info.resource.kind), info.resource.api_version()),
        View::MetadataOnly => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    Ok(json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}))
}
