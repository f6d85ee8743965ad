//! Errors are types with fields, not strings: callers can tell them apart, and keep the source.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Returns true if the line names a `Result` whose error is a string.
fn has_string_error(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let result = code.find("Result<").map(|at| &code[at..]);
    result.is_some_and(|rest| rest.contains(", String>") && !rest.contains("Map<"))
        || code.contains("type Err = String;")
}

#[test]
fn no_error_is_a_string() {
    assert!(has_string_error("fn a() -> Result<u8, String> {"));
    assert!(!has_string_error("fn a() -> Result<String, AError> {"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "crates/core/src", "crates/host/src"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 100, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let shown = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<&str> = code.lines().filter(|line| has_string_error(line)).collect();
        if !lines.is_empty() {
            wrong.push(format!("{shown}: {lines:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
