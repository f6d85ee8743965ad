//! Prints the effective configuration as TOML, each value with its origin, for `check-config`.

use std::fmt::Write;

use super::{keys::KEYS, layers::Resolved};

/// Returns valid TOML that reproduces `resolved`.
pub fn effective(resolved: &Resolved) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in KEYS {
        let (prefix, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if prefix != table {
            table = prefix;
            let _ = writeln!(text, "\n[{table}]");
        }
        if let Some((value, origin)) = resolved.get(key.path) {
            let assignment = format!("{name} = {value}");
            let _ = writeln!(text, "{assignment:<48} # {origin}");
        }
    }
    text
}

/// Returns the reference of all keys with type, default, range and effect as Markdown:
/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for key in KEYS {
        let _ = writeln!(text, "### `{}`\n\n{}\n", key.path, key.help);
        let _ = writeln!(text, "- allowed: {}", key.kind.allowed());
        let _ = writeln!(text, "- default: `{}`", key.default.value());
        if let Some(name) = key.environment {
            let _ = writeln!(text, "- environment: `{name}`");
        }
        text.push('\n');
    }
    text
}
