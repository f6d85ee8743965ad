//! What the agent tells: the journal, systemd, and the files that it leaves under `/run`.

pub mod check;
pub mod explain;
pub mod log;
pub mod messages;
pub mod metrics;
pub mod notify;
pub mod overview;
pub mod plan;
pub mod records;
pub mod screen;
pub mod status;

/// Rows under each other, each column as wide as its widest cell.
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
