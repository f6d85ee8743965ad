//! The eviction signals. Each compares a value measured over a window with a threshold, becomes
//! active only after a while above it, and ends only clearly below it.
//!
//! Readings show each value as a ratio to its threshold: above 1 means over.

use std::{collections::VecDeque, fmt, time::Duration};

use crate::{
    config::settings::{BySignal, EvictionSettings, Signal},
    model::words::Vocabulary,
    model::{
        clock::SinceBoot,
        pressure::{Sample, Stalled},
    },
};

/// The shortest window over which a signal averages.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// The window over which pressure is measured.
const PRESSURE_WINDOW: Duration = Duration::from_secs(10);
/// Traffic and pressure do not show how much memory is missing. The agent takes the bytes that
/// return from swap in this time, but at least [`LEAST_MISSING`] of RAM.
const MISSING_WINDOW_SECONDS: f64 = 10.0;
const LEAST_MISSING: f64 = 0.01;
/// Exact enough for an estimate, even on kernels with larger pages.
const PAGE_BYTES: f64 = 4096.0;
/// After a longer pause (a suspended machine, a starved agent) the window starts over.
const LONGEST_GAP: Duration = Duration::from_secs(15);

/// The state of a signal at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub signal: Signal,
    /// The measured value divided by the threshold.
    pub ratio: f64,
    /// The measured value and the threshold, with units.
    pub text: String,
    pub value: String,
    pub threshold: String,
    /// Above its threshold for long enough, and not yet clearly below.
    pub active: bool,
    /// Active, and above the threshold by `critical-factor`.
    pub critical: bool,
    /// The reason why a value above the threshold does not count, if it does not.
    pub discounted: Option<&'static str>,
    /// Estimate of the bytes of memory to free to end the signal.
    pub missing_bytes: u64,
}

struct Measured {
    /// The value divided by the threshold.
    ratio: f64,
    value: String,
    threshold: String,
    missing_bytes: f64,
}

/// A sample, and how long pods that are not at their own limit have waited; `None` if that was not
/// measured.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    sample: Sample,
    others: Option<Stalled>,
}

/// The samples and states that the signals remember.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    window: VecDeque<Point>,
    over_since: BySignal<Option<SinceBoot>>,
    active: BySignal<bool>,
}

impl Signals {
    /// Starts over, as after an eviction: earlier samples no longer describe the node.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a sample and reads all signals that can be read. `others` is the result of
    /// [`super::efforts::Efforts::look`] for it. A sample that is older than the last, or whose
    /// counters have decreased, starts the window over.
    pub fn read(
        &mut self,
        settings: &EvictionSettings,
        sample: Sample,
        others: Option<Stalled>,
    ) -> Vec<Reading> {
        if let Some(last) = self.window.back()
            && !follows(&last.sample, &sample)
        {
            self.clear();
        }
        self.window.push_back(Point { sample, others });
        let longest = settings.thresholds.window.max(PRESSURE_WINDOW);
        // Keep one sample at or before the start of the window.
        while self.window.get(1).is_some_and(|next| sample.at.since(next.sample.at) >= longest) {
            self.window.pop_front();
        }
        let confirmed = self.is_confirmed(settings, &sample);
        let mut readings = Vec::new();
        for signal in Signal::ALL.iter().copied() {
            let of_signal = settings.signals[signal];
            let measure = signal.kind().measure;
            let measured = of_signal.enabled.then(|| measure(self, settings, &sample));
            let Some(Measured { ratio, value, threshold, missing_bytes }) = measured.flatten()
            else {
                (self.over_since[signal], self.active[signal]) = (None, false);
                continue;
            };
            let counts = signal != Signal::Traffic || confirmed;
            let over = ratio > 1.0 && counts;
            if over {
                let since = *self.over_since[signal].get_or_insert(sample.at);
                self.active[signal] |= sample.at.since(since) >= of_signal.sustain;
            } else {
                self.over_since[signal] = None;
                self.active[signal] &= counts && ratio > of_signal.release;
            }
            let active = self.active[signal];
            let critical = active && ratio > settings.critical_factor;
            let word = if threshold.contains(" and ") { "thresholds" } else { "threshold" };
            let discounted =
                (ratio > 1.0 && !counts).then_some("hardly any process waits for memory");
            let why = discounted.map(|why| format!("; {why}")).unwrap_or_default();
            let text = format!("{value} ({word} {threshold}{why})");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
            let missing_bytes = missing_bytes.max(0.0) as u64;
            readings.push(Reading {
                signal,
                ratio,
                text,
                value,
                threshold,
                active,
                critical,
                discounted,
                missing_bytes,
            });
        }
        readings
    }

    /// Returns the sample from which `span` is measured, and its length in seconds; `None` if that
    /// is less than [`SHORTEST`].
    fn since(&self, span: Duration, now: &Sample) -> Option<(&Sample, f64)> {
        let first = self.window.iter().rfind(|point| now.at.since(point.sample.at) >= span);
        let first = first.or_else(|| self.window.front())?;
        let length = now.at.since(first.sample.at);
        (length >= SHORTEST).then_some((&first.sample, length.as_secs_f64()))
    }

    /// Returns the share of [`Waiting::CONFIRMS`] from which waiting confirms traffic. Active
    /// traffic ends only clearly below that, like every signal.
    fn enough(&self, settings: &EvictionSettings) -> f64 {
        if self.active[Signal::Traffic] { settings.signals[Signal::Traffic].release } else { 1.0 }
    }

    /// Returns true if processes wait for memory, or if the kernel does not report it.
    fn is_confirmed(&self, settings: &EvictionSettings, now: &Sample) -> bool {
        if !settings.thresholds.confirm_with_pressure
            || (now.system.is_none() && now.pods.is_none())
        {
            return true;
        }
        let Some((first, seconds)) = self.since(PRESSURE_WINDOW, now) else { return false };
        let system = shares(first.system, now.system, seconds);
        let pods = shares(first.pods, now.pods, seconds);
        let enough = self.enough(settings);
        [system, pods].into_iter().flatten().any(|waiting| waiting.confirms(enough))
    }

    /// Returns true if only pods at their own memory limit wait: their stalls confirm traffic, and
    /// no other pod takes part in it.
    pub fn only_own_limits(&self, settings: &EvictionSettings) -> bool {
        let Some(now) = self.window.back().map(|point| point.sample) else { return false };
        let Some((first, seconds)) = self.since(PRESSURE_WINDOW, &now) else { return false };
        let system = shares(first.system, now.system, seconds);
        let confirms = |waiting: Waiting| waiting.confirms(self.enough(settings));
        self.others().is_some_and(|others| !confirms(others)) && !system.is_some_and(confirms)
    }

    /// Returns true if the waiting time of pods that are not at their own limit is known.
    pub fn knows_others(&self) -> bool {
        self.others().is_some()
    }

    /// Returns how long pods that are not at their own limit waited, if that was measured. It is
    /// the sum over the pods: the true value may be lower, but never higher.
    fn others(&self) -> Option<Waiting> {
        let now = self.window.back()?;
        let recent = |point: &&Point| now.sample.at.since(point.sample.at) <= PRESSURE_WINDOW;
        let first = self.window.iter().filter(recent).find(|point| point.others.is_some())?;
        let length = now.sample.at.since(first.sample.at);
        let seconds = (length >= SHORTEST).then_some(length.as_secs_f64())?;
        shares(first.others, now.others, seconds)
    }

    /// Estimates the missing bytes if only traffic or stalls show that memory is missing.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn missing(&self, now: &Sample) -> f64 {
        let least = now.ram_bytes as f64 * LEAST_MISSING;
        let Some((first, seconds)) = self.since(PRESSURE_WINDOW, now) else { return least };
        let pages = now.swapped_in_pages.saturating_sub(first.swapped_in_pages) as f64 / seconds;
        least
            .max(pages * MISSING_WINDOW_SECONDS * PAGE_BYTES)
            .min(now.swap_used_bytes as f64 + least)
    }
}

/// The names and the measurement of a signal.
struct SignalKind {
    /// The name in sentences.
    name: &'static str,
    /// One word, as a condition's `reason` requires.
    reason: &'static str,
    /// Measures how memory moves, not how much is in use.
    of_movement: bool,
    /// Returns the current value; `None` if it cannot be measured yet.
    measure: fn(&Signals, &EvictionSettings, &Sample) -> Option<Measured>,
}

impl Signal {
    pub fn reason(self) -> &'static str {
        self.kind().reason
    }

    pub fn is_of_movement(self) -> bool {
        self.kind().of_movement
    }

    #[expect(clippy::cast_precision_loss, reason = "ratios and rates")]
    fn kind(self) -> SignalKind {
        match self {
            Self::Traffic => SignalKind {
                name: "swap traffic",
                reason: "SwapTrafficHigh",
                of_movement: true,
                measure: |signals, settings, now| {
                    let (first, seconds) = signals.since(settings.thresholds.window, now)?;
                    let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
                    let came = rate(now.swapped_in_pages, first.swapped_in_pages);
                    let went = rate(now.swapped_out_pages, first.swapped_out_pages);
                    let max_in = settings.thresholds.max_swap_in_pages_per_second;
                    let max_out = settings.thresholds.max_swap_out_pages_per_second;
                    // Both directions must be above the threshold: a VM that is read back after an
                    // idle night is no problem.
                    let ratio = over(came, max_in as f64).min(over(went, max_out as f64));
                    let value = format!("{came:.0} pages/s in, {went:.0} out over {seconds:.0} s");
                    let threshold = format!("{max_in} and {max_out}");
                    Some(Measured { ratio, value, threshold, missing_bytes: signals.missing(now) })
                },
            },
            Self::Utilization => SignalKind {
                name: "swap utilization",
                reason: "SwapNearlyFull",
                of_movement: false,
                measure: |_, settings, now| {
                    let in_use = in_use(now);
                    let usable =
                        now.swap_bytes as f64 * settings.thresholds.swap_utilization_factor;
                    let threshold = now.ram_bytes as f64 + usable;
                    // Without swap, the kubelet's own eviction applies.
                    (now.swap_bytes > 0).then(|| Measured {
                        ratio: over(in_use, threshold),
                        value: format!("working set and swap in use {:.1} GiB", gib(in_use)),
                        threshold: format!("{:.1} GiB", gib(threshold)),
                        missing_bytes: in_use
                            - threshold * settings.signals[Signal::Utilization].release,
                    })
                },
            },
            Self::Overcommit => SignalKind {
                name: "overcommit ratio",
                reason: "OvercommitHigh",
                of_movement: false,
                measure: |_, settings, now| {
                    let in_use = in_use(now);
                    let found = over(in_use, now.ram_bytes as f64);
                    let max = settings.thresholds.max_overcommit_ratio;
                    Some(Measured {
                        ratio: over(found, max),
                        value: format!("{found:.2} times RAM in use"),
                        threshold: format!("{max:.2}"),
                        missing_bytes: in_use
                            - now.ram_bytes as f64
                                * max
                                * settings.signals[Signal::Overcommit].release,
                    })
                },
            },
            Self::Pressure => SignalKind {
                name: "memory pressure",
                reason: "MemoryStalls",
                of_movement: true,
                measure: |signals, settings, now| {
                    let (first, seconds) = signals.since(PRESSURE_WINDOW, now)?;
                    let max_full = settings.thresholds.max_full_percent;
                    let max_some = settings.thresholds.max_some_percent;
                    let of = |name: &str, waiting: Option<Waiting>, note: String| {
                        let Waiting { some, full } = waiting?;
                        let ratio = over(full, max_full).max(over(some, max_some));
                        let value = format!(
                            "{name} waits for memory: full {full:.0} %, some {some:.0} % of \
                             {seconds:.0} s{note}"
                        );
                        let threshold = format!("{max_full:.0} and {max_some:.0} %");
                        let missing_bytes = signals.missing(now);
                        Some(Measured { ratio, value, threshold, missing_bytes })
                    };
                    let system = shares(first.system, now.system, seconds);
                    let system = of("the system", system, String::new());
                    let all = shares(first.pods, now.pods, seconds);
                    // A pod that waits at its own limit does not make the node short of memory.
                    let counted =
                        all.map(|all| signals.others().map_or(all, |others| all.at_most(others)));
                    let own =
                        all.zip(counted).map_or(0.0, |(all, counted)| all.some - counted.some);
                    let note = match own >= 1.0 {
                        true => format!(", without pods at their own limit ({own:.0} %)"),
                        false => String::new(),
                    };
                    let pods = of("kubepods", counted, note);
                    [system, pods].into_iter().flatten().max_by(|a, b| a.ratio.total_cmp(&b.ratio))
                },
            },
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name)
    }
}

/// RAM and swap in use.
#[expect(clippy::cast_precision_loss, reason = "ratios and rates")]
fn in_use(now: &Sample) -> f64 {
    now.working_set_bytes.saturating_add(now.swap_used_bytes) as f64
}

/// Shares of time, in percent, in which some or all processes wait for memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waiting {
    some: f64,
    full: f64,
}

impl Waiting {
    /// Waiting from which traffic is confirmed.
    const CONFIRMS: Self = Self { some: 10.0, full: 2.0 };

    /// Returns true for at least the share `enough` of [`Self::CONFIRMS`].
    fn confirms(self, enough: f64) -> bool {
        self.some >= Self::CONFIRMS.some * enough || self.full >= Self::CONFIRMS.full * enough
    }

    fn at_most(self, other: Self) -> Self {
        Self { some: self.some.min(other.some), full: self.full.min(other.full) }
    }
}

fn gib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 30)
}

/// Returns `value / threshold`; any value above a threshold of 0 is over.
fn over(value: f64, threshold: f64) -> f64 {
    match (threshold > 0.0, value > 0.0) {
        (true, _) => value / threshold,
        (false, true) => f64::INFINITY,
        (false, false) => 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares to a percent")]
fn shares(first: Option<Stalled>, now: Option<Stalled>, seconds: f64) -> Option<Waiting> {
    let (first, now) = (first?, now?);
    let share = |now: u64, first: u64| now.saturating_sub(first) as f64 / (seconds * 10_000.0);
    Some(Waiting {
        some: share(now.some_micros, first.some_micros),
        full: share(now.full_micros, first.full_micros),
    })
}

/// Returns true if `next` continues `last`: no gap, no counter that decreased.
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
        && stalled(last.system, next.system)
        && stalled(last.pods, next.pods)
}

#[cfg(test)]
#[path = "signals_tests.rs"]
pub(super) mod tests;
