//! Values of the configuration, with their place in a file or in the environment.

use crate::model::counted::counted;
use std::fmt::{self, Write};

pub use crate::model::origin::{Removal, SettingOrigin};
use crate::model::plain::is_obeyed;

/// A configured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(u64),
    Float(f64),
    Text(String),
    Boolean(bool),
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// Formats the value as TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => {
                f.write_char('"')?;
                for letter in text.chars() {
                    match letter {
                        '"' | '\\' => write!(f, "\\{letter}")?,
                        letter if is_obeyed(letter) => write!(f, "\\u{:04X}", u32::from(letter))?,
                        letter => f.write_char(letter)?,
                    }
                }
                f.write_char('"')
            }
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::List(texts) => write!(f, "{texts:?}"),
        }
    }
}

/// One problem in the configuration: its place, the faulty value, and the values that are allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigProblem {
    pub origin: SettingOrigin,
    pub text: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// All problems in the configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<ConfigProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        f.write_str(&counted(count, "configuration problem", "configuration problems"))?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
