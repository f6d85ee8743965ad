//! Reads values of each kind. Each value has passed its key's `Kind`; the fallbacks here are for
//! values that the key table rules out (a test reads every key).

use std::{path::PathBuf, time::Duration};

use super::{layers::Resolved, value::Value};
use crate::model::words::Vocabulary;

#[derive(Clone, Copy, Debug)]
pub struct Read<'a>(pub &'a Resolved);

impl<'a> Read<'a> {
    pub fn value(self, path: &str) -> Option<&'a Value> {
        self.0.get(path).map(|(value, _)| value)
    }

    pub fn text(self, path: &str) -> &'a str {
        match self.value(path) {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        }
    }

    /// Reads a number; `None` for "keep".
    pub fn kept(self, path: &str) -> Option<u64> {
        match self.value(path) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// Reads `on` or `off`; `None` for `keep`.
    pub fn switch(self, path: &str) -> Option<bool> {
        match self.text(path) {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        }
    }

    /// Reads a word of this vocabulary from a [`Kind::Choice`](super::keys::Kind::Choice).
    pub fn choice<T: Vocabulary>(self, path: &str, fallback: T) -> T {
        T::from_word(self.text(path)).unwrap_or(fallback)
    }

    pub fn integer(self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    pub fn float(self, path: &str) -> f64 {
        match self.value(path) {
            Some(Value::Float(number)) => *number,
            _ => 0.0,
        }
    }

    pub fn small(self, path: &str) -> u8 {
        u8::try_from(self.integer(path)).unwrap_or(u8::MAX)
    }

    pub fn seconds(self, path: &str) -> Duration {
        Duration::from_secs(self.integer(path))
    }

    pub fn truth(self, path: &str) -> bool {
        self.value(path) == Some(&Value::Boolean(true))
    }

    pub fn list(self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::List(names)) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// Reads a path; `None` if it is empty.
    pub fn path(self, path: &str) -> Option<PathBuf> {
        Some(self.text(path)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}
