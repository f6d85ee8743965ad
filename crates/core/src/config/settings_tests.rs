use super::*;
use crate::config::{
    keys::{Key, ValueKind},
    table::KEYS,
};

/// Returns another value that the key allows.
fn other(key: &Key) -> Value {
    let texts = match &key.kind {
        ValueKind::Choice(words) => words.to_vec(),
        ValueKind::Path => vec!["/srv/other"],
        ValueKind::NodeName => vec!["other"],
        ValueKind::Listen => vec!["[::1]:1"],
        ValueKind::LabelKey => vec!["example.com/other"],
        ValueKind::Boolean => vec!["true", "false"],
        ValueKind::Size | ValueKind::SizeOrPercent => vec!["77Mi"],
        ValueKind::Integer { .. } | ValueKind::Float { .. } => vec!["1", "2", "100", "1000"],
        ValueKind::IntegerOrKeep { min, .. } => return Value::Integer(min + 1),
        ValueKind::Slices => vec!["other.slice"],
        ValueKind::Services => vec!["other.service"],
        ValueKind::Namespaces => vec!["other"],
        ValueKind::Annotations => vec!["example.com/other"],
    };
    let allowed = texts.iter().filter_map(|text| key.kind.from_environment(text));
    allowed.into_iter().find(|value| *value != key.default.value()).unwrap()
}

/// Returns the lines of `new` that `old` does not have.
fn changed(old: &Settings, new: &Settings) -> String {
    let [old, new] = [old, new].map(|settings| format!("{settings:#?}"));
    let mut before: Vec<&str> = old.lines().collect();
    let is_new = |line: &&str| {
        let same = before.iter().position(|other| other == line);
        same.map(|index| before.remove(index)).is_none()
    };
    new.lines().filter(is_new).map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The golden file shows which field each key sets. Some keys have an effect only together with
/// another value of a second key. The test gives that second key its default, and all others a different
/// value.
#[test]
#[expect(clippy::disallowed_methods, reason = "reads and writes a golden file")]
fn every_key_sets_a_field() {
    let default = |key: &Key| key.default.value();
    let read = |value: &dyn Fn(&Key) -> Value| Settings::read(Read(&Resolved::of(value)));
    let mut text = String::new();
    for key in KEYS {
        let only = |of: &Key| if of.path == key.path { other(of) } else { default(of) };
        let all_but = |of: &Key| if of.path == key.path { default(of) } else { other(of) };
        let mut value = other(key);
        let mut fields = changed(&read(&default), &read(&only));
        if fields.is_empty() {
            value = default(key);
            fields = changed(&read(&other), &read(&all_but));
        }
        assert!(!fields.is_empty(), "no field of the settings reads {}", key.path);
        text += &format!("{} = {value}\n    {fields}\n", key.path);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/settings.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "BLESS=1 cargo test -p wasp-core config writes it again");
}
