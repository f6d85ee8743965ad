//! Parses YAML as the kubelet does: YAML 1.1 scalars, the first document only, and the last of
//! duplicate keys.
//!
//! Source: `sigs.k8s.io/yaml` (its copy of go-yaml v2, `resolve.go`), which the kubelet uses.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Upper bounds of depth and size. Each use of an alias counts.
const DEEPEST: usize = 64;
const MOST_NODES: usize = 100_000;

/// The first document, and its duplicate keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// The reason why a text cannot be used. It does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    #[error("it is not valid YAML (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("it is nested deeper than {DEEPEST} levels")]
    Depth,
    #[error("it has more than {MOST_NODES} values")]
    Size,
}

/// Parses `text`.
pub fn parse(text: &str) -> Result<Document, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The kubelet tries JSON first, which must be the whole text.
    let looks_like_json = text.trim_start().starts_with('{');
    if looks_like_json && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(YamlError::Syntax { line: error.line(), column: error.column() });
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        duplicates: Vec::new(),
        nodes: 0,
    };
    let value = builder.document()?;
    Ok(Document { value, duplicates: builder.duplicates })
}

struct Builder<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    duplicates: Vec<String>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    /// Returns the next event about values, and skips comments.
    fn next(&mut self) -> Result<Event<'a>, YamlError> {
        loop {
            let event = match self.parser.next_event() {
                Some(Ok((event, _))) => event,
                Some(Err(error)) => {
                    let (line, column) = (error.marker().line(), error.marker().col() + 1);
                    return Err(YamlError::Syntax { line, column });
                }
                None => return Ok(Event::StreamEnd),
            };
            if event.is_node()
                || matches!(
                    event,
                    Event::StreamEnd | Event::DocumentEnd | Event::SequenceEnd | Event::MappingEnd
                )
            {
                return Ok(event);
            }
        }
    }

    fn document(&mut self) -> Result<Value, YamlError> {
        match self.next()? {
            Event::StreamEnd | Event::DocumentEnd => Ok(Value::Null),
            event => self.node(event, 0),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Value, YamlError> {
        self.count(1)?;
        if depth > DEEPEST {
            return Err(YamlError::Depth);
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().and_then(|tag| tag.core_suffix().map(str::to_owned));
                (scalar(&text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd | Event::StreamEnd => break,
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (Value::Object(self.mapping(depth)?), anchor),
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned().unwrap_or_default();
                self.count(size(&value))?;
                return Ok(value);
            }
            _ => (Value::Null, 0),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Value>, YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let event = match self.next()? {
                Event::MappingEnd | Event::StreamEnd => break,
                event => event,
            };
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.node(event, depth + 1)? {
                Value::String(key) => key,
                Value::Null => "null".to_owned(),
                other => other.to_string(),
            };
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if is_merge {
                merged.push(value);
            } else if map.insert(key.clone(), value).is_some() {
                self.duplicates.push(key);
            }
        }
        // The mapping's own keys take precedence; of several merged mappings, the first.
        for value in merged.into_iter().flat_map(|value| match value {
            Value::Array(values) => values,
            value => vec![value],
        }) {
            let Value::Object(values) = value else { continue };
            for (key, value) in values {
                map.entry(key).or_insert(value);
            }
        }
        Ok(map)
    }

    fn count(&mut self, nodes: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        match self.nodes > MOST_NODES {
            true => Err(YamlError::Size),
            false => Ok(()),
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(size).sum::<usize>() + 1,
        Value::Object(values) => values.values().map(size).sum::<usize>() + 1,
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Value {
    match tag {
        Some("str") => return text.into(),
        Some("bool" | "int" | "float" | "null") => {}
        _ if style != ScalarStyle::Plain => return text.into(),
        _ => {}
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        _ => {}
    }
    number(text).map_or_else(|| text.into(), Value::Number)
}

/// Returns the number that go-yaml reads in a scalar, which is then not a text.
fn number(text: &str) -> Option<Number> {
    let first = text.chars().next()?;
    if !(first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"]
        .contains(&text.trim_start_matches(['+', '-']))
    {
        return Some(0.into());
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let digits = |radix: u32, text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_digit(radix)) && text.len() <= 64
    };
    let lower = unsigned.to_ascii_lowercase();
    let is_integer = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .any(|(prefix, radix)| lower.strip_prefix(prefix).is_some_and(|rest| digits(*radix, rest)));
    if is_integer {
        return Some(0.into());
    }
    if let Ok(integer) = plain.parse::<i64>() {
        return Some(integer.into());
    }
    let decimal = unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c))
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.parse::<f64>().is_ok();
    decimal.then(|| plain.parse().ok().and_then(Number::from_f64).unwrap_or_else(|| 0.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        parse(text).unwrap().value
    }

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("a: yes", json!({"a": true})),
            ("a: 'yes'", json!({"a": "yes"})),
            ("a: Off", json!({"a": false})),
            ("a: ~", json!({"a": null})),
            ("a:", json!({"a": null})),
            ("a: 7.5%", json!({"a": "7.5%"})),
            ("a: 010", json!({"a": 10})),
            ("a: 1_000", json!({"a": 1000})),
            ("a: 1:30", json!({"a": "1:30"})),
            ("a: 2001-01-01", json!({"a": "2001-01-01"})),
            ("a: !!str 5", json!({"a": "5"})),
            ("a: 1.2.3", json!({"a": "1.2.3"})),
        ] {
            assert_eq!(parse(text).map(|document| document.value), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_first_document_and_the_last_of_duplicates_count() {
        assert_eq!(value("a: 1\n---\na: 2\n"), json!({"a": 1}));
        assert_eq!(value("---\na: 1\n---\n"), json!({"a": 1}));
        assert_eq!(value("---\n---\na: 1\n"), Value::Null);
        assert_eq!(value(""), Value::Null);
        let commented =
            "# a\n---\n# b\na: # c\n  - 1 # d\n  # e\n  - 2\n# f\nb: {} # g\n# h\nc: 3\n";
        assert_eq!(value(commented), json!({"a": [1, 2], "b": {}, "c": 3}));
        let document = parse("a: 1\na: 2\n").unwrap();
        assert_eq!(document.value, json!({"a": 2}));
        assert_eq!(document.duplicates, ["a"]);
        assert_eq!(
            value("x: &t {a: 1, b: 2}\nz:\n  <<: *t\n  b: 3\n")["z"],
            json!({"a": 1, "b": 3})
        );
    }

    #[test]
    fn what_is_too_large_or_broken_is_refused() {
        assert_eq!(
            parse("kind: [").unwrap_err().to_string().split(" (line").next().unwrap(),
            "it is not valid YAML"
        );
        let bomb = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let of = format!("*a{}", n - 1);
            format!("{text}a{n}: &a{n} [{of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}]\n")
        });
        assert_eq!(parse(&bomb), Err(YamlError::Size));
        assert!(YamlError::Size.to_string().contains("more than 100000 values"));
        assert!(parse(&"[".repeat(1000)).is_err());
        assert!(parse("{\"a\": 1} x").is_err());
    }
}
