//! The reason why a fact is unknown, as data to show.

use std::{error::Error, fmt};

/// The reason why a fact is unknown. [`Unknown::of`] makes it from the error and its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(String);

impl Unknown {
    /// For use with `map_err`.
    pub fn of(error: impl Error) -> Self {
        Self(sentence(&error))
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For a reason that is no error of a call.
impl From<&str> for Unknown {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

/// For the text of a report.
impl From<Unknown> for String {
    fn from(Unknown(reason): Unknown) -> Self {
        reason
    }
}

/// Formats an error with all its sources in one sentence. Leaves out a source that the text before
/// it contains already.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot read /a: {0}")]
        Quoting(#[source] std::num::ParseIntError),
        #[error("cannot use /b")]
        Silent(#[source] std::num::ParseIntError),
    }

    #[test]
    fn every_source_is_in_the_sentence_once() {
        let cause = || "x".parse::<u8>().unwrap_err();
        let unknown = |error: Outer| Unknown::of(error).to_string();
        assert_eq!(
            unknown(Outer::Quoting(cause())),
            "cannot read /a: invalid digit found in string"
        );
        assert_eq!(unknown(Outer::Silent(cause())), "cannot use /b: invalid digit found in string");
    }
}
