//! Settings of eviction.

use std::{path::PathBuf, time::Duration};

use super::read::Read;

crate::vocabulary! {
    pub enum EvictionMode {
        Off = "off",
        /// Say what would be done.
        Observe = "observe",
        Enforce = "enforce",
    }
}

crate::vocabulary! {
    /// What keeps new pods from a node whose swap hurts.
    pub enum SchedulingGuard {
        None = "none",
        /// The node's condition says so, for those who look at it.
        Condition = "condition",
        /// Also `spec.unschedulable`.
        Cordon = "cordon",
        /// Also a taint, by another's credentials.
        Taint = "taint",
    }
}

crate::vocabulary! {
    /// What the taint does to pods that do not tolerate it.
    pub enum TaintEffect {
        /// The scheduler puts no new pod on the node.
        NoSchedule = "NoSchedule",
        /// The scheduler prefers other nodes.
        PreferNoSchedule = "PreferNoSchedule",
    }
}

/// What all signals have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalSettings {
    pub enabled: bool,
    /// How long it must be over its threshold.
    pub sustain: Duration,
    /// Below which part of its threshold it ends: 0 to 1.
    pub release: f64,
}

/// Thresholds of swap-driven eviction.
#[derive(Clone, Debug, PartialEq)]
pub struct EvictionSettings {
    pub mode: EvictionMode,
    pub guard: SchedulingGuard,
    /// Of who may taint the node; `None`: nobody.
    pub guard_kubeconfig: Option<PathBuf>,
    /// The taint's key.
    pub taint: String,
    pub taint_effect: TaintEffect,
    /// How long the node counts as pressed after the last signal.
    pub transition: Duration,
    /// How long a pod that must go has been refused before it is deleted; `None`: never deleted.
    pub last_resort: Option<Duration>,
    pub traffic: SignalSettings,
    pub utilization: SignalSettings,
    pub overcommit: SignalSettings,
    pub pressure: SignalSettings,
    /// Traffic counts only while somebody waits for memory.
    pub confirm_with_pressure: bool,
    pub max_overcommit_ratio: f64,
    /// Shares of the time, in percent.
    pub max_full_percent: f64,
    pub max_some_percent: f64,
    /// So many times its threshold, and a signal is critical.
    pub critical_factor: f64,
    pub cooldown: Duration,
    pub max_per_hour: usize,
    /// A longer grace period of a pod is shortened to this; `None`: a pod's own counts.
    pub longest_grace: Option<Duration>,
    /// While a signal is critical, a pod that has not left after this time may be overtaken.
    pub overtake_after: Duration,
    /// How long the descheduler, where it relieves the node, goes first.
    pub wait_for_others: Duration,
    /// The share of the memory that is missing which a pod must free, in percent.
    pub min_relief_percent: u64,
    /// A pod with one of these annotations is never evicted, unless its value is "false".
    pub opt_out_annotations: Vec<String>,
    /// Names, or beginnings of names that end in `*`.
    pub protected_namespaces: Vec<String>,
    pub swap_utilization_factor: f64,
    pub max_swap_in_pages_per_second: u64,
    pub max_swap_out_pages_per_second: u64,
    pub window: Duration,
}

impl EvictionSettings {
    pub(super) fn read(read: Read<'_>) -> Self {
        let signal = |name: &str| {
            let key = |key: &str| format!("eviction.{name}.{key}");
            SignalSettings {
                enabled: read.truth(&key("enabled")),
                sustain: read.seconds(&key("sustain-seconds")),
                release: read.float(&key("release")),
            }
        };
        Self {
            mode: read.choice("eviction.mode", EvictionMode::Off),
            guard: read.choice("eviction.scheduling-guard", SchedulingGuard::None),
            guard_kubeconfig: read.path("eviction.guard-kubeconfig"),
            taint: read.text("eviction.taint").to_owned(),
            taint_effect: read.choice("eviction.taint-effect", TaintEffect::NoSchedule),
            transition: read.seconds("eviction.pressure-transition-seconds"),
            last_resort: read
                .truth("eviction.last-resort-delete")
                .then(|| read.seconds("eviction.last-resort-seconds")),
            traffic: signal("traffic"),
            utilization: signal("utilization"),
            overcommit: signal("overcommit"),
            pressure: signal("pressure"),
            confirm_with_pressure: read.truth("eviction.confirm-with-pressure"),
            max_overcommit_ratio: read.float("eviction.overcommit.max-ratio"),
            max_full_percent: read.float("eviction.pressure.max-full-percent"),
            max_some_percent: read.float("eviction.pressure.max-some-percent"),
            critical_factor: read.float("eviction.critical-factor"),
            cooldown: read.seconds("eviction.cooldown-seconds"),
            max_per_hour: usize::try_from(read.integer("eviction.max-per-hour")).unwrap_or(0),
            longest_grace: Some(read.seconds("eviction.longest-grace-seconds"))
                .filter(|longest| !longest.is_zero()),
            overtake_after: read.seconds("eviction.overtake-seconds"),
            wait_for_others: read.seconds("eviction.wait-for-descheduler-seconds"),
            min_relief_percent: read.integer("eviction.min-relief-percent"),
            opt_out_annotations: read.list("eviction.opt-out-annotations"),
            protected_namespaces: read.list("eviction.protected-namespaces"),
            swap_utilization_factor: read.float("eviction.swap-utilization-factor"),
            max_swap_in_pages_per_second: read
                .integer("eviction.max-average-swap-in-pages-per-second"),
            max_swap_out_pages_per_second: read
                .integer("eviction.max-average-swap-out-pages-per-second"),
            window: read.seconds("eviction.average-window-seconds"),
        }
    }
}
