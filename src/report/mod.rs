//! Output about the agent: the journal, systemd, and the files below `/run`.

pub mod check;
pub mod explain;
pub mod history;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod overview;
pub mod plan;
pub mod plot;
pub mod screen;
pub mod status;
pub mod suspend;
pub mod verdict;
pub mod what_if;

use crate::model::plain::plain;

/// Makes text safe for a terminal: of its control characters, only line ends and our own colours
/// remain.
pub fn for_terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (index, part) in text.split('\u{1b}').enumerate() {
        let colour = part.strip_prefix('[').and_then(|codes| {
            let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            codes[end..].starts_with('m').then_some(end + 2)
        });
        let rest = match colour {
            _ if index == 0 => part,
            Some(end) => {
                shown.push('\u{1b}');
                shown.push_str(&part[..end]);
                &part[end..]
            }
            None => {
                shown.push_str(&plain("\u{1b}"));
                part
            }
        };
        for line in rest.split_inclusive('\n') {
            shown.push_str(&plain(line.trim_end_matches('\n')));
            shown.push_str(&line[line.trim_end_matches('\n').len()..]);
        }
    }
    shown
}

/// Formats rows, with each column as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    use std::fmt::Write;
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_our_colours_only() {
        for (text, shown) in [
            ("\u{1b}[31mred\u{1b}[0m\n\nplain\n", "\u{1b}[31mred\u{1b}[0m\n\nplain\n"),
            ("\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}", "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}"),
            ("a\rb\u{9b}2J", "a b\\u{9b}2J"),
            ("\u{1b}[1;3", "\\u{1b}[1;3"),
        ] {
            assert_eq!(for_terminal(text), shown);
        }
    }
}
