//! What the agent publishes of itself: `/run/wasp-agent/status.json`, for `wasp-agent status`,
//! metrics and whoever else wants to know. Fields are only ever added within a version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::trouble::{self, Severity};

/// Upper bounds of the buckets of [`Counters::pass_buckets`], in seconds; the last has none.
pub const PASS_BOUNDS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];

/// Times are RFC 3339, UTC; sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Published {
    /// The agent's own.
    pub agent: String,
    pub pid: u32,
    pub started: String,
    pub written: String,
    /// The line that systemd shows.
    pub status: String,
    /// What does not work, the worst first.
    pub problems: Vec<Problem>,
    pub node: Node,
    /// How `SwapPressure` is announced; `None` where eviction is off.
    pub condition: Option<Condition>,
    pub signals: Vec<Signal>,
    pub eviction: Eviction,
    pub protection: Protection,
    pub hook: Hook,
    /// What the kubelet acts on.
    #[serde(default)]
    pub kubelet: Kubelet,
    pub api: Api,
    pub containers: Containers,
    /// Pods that `wasp-agent suspend` has put to sleep.
    #[serde(default)]
    pub suspended: Vec<Suspended>,
    #[serde(default)]
    pub reclaim: Reclaim,
    pub counters: Counters,
}

/// A trouble that is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// One word of docs/operations.md.
    pub kind: String,
    pub severity: Severity,
    pub text: String,
    /// `namespace/name` of the pods concerned, as far as they are few and known.
    pub pods: Vec<String>,
    /// Commands.
    pub remedy: Vec<String>,
}

impl From<&trouble::Problem> for Problem {
    fn from(problem: &trouble::Problem) -> Self {
        let trouble::Problem { about, text, pods, remedy } = problem;
        Self {
            kind: about.word().to_owned(),
            severity: about.severity(),
            text: text.clone(),
            pods: pods.clone(),
            remedy: remedy.clone(),
        }
    }
}

/// The kubelet's configuration in effect, as far as it concerns memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Kubelet {
    /// Its files, and who told its flags; empty where it is not known.
    pub source: String,
    pub values: Vec<KubeletValue>,
    /// Who grants swap: `agent`, `kubelet`, or `auto` while that is not known.
    #[serde(default)]
    pub grants: String,
    /// What the kubelet counts as swap, where it grants.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KubeletValue {
    pub key: String,
    pub value: String,
    /// A file, a drop-in, a flag, or the default.
    pub from: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub working_set_bytes: u64,
    /// What `swap` and `overcommit-percent` ask for; `None` where nobody says.
    pub swap_configured_bytes: Option<u64>,
    /// What of the swap is shared out.
    #[serde(default)]
    pub swap_for_pods_bytes: u64,
    #[serde(default)]
    pub page_bytes: u64,
    /// Pages since boot.
    pub swapped_in_pages: u64,
    pub swapped_out_pages: u64,
    /// Microseconds since boot of waiting for memory, of the protected slices together and of
    /// `kubepods`; `None` where the kernel does not count them.
    pub system_stalled: Option<Stalled>,
    pub pods_stalled: Option<Stalled>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stalled {
    pub some_micros: u64,
    pub full_micros: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// An enabled signal that could be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Signal {
    /// `traffic`, `utilization`, `overcommit` or `pressure`.
    pub name: String,
    /// Of what was measured to its threshold.
    pub ratio: f64,
    pub text: String,
    pub active: bool,
    pub critical: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Eviction {
    /// `off`, `observe` or `enforce`.
    pub mode: String,
    /// Why nobody is evicted though a signal is active.
    pub held_back: Option<String>,
    pub in_flight: Vec<InFlight>,
    /// The last few, the newest last.
    pub recent: Vec<Evicted>,
    pub in_the_last_hour: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InFlight {
    pub uid: String,
    pub pod: String,
    /// `asked`, `in-doubt`, `leaving` or `migrating`.
    pub stage: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Evicted {
    pub at: String,
    /// `namespace/name`.
    pub pod: String,
    /// One of [`OUTCOMES`].
    pub outcome: String,
    pub why: String,
    /// The API server's own words, where it refused or reported more.
    #[serde(default)]
    pub answer: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Protection {
    pub wanted: Vec<String>,
    /// Of those, the ones that are protected in every respect.
    pub protected: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hook {
    /// Where its definition is installed.
    pub file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Api {
    pub server: Option<String>,
    /// A list was received and nothing has failed since.
    pub reachable: bool,
    pub failure: Option<String>,
    pub certificate_expires: Option<String>,
    pub pods: usize,
    /// Pods that cannot be read: they get no swap and are not evicted.
    #[serde(default)]
    pub unreadable_pods: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Containers {
    pub count: usize,
    /// How many may swap, and how much together; those without limit are counted apart.
    pub granted: usize,
    pub unlimited: usize,
    pub granted_bytes: u64,
    pub used_bytes: u64,
    /// How many still use more than their grant.
    pub above_grant: usize,
}

/// Sums of the pod's containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Suspended {
    pub uid: String,
    pub pod: String,
    /// `false` for a VM, which KubeVirt has paused.
    pub frozen: bool,
    pub memory_before_bytes: u64,
    /// What stayed in RAM.
    pub memory_bytes: u64,
    pub swap_bytes: u64,
}

/// Proactive reclaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reclaim {
    /// `off`, `observe` or `on`.
    pub mode: String,
    /// What holds it back on the whole node.
    pub paused: Option<String>,
    /// The pods that take part.
    pub pods: Vec<ReclaimedPod>,
    pub counters: ReclaimCounters,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReclaimedPod {
    pub uid: String,
    /// `namespace/name`.
    pub pod: String,
    /// `waiting`, `reclaiming` or `backing-off`.
    pub phase: String,
    /// What holds it back, by a fixed word, and in a sentence.
    pub held_back: Option<String>,
    pub why: Option<String>,
    /// In swap now, whoever has put it there.
    pub offloaded_bytes: u64,
    /// By reclaim since the agent watches it; in mode `observe`: what it would have reclaimed.
    pub reclaimed_bytes: u64,
    /// Pages that come back.
    pub refaults_per_minute: f64,
    /// Of the time, in which its processes waited for memory or a disk.
    pub pressure_percent: f64,
    /// What it uses in earnest, as far as reclaim has found out.
    pub working_set_bytes: Option<u64>,
}

/// Since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReclaimCounters {
    pub freed_bytes: u64,
    pub swapped_bytes: u64,
    /// In mode `observe`: what would have been asked for.
    pub observed_bytes: u64,
    /// What the writes took.
    pub duration_micros: u64,
}

/// Since the agent started. Labels are of fixed vocabularies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counters {
    /// Evictions by outcome, as in [`Evicted`].
    pub evictions: BTreeMap<String, u64>,
    /// Limits that were written, by cause: `found`, `grant-changed`, `drift`, `step-down`.
    pub limits_written: BTreeMap<String, u64>,
    /// Containers that began while the agent ran, whose limit was right when it was first seen.
    pub starts_right: u64,
    /// And those whose limit was not: no hook, or a hook that knew less.
    pub starts_corrected: u64,
    pub api_errors: u64,
    #[serde(default)]
    pub suspensions: u64,
    #[serde(default)]
    pub resumes: u64,
    pub passes: u64,
    pub pass_seconds: f64,
    /// How many passes took how long, by [`PASS_BOUNDS`].
    #[serde(default)]
    pub pass_buckets: [u64; PASS_BOUNDS.len() + 1],
}

impl Counters {
    pub fn passed(&mut self, seconds: f64) {
        self.passes += 1;
        self.pass_seconds += seconds;
        let bucket = PASS_BOUNDS.iter().position(|bound| seconds <= *bound);
        self.pass_buckets[bucket.unwrap_or(PASS_BOUNDS.len())] += 1;
    }

    pub fn add(map: &mut BTreeMap<String, u64>, key: &str) {
        match map.get_mut(key) {
            Some(count) => *count += 1,
            None => drop(map.insert(key.to_owned(), 1)),
        }
    }
}
