//! Values of the configuration, with their place in a file or in the environment.

use crate::model::counted::counted;
use std::{
    fmt::{self, Write},
    path::PathBuf,
};

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

/// How to remove a setting from its file. Lines start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    CommentOut {
        first: usize,
        last: usize,
    },
    /// A part of a line: `letters` characters behind the first `after`.
    Cut {
        line: usize,
        after: usize,
        letters: usize,
    },
}

impl Removal {
    /// Returns a command of sed(1) that removes the commas which a cut leaves over.
    pub fn commas(&self) -> Option<String> {
        match self {
            Self::CommentOut { .. } => None,
            Self::Cut { line, .. } => Some(format!(
                r"{line}s/,\([ \t]*,\)\+/,/g; {line}s/{{[ \t]*,/{{/; {line}s/,[ \t]*}}/ }}/"
            )),
        }
    }
}

impl fmt::Display for Removal {
    /// Formats the removal as a command of sed(1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommentOut { first, last } if first == last => write!(f, "{first}s/^/# /"),
            Self::CommentOut { first, last } => write!(f, "{first},{last}s/^/# /"),
            Self::Cut { line, after, letters } => {
                write!(f, r"{line}s/^\(.\{{{after}\}}\).\{{{letters}\}}/\1/")
            }
        }
    }
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingOrigin {
    Default,
    File {
        path: PathBuf,
        /// Starts at 1; 0 for the file as a whole.
        line: usize,
        /// Empty if no part of the file can be removed safely.
        removal: Vec<Removal>,
    },
    Environment {
        name: &'static str,
    },
    CommandLine,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
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
