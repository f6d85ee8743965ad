//! Formats the output of `wasp-agent report` and `wasp-agent advise`.

use crate::model::counted::counted;
use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    decide::{
        history::{EvictionLine, Outage, SEEN_MINUTES, SHORT_WAIT, Spread, Summary, Sustained},
        reclaim::history::Advice,
    },
    model::{history::Minute, swap::human_bytes},
};

/// Version of the JSON, which may gain fields but keeps all existing ones.
const VERSION: u32 = 2;
/// Number of lines of each kind; the JSON has all.
const SHOWN: usize = 20;
/// Number of pods named for a kind of repair.
const NAMED: usize = 3;

/// Formats seconds since 1970 for people.
pub fn shown_time(at: u64) -> String {
    time_as(at, "%Y-%m-%d %H:%M")
}

fn time_as(at: u64, format: &str) -> String {
    let time = i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
    time.map_or_else(|| at.to_string(), |time| time.strftime(format).to_string())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Formats hundredths of a percent.
fn percent(hundredths: u64) -> String {
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn spread(spread: Option<Spread>, shown: impl Fn(u64) -> String) -> String {
    spread.map_or_else(
        || "not known".to_owned(),
        |Spread { median, p95, max }| {
            format!(
                "median {}, 95 % of the time up to {}, at most {}",
                shown(median),
                shown(p95),
                shown(max)
            )
        },
    )
}

/// Formats the report for people. `notes` describe unreadable parts.
pub fn report(summary: &Summary, notes: &[String]) -> String {
    let mut text = String::new();
    let (from, to) = (shown_time(summary.from), shown_time(summary.to));
    let minutes = summary.minutes;
    let _ = writeln!(
        text,
        "From {from} to {to} UTC ({}); {} recorded.\n",
        duration(summary.to.saturating_sub(summary.from)),
        counted(minutes, "minute is", "minutes are")
    );
    for note in notes {
        let _ = writeln!(text, "Note: {note}");
    }
    evictions(&mut text, &summary.evictions);
    outages(&mut text, &summary.outages, summary.to);
    let limits = &summary.limits;
    let _ = writeln!(text, "Limits");
    let worst = match limits.drifts {
        0 => String::new(),
        _ => format!(", the slowest repair took {} ms", limits.worst_millis),
    };
    let _ = writeln!(
        text,
        "  verified {}, {}{worst}",
        counted(limits.verified, "limit", "limits"),
        counted(limits.drifts, "drift", "drifts")
    );
    let causes = limits.written.iter().filter(|(_, count)| **count > 0);
    let causes: Vec<String> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
    if !causes.is_empty() {
        let _ = writeln!(text, "  written by cause: {}", causes.join(", "));
    }
    for repair in summary.repairs.iter().take(SHOWN) {
        let pods = repair.pods.iter().take(NAMED).map(|(pod, count)| format!("{pod} {count}"));
        let more = repair.pods.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(", {}", counted(more, "more pod", "more pods"))
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "  repaired {}: a writer set {} at the {} ({}{more})",
            counted(repair.count, "time", "times"),
            repair.found,
            repair.level,
            pods.collect::<Vec<_>>().join(", ")
        );
    }
    let _ = writeln!(text, "\nMemory");
    for (label, what) in [
        ("working set", spread(summary.working_set_bytes, human_bytes)),
        ("swap in use", spread(summary.swap_used_bytes, human_bytes)),
        ("swapped in", spread(summary.pages_in, |pages| format!("{pages} pages/s"))),
        ("swapped out", spread(summary.pages_out, |pages| format!("{pages} pages/s"))),
        ("pods waited, some", spread(summary.pods_waited, percent)),
        ("pods waited, all", spread(summary.pods_all_waited, percent)),
        ("system waited", spread(summary.system_waited, percent)),
    ] {
        let _ = writeln!(text, "  {label:<18} {what}");
    }
    let signals = summary.signal_minutes as u64;
    let _ = writeln!(
        text,
        "  an eviction signal was active in {}",
        counted(signals, "minute", "minutes")
    );
    super::for_terminal(&text)
}

/// Returns the number of lines to omit, and adds a line with it.
fn skip(text: &mut String, lines: usize, one: &str, many: &str) -> usize {
    let skipped = lines.saturating_sub(SHOWN);
    if skipped > 0 {
        let _ = writeln!(text, "  {}: use --json", counted(skipped, one, many));
    }
    skipped
}

fn evictions(text: &mut String, evictions: &[EvictionLine]) {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for line in evictions {
        *by.entry(&line.outcome).or_default() += 1;
    }
    let by: Vec<String> = by.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    let by = if by.is_empty() { "none".to_owned() } else { by.join(", ") };
    let _ = writeln!(text, "Evictions: {by}");
    let skipped = skip(text, evictions.len(), "earlier eviction", "earlier evictions");
    for EvictionLine { at, pod, outcome, why, answer, left } in &evictions[skipped..] {
        let left = left.map_or(String::new(), |left| {
            format!(", left after {}", duration(left.saturating_sub(*at)))
        });
        let answer = if answer.is_empty() { String::new() } else { format!(" ({answer})") };
        let _ = writeln!(text, "  {} {pod} {outcome}{left}{answer}: {why}", shown_time(*at));
    }
    text.push('\n');
}

fn outages(text: &mut String, outages: &[Outage], to: u64) {
    let none = if outages.is_empty() { ": none" } else { "" };
    let _ = writeln!(text, "Outages and problems{none}");
    let skipped = skip(text, outages.len(), "earlier outage", "earlier outages");
    for Outage { of, from, to: end, why } in &outages[skipped..] {
        let (how_long, lasts) = match end {
            Some(end) => (end.saturating_sub(*from), ""),
            None => (to.saturating_sub(*from), ", and lasts"),
        };
        let _ =
            writeln!(text, "  {} {of} for {}{lasts}: {why}", shown_time(*from), duration(how_long));
    }
    text.push('\n');
}

/// Formats the report for programs, with a point for each minute.
pub fn json(summary: &Summary, minutes: &[Minute], notes: &[String]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct HistoryReport<'a> {
        version: u32,
        summary: &'a Summary,
        minutes: &'a [Minute],
        notes: &'a [String],
    }
    Ok(serde_json::to_string(&HistoryReport { version: VERSION, summary, minutes, notes })? + "\n")
}

/// Formats the memory use that the node sustains, for people.
pub fn advice(sustained: &Sustained) -> String {
    let mut text = String::new();
    let (Some(from), Some(to), Some(held)) = (sustained.from, sustained.to, sustained.held_percent)
    else {
        return "No minute is recorded yet: the agent keeps 14 days in \
            /var/lib/wasp-agent/history.\n"
            .to_owned();
    };
    let _ = writeln!(
        text,
        "{} from {} to {} UTC. Memory use: working set and swap in use, in percent of RAM.\n",
        counted(sustained.minutes, "minute is recorded", "minutes are recorded"),
        shown_time(from),
        shown_time(to)
    );
    let header = [
        "USE",
        "MINUTES",
        "SWAP-IN p50/p95/max",
        "SOME WAITED p95/max",
        "ALL WAITED p95/max",
        "VERDICT",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    for level in &sustained.levels {
        let waits = |waits: Option<Spread>| {
            waits.map_or("not known".to_owned(), |waits| {
                format!("{} / {}", percent(waits.p95), percent(waits.max))
            })
        };
        let pages = level.pages_in.map_or("not known".to_owned(), |pages| {
            format!("{} / {} / {} pages/s", pages.median, pages.p95, pages.max)
        });
        rows.push([
            format!("{}-{} %", level.from_percent, level.to_percent),
            level.minutes.to_string(),
            pages,
            waits(level.pods_waited),
            waits(level.pods_all_waited),
            match level.is_sustained() {
                true => "sustained",
                false if level.minutes < SEEN_MINUTES => "too few minutes",
                false => "not sustained",
            }
            .to_owned(),
        ]);
    }
    text += &super::columns(&rows);
    let _ =
        writeln!(text, "\nMemory use: {}.", spread(Some(held), |percent| format!("{percent} %")));
    let limit = percent(SHORT_WAIT.into());
    let _ = match sustained.up_to_percent {
        Some(percent) => writeln!(
            text,
            "This node has sustained up to {percent} % of its RAM: in 95 % of the minutes of each \
             level, all processes of the pods waited for memory together for at most {limit} of \
             the time. Each level lasted {SEEN_MINUTES} minutes or more. The history has no more \
             than {} %, and shows nothing about higher levels.",
            held.max
        ),
        None => writeln!(
            text,
            "No level lasted {SEEN_MINUTES} minutes with waits of at most {limit} of the time: \
             the history is too short, the kernel does not count waits (psi=1), or the node \
             already has as much as it can sustain. No advice is possible."
        ),
    };
    text += "The advice is based on the workloads of that time; other workloads may use less or \
        more.\n";
    super::for_terminal(&text)
}

/// Formats reclaim's measurements for people.
pub fn measured(advice: &Advice) -> String {
    let Advice { days, needs, would_have_held_percent } = advice;
    format!(
        "\nReclaim has measurements of {}. On the day with the highest need, its pods needed {} of \
         the {} that they held. On each of these days memory could have been overcommitted up to \
         {would_have_held_percent} %.\n",
        counted(*days as u64, "day", "days"),
        human_bytes(needs.working_set_bytes),
        human_bytes(needs.whole_bytes),
    )
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
