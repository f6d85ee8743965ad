//! Reads values of each kind. Each value has passed its key's `ValueKind`; the fallbacks below are
//! for values that the key table rules out (a test reads every key).

use std::{path::PathBuf, time::Duration};

use super::{keys, layers::Resolved, value::Value};
use crate::model::words::Vocabulary;

/// An amount, absolute or as a part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Bytes(u64),
    /// 0 to 100.
    Percent(u64),
}

impl Share {
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                let part = u128::from(whole) * u128::from(percent) / 100;
                u64::try_from(part).unwrap_or(whole)
            }
        }
    }
}

/// Declares a struct of settings. Each field has the expression that reads it, where `$read` is a
/// [`Read`]: a field cannot lack its key.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident of $read:ident {
        $($(#[$doc:meta])* pub $field:ident: $type:ty = $value:expr,)+
    }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl $name {
            pub(super) fn read($read: Read<'_>) -> Self {
                Self { $($field: $value,)+ }
            }
        }
    };
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a>(pub &'a Resolved);

impl<'a> Read<'a> {
    pub(crate) fn value(self, path: &str) -> Option<&'a Value> {
        let value = self.0.get(path).map(|(value, _)| value);
        debug_assert!(value.is_some(), "table.rs has no key {path}");
        value
    }

    /// Reads an amount; `None` if it is empty.
    pub(crate) fn share(self, path: &str) -> Option<Share> {
        let text = self.text(path);
        keys::percent(text).map(Share::Percent).or_else(|| keys::size(text).map(Share::Bytes))
    }

    /// Reads a size; `None` if it is empty.
    pub(crate) fn size(self, path: &str) -> Option<u64> {
        keys::size(self.text(path))
    }

    /// Reads milliseconds; `None` for 0.
    pub(crate) fn millis(self, path: &str) -> Option<Duration> {
        Some(self.integer(path)).filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    pub(crate) fn text(self, path: &str) -> &'a str {
        match self.value(path) {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        }
    }

    /// Reads a number; `None` for "keep".
    pub(crate) fn kept(self, path: &str) -> Option<u64> {
        match self.value(path) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// Reads `on` or `off`; `None` for `keep`.
    pub(crate) fn switch(self, path: &str) -> Option<bool> {
        match self.text(path) {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        }
    }

    /// Reads a word of this vocabulary from a [`ValueKind::Choice`](super::keys::ValueKind::Choice).
    pub(crate) fn choice<T: Vocabulary>(self, path: &str, fallback: T) -> T {
        T::from_word(self.text(path)).unwrap_or(fallback)
    }

    pub(crate) fn integer(self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    pub(crate) fn float(self, path: &str) -> f64 {
        match self.value(path) {
            Some(Value::Float(number)) => *number,
            _ => 0.0,
        }
    }

    pub(crate) fn small(self, path: &str) -> u8 {
        u8::try_from(self.integer(path)).unwrap_or(u8::MAX)
    }

    pub(crate) fn seconds(self, path: &str) -> Duration {
        Duration::from_secs(self.integer(path))
    }

    pub(crate) fn truth(self, path: &str) -> bool {
        self.value(path) == Some(&Value::Boolean(true))
    }

    pub(crate) fn list(self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::List(names)) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// Reads a path; `None` if it is empty.
    pub(crate) fn path(self, path: &str) -> Option<PathBuf> {
        Some(self.text(path)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}
