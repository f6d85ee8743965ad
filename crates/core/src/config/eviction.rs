//! Settings of eviction: table `[eviction]`.

use std::{path::PathBuf, time::Duration};

use super::read::Read;

crate::vocabulary! {
    pub enum EvictionMode {
        Off = "off",
        /// Reports which pod the agent would evict, and evicts none.
        Observe = "observe",
        Enforce = "enforce",
    }
}

crate::vocabulary! {
    /// The way to keep new pods off a node while a signal is active.
    pub enum SchedulingGuard {
        None = "none",
        /// Sets only the node's condition `SwapPressure`, which no part of Kubernetes acts on.
        Condition = "condition",
        /// Also sets `spec.unschedulable`.
        Cordon = "cordon",
        /// Also sets a taint, with the credentials in `guard_kubeconfig`.
        Taint = "taint",
    }
}

crate::vocabulary! {
    /// The effect of the taint on pods that do not tolerate it.
    pub enum TaintEffect {
        /// The scheduler puts no new pod on the node.
        NoSchedule = "NoSchedule",
        /// The scheduler prefers other nodes.
        PreferNoSchedule = "PreferNoSchedule",
    }
}

/// Settings that every signal has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalSettings {
    pub enabled: bool,
    /// The signal becomes active after its value has been above the threshold for this long.
    pub sustain: Duration,
    /// An active signal ends below this part of its threshold: 0 to 1.
    pub release: f64,
}

/// Settings of swap-driven eviction.
#[derive(Clone, Debug, PartialEq)]
pub struct EvictionSettings {
    pub mode: EvictionMode,
    pub guard: SchedulingGuard,
    /// The kubeconfig of an account that may taint the node; `None` if there is none.
    pub guard_kubeconfig: Option<PathBuf>,
    /// The key of the taint.
    pub taint: String,
    pub taint_effect: TaintEffect,
    /// The node stays under pressure for this long after the last signal has ended.
    pub transition: Duration,
    /// The agent deletes a pod once its eviction has been refused for this long; `None`: never.
    pub last_resort: Option<Duration>,
    pub traffic: SignalSettings,
    pub utilization: SignalSettings,
    pub overcommit: SignalSettings,
    pub pressure: SignalSettings,
    /// Swap traffic counts only while processes wait for memory.
    pub confirm_with_pressure: bool,
    pub max_overcommit_ratio: f64,
    /// Shares of time, in percent.
    pub max_full_percent: f64,
    pub max_some_percent: f64,
    /// A signal is critical above this multiple of its threshold.
    pub critical_factor: f64,
    pub cooldown: Duration,
    pub max_per_hour: usize,
    /// The longest grace period that the agent allows a pod; `None`: the pod's own applies.
    pub longest_grace: Option<Duration>,
    /// While a signal is critical, the agent may evict another pod if the first has not left after
    /// this time.
    pub overtake_after: Duration,
    /// Where the descheduler relieves the node, the agent gives it this long before it evicts pods.
    pub wait_for_others: Duration,
    /// The share of the missing memory that the eviction of a pod must free, in percent.
    pub min_relief_percent: u64,
    /// The agent never evicts a pod with one of these annotations, unless its value is "false".
    pub opt_out_annotations: Vec<String>,
    /// Namespace names, or prefixes that end in `*`.
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
