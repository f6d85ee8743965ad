//! Kubernetes' typed structs as data (`data/types.txt`), and the reports of its strict decoder for
//! a body that does not match: unknown fields, duplicate fields, values of another type.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::quantity::{self, Quantity};
use crate::raw::Raw;
use crate::resources::Resource;
use crate::time;

type Fields = Vec<(&'static str, &'static str)>;

static TYPES: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let mut types = HashMap::<_, Fields>::new();
    let mut last = "";
    let lines = include_str!("../data/types.txt").lines().filter(|l| !l.starts_with('#'));
    for line in lines {
        match line.strip_prefix("  ").and_then(|field| field.split_once(' ')) {
            Some(field) => types.entry(last).or_default().push(field),
            None => {
                last = line;
                types.entry(last).or_default();
            }
        }
    }
    types
});

/// Returns the shape of a type's field; `None` if it has no such field.
fn field(of: &str, name: &str) -> Option<&'static str> {
    TYPES.get(of)?.iter().find(|(n, _)| *n == name).map(|(_, shape)| *shape)
}

/// Returns the names of a type's fields.
pub(crate) fn names(of: &str) -> Vec<&'static str> {
    TYPES.get(of).into_iter().flatten().map(|(name, _)| *name).collect()
}

/// Returns the typed struct of a resource's objects.
pub(crate) fn type_of(resource: &Resource) -> String {
    let group = match resource.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{group}.{}.{}", resource.version, resource.kind)
}

pub(crate) const EVICTION: &str = "policy.v1.Eviction";
pub(crate) const DELETE_OPTIONS: &str = "meta.v1.DeleteOptions";

/// The problems of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The first value that Go cannot decode, which hides all other problems.
    pub wrong: Option<String>,
    /// The problems that only a strict decoder reports, in the order of the body.
    pub strict: Vec<String>,
    /// Go's decoder stopped there, at a type that decodes itself.
    stopped: bool,
}

impl Findings {
    /// Returns the message of a strict decoder.
    pub(crate) fn message(&self) -> Option<String> {
        match &self.wrong {
            Some(wrong) => Some(wrong.clone()),
            None if self.strict.is_empty() => None,
            None => Some(format!("strict decoding error: {}", self.strict.join(", "))),
        }
    }
}

/// The decoder's position: in Go's messages a path without indices, with the innermost struct.
struct Place<'a> {
    owner: &'a str,
    plain: String,
    full: String,
}

impl Place<'_> {
    fn wrong(&self, found: &str, wanted: &str) -> String {
        let owner = self.owner.rsplit('.').next().unwrap_or(self.owner);
        format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{} of type {wanted}",
            self.plain
        )
    }
}

fn kind(value: &Raw) -> &'static str {
    match value {
        Raw::Null => "null",
        Raw::Bool(_) => "bool",
        Raw::Number(_) => "number",
        Raw::String(_) => "string",
        Raw::Array(_) => "array",
        Raw::Object(_) => "object",
    }
}

/// Formats a shape as Go prints its type.
fn go_type(shape: &str) -> String {
    if let Some(of) = shape.strip_prefix("[]") {
        return format!("[]{}", go_type(of));
    }
    match shape.split_once(':') {
        Some((_, alias)) => return alias.to_owned(),
        None if shape == "{}quantity" => return "v1.ResourceList".to_owned(),
        None => {}
    }
    if let Some(of) = shape.strip_prefix("{}") {
        return format!("map[string]{}", go_type(of));
    }
    shape.split_once('.').map_or(shape, |(_, rest)| rest).to_owned()
}

pub(crate) fn check(of: &str, body: &Raw) -> Findings {
    let mut findings = Findings::default();
    match body {
        Raw::Object(fields) => object(of, fields, "", "", &mut findings),
        other => {
            let found = kind(other);
            findings.wrong = Some(format!(
                "json: cannot unmarshal {found} into Go value of type {}",
                go_type(of)
            ));
        }
    }
    findings
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn object(of: &str, fields: &[(String, Raw)], plain: &str, full: &str, findings: &mut Findings) {
    for (at, (name, inner)) in fields.iter().enumerate() {
        if findings.stopped {
            return;
        }
        let full = join(full, name);
        let Some(shape) = field(of, name) else {
            findings.strict.push(format!("unknown field {full:?}"));
            continue;
        };
        if fields[..at].iter().any(|(earlier, _)| earlier == name) {
            findings.strict.push(format!("duplicate field {full:?}"));
        }
        value(shape, inner, &Place { owner: of, plain: join(plain, name), full }, findings);
    }
}

fn value(shape: &str, given: &Raw, place: &Place<'_>, findings: &mut Findings) {
    let problem = match (shape, given) {
        (_, Raw::Null) | ("any", _) => None,
        (shape, Raw::Array(items)) if shape.starts_with("[]") => {
            for (at, item) in items.iter().enumerate() {
                let full = format!("{}[{at}]", place.full);
                let place = Place { owner: place.owner, plain: place.plain.clone(), full };
                value(&shape[2..], item, &place, findings);
            }
            None
        }
        (shape, Raw::Object(entries)) if shape.starts_with("{}") => {
            for (at, (key, item)) in entries.iter().enumerate() {
                let full = join(&place.full, key);
                if entries[..at].iter().any(|(earlier, _)| earlier == key) {
                    findings.strict.push(format!("duplicate field {full:?}"));
                }
                let place = Place { owner: place.owner, plain: place.plain.clone(), full };
                value(&shape[2..], item, &place, findings);
            }
            None
        }
        ("quantity", Raw::String(text)) => Quantity::parse(text.trim()).err().map(str::to_owned),
        ("quantity", Raw::Number(number)) => {
            Quantity::parse(&number.to_string()).err().map(str::to_owned)
        }
        ("quantity", _) => Some(quantity::FORMAT.to_owned()),
        ("time" | "microtime", Raw::String(text)) => time::problem(text, shape == "microtime"),
        ("time" | "microtime", other) => Some(place.wrong(kind(other), "string")),
        ("intorstring", Raw::String(_)) => None,
        ("intorstring", other) => integer(other, "int32", place),
        ("bool", Raw::Bool(_)) | ("bytes", Raw::String(_)) => None,
        ("int32" | "int64", other) => integer(other, shape, place),
        (shape, Raw::String(_)) if shape == "string" || shape.starts_with("string:") => None,
        (shape, Raw::Object(fields)) if TYPES.contains_key(shape) => {
            object(shape, fields, &place.plain, &place.full, findings);
            None
        }
        (shape, other) => Some(place.wrong(kind(other), &go_type(shape))),
    };
    // For the rest, the first problem counts, and decoding continues.
    let stops = ["quantity", "time", "microtime", "intorstring"].contains(&shape);
    if problem.is_some() && !findings.stopped && (stops || findings.wrong.is_none()) {
        findings.wrong = problem;
        findings.stopped = stops;
    }
}

fn integer(given: &Raw, shape: &str, place: &Place<'_>) -> Option<String> {
    let Raw::Number(number) = given else { return Some(place.wrong(kind(given), shape)) };
    let fits = number.as_i64().is_some_and(|n| shape == "int64" || i32::try_from(n).is_ok());
    (!fits).then(|| place.wrong(&format!("number {number}"), shape))
}

/// Converts the object to the form that Go would hold: without unknown fields, and with quantities
/// as they are written back.
pub(crate) fn tidy(of: &str, object: &mut Value) {
    let Some(fields) = object.as_object_mut().filter(|_| TYPES.contains_key(of)) else { return };
    fields.retain(|name, _| field(of, name).is_some());
    for (name, inner) in fields {
        if let Some(shape) = field(of, name) {
            tidy_value(shape, inner);
        }
    }
}

fn tidy_value(shape: &str, value: &mut Value) {
    if let Some(of) = shape.strip_prefix("[]") {
        value.as_array_mut().into_iter().flatten().for_each(|item| tidy_value(of, item));
    } else if let Some(of) = shape.strip_prefix("{}") {
        value.as_object_mut().into_iter().flatten().for_each(|(_, item)| tidy_value(of, item));
    } else if shape == "quantity" {
        let text = value.as_str().map(str::to_owned);
        let text = text.or_else(|| value.as_number().map(ToString::to_string));
        if let Some(quantity) = text.and_then(|text| Quantity::parse(text.trim()).ok()) {
            *value = Value::String(quantity.written());
        }
    } else {
        tidy(shape, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::of_object;

    /// Compares with the output of Kubernetes' own decoder for the same bodies.
    #[test]
    fn reports_what_the_real_decoder_reports() {
        let mut rows = 0;
        for line in include_str!("../data/decoding.jsonl").lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = row["body"].as_str().unwrap();
            let body: Value = serde_json::from_str(text).unwrap();
            let of = match body["kind"].as_str() {
                Some("Eviction") => EVICTION.to_owned(),
                _ => type_of(of_object(&body).unwrap()),
            };
            let findings = check(&of, &serde_json::from_str(text).unwrap());
            assert_eq!(findings.message().unwrap_or_default(), row["error"], "{text}");
            rows += 1;
        }
        assert!(rows > 50);
    }

    #[test]
    fn every_shape_is_known() {
        const PLAIN: [&str; 10] = [
            "any",
            "bool",
            "bytes",
            "int32",
            "int64",
            "intorstring",
            "microtime",
            "quantity",
            "string",
            "time",
        ];
        for (name, shape) in TYPES.values().flatten() {
            let mut shape = *shape;
            while let Some(of) = shape.strip_prefix("[]").or_else(|| shape.strip_prefix("{}")) {
                shape = of;
            }
            let shape = shape.split(':').next().unwrap();
            assert!(PLAIN.contains(&shape) || TYPES.contains_key(shape), "{name}: {shape}");
        }
    }
}
