//! Text for a shell.

use std::path::Path;

/// Quotes `text` for a shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Quotes a path for a shell.
pub fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("/etc/a-b_1.conf"), "/etc/a-b_1.conf");
        assert_eq!(quoted("/etc/a b"), "'/etc/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!((quoted("$x"), quoted("")), ("'$x'".to_owned(), "''".to_owned()));
    }
}
