//! The signals: each compares what was measured over a window with a threshold, must hold for a
//! while, and ends only clearly below.
//!
//! Each value is shown as a ratio to its threshold: above 1 it is over.

use std::{collections::VecDeque, fmt, time::Duration};

use crate::{
    config::settings::{EvictionSettings, SignalSettings},
    model::{
        host::Monotonic,
        pressure::{Sample, Stalled},
    },
};

/// An average over less is none.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// Stalls are looked at over the last so many seconds.
const PRESSURE_WINDOW: Duration = Duration::from_secs(10);
/// After a longer pause (a suspended machine, a starved agent) the window begins anew.
const LONGEST_GAP: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Pages come and go quickly.
    Traffic,
    /// Swap is nearly used up.
    Utilization,
    /// More is in use than is healthy for this RAM.
    Overcommit,
    /// Processes wait for memory.
    Pressure,
}

impl Signal {
    pub const ALL: [Self; 4] = [Self::Traffic, Self::Utilization, Self::Overcommit, Self::Pressure];

    /// As its table is named in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Utilization => "utilization",
            Self::Overcommit => "overcommit",
            Self::Pressure => "pressure",
        }
    }

    fn settings(self, settings: &EvictionSettings) -> &SignalSettings {
        match self {
            Self::Traffic => &settings.traffic,
            Self::Utilization => &settings.utilization,
            Self::Overcommit => &settings.overcommit,
            Self::Pressure => &settings.pressure,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traffic => "swap traffic",
            Self::Utilization => "swap utilization",
            Self::Overcommit => "overcommit ratio",
            Self::Pressure => "memory pressure",
        })
    }
}

/// A signal at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub signal: Signal,
    /// Of what was measured to its threshold.
    pub ratio: f64,
    /// What was measured and the threshold, with units.
    pub text: String,
    pub value: String,
    pub threshold: String,
    /// Over its threshold for long enough, and not yet clearly below.
    pub active: bool,
    /// Active, and over by `critical-factor`.
    pub critical: bool,
}

struct Measured {
    /// Of the value to the threshold.
    ratio: f64,
    value: String,
    threshold: String,
}

/// What the signals remember.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    window: VecDeque<Sample>,
    over_since: [Option<Monotonic>; 4],
    active: [bool; 4],
}

impl Signals {
    /// Begins anew, as after an eviction: what was before says nothing about what is now.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a sample and reads all signals that can be read. A sample that is older than the last,
    /// or whose counters have gone back, begins the window anew.
    pub fn read(&mut self, settings: &EvictionSettings, sample: Sample) -> Vec<Reading> {
        if let Some(last) = self.window.back()
            && !follows(last, &sample)
        {
            self.clear();
        }
        self.window.push_back(sample);
        let longest = settings.window.max(PRESSURE_WINDOW);
        // One sample at or before the beginning of the window stays.
        while self.window.get(1).is_some_and(|next| sample.at.since(next.at) >= longest) {
            self.window.pop_front();
        }
        let confirmed = self.is_confirmed(settings, &sample);
        let mut readings = Vec::new();
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            let of_signal = signal.settings(settings);
            let measured = of_signal.enabled.then(|| self.measure(signal, settings, &sample));
            let Some(Measured { ratio, value, threshold }) = measured.flatten() else {
                (self.over_since[index], self.active[index]) = (None, false);
                continue;
            };
            let counts = signal != Signal::Traffic || confirmed;
            let over = ratio > 1.0 && counts;
            if over {
                let since = *self.over_since[index].get_or_insert(sample.at);
                self.active[index] |= sample.at.since(since) >= of_signal.sustain;
            } else {
                self.over_since[index] = None;
                self.active[index] &= counts && ratio > of_signal.release;
            }
            let active = self.active[index];
            let critical = active && ratio > settings.critical_factor;
            let word = if threshold.contains(" and ") { "thresholds" } else { "threshold" };
            let text = format!("{value} ({word} {threshold})");
            readings.push(Reading { signal, ratio, text, value, threshold, active, critical });
        }
        readings
    }

    /// The sample from which `span` is measured, and how long it is; `None` where it would be less
    /// than [`SHORTEST`].
    fn since(&self, span: Duration, now: &Sample) -> Option<(&Sample, f64)> {
        let first = self.window.iter().rfind(|s| now.at.since(s.at) >= span);
        let first = first.or_else(|| self.window.front())?;
        let length = now.at.since(first.at);
        (length >= SHORTEST).then_some((first, length.as_secs_f64()))
    }

    /// Somebody waits, or nobody can tell.
    fn is_confirmed(&self, settings: &EvictionSettings, now: &Sample) -> bool {
        if !settings.confirm_with_pressure || (now.node.is_none() && now.pods.is_none()) {
            return true;
        }
        let Some((first, seconds)) = self.since(PRESSURE_WINDOW, now) else { return false };
        let waits = |stalled: fn(&Sample) -> Option<Stalled>| {
            shares(stalled(first), stalled(now), seconds)
                .is_some_and(|(some, full)| some >= SOME_CONFIRMS || full >= FULL_CONFIRMS)
        };
        waits(|sample| sample.node) || waits(|sample| sample.pods)
    }

    #[expect(clippy::cast_precision_loss, reason = "ratios and rates")]
    fn measure(
        &self,
        signal: Signal,
        settings: &EvictionSettings,
        now: &Sample,
    ) -> Option<Measured> {
        let in_use = now.working_set_bytes.saturating_add(now.swap_used_bytes) as f64;
        match signal {
            Signal::Traffic => {
                let (first, seconds) = self.since(settings.window, now)?;
                let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
                let came = rate(now.swapped_in_pages, first.swapped_in_pages);
                let went = rate(now.swapped_out_pages, first.swapped_out_pages);
                let (max_in, max_out) =
                    (settings.max_swap_in_pages_per_second, settings.max_swap_out_pages_per_second);
                // Both must be above: a VM that is read back after a night is no trouble.
                let ratio = over(came, max_in as f64).min(over(went, max_out as f64));
                let value = format!("{came:.0} pages/s in, {went:.0} out over {seconds:.0} s");
                Some(Measured { ratio, value, threshold: format!("{max_in} and {max_out}") })
            }
            Signal::Utilization => {
                let usable = now.swap_bytes as f64 * settings.swap_utilization_factor;
                let threshold = now.ram_bytes as f64 + usable;
                // Without swap this is the kubelet's business.
                (now.swap_bytes > 0).then(|| Measured {
                    ratio: over(in_use, threshold),
                    value: format!("working set and swap in use {:.1} GiB", gib(in_use)),
                    threshold: format!("{:.1} GiB", gib(threshold)),
                })
            }
            Signal::Overcommit => {
                let found = over(in_use, now.ram_bytes as f64);
                let max = settings.max_overcommit_ratio;
                Some(Measured {
                    ratio: over(found, max),
                    value: format!("{found:.2} times RAM in use"),
                    threshold: format!("{max:.2}"),
                })
            }
            Signal::Pressure => {
                let (first, seconds) = self.since(PRESSURE_WINDOW, now)?;
                let of = |name: &str, stalled: fn(&Sample) -> Option<Stalled>| {
                    let (some, full) = shares(stalled(first), stalled(now), seconds)?;
                    let ratio = over(full, settings.max_full_percent)
                        .max(over(some, settings.max_some_percent));
                    let value = format!(
                        "{name} waits for memory: full {full:.0} %, some {some:.0} % of {seconds:.0} s"
                    );
                    let (full, some) = (settings.max_full_percent, settings.max_some_percent);
                    Some(Measured { ratio, value, threshold: format!("{full:.0} and {some:.0} %") })
                };
                let (node, pods) = (of("the node", |s| s.node), of("kubepods", |s| s.pods));
                [node, pods].into_iter().flatten().max_by(|a, b| a.ratio.total_cmp(&b.ratio))
            }
        }
    }
}

/// Of the time, in percent, in which waiting confirms traffic.
const SOME_CONFIRMS: f64 = 10.0;
const FULL_CONFIRMS: f64 = 2.0;

fn gib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 30)
}

/// `value / threshold`; a threshold of 0 is over with anything above it.
fn over(value: f64, threshold: f64) -> f64 {
    match (threshold > 0.0, value > 0.0) {
        (true, _) => value / threshold,
        (false, true) => f64::INFINITY,
        (false, false) => 0.0,
    }
}

/// Shares of the time in percent: some, full.
#[expect(clippy::cast_precision_loss, reason = "shares to a percent")]
fn shares(first: Option<Stalled>, now: Option<Stalled>, seconds: f64) -> Option<(f64, f64)> {
    let (first, now) = (first?, now?);
    let share = |now: u64, first: u64| (now - first) as f64 / (seconds * 10_000.0);
    Some((share(now.some_micros, first.some_micros), share(now.full_micros, first.full_micros)))
}

/// Whether `next` goes on where `last` was: no gap, no counter gone back.
fn follows(last: &Sample, next: &Sample) -> bool {
    let stalled = |last: Option<Stalled>, next: Option<Stalled>| match (last, next) {
        (Some(last), Some(next)) => {
            next.some_micros >= last.some_micros && next.full_micros >= last.full_micros
        }
        (None, None) => true,
        _ => false,
    };
    next.at > last.at
        && next.at.since(last.at) <= LONGEST_GAP
        && next.swapped_in_pages >= last.swapped_in_pages
        && next.swapped_out_pages >= last.swapped_out_pages
        && stalled(last.node, next.node)
        && stalled(last.pods, next.pods)
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
