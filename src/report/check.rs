//! Formats the output of `wasp-agent check`.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    decide::check::{CHECKS, Check},
    model::check::{CheckLevel, CheckLine},
};

/// Version of the JSON; a newer version may have more fields and ids.
const VERSION: u32 = 2;

fn word(level: CheckLevel) -> &'static str {
    match level {
        CheckLevel::Ok => "OK",
        CheckLevel::Skip => "SKIP",
        CheckLevel::Warn => "WARN",
        CheckLevel::Fail => "FAIL",
    }
}

fn style(level: CheckLevel) -> Style {
    let color = match level {
        CheckLevel::Ok => AnsiColor::Green,
        CheckLevel::Skip => AnsiColor::BrightBlack,
        CheckLevel::Warn => AnsiColor::Yellow,
        CheckLevel::Fail => AnsiColor::Red,
    };
    color.on_default()
}

/// Formats a line for each check, and below each problem why it matters and how to fix it. With
/// colours, which the printer removes if its output is not a terminal.
pub fn human(lines: &[CheckLine]) -> String {
    let width = lines.iter().map(|line| line.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for CheckLine { id, level, found, why, fix } in lines {
        let style = style(*level);
        let found = found.replace('\n', "\n      ");
        let _ = writeln!(text, "{style}{:<4}{style:#}  {id:<width$}  {found}", word(*level));
        if *level < CheckLevel::Warn {
            continue;
        }
        let _ = writeln!(text, "      why:  {why}");
        for (index, line) in fix.iter().enumerate() {
            let label = if index == 0 { "fix:" } else { "" };
            let _ = writeln!(text, "      {label:<5} {line}");
        }
    }
    let Counts { ok, warn, fail, skip } = Counts::new(lines);
    let _ = writeln!(text, "\n{ok} OK, {warn} WARN, {fail} FAIL, {skip} SKIP");
    super::for_terminal(&text)
}

/// Returns the commands of a fix in one line, up to the first manual step. If that is the first
/// step, returns the command that shows all steps.
fn commands(fix: &[String]) -> Option<String> {
    if fix.first()?.starts_with('#') {
        return Some("wasp-agent check".to_owned());
    }
    let commands = fix.iter().take_while(|line| !line.starts_with('#')).map(String::as_str);
    Some(commands.collect::<Vec<_>>().join(" && "))
}

/// Formats one line for each problem. `priorities` are those of sd-daemon(3), for the journal.
pub fn brief(lines: &[CheckLine], priorities: bool) -> String {
    let mut text = String::new();
    for CheckLine { id, level, found, fix, .. } in
        lines.iter().filter(|line| line.level >= CheckLevel::Warn)
    {
        let priority = match level {
            CheckLevel::Fail if priorities => "<3>",
            _ if priorities => "<4>",
            _ => "",
        };
        let found = found.replace('\n', " ");
        let fix = commands(fix).map_or_else(String::new, |line| format!("; fix: {line}"));
        let _ = writeln!(text, "{priority}{} {id}: {found}{fix}", word(*level));
    }
    super::for_terminal(&text)
}

#[derive(Serialize)]
struct Counts {
    ok: usize,
    warn: usize,
    fail: usize,
    skip: usize,
}

impl Counts {
    fn new(lines: &[CheckLine]) -> Self {
        let count = |level| lines.iter().filter(|line| line.level == level).count();
        Self {
            ok: count(CheckLevel::Ok),
            warn: count(CheckLevel::Warn),
            fail: count(CheckLevel::Fail),
            skip: count(CheckLevel::Skip),
        }
    }
}

pub fn json(lines: &[CheckLine]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct CheckReport<'a> {
        version: u32,
        summary: Counts,
        checks: &'a [CheckLine],
    }
    let report = CheckReport { version: VERSION, summary: Counts::new(lines), checks: lines };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// Returns the reference of all checks as Markdown: `docs/check.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for Check { id, looks_at, why, fix, .. } in CHECKS {
        let _ =
            writeln!(text, "### `{id}`\n\n- looks at: {looks_at}\n- why: {why}\n- fix: {fix}\n");
    }
    text
}
