//! Comments of code, scripts, units and configuration.

use std::{fs, path::Path};

use super::{Text, documents::prose, named};

/// Returns the paragraphs and list items of a file's comments, without code.
pub(crate) fn of(path: &Path) -> Vec<Text> {
    let text = fs::read_to_string(path).unwrap();
    let markers: &[&str] = if path.extension().is_some_and(|end| end == "rs") {
        &["///", "//!", "//"]
    } else {
        &["#"]
    };
    let file = named(path);
    let of = |(line, text): (usize, String)| Text { file: file.clone(), line, text: prose(&text) };
    paragraphs(&text, markers).into_iter().map(of).collect()
}

/// Returns the text of a line that is a comment only. A commented setting (`#key = value`) and the
/// name of an interpreter (`#!`) are not texts.
fn comment<'a>(line: &'a str, markers: &[&'static str]) -> Option<(&'static str, &'a str)> {
    markers.iter().find_map(|marker| {
        let text = line.trim_start().strip_prefix(*marker)?;
        (text.is_empty() || text.starts_with(' ')).then_some((*marker, text))
    })
}

fn paragraphs(text: &str, markers: &[&'static str]) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open: Option<&str> = None;
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        let Some((marker, text)) = comment(line, markers) else {
            (open, fenced) = (None, false);
            continue;
        };
        let text = text.strip_prefix(' ').unwrap_or(text);
        let fence = text.trim_start().starts_with("```");
        fenced ^= fence;
        if fenced || fence || text.trim().is_empty() || text.trim_start().starts_with('|') {
            open = None;
            continue;
        }
        // An indented line is an item, its continuation, or a column of a usage text.
        let begins =
            text.starts_with([' ', '-', '*']) || text.starts_with(|c: char| c.is_ascii_digit());
        match found.last_mut().filter(|_| open == Some(marker) && !begins) {
            Some((_, paragraph)) => *paragraph += &format!(" {}", text.trim()),
            None => found.push((number + 1, text.trim().to_owned())),
        }
        open = Some(marker);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, markers: &[&'static str]) -> Vec<String> {
        paragraphs(text, markers).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_of_a_comment_are_joined_and_code_is_left_out() {
        let code = "//! One\n//! and two.\n//!\n//! ```text\n//! no text\n//! ```\n\nlet x = 1; // no\n    /// A.\n    // B.\n";
        assert_eq!(texts(code, &["///", "//!", "//"]), ["One and two.", "A.", "B."]);
        let script =
            "#!/bin/sh\n# usage: x\n#   --all   all of them\n#key = 1\necho '# no'\n# End.\n";
        assert_eq!(texts(script, &["#"]), ["usage: x", "--all   all of them", "End."]);
    }
}
