//! Judges whether the node can still run its pods.

use std::{
    collections::BTreeMap,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    Bench, MIB, SECOND, WARM_UP, WINDOW,
    times::{Base, lines, window},
};
use crate::{api::Api, soak::meminfo};

/// Windows in which a pod must be slow to end the run. When memory is full for the first time, the kernel does not know
/// yet which of it is hot: all pods were slow for 30 s in trials, and then none.
const LASTING: usize = 6;
/// Windows in which a pod that recovers gets faster by half. When memory is full, some pods take more than `LASTING`
/// windows to get their hot pages back. One such run ended at 6 pods, with a p99 that had fallen from 88 to 2.06 times
/// that of the empty node; other runs of its arm ended at 12.
const RECOVERY: usize = 3;
/// How often a kubelet compares `memory.available` with its threshold (`evictionMonitoringPeriod`).
const KUBELET_LOOKS: Duration = Duration::from_secs(10);

/// Why no more pods are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Latency,
    OomKill,
    EvictedByAgent,
    EvictedByKubelet,
    /// The node is so busy with memory that it starts no further pod.
    NoStart,
    /// Nothing happened; the count is a lower bound.
    MostPods,
    MostSeconds,
}

impl End {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::OomKill => "oom-kill",
            Self::EvictedByAgent => "evicted-by-agent",
            Self::EvictedByKubelet => "evicted-by-kubelet",
            Self::NoStart => "no-start",
            Self::MostPods => "most-pods",
            Self::MostSeconds => "most-seconds",
        }
    }
}

/// A counter of a file of `NAME VALUE` lines.
pub(super) fn counter(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("{path}: no {name}"))
}

/// `memory.available` as a kubelet computes it from 1.29 on: by `memory.stat` of the root cgroup.
fn available() -> Result<u64> {
    let of = |name| counter("/sys/fs/cgroup/memory.stat", name);
    let used = of("anon")? + of("file")?.saturating_sub(of("inactive_file")?);
    Ok(meminfo("MemTotal")?.saturating_sub(used))
}

/// The pods that were slow in all windows of a look, with their ratios in each, after one more window.
fn always_slow(
    before: Option<BTreeMap<usize, Vec<f64>>>,
    now: &BTreeMap<usize, f64>,
) -> BTreeMap<usize, Vec<f64>> {
    let Some(before) = before else {
        return now.iter().map(|(&pod, &ratio)| (pod, vec![ratio])).collect();
    };
    let still = before.into_iter().filter_map(|(pod, mut ratios)| {
        ratios.push(*now.get(&pod)?);
        Some((pod, ratios))
    });
    still.collect()
}

/// Whether a pod that was slow in all these windows stays slow. It does not while it recovers, that is while its best
/// window of the last three takes less than half the time of the best one before.
fn lasts(ratios: &[f64]) -> bool {
    let best = |windows: &[f64]| windows.iter().copied().fold(f64::INFINITY, f64::min);
    let (before, last) = ratios.split_at(ratios.len().saturating_sub(RECOVERY));
    ratios.len() >= LASTING && best(last) > best(before) / 2.0
}

impl Bench<'_> {
    /// Whether a pod was killed or evicted.
    pub(super) fn killed(&self) -> Result<Option<End>> {
        if counter("/proc/vmstat", "oom_kill")? > self.oom_kills {
            return Ok(Some(End::OomKill));
        }
        if self.available_checked.get().elapsed() >= KUBELET_LOOKS {
            self.available_checked.set(Instant::now());
            if available()? < self.density.eviction_mib * MIB {
                return Ok(Some(End::EvictedByKubelet));
            }
        }
        Ok(None)
    }

    /// Whether the API server has a pod of ours that is to go. One that does not answer tells nothing.
    fn evicted(&mut self) -> Result<bool> {
        let list = match self.api.get("/api/v1/pods") {
            Ok(list) => list,
            Err(_) => {
                self.api = Api::from_kubeconfig(self.kubeconfig)?;
                return Ok(false);
            }
        };
        let pods = list["items"].as_array().context("no list of pods")?;
        Ok(pods.iter().any(|pod| !pod["metadata"]["deletionTimestamp"].is_null()))
    }

    /// One look at all pods, which ends when no pod was slow in all its windows, or a latency lasts.
    pub(super) fn look(&mut self, base: &Base) -> Result<Option<End>> {
        let mut slow: Option<BTreeMap<usize, Vec<f64>>> = None;
        loop {
            if let Some(end) = self.killed()? {
                return Ok(Some(end));
            }
            if self.evicted()? {
                return Ok(Some(End::EvictedByAgent));
            }
            let now = self.level(base)?;
            let still = always_slow(slow, &now);
            if still.is_empty() {
                return Ok(None);
            }
            if still.values().any(|ratios| lasts(ratios)) {
                return Ok(Some(End::Latency));
            }
            slow = Some(still);
            sleep(SECOND * u32::try_from(WINDOW)?);
        }
    }

    /// Notes how the pods do; returns those whose p99 is too long compared with that of the empty node, and the ratio.
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    fn level(&mut self, base: &Base) -> Result<BTreeMap<usize, f64>> {
        let (mut ratios, mut slow) = (Vec::new(), BTreeMap::new());
        let (mut p50, mut wall) = (Vec::new(), Vec::new());
        for (number, pod) in self.pods.iter().enumerate() {
            let all = lines(&pod.times);
            if all.len() < WARM_UP + WINDOW {
                continue;
            }
            let window = window(&all[all.len() - WINDOW..]);
            let time = |blocked: u64| (base.p50 + blocked) as f64;
            let ratio = time(window.blocked_p99) / time(base.blocked_p99);
            ratios.push(ratio);
            if ratio > self.density.most {
                slow.insert(number, ratio);
            }
            p50.push(time(window.blocked_p50) / time(base.blocked_p50));
            wall.push(window.p99 as f64 / base.wall_p99.max(1) as f64);
        }
        let middle = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let median = middle(&mut ratios);
        let worst = ratios.last().copied().unwrap_or(0.0);
        let mut swapped = 0;
        for pod in &self.pods {
            let text =
                fs::read_to_string(pod.slice.join("memory.swap.current")).unwrap_or_default();
            swapped += text.trim().parse::<u64>().unwrap_or(0);
        }
        let level = json!({
            "pods": self.pods.len(), "slow": slow.keys().collect::<Vec<_>>(), "seconds": self.began.elapsed().as_secs(),
            "worst_p99": rounded(worst), "median_p99": rounded(median),
            "median_p50": rounded(middle(&mut p50)), "median_wall_p99": rounded(middle(&mut wall)),
            "available_mib": available()? / MIB, "swapped_mib": swapped / MIB,
        });
        println!("# {level}");
        self.levels.push(level);
        Ok(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lasts_unless_the_pod_recovers() {
        // recorded: a pod of the arm `limited-swap` with 15 pods, one of `agent` with 7
        let lost = [270.8, 318.4, 341.2, 341.2, 341.2, 341.2];
        let recovers = [75.0, 88.4, 18.2, 6.0, 2.4, 2.06];
        assert!(!lasts(&lost[..5]));
        assert!(lasts(&lost));
        assert!(!lasts(&recovers));
        // but not without end
        assert!(lasts(&[recovers.as_slice(), &[2.05; 4]].concat()));
    }

    #[test]
    fn only_pods_that_are_slow_in_every_window_count() {
        let one = always_slow(None, &BTreeMap::from([(1, 3.0), (2, 9.0)]));
        let two = always_slow(Some(one), &BTreeMap::from([(2, 8.0), (3, 5.0)]));
        assert_eq!(two, BTreeMap::from([(2, vec![9.0, 8.0])]));
        assert!(always_slow(Some(two), &BTreeMap::new()).is_empty());
    }
}
