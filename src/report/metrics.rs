//! Metrics: the agent's publication as OpenMetrics and in Prometheus' older text format.

use std::fmt::{self, Write};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{
        CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue,
        GaugeValueEncoder, MetricEncoder, NoLabelSet, text,
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    config::settings::{EvictionMode, Grants, ReclaimMode, Signal},
    decide::{
        decision::Cause,
        evict::{answer::EvictionOutcome, flight::FlightStage},
        reclaim::Phase,
    },
    model::{
        published::{Counters, PASS_BOUNDS, Published, StallStatus},
        reclaim::HeldBack,
        trouble::Trouble,
        words::Vocabulary,
    },
};

const PREFIX: &str = "wasp_agent";

/// Formats `published` as OpenMetrics 1.0.
pub fn open_metrics(published: &Published) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Families(families(published))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Formats `published` in Prometheus' text format 0.0.4, which node_exporter reads.
pub fn prometheus(published: &Published) -> Result<String, fmt::Error> {
    Ok(older(&open_metrics(published)?))
}

/// Formats only the time of `published`, for the file of an agent that does not run.
pub fn last_published(published: &Published) -> Result<String, fmt::Error> {
    let name = format!("{PREFIX}_published_timestamp_seconds ");
    let text = prometheus(published)?;
    Ok(text.lines().filter(|line| line.contains(&name)).map(|line| format!("{line}\n")).collect())
}

/// In the older format, a counter's family has the name of its samples, and a unit is only part of
/// a name.
fn older(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let _ = match words[..] {
            ["#", "UNIT", ..] | ["#", "EOF"] => Ok(()),
            ["#", "HELP", name, help] => {
                let counts = lines.peek().is_some_and(|next| next.ends_with(" counter"));
                let suffix = if counts { "_total" } else { "" };
                writeln!(text, "# HELP {name}{suffix} {help}")
            }
            ["#", "TYPE", name, "counter"] => writeln!(text, "# TYPE {name}_total counter"),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// Returns the reference of all metrics as Markdown: `docs/metrics.md`.
pub fn reference() -> String {
    let mut text = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Family { name, kind, label, help, .. } in families(&Published::default()) {
        let suffix = if kind == MetricKind::Counter { "_total" } else { "" };
        let labels = label.map_or(String::new(), |label| format!("`{label}`"));
        let _ = writeln!(text, "| `{PREFIX}_{name}{suffix}` | {kind} | {labels} | {help} |");
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Gauge,
    Counter,
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Self::Whole(truth.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeGaugeValue::encode(number, encoder),
            Self::Float(number) => EncodeGaugeValue::encode(number, encoder),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeCounterValue::encode(number, encoder),
            Self::Float(number) => EncodeCounterValue::encode(number, encoder),
        }
    }
}

/// A metric: its name, whose last word is its unit, and its samples by the value of a label.
#[derive(Debug)]
struct Family {
    name: &'static str,
    kind: MetricKind,
    label: Option<&'static str>,
    help: &'static str,
    samples: Vec<(String, Number)>,
    buckets: Vec<(f64, u64)>,
}

impl Family {
    fn new(kind: MetricKind, name: &'static str, help: &'static str) -> Self {
        Self { name, kind, label: None, help, samples: Vec::new(), buckets: Vec::new() }
    }

    /// Adds one sample without a label, if there is a value.
    fn is(mut self, value: Option<impl Into<Number>>) -> Self {
        self.samples.extend(value.map(|value| (String::new(), value.into())));
        self
    }

    fn by<S: Into<String>, N: Into<Number>>(
        mut self,
        label: &'static str,
        samples: impl IntoIterator<Item = (S, N)>,
    ) -> Self {
        self.label = Some(label);
        self.samples.extend(samples.into_iter().map(|(value, n)| (value.into(), n.into())));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (stem, unit) = match self.name.rsplit_once('_') {
            Some((stem, "bytes")) => (stem, Some(Unit::Bytes)),
            Some((stem, "seconds")) => (stem, Some(Unit::Seconds)),
            Some((stem, unit @ ("ratio" | "pages"))) => (stem, Some(Unit::Other(unit.to_owned()))),
            _ => (self.name, None),
        };
        let kind = match self.kind {
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
        };
        let mut encoder = encoder.encode_descriptor(stem, self.help, unit.as_ref(), kind)?;
        for (value, number) in &self.samples {
            match self.label {
                Some(label) => {
                    // The library leaves escaping to its user; a slice's name may have backslashes.
                    let value =
                        value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
                    let labels = [(label, value.as_str())];
                    self.sample(&mut encoder.encode_family(&labels)?, number)?;
                }
                None => self.sample(&mut encoder, number)?,
            }
        }
        Ok(())
    }

    fn sample(&self, encoder: &mut MetricEncoder<'_>, number: &Number) -> fmt::Result {
        match (self.kind, number) {
            (MetricKind::Gauge, _) => encoder.encode_gauge(number),
            (MetricKind::Counter, _) => encoder.encode_counter::<NoLabelSet, _, u64>(number, None),
            (MetricKind::Histogram, Number::Float(sum)) => {
                let count = self.buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, &self.buckets, None)
            }
            (MetricKind::Histogram, Number::Whole(_)) => Err(fmt::Error),
        }
    }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.iter().filter(|family| !family.samples.is_empty());
        known.into_iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

fn gauge(name: &'static str, help: &'static str) -> Family {
    Family::new(MetricKind::Gauge, name, help)
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(MetricKind::Counter, name, help)
}

/// Adds all values of a fixed vocabulary, so that a rate starts at 0.
fn counted<'a>(
    words: &'a [&'static str],
    counts: &'a std::collections::BTreeMap<String, u64>,
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    words.iter().map(|word| (*word, counts.get(*word).copied().unwrap_or(0)))
}

fn unix_seconds(time: &str) -> Option<u64> {
    u64::try_from(time.parse::<Timestamp>().ok()?.as_second()).ok()
}

fn families(published: &Published) -> Vec<Family> {
    let mut all = of_agent(published);
    all.extend(of_node(published));
    all.extend(of_containers(published));
    all.extend(of_eviction(published));
    all.extend(of_reclaim(published));
    all
}

fn of_agent(published: &Published) -> Vec<Family> {
    let Published { api, protection, hook, kubelet, problems, counters, suspended, .. } = published;
    let expires = api.certificate_expires.as_deref().and_then(unix_seconds);
    let protected = |slice: &String| (slice.clone(), protection.protected.contains(slice));
    let known = |kind: &Trouble| (kind.word(), problems.iter().any(|p| p.kind == kind.word()));
    let Counters { passes, pass_seconds, pass_buckets, .. } = counters;
    let bounds = PASS_BOUNDS.into_iter().chain([f64::MAX]);
    vec![
        gauge("build_info", "1; the label has the running version.")
            .by("version", [(published.agent.as_str(), true)]),
        gauge("start_timestamp_seconds", "Time when the agent started.")
            .is(unix_seconds(&published.started)),
        gauge("published_timestamp_seconds", "Time when the agent published these values.")
            .is(unix_seconds(&published.written)),
        gauge(
            "problem",
            "Whether the agent has a problem of this kind; docs/operations.md lists the kinds.",
        )
        .by("kind", Trouble::ALL.iter().map(known)),
        Family {
            buckets: bounds.zip(pass_buckets.iter().copied()).collect(),
            ..Family::new(
                MetricKind::Histogram,
                "pass_duration_seconds",
                "Duration of a pass: how long the agent needs to correct the limits of the \
                 containers that may have changed.",
            )
        }
        .is((*passes > 0).then_some(*pass_seconds)),
        gauge(
            "api_reachable",
            "1 if the agent has a list of pods and the last request to the API server did not fail.",
        )
        .is(Some(api.reachable)),
        counter("api_errors", "Lists and watches of the API server that failed.")
            .is(Some(counters.api_errors)),
        gauge("suspended_pods", "Pods that `wasp-agent suspend` has suspended.")
            .is(Some(suspended.len())),
        gauge("suspended_memory_bytes", "Memory of suspended pods in RAM.")
            .is(Some(suspended.iter().map(|pod| pod.memory_bytes).sum::<u64>())),
        gauge("suspended_swap_bytes", "Memory of suspended pods in swap.")
            .is(Some(suspended.iter().map(|pod| pod.swap_bytes).sum::<u64>())),
        counter("suspensions", "Pods that were suspended.").is(Some(counters.suspensions)),
        counter("resumes", "Suspended pods that run again, for any reason.")
            .is(Some(counters.resumes)),
        gauge(
            "client_certificate_expiry_timestamp_seconds",
            "Time when the node's credentials \
            expire.",
        )
        .is(expires),
        gauge("pods", "Pods of this node that the agent knows.").is(Some(api.pods)),
        gauge("slice_protected", "Whether a configured slice is fully protected.")
            .by("slice", protection.wanted.iter().map(protected)),
        gauge("hook_installed", "Whether the OCI hook is installed.").is(Some(hook.file.is_some())),
        gauge(
            "grants",
            "1 for the program that sets swap limits: the agent, the kubelet, or auto \
            while that is not known.",
        )
        .by("by", Grants::WORDS.iter().map(|who| (*who, u64::from(kubelet.grants == *who)))),
    ]
}

fn of_node(published: &Published) -> Vec<Family> {
    let node = &published.node;
    // Leave out values that were never measured: a working set is never 0.
    let measured = |bytes: u64| (node.working_set_bytes > 0).then_some(bytes);
    let pages = |pages: u64| measured(pages.saturating_mul(node.page_bytes));
    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
    let seconds = |micros: u64| micros as f64 / 1e6;
    let stalled = |of: fn(&StallStatus) -> u64| {
        let scopes = [("system", node.system_stalled), ("pods", node.pods_stalled)];
        let known = scopes.into_iter().filter_map(|(scope, stalled)| Some((scope, stalled?)));
        known.map(move |(scope, stalled)| (scope, seconds(of(&stalled)))).collect::<Vec<_>>()
    };
    vec![
        gauge("node_ram_bytes", "The node's RAM.").is(Some(node.ram_bytes)),
        gauge("node_swap_bytes", "The node's swap.").is(Some(node.swap_bytes)),
        gauge("node_swap_configured_bytes", "The swap that is configured.")
            .is(node.swap_configured_bytes),
        gauge(
            "node_swap_for_pods_bytes",
            "Swap that is available for grants: the node's swap \
            without the system's reserve.",
        )
        .is(Some(node.swap_for_pods_bytes)),
        gauge("node_swap_used_bytes", "Swap in use.").is(measured(node.swap_used_bytes)),
        gauge("node_working_set_bytes", "RAM in use without inactive file cache.")
            .is(measured(node.working_set_bytes)),
        counter("node_swapped_in_bytes", "Bytes read from swap since boot.")
            .is(pages(node.swapped_in_pages)),
        counter("node_swapped_out_bytes", "Bytes written to swap since boot.")
            .is(pages(node.swapped_out_pages)),
        counter(
            "memory_some_stalled_seconds",
            "Time since boot in which some process of the protected slices (system), or of the \
             pods, waited for memory.",
        )
        .by("scope", stalled(|stalled| stalled.some_micros)),
        counter(
            "memory_full_stalled_seconds",
            "Time since boot in which all of these processes \
            waited for memory.",
        )
        .by("scope", stalled(|stalled| stalled.full_micros)),
    ]
}

fn of_containers(published: &Published) -> Vec<Family> {
    let Published { containers, counters, .. } = published;
    let starts = [("right", counters.starts_right), ("corrected", counters.starts_corrected)];
    vec![
        gauge("containers", "Containers, sandboxes included.").is(Some(containers.count)),
        gauge("containers_granted", "Containers that may swap.").is(Some(containers.granted)),
        gauge("containers_unlimited", "Containers that may swap without limit.")
            .is(Some(containers.unlimited)),
        gauge("containers_above_grant", "Containers that still use more swap than their grant.")
            .is(Some(containers.above_grant)),
        gauge("swap_granted_bytes", "Sum of the limited swap grants of all containers.")
            .is(Some(containers.granted_bytes)),
        gauge("swap_used_bytes", "Swap that containers use.").is(Some(containers.used_bytes)),
        counter(
            "limits_written",
            "Limits that the agent wrote: found, grant-changed, drift (another program had \
             changed it) or step-down (follows the use down).",
        )
        .by("cause", counted(Cause::WORDS, &counters.limits_written)),
        counter(
            "container_starts",
            "Containers that started: the hook had set the right limit, or the agent corrected it \
             (no hook, or a hook with less information).",
        )
        .by("limit", starts),
    ]
}

fn of_eviction(published: &Published) -> Vec<Family> {
    let Published { signals, eviction, condition, counters, .. } = published;
    let known: Vec<_> = Signal::WORDS
        .iter()
        .copied()
        .filter_map(|name| signals.iter().find(|signal| signal.name == name).map(|s| (name, s)))
        .collect();
    let in_flight = |stage: &'static str| {
        (stage, eviction.in_flight.iter().filter(|pod| pod.stage == stage).count())
    };
    let pressed = condition.as_ref().and_then(|condition| match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    });
    vec![
        gauge("signal_ratio", "Value of a signal, relative to its threshold.")
            .by("signal", known.iter().map(|(name, signal)| (*name, signal.ratio))),
        gauge(
            "signal_active",
            "Whether a signal is active, so that the agent chooses a pod to \
            evict.",
        )
        .by("signal", known.iter().map(|(name, signal)| (*name, signal.active))),
        gauge(
            "signal_critical",
            "Whether a signal exceeds its threshold by \
            eviction.critical-factor.",
        )
        .by("signal", known.iter().map(|(name, signal)| (*name, signal.critical))),
        gauge("swap_pressure", "The node's condition SwapPressure; absent while it is unknown.")
            .is(pressed),
        gauge("eviction_mode", "1 for the configured mode.").by(
            "mode",
            EvictionMode::WORDS.iter().copied().map(|mode| (mode, eviction.mode == mode)),
        ),
        gauge("eviction_held_back", "Whether the agent evicts no pod although a signal is active.")
            .is(Some(eviction.held_back.is_some())),
        gauge("evictions_in_flight", "Pods that are leaving after an eviction.")
            .by("stage", FlightStage::WORDS.iter().copied().map(in_flight)),
        counter("evictions", "Eviction requests by outcome.")
            .by("outcome", counted(EvictionOutcome::WORDS, &counters.evictions)),
    ]
}

fn of_reclaim(published: &Published) -> Vec<Family> {
    let reclaim = &published.reclaim;
    let counters = &reclaim.counters;
    let in_phase =
        |phase: &'static str| (phase, reclaim.pods.iter().filter(|pod| pod.phase == phase).count());
    let held = |held: &'static str| {
        let count = reclaim.pods.iter().filter(|pod| pod.held_back.as_deref() == Some(held));
        (held, count.count())
    };
    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
    let seconds = counters.duration_micros as f64 / 1e6;
    vec![
        gauge("reclaim_mode", "1 for the configured mode of proactive reclaim.").by(
            "mode",
            ReclaimMode::WORDS.iter().copied().map(|mode| (mode, reclaim.mode == mode)),
        ),
        gauge("reclaim_pods", "Pods that take part in proactive reclaim.")
            .by("phase", Phase::WORDS.iter().copied().map(in_phase)),
        gauge(
            "reclaim_held_back_pods",
            "Pods from which the agent reclaims nothing now, by reason.",
        )
        .by("reason", HeldBack::WORDS.iter().copied().map(held)),
        gauge("reclaim_offloaded_bytes", "Memory of these pods in swap.")
            .is(Some(reclaim.pods.iter().map(|pod| pod.offloaded_bytes).sum::<u64>())),
        counter("reclaim_freed_bytes", "Memory that proactive reclaim has freed.")
            .is(Some(counters.freed_bytes)),
        counter("reclaim_swapped_bytes", "Part of the freed memory that was written to swap.")
            .is(Some(counters.swapped_bytes)),
        counter("reclaim_observed_bytes", "Memory that mode \"observe\" would have reclaimed.")
            .is(Some(counters.observed_bytes)),
        counter("reclaim_duration_seconds", "Time that the kernel needed to reclaim.")
            .is(Some(seconds)),
    ]
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
