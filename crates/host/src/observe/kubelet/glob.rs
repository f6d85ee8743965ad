//! File names with wildcards, as in `EnvironmentFile=`.
//!
//! Source: systemd `src/core/execute.c` (`exec_context_load_environment`), glob(7).

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::roots::Roots;

/// Returns the files that `pattern` matches, in order; a name without wildcards matches itself.
pub fn globbed(roots: &Roots, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for component in pattern.components() {
        let Component::Normal(name) = component else { continue };
        let wanted = name.as_encoded_bytes();
        found = match wanted.iter().any(|byte| b"*?[\\".contains(byte)) {
            false => found.into_iter().map(|folder| folder.join(name)).collect(),
            true => found.iter().flat_map(|folder| within(roots, folder, wanted)).collect(),
        };
    }
    found
}

fn within(roots: &Roots, folder: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let entries = fs::read_dir(roots.path(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name| {
        let name = name.as_encoded_bytes();
        (!name.starts_with(b".") || pattern.starts_with(b".")) && matches(pattern, name)
    });
    let mut found: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    found.sort();
    found
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches(rest, name)
                || name.split_first().is_some_and(|(_, name)| matches(pattern, name))
        }
        ([b'?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        ([b'[', set @ ..], [byte, name @ ..]) => match class(set, *byte) {
            Some((is_in, rest)) => is_in && matches(rest, name),
            None => *byte == b'[' && matches(set, name),
        },
        ([b'\\', byte, rest @ ..], [first, name @ ..])
        | ([byte, rest @ ..], [first, name @ ..]) => byte == first && matches(rest, name),
        _ => false,
    }
}

/// Returns whether `byte` is in the set, and the pattern behind it; `None` for a set without end.
fn class(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (turned, set) = match set {
        [b'!' | b'^', set @ ..] => (true, set),
        set => (false, set),
    };
    // A bracket at the start belongs to the set.
    let end = set.iter().skip(1).position(|byte| *byte == b']')? + 1;
    let (mut of, rest) = (&set[..end], &set[end + 1..]);
    let mut is_in = false;
    while let [first, more @ ..] = of {
        let (last, more) = match more {
            [b'-', last, more @ ..] => (last, more),
            more => (first, more),
        };
        is_in |= (first..=last).contains(&&byte);
        of = more;
    }
    Some((is_in != turned, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// glob(7).
    #[test]
    fn wildcards_are_those_of_the_manual() {
        for (pattern, name, expected) in [
            ("*.env", "a.env", true),
            ("*.env", "a.env.bak", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("[a-c]*", "b1", true),
            ("[!a-c]*", "b1", false),
            ("[]-]x", "]x", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
