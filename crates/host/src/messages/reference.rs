//! The texts that are generated from all kinds of messages.

use std::fmt::Write;

use super::{ALL, Message};

/// Returns the name of a field in the journal.
pub fn journal_field(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Returns the text of systemd's message catalog.
///
/// Source: systemd, "Journal Message Catalogs".
pub fn catalog() -> String {
    let mut text = "# Written by `BLESS=1 cargo test --test documents`.\n".to_owned();
    for Message { id, subject, meaning, remedy, .. } in ALL {
        let _ = write!(
            text,
            "\n-- {id}\nSubject: {subject}\nDefined-By: wasp-agent\nDocumentation: man:wasp-agent(8)\n\
             Documentation: file:///usr/share/doc/wasp-agent/docs/journal.md\n\n{meaning}\n\n{remedy}\n"
        );
    }
    text
}

/// Returns the reference of all messages as Markdown: `docs/journal.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for Message { id, name, subject, fields, meaning, remedy, .. } in ALL {
        let _ = writeln!(text, "### {name}: {}\n", shown(subject));
        let _ = writeln!(text, "{} {}\n\n- MESSAGE_ID: `{id}`", shown(meaning), shown(remedy));
        if !fields.is_empty() {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("`{}`", journal_field(field))).collect();
            let _ = writeln!(text, "- fields: {}", fields.join(", "));
        }
        text.push('\n');
    }
    text
}

/// Removes the marks of fields, so that their names appear instead of their values.
fn shown(text: &str) -> String {
    text.replace('@', "")
}
