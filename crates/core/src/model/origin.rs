//! Where a setting comes from, and how to remove it there.

use std::{collections::BTreeMap, fmt, path::PathBuf};

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

/// Where each key is set that does not have its default.
pub type Origins = BTreeMap<&'static str, SettingOrigin>;

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
