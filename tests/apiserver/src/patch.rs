//! The patch formats: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge patch
//! (Kubernetes, contributors/devel/sig-api-machinery/strategic-merge-patch.md).

use serde_json::{Map, Value};

use crate::decoding::go;
use crate::json::map;

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = map(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Returns the key for merging items of a list field; `None` for an atomic list.
pub(crate) fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "conditions" | "addresses" => Some("type"),
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims" => Some("name"),
        "ownerReferences" => Some("uid"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "podIPs" | "hostIPs" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

/// Returns true for lists of plain values that merge as sets.
fn is_set(field: &str) -> bool {
    matches!(field, "finalizers" | "podCIDRs")
}

/// The place of new items in merged lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// As early as the order of the existing items allows.
    First,
    Last,
}

/// Applies a strategic merge patch.
pub(crate) fn strategic(target: &mut Value, patch: &Value) -> Result<(), String> {
    strategic_at(target, patch, Place::First)
}

/// Merges as server-side apply does, which appends to lists.
pub(crate) fn structured(target: &mut Value, applied: &Value) -> Result<(), String> {
    strategic_at(target, applied, Place::Last)
}

fn strategic_at(target: &mut Value, patch: &Value, place: Place) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut whole = patch.clone();
            whole.remove("$patch");
            *target = Value::Object(whole);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        _ => {}
    }
    let target = map(target);
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| keep.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(Value::Array(items)) = target.get_mut(field) {
                let gone = value.as_array().cloned().unwrap_or_default();
                items.retain(|i| !gone.contains(i));
            }
        } else if key.starts_with('$') {
            // $setElementOrder orders lists that are merged already; $patch was handled above.
        } else if value.is_null() {
            target.remove(key);
        } else {
            let slot = target.entry(key.clone()).or_insert(Value::Null);
            match (value, merge_key(key)) {
                (Value::Array(items), Some(by)) => merge_list(slot, items, by, place)?,
                (Value::Array(items), None) if is_set(key) => merge_set(slot, items, place),
                (Value::Object(_), _) => strategic_at(slot, value, place)?,
                _ => *slot = value.clone(),
            }
        }
    }
    Ok(())
}

fn merge_set(slot: &mut Value, items: &[Value], place: Place) {
    let mut all = slot.as_array().cloned().unwrap_or_default();
    for item in items {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    if place == Place::First {
        let server = slot.as_array().cloned().unwrap_or_default();
        all = ordered(all, items, &server, |a, b| a == b);
    }
    *slot = Value::Array(all);
}

/// The patch's items in the patch's order, the others in theirs, and either as early as the
/// server's order allows (`normalizeElementOrder`).
fn ordered(
    merged: Vec<Value>,
    patch: &[Value],
    server: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let rank = |list: &[Value], v: &Value| list.iter().position(|other| same(other, v));
    let (mut right, left): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|v| rank(patch, v).is_some());
    right.sort_by_key(|v| rank(patch, v));
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    let mut all = Vec::new();
    loop {
        let from_left = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => rank(server, l).zip(rank(server, r)).is_some_and(|(l, r)| l < r),
        };
        all.extend(if from_left { left.next() } else { right.next() });
    }
}

fn merge_list(slot: &mut Value, items: &[Value], by: &str, place: Place) -> Result<(), String> {
    let mut all = slot.as_array().cloned().unwrap_or_default();
    if items.iter().any(|i| i["$patch"] == "replace") {
        all.clear();
    }
    for item in items.iter().filter(|i| i["$patch"] != "replace") {
        let key = item.get(by).ok_or_else(|| {
            format!("map: {} does not contain declared merge key: {by}", go(item))
        })?;
        let found = all.iter().position(|other| other.get(by) == Some(key));
        match (found, item["$patch"] == "delete") {
            (Some(at), true) => drop(all.remove(at)),
            (None, true) => {}
            (Some(at), false) => strategic_at(&mut all[at], item, place)?,
            (None, false) => {
                let mut fresh = Value::Null;
                strategic_at(&mut fresh, item, place)?;
                all.push(fresh);
            }
        }
    }
    if place == Place::First {
        let server = slot.as_array().cloned().unwrap_or_default();
        all = ordered(all, items, &server, |a, b| a.get(by) == b.get(by));
    }
    *slot = Value::Array(all);
    Ok(())
}

/// Applies a JSON patch.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), String> {
    let ops = patch.as_array().ok_or("a JSON patch is a list")?;
    for op in ops {
        let text = |field: &str| {
            op[field].as_str().ok_or_else(|| format!("operation lacks {field:?}: {op}"))
        };
        let path = text("path")?;
        let value = || op.get("value").cloned().ok_or_else(|| format!("lacks a value: {op}"));
        match text("op")? {
            "add" => add(target, path, value()?)?,
            "remove" => drop(take(target, path)?),
            "replace" => {
                let value = value()?;
                *target.pointer_mut(path).ok_or_else(|| missing("replace", path))? = value;
            }
            "move" => {
                let value = take(target, text("from")?)?;
                add(target, path, value)?;
            }
            "copy" => {
                let from = text("from")?;
                let value = target.pointer(from).cloned().ok_or_else(|| missing("copy", from))?;
                add(target, path, value)?;
            }
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null) != &value()? {
                    return Err(format!("testing value {path} failed: test failed"));
                }
            }
            other => return Err(format!("unexpected kind: {other}")),
        }
    }
    Ok(())
}

fn missing(op: &str, path: &str) -> String {
    format!("{op} operation does not apply: doc is missing path: {path}: missing value")
}

fn split(path: &str) -> Result<(&str, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| missing("add", path))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = split(path)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.insert(last, value)),
        Some(Value::Array(items)) if last == "-" => items.push(value),
        Some(Value::Array(items)) => {
            let at = last.parse().ok().filter(|at| *at <= items.len());
            items.insert(at.ok_or_else(|| missing("add", path))?, value);
        }
        _ => return Err(missing("add", path)),
    }
    Ok(())
}

fn take(target: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(path)?;
    let taken = match target.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last),
        Some(Value::Array(items)) => {
            last.parse().ok().filter(|at: &usize| *at < items.len()).map(|at| items.remove(at))
        }
        _ => None,
    };
    taken.ok_or_else(|| missing("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_follows_rfc_7386() {
        let mut target = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        merge(&mut target, &json!({"a": {"b": null, "c": [2]}, "e": {"f": null, "g": 1}}));
        assert_eq!(target, json!({"a": {"c": [2]}, "d": 2, "e": {"g": 1}}));
    }

    #[test]
    fn strategic_merges_lists_by_key() {
        let mut node = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True"}]},
            "spec": {"taints": [{"key": "a"}]}, "metadata": {"finalizers": ["x"]}});
        let patch = json!({"status": {"conditions": [
            {"type": "SwapPressure", "status": "True"}, {"type": "Ready", "status": "False"},
            {"$patch": "delete", "type": "Old"}]},
            "spec": {"taints": [{"key": "b"}]}, "metadata": {"finalizers": ["y"]}});
        strategic(&mut node, &patch).unwrap();
        assert_eq!(
            node,
            json!({"status": {"conditions": [
                {"type": "SwapPressure", "status": "True"}, {"type": "Ready", "status": "False"}]},
                "spec": {"taints": [{"key": "b"}]}, "metadata": {"finalizers": ["y", "x"]}})
        );
        assert!(strategic(&mut node, &json!({"conditions": [{"status": "True"}]})).is_err());
    }

    #[test]
    fn json_patch_operations() {
        let mut doc = json!({"a": {"b": [1, 2]}, "x/y": 1});
        let patch = json!([
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/-", "value": 3},
            {"op": "add", "path": "/a/b/0", "value": 0},
            {"op": "replace", "path": "/x~1y", "value": 2},
            {"op": "move", "from": "/x~1y", "path": "/a/c"},
            {"op": "copy", "from": "/a/c", "path": "/d"},
            {"op": "remove", "path": "/a/b/1"}]);
        json_patch(&mut doc, &patch).unwrap();
        assert_eq!(doc, json!({"a": {"b": [0, 2, 3], "c": 2}, "d": 2}));
        assert!(json_patch(&mut doc, &json!([{"op": "remove", "path": "/no"}])).is_err());
    }
}
