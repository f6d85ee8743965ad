//! Server-side apply, the simple part (KEP-555): ownership of fields, conflicts between appliers,
//! and removal of fields that an applier no longer names. Writers that do not apply own nothing.

use serde_json::{Map, Value, json};

use crate::json::{list, map, text, timestamp};
use crate::patch::{merge_key, structured};
use crate::status::{ApiError, ApiResult};

/// The applier, and the part of the object that it applies to.
#[derive(Debug)]
pub(crate) struct Owner<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
}

/// Returns an object's fields in the format FieldsV1.
pub(crate) fn fields_of(object: &Value) -> Value {
    let mut fields = Map::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                const OWN: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
                let part: Map<String, Value> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(k, _)| OWN.contains(&k.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                if !part.is_empty() {
                    fields.insert("f:metadata".to_owned(), tree("metadata", &Value::Object(part)));
                }
            }
            _ => drop(fields.insert(format!("f:{key}"), tree(key, value))),
        }
    }
    Value::Object(fields)
}

fn tree(field: &str, value: &Value) -> Value {
    match (value, merge_key(field)) {
        (Value::Object(object), _) => {
            Value::Object(object.iter().map(|(k, v)| (format!("f:{k}"), tree(k, v))).collect())
        }
        (Value::Array(items), Some(by)) => Value::Object(
            items
                .iter()
                .map(|item| {
                    let mut part = tree("", item);
                    part["."] = json!({});
                    let key = json!({by: item[by]});
                    (format!("k:{key}"), part)
                })
                .collect(),
        ),
        _ => json!({}),
    }
}

type Path = Vec<String>;

/// Returns the paths that end in a value.
fn leaves(fields: &Value) -> Vec<Path> {
    fn walk(fields: &Value, path: &mut Path, found: &mut Vec<Path>) {
        match fields.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, value) in map.iter().filter(|(key, _)| *key != ".") {
                    path.push(key.clone());
                    walk(value, path, found);
                    path.pop();
                }
            }
            _ => found.push(path.clone()),
        }
    }
    let mut found = Vec::new();
    walk(fields, &mut Vec::new(), &mut found);
    found.retain(|p| !p.is_empty());
    found
}

fn position(items: &[Value], segment: &str) -> Option<usize> {
    let key: Value = serde_json::from_str(segment.strip_prefix("k:")?).ok()?;
    let (by, want) = key.as_object()?.iter().next()?;
    items.iter().position(|item| item.get(by) == Some(want))
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |at, segment| match at {
        Value::Array(items) => position(items, segment).map(|i| &items[i]),
        other => other.get(segment.strip_prefix("f:")?),
    })
}

/// Removes the value at a path, and list items of which only the key remains.
fn erase(object: &mut Value, path: &[String]) {
    let [first, rest @ ..] = path else { return };
    match object {
        Value::Array(items) => {
            let Some(at) = position(items, first) else { return };
            erase(&mut items[at], rest);
            if items[at].as_object().is_some_and(|o| o.len() <= 1) {
                items.remove(at);
            }
        }
        Value::Object(fields) => {
            let Some(name) = first.strip_prefix("f:") else { return };
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(inner) = fields.get_mut(name) {
                erase(inner, rest);
                if rest.len() == 1 && crate::json::empty(inner) {
                    fields.remove(name);
                }
            }
        }
        _ => {}
    }
}

/// Removes a path from a field set.
fn disown(fields: &mut Value, path: &[String]) {
    let [first, rest @ ..] = path else { return };
    let Some(map) = fields.as_object_mut() else { return };
    if rest.is_empty() {
        map.remove(first);
    } else if let Some(inner) = map.get_mut(first) {
        disown(inner, rest);
        if inner.as_object().is_some_and(Map::is_empty) {
            map.remove(first);
        }
    }
}

fn entry(owner: &Owner<'_>, object: &Value, fields: Value) -> Value {
    let mut entry = json!({
        "manager": owner.manager, "operation": "Apply", "apiVersion": object["apiVersion"],
        "time": timestamp(0), "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    if !owner.subresource.is_empty() {
        entry["subresource"] = json!(owner.subresource);
    }
    entry
}

pub(crate) fn first_entry(owner: &Owner<'_>, object: &Value, fields: Value) -> Value {
    json!([entry(owner, object, fields)])
}

/// Formats a path as in the messages: ".status.conditions[type=\"Ready\"].status".
fn printed(path: &[String]) -> String {
    path.iter().fold(String::new(), |out, segment| match segment.strip_prefix("f:") {
        Some(field) => format!("{out}.{field}"),
        None => {
            let key: Value =
                serde_json::from_str(segment.trim_start_matches("k:")).unwrap_or_default();
            let (by, value) = key
                .as_object()
                .and_then(|o| o.iter().next())
                .map_or_else(Default::default, |(k, v)| (k.clone(), v.to_string()));
            format!("{out}[{by}={value}]")
        }
    })
}

/// Returns the object after the apply, with its managedFields.
pub(crate) fn apply(
    owner: &Owner<'_>,
    old: &Value,
    wanted: &Value,
    force: bool,
) -> ApiResult<Value> {
    let mine = |e: &Value| {
        e["manager"] == owner.manager
            && e["operation"] == "Apply"
            && text(e, "/subresource") == owner.subresource
    };
    let (fields, entries) = (fields_of(wanted), list(old, "/metadata/managedFields"));
    let paths = leaves(&fields);
    let mut others: Vec<Value> = entries.iter().filter(|e| !mine(e)).cloned().collect();
    let mut conflicts = Vec::new();
    for other in &mut others {
        let theirs = leaves(&other["fieldsV1"]);
        for path in paths.iter().filter(|p| theirs.contains(p)) {
            if lookup(old, path) != lookup(wanted, path) {
                conflicts.push((text(other, "/manager").to_owned(), printed(path)));
                disown(&mut other["fieldsV1"], path);
            }
        }
    }
    if !(conflicts.is_empty() || force) {
        return Err(conflict(&conflicts));
    }
    let mut new = old.clone();
    let kept: Vec<Path> = others.iter().flat_map(|o| leaves(&o["fieldsV1"])).collect();
    for had in entries.iter().filter(|e| mine(e)).flat_map(|e| leaves(&e["fieldsV1"])) {
        if !(paths.contains(&had) || kept.contains(&had)) {
            erase(&mut new, &had);
        }
    }
    let mut content = wanted.clone();
    map(&mut content["metadata"]).remove("resourceVersion");
    structured(&mut new, &content).map_err(ApiError::bad_request)?;
    let unchanged = entries.iter().find(|e| mine(e) && e["fieldsV1"] == fields).cloned();
    others.retain(|o| !crate::json::empty(&o["fieldsV1"]));
    others.push(unchanged.unwrap_or_else(|| entry(owner, wanted, fields)));
    new["metadata"]["managedFields"] = Value::Array(others);
    Ok(new)
}

/// Removes ownership of fields that a writer without apply has changed.
pub(crate) fn disown_changed(old: &Value, new: &mut Value) {
    let mut entries = list(new, "/metadata/managedFields").to_vec();
    if entries.is_empty() || entries != list(old, "/metadata/managedFields") {
        return;
    }
    for entry in &mut entries {
        for path in leaves(&entry["fieldsV1"]) {
            if lookup(old, &path) != lookup(new, &path) {
                disown(&mut entry["fieldsV1"], &path);
            }
        }
    }
    entries.retain(|entry| !crate::json::empty(&entry["fieldsV1"]));
    new["metadata"]["managedFields"] = Value::Array(entries);
}

fn conflict(conflicts: &[(String, String)]) -> ApiError {
    let plural = if conflicts.len() == 1 { "conflict" } else { "conflicts" };
    let listed: Vec<String> = conflicts
        .iter()
        .map(|(owner, field)| format!("conflict with {owner:?}: {field}"))
        .collect();
    let message = match &listed[..] {
        [one] => format!("Apply failed with 1 {plural}: {one}"),
        all => format!("Apply failed with {} {plural}: {}", all.len(), all.join(", ")),
    };
    conflicts.iter().fold(ApiError::new(409, "Conflict", message), |error, (owner, field)| {
        error.cause("FieldManagerConflict", format!("conflict with {owner:?}"), field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(status: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
               "status": {"conditions": [{"type": "SwapPressure", "status": status}]}})
    }

    #[test]
    fn conflicts_name_the_owner_and_force_takes_over() {
        let owner = |manager| Owner { manager, subresource: "status" };
        let old = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let one = apply(&owner("a"), &old, &condition("True"), false).unwrap();
        assert_eq!(one["status"]["conditions"].as_array().unwrap().len(), 2);
        let refused = apply(&owner("b"), &one, &condition("False"), false).unwrap_err();
        assert_eq!(
            refused.message(),
            "Apply failed with 1 conflict: conflict with \"a\": \
             .status.conditions[type=\"SwapPressure\"].status"
        );
        let two = apply(&owner("b"), &one, &condition("False"), true).unwrap();
        assert_eq!(two["status"]["conditions"][1]["status"], "False");
        let nothing = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
        let three = apply(&owner("b"), &two, &nothing, false).unwrap();
        // The type is still a's; the status was removed with its last owner.
        assert_eq!(three["status"]["conditions"][0]["type"], "Ready");
    }
}
