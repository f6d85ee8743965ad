//! Decodes bodies in several formats, and finds what a typed decoder rejects or warns about.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::json::text;
use crate::raw::Raw;
use crate::request::{Query, RequestInfo};
use crate::schema;
use crate::status::{ApiError, ApiResult};

/// The handling of unknown fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// The validation of a request, and the warnings for its answer.
#[derive(Debug, Clone)]
pub struct Directive {
    pub validation: Validation,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Directive {
    /// Returns the request's mode, else the server's default: a real one warns.
    pub fn of(query: &Query, strict: bool) -> ApiResult<Self> {
        let validation = match query.get("fieldValidation") {
            "" if strict => Validation::Strict,
            "" | "Warn" => Validation::Warn,
            "Ignore" => Validation::Ignore,
            "Strict" => Validation::Strict,
            other => {
                let problem = format!(
                    "Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \
                     \"Warn\""
                );
                return Err(ApiError::invalid(
                    "meta.k8s.io",
                    "CreateOptions",
                    "",
                    "fieldValidation",
                    &problem,
                ));
            }
        };
        Ok(Self { validation, warnings: Arc::default() })
    }

    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports like a typed decoder, or converts the object to the form that Go would hold.
    pub fn typed(&self, of: &str, raw: &Raw, object: &mut Value) -> Result<(), String> {
        let findings = schema::check(of, raw);
        if findings.wrong.is_some() || self.validation == Validation::Strict {
            if let Some(message) = findings.message() {
                return Err(message);
            }
        } else if self.validation == Validation::Warn {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            warnings.extend(findings.strict);
        }
        schema::tidy(of, object);
        Ok(())
    }
}

fn parse(media_type: &str, body: &[u8]) -> ApiResult<(Raw, Value)> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => {
            let raw = serde_json::from_slice(body);
            let both = raw.and_then(|raw| Ok((raw, serde_json::from_slice(body)?)));
            both.map_err(|e| {
                ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
            })
        }
        "application/yaml" => serde_saphyr::from_str::<Value>(&String::from_utf8_lossy(body))
            .map(|value| (Raw::from(&value), value))
            .map_err(|e| ApiError::bad_request(format!("yaml: {e}"))),
        _ => Err(ApiError::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Decodes the body of a create, update or delete, and checks type and kind.
pub(crate) fn body(
    info: &RequestInfo,
    (of, kind): (&str, &str),
    media_type: &str,
    body: &[u8],
) -> ApiResult<Value> {
    let (raw, mut object) = parse(media_type, body)?;
    // The error for another kind names it.
    let given = text(&object, "/kind");
    if !object.is_object() || !(given.is_empty() || given == kind) {
        return Ok(object);
    }
    let api_version = match text(&object, "/apiVersion") {
        "" => of.split('.').nth(1).unwrap_or_default().to_owned(),
        given => given.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    info.directive.typed(of, &raw, &mut object).map_err(|why| {
        ApiError::bad_request(format!(
            "{kind} in version {api_version:?} cannot be handled as a {kind}: {why}"
        ))
    })?;
    Ok(object)
}

/// Returns fields that a patch names twice, in the order of the patch.
pub(crate) fn doubled(raw: &Raw) -> Vec<String> {
    fn walk(raw: &Raw, path: &str, found: &mut Vec<String>) {
        match raw {
            Raw::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    walk(item, &format!("{path}[{at}]"), found);
                }
            }
            Raw::Object(fields) => {
                for (at, (name, inner)) in fields.iter().enumerate() {
                    let full =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    if fields[..at].iter().any(|(earlier, _)| earlier == name) {
                        found.push(format!("duplicate field {full:?}"));
                    }
                    walk(inner, &full, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(raw, "", &mut found);
    found
}

/// Finds query parameters that no options type has. A real server ignores them; this one rejects
/// them together with unknown fields, because each is a setting without effect.
pub(crate) fn query(info: &RequestInfo) -> ApiResult<()> {
    if let Some(other) = info.query.all("dryRun").into_iter().find(|value| *value != "All") {
        let problem = format!("Unsupported value: [{other:?}]: supported values: \"All\"");
        return Err(ApiError::invalid("meta.k8s.io", options_of(info), "", "dryRun", &problem));
    }
    if info.directive.validation != Validation::Strict {
        return Ok(());
    }
    let of = options_of(info);
    let known = schema::names(&format!("meta.v1.{of}"));
    match info
        .query
        .names()
        .find(|name| !(known.contains(name) || ["pretty", "timeout"].contains(name)))
    {
        None => Ok(()),
        Some(name) => Err(ApiError::bad_request(format!(
            "strict decoding error: unknown query parameter {name:?} of {of}"
        ))),
    }
}

/// Returns the type that the server decodes a request's query into.
fn options_of(info: &RequestInfo) -> &'static str {
    match info.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        "delete" => "DeleteOptions",
        "get" => "GetOptions",
        _ => "ListOptions",
    }
}

/// Formats a value as Go's `%v` does.
pub(crate) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prints_as_go_does() {
        let value = json!({"b": [1, {"c": null}], "a": "x"});
        assert_eq!(go(&value), "map[a:x b:[1 map[c:<nil>]]]");
    }
}
