//! Checks the words of all texts that people read: strings of the programs, help texts, documents,
//! manuals, alerts, and the comments of code, scripts, units and configuration. The rules come from
//! the column `Not` of docs/glossary.md, and from [`rules`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod comments;
mod documents;
mod rules;
mod strings;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rules::{Finding, Rules};

/// One text with its place.
#[derive(Debug)]
pub struct Text {
    pub file: String,
    pub line: usize,
    pub text: String,
}

/// Findings that a file may still have. Lower a number when you remove findings; never raise one.
const DEBT: &[(&str, usize)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files below `folder` whose names end in one of `ends`, in order.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true => open.push(path),
                false if ends.iter().any(|end| name.ends_with(end)) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Compares the findings of each file with its debt.
fn assert_plain(texts: &[Text], rules: &Rules) {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Text { file, line, text } in texts {
        for Finding { rule, what } in rules.check(text) {
            let shown = format!("  {file}:{line}: {rule}: {what}\n    {text}");
            found.entry(file).or_default().push(shown);
        }
    }
    let mut wrong = String::new();
    for (file, findings) in &found {
        let debt = DEBT.iter().find(|(name, _)| name == file).map_or(0, |(_, debt)| *debt);
        if findings.len() > debt {
            let count = findings.len();
            wrong += &format!("{file}: findings {count}, debt {debt}\n{}\n", findings.join("\n"));
        }
    }
    assert!(wrong.is_empty(), "docs/glossary.md has the words to use\n{wrong}");
}

#[test]
fn strings_of_the_programs_are_plain_english() {
    let mut texts = Vec::new();
    for folder in ["src", "crates/core/src", "crates/host/src"] {
        for path in files(folder, &[".rs"]) {
            texts.extend(strings::of(&path));
        }
    }
    assert!(texts.len() > 1000, "only {} strings were found", texts.len());
    assert_plain(&texts, &Rules::of_strings(&root().join("docs/glossary.md")));
}

#[test]
fn help_texts_are_plain_english() {
    let texts = strings::help();
    assert!(texts.len() > 50, "only {} help texts were found", texts.len());
    assert_plain(&texts, &Rules::of_strings(&root().join("docs/glossary.md")));
}

#[test]
fn documents_are_plain_english() {
    let mut paths = files("docs", &[".md"]);
    paths.retain(|path| !path.ends_with("docs/glossary.md"));
    paths.extend(files("packaging/man", &[".8", ".5", ".end"]));
    for folder in ["tests", "ignition"] {
        paths.extend(files(folder, &[".md"]));
    }
    let names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    paths.extend(names.map(|name| root().join(name)));
    let texts: Vec<Text> = paths.iter().flat_map(|path| documents::of(path)).collect();
    assert!(texts.len() > 1000, "only {} sentences were found", texts.len());
    assert_plain(&texts, &Rules::of_documents(&root().join("docs/glossary.md")));
}

/// Directories whose files are data.
const DATA: &[&str] = &["corpus", "golden", "fixtures", "traces", "completions", "target"];

/// Files with comments and without an extension.
const PROGRAMS: &[&str] = &[
    "build",
    "check",
    "check-payload",
    "deps",
    "first-boot-install",
    "guest-main",
    "image",
    "node-run",
    "oc",
    "phases",
    "run",
    "systemd-update-helper",
];

#[test]
fn comments_are_plain_english() {
    let ends = [
        ".rs",
        ".sh",
        ".toml",
        ".yaml",
        ".service",
        ".mount",
        ".preset",
        ".tmpfiles",
        ".sysconfig",
        ".config",
    ];
    let has_comments = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_data = path.iter().any(|part| DATA.contains(&part.to_str().unwrap()));
        !is_data && (PROGRAMS.contains(&name) || ends.iter().any(|end| name.ends_with(end)))
    };
    let folders =
        ["src", "crates", "tests", "benches", "fuzz", "packaging", "systemd", "ignition", ".ci"];
    let mut paths: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder, &[""])).collect();
    paths.retain(|path| has_comments(path.strip_prefix(root()).unwrap()));
    let names = ["Makefile", "Cargo.toml", "clippy.toml", "deny.toml", "rpm.spec"];
    paths.extend(names.map(|name| root().join(name)));
    let texts: Vec<Text> = paths.iter().flat_map(|path| comments::of(path)).collect();
    for kind in [".rs", ".sh", "tests/node/run", ".yaml", "wasp-agent.service", "Cargo.toml"] {
        assert!(texts.iter().any(|text| text.file.ends_with(kind)), "no comment of {kind}");
    }
    assert!(texts.len() > 4000, "only {} comments were found", texts.len());
    assert_plain(&texts, &Rules::of_comments(&root().join("docs/glossary.md")));
}

#[test]
fn alerts_are_plain_english() {
    let path = root().join("packaging/alerts/wasp-agent.rules.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let rules: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let texts = alerts.flat_map(|alert| {
        ["summary", "description"].map(|name| Text {
            file: format!("{} of {}", name, alert["alert"]),
            line: 0,
            text: alert["annotations"][name].as_str().unwrap().to_owned(),
        })
    });
    let texts: Vec<Text> = texts.collect();
    assert!(texts.len() > 20, "only {} texts were found", texts.len());
    assert!(texts.iter().all(|text| text.text.trim_end().ends_with('.')), "a full stop is missing");
    assert_plain(&texts, &Rules::of_documents(&root().join("docs/glossary.md")));
}

/// Returns the name of a file as people know it.
fn named(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}
