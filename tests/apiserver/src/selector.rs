//! Label and field selectors.

use serde_json::Value;

use crate::status::{ApiError, ApiResult};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// `a=b,c!=d,e in (f,g),h,!i`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Term>);

/// Splits at commas that are not inside parentheses.
fn terms(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0u32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found.into_iter().map(str::trim).filter(|t| !t.is_empty()).collect()
}

fn set_term(term: &str) -> Option<Term> {
    let (head, values) = term.strip_suffix(')')?.split_once('(')?;
    let values = values.split(',').map(|v| v.trim().to_owned()).collect();
    match head.split_whitespace().collect::<Vec<_>>()[..] {
        [key, "in"] => Some(Term::In(key.to_owned(), values)),
        [key, "notin"] => Some(Term::NotIn(key.to_owned(), values)),
        _ => None,
    }
}

fn equality_term(term: &str) -> Option<Term> {
    let own = |s: &str| s.trim().to_owned();
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Term::NotIn(own(key), vec![own(value)]));
    }
    let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some(Term::In(own(key), vec![own(value)]))
}

impl LabelSelector {
    pub fn parse(text: &str) -> ApiResult<Self> {
        let parse_term = |term: &str| {
            if term.contains('(') {
                set_term(term)
            } else if term.contains('=') {
                equality_term(term)
            } else if let Some(key) = term.strip_prefix('!') {
                Some(Term::Absent(key.trim().to_owned()))
            } else if term.contains(char::is_whitespace) {
                None
            } else {
                Some(Term::Exists(term.to_owned()))
            }
        };
        terms(text)
            .into_iter()
            .map(|term| {
                parse_term(term).ok_or_else(|| {
                    ApiError::bad_request(format!("unable to parse requirement: {term:?}"))
                })
            })
            .collect::<ApiResult<_>>()
            .map(Self)
    }

    /// Parses a `LabelSelector` object (matchLabels and matchExpressions).
    pub fn of_object(selector: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut found = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            found.push(Term::In(key.clone(), vec![text(value)]));
        }
        for e in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = e["values"].as_array().into_iter().flatten().map(text).collect();
            let key = text(&e["key"]);
            found.push(match e["operator"].as_str() {
                Some("In") => Term::In(key, values),
                Some("NotIn") => Term::NotIn(key, values),
                Some("Exists") => Term::Exists(key),
                _ => Term::Absent(key),
            });
        }
        Self(found)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|term| match term {
            Term::In(key, values) => {
                labels[key].as_str().is_some_and(|v| values.iter().any(|w| w == v))
            }
            Term::NotIn(key, values) => {
                labels[key].as_str().is_none_or(|v| values.iter().all(|w| w != v))
            }
            Term::Exists(key) => labels[key].is_string(),
            Term::Absent(key) => !labels[key].is_string(),
        })
    }
}

/// `a=b,c!=d` over a few fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    pub fn parse(text: &str) -> ApiResult<Self> {
        terms(text)
            .into_iter()
            .map(|term| match equality_term(term) {
                Some(Term::In(field, mut v)) => Ok((field, true, v.remove(0))),
                Some(Term::NotIn(field, mut v)) => Ok((field, false, v.remove(0))),
                _ => Err(ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ))),
            })
            .collect::<ApiResult<_>>()
            .map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value that the selector requires for `field`, if it does.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(f, equal, _)| *equal && f == field).map(|(_, _, v)| v.as_str())
    }

    pub fn push_exact(&mut self, field: &str, value: &str) {
        self.0.push((field.to_owned(), true, value.to_owned()));
    }

    /// Returns the first field that this resource does not support in selectors.
    pub fn unsupported(&self, plural: &str) -> Option<&str> {
        let known: &[&str] = match plural {
            "pods" => &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ],
            "nodes" => &["spec.unschedulable"],
            "namespaces" => &["status.phase"],
            "events" => &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "regarding.kind",
                "regarding.name",
                "regarding.namespace",
                "reason",
                "reportingComponent",
                "type",
            ],
            _ => &[],
        };
        self.0
            .iter()
            .map(|(f, _, _)| f.as_str())
            .find(|f| !known.contains(f) && !matches!(*f, "metadata.name" | "metadata.namespace"))
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, want)| {
            let field = field.replace("regarding.", "involvedObject.");
            let value = object.pointer(&format!("/{}", field.replace('.', "/")));
            let is = match value {
                Some(Value::String(s)) => s == want,
                Some(Value::Bool(b)) => b.to_string() == *want,
                Some(Value::Number(n)) => format!("{n}").as_str() == want,
                _ if matches!(&*field, "spec.unschedulable" | "spec.hostNetwork") => {
                    want == "false"
                }
                _ => want.is_empty(),
            };
            is == *equal
        })
    }
}
