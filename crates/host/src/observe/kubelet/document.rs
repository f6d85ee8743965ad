//! Decodes a file of the kubelet as its codecs do: a text that begins with `{` is JSON, every other
//! text is YAML.
//!
//! Source: Kubernetes `runtime/serializer/recognizer` and `runtime/serializer/json`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::error::ContentError;
use crate::yaml;

/// A value in the order of the text. Only JSON leaves the same key in a mapping twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileValue {
    Leaf(Value),
    Map(Vec<(String, FileValue)>),
}

/// The content of a file, and the keys that occur twice in a mapping.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) content: FileValue,
    pub(super) duplicates: Vec<String>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, ContentError> {
        if !text.trim_start().starts_with('{') {
            let document = yaml::parse(text.as_bytes())?;
            return Ok(Self { content: document.value.into(), duplicates: document.duplicates });
        }
        let content: FileValue = serde_json::from_str(text)
            .map_err(|error| ContentError::Json { line: error.line(), column: error.column() })?;
        let mut duplicates = Vec::new();
        content.duplicates(&mut duplicates);
        Ok(Self { content, duplicates })
    }
}

impl FileValue {
    fn duplicates(&self, found: &mut Vec<String>) {
        let Self::Map(entries) = self else { return };
        for (at, (key, value)) in entries.iter().enumerate() {
            if entries[..at].iter().any(|(before, _)| before == key) {
                found.push(key.clone());
            }
            value.duplicates(found);
        }
    }
}

impl From<Value> for FileValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            value => Self::Leaf(value),
        }
    }
}

impl<'de> Deserialize<'de> for FileValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json;
        impl<'de> Visitor<'de> for Json {
            type Value = FileValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of JSON")
            }

            fn visit_unit<E>(self) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<FileValue, E> {
                Ok(FileValue::Leaf(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<FileValue, A::Error> {
                let mut values = Vec::new();
                // A value in a list is not merged with another.
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(FileValue::Leaf(Value::Array(values)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(FileValue::Map(entries))
            }
        }
        deserializer.deserialize_any(Json)
    }
}
