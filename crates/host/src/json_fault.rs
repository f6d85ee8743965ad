//! Describes faults of JSON in plain words, without the names of Rust's types.

use serde_json::error::Category;

/// Describes an error of serde_json, with its place if there is one.
pub fn described(error: &serde_json::Error) -> String {
    let place = match error.line() {
        0 => String::new(),
        line => format!(" (line {line}, column {})", error.column()),
    };
    match error.classify() {
        Category::Eof => "it is cut off".to_owned(),
        Category::Syntax => format!("it is not JSON{place}"),
        Category::Data | Category::Io => {
            let message = error.to_string();
            // serde_json appends the position.
            let fault = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            format!("{}{place}", plain_fault(fault))
        }
    }
}

/// Puts a message of serde about a value into plain words; does not change another message.
pub fn plain_fault(message: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("the field {} is missing", field.trim_matches('`'));
    }
    if let Some(field) = message.strip_prefix("duplicate field ") {
        return format!("the field {} occurs twice", field.trim_matches('`'));
    }
    let of_type = message.strip_prefix("invalid type: ");
    let of_value = message.strip_prefix("invalid value: ");
    let parts = of_type.or(of_value).and_then(|rest| rest.rsplit_once(", expected "));
    let Some((found, expected)) = parts else { return message.replace('`', "") };
    let found = found.replace('`', "");
    match of_type {
        Some(_) => format!("{found} is not {}", kind(expected)),
        None => format!("{found} is out of range for {}", kind(expected)),
    }
}

/// Returns the JSON that serde names by the type of a program.
fn kind(expected: &str) -> &str {
    let is_number = |name: &str| {
        let bits = name.strip_prefix(['i', 'u', 'f']);
        bits.is_some_and(|bits| bits == "size" || bits.parse::<u8>().is_ok())
    };
    match expected {
        name if is_number(name) => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        name if name.starts_with("struct ") || name.contains("::") => "an object",
        name if name.starts_with("tuple ") || name.starts_with("a tuple ") => "a list",
        name if name.starts_with("enum ") || name.contains("variant") => "a known word",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "count")]
        _count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        One,
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Inner,
        #[serde(rename = "list", default)]
        _list: Vec<String>,
        #[serde(rename = "word", default)]
        _word: Option<Word>,
    }

    #[test]
    fn no_fault_names_a_type_of_the_program() {
        for (text, expected) in [
            ("", "it is cut off"),
            ("{,", "it is not JSON (line 1, column 2)"),
            ("{}", "the field inner is missing (line 1, column 2)"),
            ("[1]", "integer 1 is not an object (line 1, column 2)"),
            (r#"{"inner":"x"}"#, "string \"x\" is not an object (line 1, column 12)"),
            (r#"{"inner":{"count":"x"}}"#, "string \"x\" is not a number (line 1, column 21)"),
            (
                r#"{"inner":{"count":-1}}"#,
                "integer -1 is out of range for a number (line 1, column 20)",
            ),
            (r#"{"inner":{"count":1},"list":5}"#, "integer 5 is not a list (line 1, column 29)"),
            (
                r#"{"inner":{"count":1},"word":"two"}"#,
                "unknown variant two, expected one (line 1, column 33)",
            ),
        ] {
            let error = serde_json::from_str::<Outer>(text).unwrap_err();
            assert_eq!(described(&error), expected, "{text}: {error}");
        }
    }
}
