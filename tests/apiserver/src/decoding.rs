//! What Go's decoding into typed objects refuses: quantities and times that are none, and bodies in
//! other formats.

use serde_json::Value;

use crate::json::list;
use crate::quantity::milli;
use crate::resources::Resource;
use crate::status::{ApiError, ApiResult};

/// The body of a create or update.
pub fn body(media_type: &str, body: &[u8]) -> ApiResult<Value> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => serde_json::from_slice(body).map_err(|e| {
            ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
        }),
        "application/yaml" => serde_saphyr::from_str(&String::from_utf8_lossy(body))
            .map_err(|e| ApiError::bad_request(format!("yaml: {e}"))),
        _ => Err(ApiError::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

fn is_quantity(value: &Value) -> bool {
    match value {
        Value::String(text) => milli(text).is_some(),
        Value::Number(_) | Value::Null => true,
        _ => false,
    }
}

fn quantities<'a>(resource: &Resource, object: &'a Value) -> Vec<&'a Value> {
    let lists: Vec<&Value> = match resource.plural {
        "pods" => ["/spec/containers", "/spec/initContainers"]
            .iter()
            .flat_map(|containers| list(object, containers))
            .flat_map(|c| [&c["resources"]["requests"], &c["resources"]["limits"]])
            .collect(),
        "nodes" => vec![&object["status"]["capacity"], &object["status"]["allocatable"]],
        _ => Vec::new(),
    };
    lists.into_iter().filter_map(Value::as_object).flat_map(|m| m.values()).collect()
}

/// `metav1.MicroTime` has six digits after the point, no more and no fewer.
fn time_problem(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let rest = text.get(19..).unwrap_or_default();
    let digits = rest.get(1..7).is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let (rest, wanted) = if rest.starts_with('.') && digits {
        let zone = &rest[7..];
        if zone.starts_with(['Z', '+', '-']) {
            return None;
        }
        (zone, "Z07:00")
    } else {
        (rest, ".000000")
    };
    Some(format!(
        "parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {rest:?} as \
         {wanted:?}"
    ))
}

/// What Go's decoder would say of the object, if anything.
pub fn problem(resource: &Resource, object: &Value) -> Option<String> {
    if !quantities(resource, object).into_iter().all(is_quantity) {
        return Some(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        );
    }
    if resource.plural == "events" {
        return ["/eventTime", "/series/lastObservedTime"]
            .iter()
            .filter_map(|pointer| object.pointer(pointer))
            .find_map(time_problem);
    }
    None
}

/// A value as Go's `%v` prints it.
pub fn go(value: &Value) -> String {
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
    fn times_have_microseconds() {
        for (text, ok) in [
            ("2026-01-01T00:00:00.000000Z", true),
            ("2026-01-01T00:00:00.123456+01:00", true),
            ("2026-01-01T00:00:00Z", false),
            ("2026-01-01T00:00:00.123Z", false),
            ("2026-01-01T00:00:00.123456789Z", false),
            ("today", false),
        ] {
            assert_eq!(time_problem(&json!(text)).is_none(), ok, "{text}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        let value = json!({"b": [1, {"c": null}], "a": "x"});
        assert_eq!(go(&value), "map[a:x b:[1 map[c:<nil>]]]");
    }
}
