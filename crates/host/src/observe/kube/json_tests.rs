//! Compares these functions with serde_json's reading of the same bytes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[{}\[\]",:\\ ]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(r#"[a-z"\\{}]{0,6}|items"#, inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(r#"[a-z"\\{}]{0,6}|items"#, any_json(), 0..6)
        .prop_map(|map| map.into_iter().collect())
}

/// Returns items and frame, from pieces of this many bytes.
fn split(text: &[u8], piece: usize, longest: usize) -> Result<(Vec<Vec<u8>>, Vec<u8>), NoList> {
    let mut splitter = Splitter::new(longest);
    let mut items = Vec::new();
    for piece in text.chunks(piece) {
        splitter.push(piece, |part| match part {
            Part::Whole(item) => items.push(item.to_vec()),
            Part::Beginning(item) => items.push([b"cut: ", item].concat()),
        })?;
    }
    Ok((items, splitter.end()?))
}

proptest! {
    #[test]
    fn a_list_is_cut_into_its_items(
        items in prop::collection::vec(any_object(), 0..5),
        before in any_json(),
        after in any_json(),
        piece in 1..40_usize,
        pretty in any::<bool>(),
    ) {
        let list = json!({"a": before, "items": items, "metadata": {"items": [{}], "x": after}});
        let text = if pretty { serde_json::to_vec_pretty(&list) } else { serde_json::to_vec(&list) };
        let (found, frame) = split(&text.unwrap(), piece, 1 << 20).unwrap();
        let found: Vec<Value> =
            found.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
        prop_assert_eq!(&found, &items);
        let mut expected = list;
        expected["items"] = items.iter().map(|_| 0).collect();
        prop_assert_eq!(serde_json::from_slice::<Value>(&frame).unwrap(), expected);
    }

    #[test]
    fn a_list_that_is_cut_off_is_none(
        items in prop::collection::vec(any_object(), 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = serde_json::to_vec(&json!({"metadata": {}, "items": items})).unwrap();
        let text = &text[..cut.index(text.len())];
        let whole = split(text, 7, 1 << 20).map(|(_, frame)| serde_json::from_slice::<Value>(&frame));
        prop_assert!(!matches!(whole, Ok(Ok(_))));
    }

    #[test]
    fn each_value_is_where_it_is(value in any_json()) {
        let text = value.to_string();
        walk(&text, |path, met| {
            let Met::Scalar(scalar, at) = met else { return true };
            assert_eq!(&text[at..at + scalar.len()], scalar);
            // serde_json resolves escapes in keys; this module does not.
            let found = path.iter().try_fold(&value, |value, step| match step {
                Step::Key(key) => value.get(serde_json::from_str::<String>(&format!("\"{key}\"")).ok()?),
                Step::Index(index) => value.get(index),
            });
            if let Some(found) = found {
                assert_eq!(found, &serde_json::from_str::<Value>(scalar).unwrap());
            }
            true
        });
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in r#"["{}\[\]:,\\a0 é\n]{0,60}"#) {
        let _ = split(&bytes, 5, 20);
        let _ = split(text.as_bytes(), 3, 4);
        walk(&text, |_, _| true);
        let _ = path_at(&text, 1, text.len() / 2);
        Lines::new(10).push(&bytes, |_| ());
    }
}

#[test]
fn an_item_that_is_too_long_is_cut_and_the_next_is_whole() {
    let long = "x".repeat(100);
    let list = json!({"items": [{"a": 1}, {"b": long}, {"c": 3}], "metadata": {}}).to_string();
    let (items, _) = split(list.as_bytes(), 10, 20).unwrap();
    assert_eq!(items[0], br#"{"a":1}"#);
    assert_eq!(items[1], br#"cut: {"b":"xxxxxxxxxxxxxx"#);
    assert_eq!(items[2], br#"{"c":3}"#);
}

#[test]
fn what_is_no_item_is_left_in_the_list() {
    let (items, frame) =
        split(br#"{"items": [null, {}, 7, [{}]], "x": {"items": [{}]}}"#, 3, 9).unwrap();
    assert_eq!(items, [b"{}"]);
    assert_eq!(frame, br#"{"items": [null, 0, 7, [{}]], "x": {"items": [{}]}}"#);
    let endless = format!("{{\"{}", "x".repeat(LONGEST_FRAME));
    assert!(matches!(split(endless.as_bytes(), 4096, 9), Err(NoList(_))));
}

#[test]
fn a_watch_is_cut_into_lines() {
    let mut lines = Lines::new(5);
    let mut found = Vec::new();
    for piece in ["ab", "c\n\nde", "fghijkl", "m\nno\r\n", "rest"] {
        lines.push(piece.as_bytes(), |part| {
            found.push(match part {
                Part::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Part::Beginning(line) => format!("cut: {}", String::from_utf8_lossy(line)),
            });
        });
    }
    assert_eq!(found, ["abc", "cut: defgh", "no\r"]);
}

#[test]
fn a_value_is_found_by_the_place_where_reading_stopped() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "what matters is that they are read")]
    struct Outer {
        first: String,
        inner: Vec<Inner>,
        last: i32,
    }
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "what matters is that they are read")]
    struct Inner {
        number: i32,
        text: Option<String>,
    }
    for (text, path) in [
        (r#"{"first": 5, "inner": [], "last": 1}"#, "first"),
        (r#"{"first": {"a": 1}, "inner": [], "last": 1}"#, "first"),
        (r#"{"first": "a", "inner": {}, "last": 1}"#, "inner"),
        (
            r#"{"first": "a", "inner": [{"number": 1}, {"number": "2"}], "last": 1}"#,
            "inner[1].number",
        ),
        (r#"{"first": "a", "inner": [{"number": 99999999999}], "last": 1}"#, "inner[0].number"),
        (
            "{\"first\": \"a\",\n \"inner\": [{\"number\": 1,\n \"text\": [1]}], \"last\": 1}",
            "inner[0].text",
        ),
        (r#"{"first": "a", "inner": [{"text": "x"}], "last": 1}"#, "inner[0]"),
        (r#"{"first": "a", "inner": [], "last": true}"#, "last"),
        (r#"{"first": "\ud800", "inner": [], "last": 1}"#, "first"),
    ] {
        let error = serde_json::from_str::<Outer>(text).unwrap_err();
        assert_eq!(path_at(text, error.line(), error.column()), path, "{text}: {error}");
    }
}
