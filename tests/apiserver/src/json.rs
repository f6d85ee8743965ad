//! Helpers for reading JSON objects.

use serde_json::{Map, Value};

/// Returns the string at a pointer, or "".
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// True for an absent field, null, and an empty list or object: what Go's omitempty leaves out.
pub(crate) fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

/// Compares, and treats absent and empty as equal (apiequality.Semantic.DeepEqual).
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    a == b || (empty(a) && empty(b))
}

/// Sets a field unless it exists.
pub(crate) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if object[field].is_null() {
        object[field] = value.into();
    }
}

/// Copies a field, or its absence.
pub(crate) fn copy_field(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => {
            if let Some(map) = to.as_object_mut() {
                map.remove(field);
            }
        }
    }
}

/// Returns the object as a map; replaces a value that is not one.
pub(crate) fn map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

pub(crate) fn remove(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut().and_then(|m| m.remove(field))
}

/// Formats RFC 3339 in seconds, as `metav1.Time` does.
pub(crate) fn timestamp(offset_secs: i64) -> String {
    let now = jiff::Timestamp::now();
    let at = jiff::Timestamp::from_second(now.as_second().saturating_add(offset_secs));
    at.unwrap_or(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn random(bytes: &mut [u8]) {
    // This cannot fail on a seeded system; zeros would show immediately as duplicate uids.
    let _ = openssl::rand::rand_bytes(bytes);
}

/// Returns a random version 4 UUID.
pub(crate) fn uid() -> String {
    let mut b = [0u8; 16];
    random(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Returns five characters in the style of generateName (apimachinery, pkg/util/rand).
pub(crate) fn name_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut b = [0u8; 5];
    random(&mut b);
    b.iter().map(|x| char::from(ALPHABET[usize::from(*x) % ALPHABET.len()])).collect()
}
