//! What the documents say is what the code does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path};

use support::{Agent, FakeHost, MIB};
use wasp_agent::config::show;

const MARK: &str = "<!-- from here on written by `BLESS=1 cargo test --test documents` -->\n";

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    let name = "docs/configuration.md";
    let text = document(name);
    let (intro, _) = text.split_once(MARK).expect("the mark is gone");
    let expected = format!("{intro}{MARK}\n{}\n", show::reference().trim_end());
    if std::env::var_os("BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), &expected).unwrap();
    }
    assert_eq!(document(name), expected, "BLESS=1 mends it");
}

/// Fenced blocks of `language` in `text`.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_toml_in_the_documents_loads() {
    let mut seen = 0;
    for name in ["README.md", "docs/configuration.md", "docs/architecture.md", "docs/swap.md"] {
        for toml in blocks(&document(name), "toml") {
            let host = FakeHost::new(4096 * MIB, 0);
            host.write("/etc/wasp-agent/wasp-agent.toml", toml);
            let output = Agent::command(&host, &["check-config"]).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen > 0, "no TOML was found to check");
}

#[test]
fn every_command_that_the_readme_names_exists() {
    let readme = document("README.md");
    let help = Agent::command(&FakeHost::new(MIB, 0), &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut seen = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("| `wasp-agent ")) {
        let command = line.split('`').next().unwrap();
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}
