use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Row {
    yaml: String,
    #[serde(default)]
    json: Value,
    error: Option<String>,
    /// A mapping has a key twice.
    #[serde(default)]
    twice: bool,
}

/// 718 texts with the answers of `YAMLToJSON` of `sigs.k8s.io/yaml`, and of `YAMLToJSONStrict` for
/// keys that occur twice. `kubelet/recorded.md` describes the recording.
#[test]
fn the_result_is_that_of_kubernetes() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("yaml_recorded.json")).unwrap();
    assert!(rows.len() > 700);
    let mut wrong = Vec::new();
    for Row { yaml, json, error, twice } in rows {
        let found = parse(yaml.as_bytes());
        let is_right = match (&error, &found) {
            (Some(_), Err(_)) => true,
            (None, Ok(found)) => {
                numbers_as_floats(&json) == numbers_as_floats(&found.value)
                    && found.duplicates.is_empty() != twice
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{yaml:?}: {json:?}, {error:?}, twice: {twice}\n  but {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Go writes a float without a fraction as an integer.
fn numbers_as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(numbers_as_floats).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), numbers_as_floats(value))).collect()
        }
        value => value.clone(),
    }
}

#[test]
fn what_is_too_large_is_refused() {
    assert_eq!(
        parse(b"kind: [").unwrap_err().to_string().split(" (line").next().unwrap(),
        "it is not valid YAML"
    );
    let bomb = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let of = format!("*a{}", n - 1);
        format!("{text}a{n}: &a{n} [{of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}]\n")
    });
    assert_eq!(parse(bomb.as_bytes()), Err(YamlError::Aliases));
    let long = "- x\n".repeat(100_001);
    assert_eq!(parse(long.as_bytes()), Err(YamlError::Size));
    assert!(YamlError::Size.to_string().contains("more than 100000 values"));
    assert_eq!(parse("[".repeat(1000).as_bytes()), Err(YamlError::Depth));
    assert_eq!(parse(b"a: !!timestamp 2001-01-01\n"), Err(YamlError::Tag), "not known");
    assert_eq!(parse("a: 1\n\u{feff}b: 2\n".as_bytes()), Err(YamlError::OrderMark));
    assert_eq!(parse(b"a: {b: !c, d: 1}\n"), Err(YamlError::Tag));
    assert_eq!(parse(br#"a: "\/""#), Err(YamlError::Syntax { line: 1, column: 4 }));
}

proptest! {
    /// Texts with and without an end of the last line; the parser panics at some of the latter.
    #[test]
    fn no_text_panics(
        text in "(\\PC|[\n\r\t :{}\\[\\],&*!|>'\"%#?-]){0,60}",
        block in "(a:|-) [|>][-+1-9]?( #c)?\n {1,4}(\\PC|[ \n\t]){0,20}",
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let _ = parse(text.as_bytes());
        let _ = parse(block.as_bytes());
        let _ = parse(&bytes);
    }
}
