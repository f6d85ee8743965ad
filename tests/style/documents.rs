//! The prose of Markdown and manual pages.

use std::{fs, path::Path};

use super::{Text, named};

/// Returns the paragraphs, list items and table cells of a file, without code.
pub(crate) fn of(path: &Path) -> Vec<Text> {
    let text = fs::read_to_string(path).unwrap();
    let markdown = path.extension().is_some_and(|end| end == "md");
    let blocks = if markdown { markdown_blocks(&text) } else { manual_blocks(&text) };
    let file = named(path);
    blocks.into_iter().map(|(line, text)| Text { file: file.clone(), line, text }).collect()
}

/// Removes code and the targets of links.
pub(crate) fn prose(text: &str) -> String {
    let mut plain = String::new();
    for (index, part) in text.split('`').enumerate() {
        plain += if index % 2 == 0 { part } else { "CODE" };
    }
    let mut out = String::new();
    let mut rest = &*plain;
    while let Some(at) = rest.find("](") {
        let end = rest[at..].find(')').map_or(rest.len(), |end| at + end + 1);
        out += &rest[..at];
        rest = &rest[end..];
    }
    (out + rest).replace(['*', '['], "")
}

fn markdown_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut fenced = false;
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            open = false;
            continue;
        }
        let code = fenced || (line.starts_with("    ") && !open);
        let item =
            ["- ", "* ", "1. ", "2. ", "3. ", "#", ">"].iter().any(|m| trimmed.starts_with(m));
        match trimmed {
            _ if code || trimmed.starts_with("<!--") => open = false,
            "" => open = false,
            row if row.starts_with('|') => {
                open = false;
                let cells = row.trim_matches('|').split(" | ").map(str::trim);
                let cells = cells.filter(|cell| !cell.starts_with("---"));
                blocks.extend(cells.map(|cell| (number + 1, cell.to_owned())));
            }
            _ => match blocks.last_mut().filter(|_| open && !item) {
                Some((_, block)) => *block += &format!(" {trimmed}"),
                None => {
                    blocks.push((number + 1, trimmed.to_owned()));
                    open = !trimmed.starts_with('#');
                }
            },
        }
    }
    blocks.into_iter().map(|(line, block)| (line, prose(&block))).collect()
}

/// Parses roff: macros begin with a dot, and backslashes change fonts.
fn manual_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut code = false;
    for (number, line) in text.lines().enumerate() {
        code = (code || line.starts_with(".nf")) && !line.starts_with(".fi");
        // A synopsis is not a sentence.
        let synopsis = line.contains("[\\fB") || line.contains("[\\fI") || line.contains("[\\-");
        if code || synopsis || line.starts_with(['.', '\'']) || line.is_empty() {
            open = false;
            continue;
        }
        let plain = line.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
        let plain = plain.replace("\\-", "-").replace("\\(aq", "'").replace("\\*(Aq", "'");
        match blocks.last_mut().filter(|_| open) {
            Some((_, block)) => *block += &format!(" {plain}"),
            None => blocks.push((number + 1, plain)),
        }
        open = true;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_left_out_and_paragraphs_are_joined() {
        let text = "# Title\n\nOne `code a b` and\n[two](x.md).\n\n    make all\n\n- item\n  more\n- other\n\n| a | b |\n|---|---|\n| c d | e |\n";
        let blocks: Vec<String> = markdown_blocks(text).into_iter().map(|(_, text)| text).collect();
        let expected =
            ["# Title", "One CODE and two.", "- item more", "- other", "a", "b", "c d", "e"];
        assert_eq!(blocks, expected);
    }
}
