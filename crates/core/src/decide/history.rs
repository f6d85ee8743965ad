//! Evaluates the node's history: a summary for `wasp-agent report`, and the memory use that the
//! node has sustained for `wasp-agent advise`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{
    history::{HistoryEvent, Minute, RECORDS, Rates, Waited, What},
    pressure::{Sample, Stalled},
};

/// Samples are one minute apart, sometimes late. A longer pause means that no agent recorded.
const PAUSE: u64 = 150;
/// A level of use counts once it was seen for this many minutes.
pub const SEEN_MINUTES: usize = 30;
/// A level of use counts as sustained if waits stay below this: the 95th percentile of the time in
/// which all processes of the pods waited, in hundredths of a percent.
pub const SHORT_WAIT: u16 = 100;
/// The width of a level of use, in percent of RAM.
const STEP: u64 = 10;

/// Returns the rates between two samples; `None` if a counter was reset.
pub fn rates(before: &Sample, now: &Sample) -> Option<Rates> {
    let elapsed = now.at.since(before.at);
    let (seconds, micros) = (elapsed.as_secs(), elapsed.as_micros());
    if seconds == 0 {
        return None;
    }
    let per_second = |now: u64, before: u64| {
        let pages = now.checked_sub(before)? / seconds;
        Some(u32::try_from(pages).unwrap_or(u32::MAX))
    };
    let part = |now: u64, before: u64| {
        let waited = u128::from(now.checked_sub(before)?) * 10_000 / micros;
        // Stalls of several slices are summed up.
        Some(u16::try_from(waited.min(10_000)).unwrap_or(10_000))
    };
    let waited = |now: Option<Stalled>, before: Option<Stalled>| {
        let (now, before) = (now?, before?);
        Some(Waited {
            some: part(now.some_micros, before.some_micros)?,
            full: part(now.full_micros, before.full_micros)?,
        })
    };
    Some(Rates {
        pages_in: per_second(now.swapped_in_pages, before.swapped_in_pages)?,
        pages_out: per_second(now.swapped_out_pages, before.swapped_out_pages)?,
        system: waited(now.system, before.system),
        pods: waited(now.pods, before.pods),
    })
}

/// The median of some values, a high percentile, and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub median: u64,
    pub p95: u64,
    pub max: u64,
}

impl Spread {
    /// Returns the percentiles by nearest rank; `None` if there are no values.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self { median: rank(50)?, p95: rank(95)?, max: rank(100)? })
    }
}

/// A period in which something did not work. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// `agent`, `api`, or the word of the agent's problem, such as `systemd`.
    pub of: String,
    pub from: u64,
    /// `None` while the outage lasts.
    pub to: Option<u64>,
    pub why: String,
}

/// An eviction that the agent requested, or would have requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvictionLine {
    pub at: u64,
    pub pod: String,
    pub outcome: String,
    pub why: String,
    pub answer: String,
    /// The time at which the pod had left.
    pub left: Option<u64>,
}

/// Limits that another program had changed. The kernel does not report the writer, so the value and
/// the place distinguish writers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairLine {
    pub found: String,
    pub level: String,
    pub count: u64,
    /// The pods repaired most often come first.
    pub pods: Vec<(String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifiedLimits {
    pub verified: u64,
    pub drifts: u64,
    /// The longest time from the notification of a changed limit to its repair.
    pub worst_millis: u64,
    /// Number of limits that the agent wrote, by cause.
    pub written: BTreeMap<&'static str, u64>,
}

/// A summary of a period. Waits are in hundredths of a percent, traffic in pages per second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub from: u64,
    pub to: u64,
    /// Number of recorded minutes.
    pub minutes: usize,
    pub signal_minutes: usize,
    pub outages: Vec<Outage>,
    pub evictions: Vec<EvictionLine>,
    pub repairs: Vec<RepairLine>,
    pub limits: VerifiedLimits,
    pub working_set_bytes: Option<Spread>,
    pub swap_used_bytes: Option<Spread>,
    pub pages_in: Option<Spread>,
    pub pages_out: Option<Spread>,
    pub pods_waited: Option<Spread>,
    pub pods_all_waited: Option<Spread>,
    pub system_waited: Option<Spread>,
}

/// Summarizes the period between `from` and `to`. `minutes` and `events` must be in time order.
pub fn summary(minutes: &[Minute], events: &[HistoryEvent], from: u64, to: u64) -> Summary {
    let within = |at: u64| (from..=to).contains(&at);
    let minutes: Vec<&Minute> = minutes.iter().filter(|minute| within(minute.at)).collect();
    let spread = |of: fn(&Minute) -> u64| Spread::of(minutes.iter().map(|minute| of(minute)));
    let rate = |of: fn(&Rates) -> Option<u64>| {
        Spread::of(minutes.iter().filter_map(|minute| of(minute.rates.as_ref()?)))
    };
    let sum = |of: fn(&Minute) -> u64| minutes.iter().map(|minute| of(minute)).sum();
    let written = [
        ("drift", sum(|m| m.drifts.into())),
        ("found", sum(|m| m.found.into())),
        ("grant-changed", sum(|m| m.grant_changed.into())),
        ("step-down", sum(|m| m.stepped_down.into())),
    ];
    let outages = outages(&minutes, events, to).into_iter();
    Summary {
        from,
        to,
        minutes: minutes.len(),
        signal_minutes: minutes.iter().filter(|minute| minute.signal_active).count(),
        outages: outages.filter(|o| o.from <= to && o.to.is_none_or(|end| end >= from)).collect(),
        evictions: evictions(events, within),
        repairs: repairs(events, within),
        limits: VerifiedLimits {
            verified: sum(|m| m.verified.into()),
            drifts: sum(|m| m.drifts.into()),
            worst_millis: minutes.iter().map(|m| m.worst_millis.into()).max().unwrap_or(0),
            written: written.into_iter().collect(),
        },
        working_set_bytes: spread(|m| m.working_set_bytes),
        swap_used_bytes: spread(|m| m.swap_used_bytes),
        pages_in: rate(|r| Some(r.pages_in.into())),
        pages_out: rate(|r| Some(r.pages_out.into())),
        pods_waited: rate(|r| Some(r.pods?.some.into())),
        pods_all_waited: rate(|r| Some(r.pods?.full.into())),
        system_waited: rate(|r| Some(r.system?.some.into())),
    }
}

fn evictions(events: &[HistoryEvent], within: impl Fn(u64) -> bool) -> Vec<EvictionLine> {
    let mut lines: Vec<EvictionLine> = Vec::new();
    for HistoryEvent { at, what } in events {
        match what {
            What::Eviction { pod, outcome, why, answer } if within(*at) => {
                let [pod, outcome, why, answer] = [pod, outcome, why, answer].map(Clone::clone);
                lines.push(EvictionLine { at: *at, pod, outcome, why, answer, left: None });
            }
            What::Left { pod } => {
                let last = lines.iter_mut().rev().find(|l| l.pod == *pod && l.left.is_none());
                last.map(|line| line.left = Some(*at)).unwrap_or_default();
            }
            _ => {}
        }
    }
    lines
}

fn repairs(events: &[HistoryEvent], within: impl Fn(u64) -> bool) -> Vec<RepairLine> {
    let mut by: BTreeMap<(&str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    for HistoryEvent { at, what } in events {
        if let What::Repaired { pod, level, found, count } = what
            && within(*at)
        {
            *by.entry((found, level)).or_default().entry(pod).or_default() += count;
        }
    }
    let line = |((found, level), pods): ((&str, &str), BTreeMap<&str, u64>)| {
        let count = pods.values().sum();
        let mut pods: Vec<_> = pods.into_iter().map(|(pod, n)| (pod.to_owned(), n)).collect();
        pods.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        RepairLine { found: found.to_owned(), level: level.to_owned(), count, pods }
    };
    let mut lines: Vec<RepairLine> = by.into_iter().map(line).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.count));
    lines
}

/// Finds outages from events; those of the agent from gaps in its records, because a kill leaves no
/// event.
fn outages(minutes: &[&Minute], events: &[HistoryEvent], to: u64) -> Vec<Outage> {
    let mut open: BTreeMap<String, Outage> = BTreeMap::new();
    let mut outages = Vec::new();
    let begin = |open: &mut BTreeMap<_, _>, of: &str, from: u64, why: &str| {
        let outage = Outage { of: of.to_owned(), from, to: None, why: why.to_owned() };
        open.entry(of.to_owned()).or_insert(outage);
    };
    let (mut boot, mut stopped, mut seen) = (None, None, None);
    for HistoryEvent { at, what } in events {
        let mut end = |open: &mut BTreeMap<_, Outage>, of: &str| {
            if let Some(outage) = open.remove(of) {
                outages.push(Outage { to: Some(*at), ..outage });
            }
        };
        match what {
            What::ApiLost { why } => begin(&mut open, "api", *at, why),
            What::ApiBack => end(&mut open, "api"),
            What::Problem { kind, why } => begin(&mut open, kind, *at, why),
            What::ProblemOver { kind } => end(&mut open, kind),
            What::Stopped => {
                stopped = Some(*at);
                // A stopped agent no longer observes these outages.
                let open_yet: Vec<String> = open.keys().cloned().collect();
                open_yet.iter().for_each(|of| end(&mut open, of));
            }
            What::Started { boot: new, .. } => {
                let before = boot.replace(new);
                // A new agent detects the outages of the previous one again if they last.
                let old: Vec<String> = open.keys().cloned().collect();
                old.iter().for_each(|of| end(&mut open, of));
                let last = minutes.iter().map(|m| m.at).filter(|minute| minute < at).max();
                let (from, how) = match stopped.take() {
                    Some(at) => (Some(at), "stopped"),
                    None => (last.max(seen), "killed, or ended by an error"),
                };
                let why = if before.is_some_and(|before| before != new) {
                    "the node booted".to_owned()
                } else {
                    how.to_owned()
                };
                if let Some(from) = from {
                    outages.push(Outage { of: "agent".to_owned(), from, to: Some(*at), why });
                }
            }
            _ => {}
        }
        seen = Some(*at);
    }
    outages.extend(open.into_values());
    let last = minutes.iter().map(|minute| minute.at).max();
    if let Some(from) = stopped.or(last.filter(|last| last + PAUSE < to)) {
        let why = if stopped.is_some() { "stopped" } else { "no records" }.to_owned();
        outages.push(Outage { of: "agent".to_owned(), from, to: None, why });
    }
    outages.sort_by_key(|outage| outage.from);
    outages
}

/// The pods' waits while this much memory was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldLevel {
    /// Working set and swap in use, in percent of RAM: from this value to below the next level's.
    pub from_percent: u64,
    pub to_percent: u64,
    pub minutes: usize,
    pub pages_in: Option<Spread>,
    pub pods_waited: Option<Spread>,
    pub pods_all_waited: Option<Spread>,
}

impl HeldLevel {
    /// Returns true if the level was seen for long enough and the pods did not wait much.
    pub fn is_sustained(&self) -> bool {
        let waited = self.pods_all_waited.map(|waited| waited.p95);
        self.minutes >= SEEN_MINUTES && waited.is_some_and(|waited| waited <= u64::from(SHORT_WAIT))
    }
}

/// The memory use that the node has sustained, by its history. It covers only levels that were
/// seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sustained {
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub minutes: usize,
    pub held_percent: Option<Spread>,
    pub levels: Vec<HeldLevel>,
    /// The highest sustained level, if all levels seen below it were sustained too.
    pub up_to_percent: Option<u64>,
}

/// Returns the minutes of the last 14 days before `now`. The file keeps records of a node that was off for
/// longer, and of a clock that was wrong.
pub fn recent(minutes: &[Minute], now: u64) -> Vec<Minute> {
    // A record may be of the minute that has just begun.
    let times = now.saturating_sub(RECORDS * 60)..=now.saturating_add(60);
    minutes.iter().filter(|minute| times.contains(&minute.at)).copied().collect()
}

/// Returns the memory use that the node has sustained in these minutes.
pub fn sustained(minutes: &[Minute]) -> Sustained {
    let mut by: BTreeMap<u64, Vec<&Minute>> = BTreeMap::new();
    for minute in minutes.iter().filter(|minute| minute.ram_bytes > 0) {
        by.entry(minute.held_percent() / STEP * STEP).or_default().push(minute);
    }
    let level = |(from_percent, minutes): (u64, Vec<&Minute>)| {
        let rate = |of: fn(&Rates) -> Option<u64>| {
            Spread::of(minutes.iter().filter_map(|minute| of(minute.rates.as_ref()?)))
        };
        HeldLevel {
            from_percent,
            to_percent: from_percent + STEP,
            minutes: minutes.len(),
            pages_in: rate(|r| Some(r.pages_in.into())),
            pods_waited: rate(|r| Some(r.pods?.some.into())),
            pods_all_waited: rate(|r| Some(r.pods?.full.into())),
        }
    };
    let levels: Vec<HeldLevel> = by.into_iter().map(level).collect();
    let seen = levels.iter().filter(|level| level.minutes >= SEEN_MINUTES);
    let held_percent = Spread::of(minutes.iter().map(Minute::held_percent));
    // At most the value that was seen, though the level is wider.
    let most = held_percent.map_or(0, |held| held.max);
    let up_to = seen.take_while(|level| level.is_sustained()).last();
    Sustained {
        from: minutes.first().map(|minute| minute.at),
        to: minutes.last().map(|minute| minute.at),
        minutes: minutes.len(),
        held_percent,
        up_to_percent: up_to.map(|level| level.to_percent.min(most)),
        levels,
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
