//! The effective configuration as TOML, each value with its origin: what `check-config` prints.

use std::fmt::Write;

use super::{keys::KEYS, layers::Resolved};

/// Valid TOML that would reproduce `resolved`.
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
