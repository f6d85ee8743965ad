//! `wasp-agent report` and `wasp-agent advise`: evaluate the node's history.

use crate::model::counted::counted;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{Span, Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    decide::{
        history::{Sustained, recent, summary, sustained},
        reclaim::history::{Advice, WorkingSets},
    },
    errors::FileError,
    history::{self, History},
    report::{history as shown, plot},
    roots::Roots,
    state::StateFile,
};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Start of the report: yesterday, today, a duration before now (90m, 2h, 3d), a date or an RFC 3339
    /// time; days begin at midnight UTC
    #[arg(long, value_name = "TIME", default_value = "yesterday")]
    since: String,
    /// Print JSON, with one entry for each minute
    #[arg(long)]
    json: bool,
    /// Write an SVG of memory, swap traffic and waits over time to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the report with its charts as HTML to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn read(roots: &Roots) -> anyhow::Result<(History, Vec<String>)> {
    let history = history::read(roots)?;
    let mut notes = Vec::new();
    if history.unreadable > 0 {
        notes.push(format!(
            "skipped {} of {}",
            counted(history.unreadable, "unreadable line", "unreadable lines"),
            history::EVENTS
        ));
    }
    if history.minutes.is_empty() {
        notes.push(format!(
            "{} has no data yet: the agent has not run for a minute yet, or cannot write {} \
             (wasp-agent status)",
            history::MINUTES,
            history::FOLDER
        ));
    }
    Ok((history, notes))
}

pub(crate) fn report(roots: &Roots, asked: &ReportArgs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    // The reason of the library that reads times names its own terms.
    let since = since(&asked.since, now).map_err(|_| {
        anyhow::anyhow!(
            "--since {:?} is not a time in the past: use yesterday, today, 90m, 2h, 3d, \
             2026-11-28, \"2026-11-28 06:00\" (UTC) or 2026-11-28T06:00:00+01:00",
            asked.since
        )
    })?;
    anyhow::ensure!(since <= now, "--since {:?} is in the future", asked.since);
    let (History { mut minutes, events, .. }, notes) = read(roots)?;
    let second = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or(0);
    let summary = summary(&minutes, &events, second(since), second(now));
    minutes.retain(|minute| (summary.from..=summary.to).contains(&minute.at));
    let text = match asked.json {
        true => shown::json(&summary, &minutes, &notes)?,
        false => shown::report(&summary, &notes),
    };
    if asked.svg.is_some() || asked.html.is_some() {
        let svg = plot::svg(&summary, &minutes)?;
        if let Some(file) = &asked.svg {
            write(file, &svg)?;
        }
        if let Some(file) = &asked.html {
            write(file, &plot::html(&shown::report(&summary, &notes), &svg))?;
        }
        if !asked.json {
            return Ok(());
        }
    }
    super::print(&text)
}

/// The JSON of `wasp-agent advise`.
#[derive(Serialize)]
struct Advised<'a> {
    #[serde(flatten)]
    sustained: &'a Sustained,
    /// `null` if reclaim has measured nothing.
    working_sets: Option<Advice>,
}

pub(crate) fn advise(roots: &Roots, json: bool) -> anyhow::Result<()> {
    let (history, mut notes) = read(roots)?;
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let minutes = recent(&history.minutes, now);
    match history.minutes.len() - minutes.len() {
        0 => {}
        count => notes.push(format!(
            "skipped {}: older than 14 days, or later than now (the clock was wrong)",
            counted(count, "record", "records")
        )),
    }
    let sustained = sustained(&minutes);
    let working_sets = match StateFile::<WorkingSets>::new(roots).load() {
        Ok(found) => found.and_then(|sets| sets.advice()),
        Err(error) => {
            notes.push(format!("{error}: skipped the measurements of reclaim"));
            None
        }
    };
    if json {
        let advised = Advised { sustained: &sustained, working_sets };
        return super::print(&(serde_json::to_string(&advised)? + "\n"));
    }
    let notes = notes.iter().fold(String::new(), |all, note| all + "Note: " + note + "\n");
    let measured = working_sets.as_ref().map_or_else(String::new, shown::measured);
    super::print(&(notes + &shown::advice(&sustained) + &measured))
}

fn write(file: &Path, text: &str) -> Result<(), FileError> {
    std::fs::write(file, text).map_err(FileError::of("write", file))
}

/// Parses a point in time.
fn since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let midnight = now.to_zoned(TimeZone::UTC).start_of_day()?;
    let duration =
        text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, unit)| {
            let number: i64 =
                number.parse().ok().filter(|number| (0..=100_000).contains(number))?;
            match unit {
                "m" => Some(Span::new().try_minutes(number)),
                "h" => Some(Span::new().try_hours(number)),
                "d" => Some(Span::new().try_hours(number * 24)),
                _ => None,
            }
        });
    match (text, duration) {
        ("today", _) => Ok(midnight.timestamp()),
        ("yesterday", _) => Ok(midnight.yesterday()?.timestamp()),
        (_, Some(back)) => Ok(now.checked_sub(back?)?),
        _ => {
            // A date without a time is midnight.
            let time = text.parse::<Timestamp>().or_else(|_| {
                let time = text.parse::<jiff::civil::DateTime>()?;
                Ok::<_, jiff::Error>(time.to_zoned(TimeZone::UTC)?.timestamp())
            })?;
            anyhow::ensure!(time <= now, "it is in the future");
            Ok(time)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-03-01T09:30:00Z".parse().unwrap();
        for (text, time) in [
            ("yesterday", "2026-02-28T00:00:00Z"),
            ("today", "2026-03-01T00:00:00Z"),
            ("90m", "2026-03-01T08:00:00Z"),
            ("2h", "2026-03-01T07:30:00Z"),
            ("3d", "2026-02-26T09:30:00Z"),
            ("2026-02-27", "2026-02-27T00:00:00Z"),
            ("2026-02-27 06:00", "2026-02-27T06:00:00Z"),
            ("2026-02-27T06:30:15", "2026-02-27T06:30:15Z"),
            ("2026-02-27T06:00:00+02:00", "2026-02-27T04:00:00Z"),
            ("2026-02-27T06:00", "2026-02-27T06:00:00Z"),
            ("2026-02-27 06:00:30", "2026-02-27T06:00:30Z"),
            ("2026-02-27 06:00Z", "2026-02-27T06:00:00Z"),
        ] {
            assert_eq!(since(text, now).unwrap().to_string(), time, "{text}");
        }
        for text in
            ["", "h", "-2h", "2x", "é", "yesterday morning", "2026-13-01", "2030-01-01", "-1h"]
        {
            assert!(since(text, now).is_err(), "{text}");
        }
    }
}
