//! A type's name has one meaning: no two modules of the agent define types of the same name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.to_string_lossy().ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

/// The names of types that are defined at the top level of a module. Types within functions and
/// within `mod tests` are indented.
fn types(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let line = match line.strip_prefix("pub") {
            Some(rest) => rest.trim_start_matches(|c| c != ' ').trim_start(),
            None => line,
        };
        let rest = ["struct ", "enum ", "trait ", "type "]
            .iter()
            .find_map(|keyword| line.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

#[test]
fn no_two_types_have_the_same_name() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "crates/core/src", "crates/host/src"] {
        sources(&top.join(folder), &mut files);
    }
    let mut defined: BTreeMap<String, BTreeSet<&Path>> = BTreeMap::new();
    for file in &files {
        for name in types(&fs::read_to_string(file).unwrap()) {
            defined.entry(name.to_owned()).or_default().insert(file);
        }
    }
    // The test reads what it should: types that are there for sure.
    assert!(defined.len() > 300, "only {} types were found", defined.len());
    assert!(defined.contains_key("Settings"));
    let twice: Vec<_> = defined.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "each of these names has several meanings: {twice:#?}");
}
