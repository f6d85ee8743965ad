//! The state that the agent publishes in `/run/wasp-agent/status.json`, for `wasp-agent status`,
//! metrics and other readers. A version of the format may gain fields, but never loses or changes
//! one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::trouble::{self, Severity};

/// Upper bounds of the buckets of [`Counters::pass_buckets`], in seconds; the last bucket has none.
pub const PASS_BOUNDS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];

/// Times are RFC 3339, UTC; sizes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Published {
    /// The agent's version.
    pub agent: String,
    pub pid: u32,
    pub started: String,
    pub written: String,
    /// The status line that systemd shows.
    pub status: String,
    /// The problems, the worst first.
    pub problems: Vec<ProblemStatus>,
    pub node: NodeStatus,
    /// The node's condition `SwapPressure`; null if eviction is off.
    pub condition: Option<ConditionStatus>,
    pub signals: Vec<SignalStatus>,
    pub eviction: EvictionStatus,
    pub protection: ProtectionStatus,
    pub hook: Hook,
    /// The configuration that the kubelet uses.
    #[serde(default)]
    pub kubelet: KubeletStatus,
    pub api: ApiStatus,
    pub containers: Containers,
    /// Pods that `wasp-agent suspend` has suspended.
    #[serde(default)]
    pub suspended: Vec<SuspendedStatus>,
    #[serde(default)]
    pub reclaim: ReclaimStatus,
    pub counters: Counters,
}

/// A current problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProblemStatus {
    /// The kind: one word of docs/operations.md.
    pub kind: String,
    pub severity: Severity,
    pub text: String,
    /// `namespace/name` of the affected pods, if they are few and known.
    pub pods: Vec<String>,
    /// Commands that fix the problem.
    pub remedy: Vec<String>,
}

impl From<&trouble::Problem> for ProblemStatus {
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

/// The kubelet's effective configuration, as far as it concerns memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KubeletStatus {
    /// Its files, and the source of its flags; empty if unknown.
    pub source: String,
    pub values: Vec<KubeletValue>,
    /// The program that grants swap: `agent`, `kubelet`, or `auto` while that is unknown.
    #[serde(default)]
    pub grants: String,
    /// The swap that the kubelet counts, if it grants.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// The RAM that the kubelet counts, if it grants.
    #[serde(default)]
    pub ram_bytes: Option<u64>,
    /// Its minor version, 36 for v1.36.2, if it is known.
    #[serde(default)]
    pub minor: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KubeletValue {
    pub key: String,
    pub value: String,
    /// The source: a file, a drop-in, a flag, or the default.
    pub from: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub working_set_bytes: u64,
    /// The swap that `swap` and `overcommit-percent` configure; null if neither is set.
    pub swap_configured_bytes: Option<u64>,
    /// The part of the swap that pods share.
    #[serde(default)]
    pub swap_for_pods_bytes: u64,
    #[serde(default)]
    pub page_bytes: u64,
    /// Pages since boot.
    pub swapped_in_pages: u64,
    pub swapped_out_pages: u64,
    /// Microseconds since boot in which processes waited for memory: of the protected slices
    /// together, and of `kubepods`; null if the kernel does not count them.
    pub system_stalled: Option<StallStatus>,
    pub pods_stalled: Option<StallStatus>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StallStatus {
    pub some_micros: u64,
    pub full_micros: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConditionStatus {
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// An enabled signal that could be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignalStatus {
    /// `traffic`, `utilization`, `overcommit` or `pressure`.
    pub name: String,
    /// The measured value divided by the threshold.
    pub ratio: f64,
    pub text: String,
    pub active: bool,
    pub critical: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EvictionStatus {
    /// `off`, `observe` or `enforce`.
    pub mode: String,
    /// The reason for evicting no pod although a signal is active.
    pub held_back: Option<String>,
    pub in_flight: Vec<InFlightStatus>,
    /// The most recent evictions, the newest last.
    pub recent: Vec<Evicted>,
    pub in_the_last_hour: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InFlightStatus {
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
    /// `accepted`, `migrating`, `budget`, `unwilling`, `gone`, `refused`, `busy`, `unreachable`,
    /// `unknown`, `withdrawn`, or, in mode `observe`, `observed`.
    pub outcome: String,
    pub why: String,
    /// The API server's own text, if it refused or added information.
    #[serde(default)]
    pub answer: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProtectionStatus {
    pub wanted: Vec<String>,
    /// Those of them that are fully protected.
    pub protected: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hook {
    /// The path of the installed definition.
    pub file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApiStatus {
    pub server: Option<String>,
    /// The agent received a list, and no request has failed since.
    pub reachable: bool,
    pub failure: Option<String>,
    pub certificate_expires: Option<String>,
    pub pods: usize,
    /// Pods that the agent cannot read: it grants them no swap and does not evict them.
    #[serde(default)]
    pub unreadable_pods: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Containers {
    pub count: usize,
    /// Number of containers that may swap, and the sum of their limits; those without a limit are
    /// counted separately.
    pub granted: usize,
    pub unlimited: usize,
    pub granted_bytes: u64,
    pub used_bytes: u64,
    /// Number of containers that still use more than their grant.
    pub above_grant: usize,
}

/// A suspended pod, with sums over its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SuspendedStatus {
    pub uid: String,
    pub pod: String,
    /// `false` for a VM, which KubeVirt has paused.
    pub frozen: bool,
    pub memory_before_bytes: u64,
    /// Memory that stayed in RAM.
    pub memory_bytes: u64,
    pub swap_bytes: u64,
}

/// Proactive reclaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReclaimStatus {
    /// `off`, `observe` or `on`.
    pub mode: String,
    /// The reason for reclaiming nothing on the whole node.
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
    /// The reason for reclaiming nothing from the pod now, as a fixed word and as a sentence.
    pub held_back: Option<String>,
    pub why: Option<String>,
    /// The pod's memory in swap now, including memory that reclaim did not move.
    pub offloaded_bytes: u64,
    /// Bytes that reclaim has moved since the agent watches the pod; in mode `observe`: bytes that
    /// it would have moved.
    pub reclaimed_bytes: u64,
    /// Pages that return from swap or disk.
    pub refaults_per_minute: f64,
    /// Share of time in which its processes waited for memory or a disk.
    pub pressure_percent: f64,
    /// The pod's working set, if reclaim has found it.
    pub working_set_bytes: Option<u64>,
}

/// Counters since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReclaimCounters {
    pub freed_bytes: u64,
    pub swapped_bytes: u64,
    /// In mode `observe`: bytes that the agent would have requested.
    pub observed_bytes: u64,
    /// Time spent in writes.
    pub duration_micros: u64,
}

/// Counters since the agent started. Labels are from fixed vocabularies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counters {
    /// Evictions by outcome.
    pub evictions: BTreeMap<String, u64>,
    /// Limits that the agent wrote, by cause: `found`, `grant-changed`, `drift`, `step-down`.
    pub limits_written: BTreeMap<String, u64>,
    /// Containers that started while the agent ran, and had the right limit when it first saw them.
    pub starts_right: u64,
    /// Containers that started with a wrong limit: no hook, or a hook that knew less.
    pub starts_corrected: u64,
    pub api_errors: u64,
    #[serde(default)]
    pub suspensions: u64,
    #[serde(default)]
    pub resumes: u64,
    pub passes: u64,
    pub pass_seconds: f64,
    /// Number of passes by duration, with the bounds [`PASS_BOUNDS`].
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
