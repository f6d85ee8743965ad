//! Settings of eviction: table `[eviction]`.

use std::{
    ops::{Index, IndexMut},
    path::PathBuf,
    time::Duration,
};

use super::read::Read;
use crate::model::words::Vocabulary as _;

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

/// Declares the signals: for each its word and the settings of its own.
macro_rules! signals {
    (of $read:ident $($(#[$doc:meta])* $signal:ident = $word:literal {
        $($(#[$about:meta])* pub $field:ident: $type:ty = $value:expr,)+
    })+) => {
        crate::vocabulary! {
            #[derive(PartialOrd, Ord)]
            pub enum Signal {
                $($(#[$doc])* $signal = $word,)+
            }
        }

        settings! {
            /// The settings that only one of the signals has.
            #[derive(Clone, Copy, Debug, PartialEq)]
            pub struct Thresholds of $read {
                $($($(#[$about])* pub $field: $type = $value,)+)+
            }
        }
    };
}

signals! {
    of read
    /// Pages move in and out of swap quickly.
    Traffic = "traffic" {
        pub max_swap_in_pages_per_second: u64 =
            read.integer("eviction.max-average-swap-in-pages-per-second"),
        pub max_swap_out_pages_per_second: u64 =
            read.integer("eviction.max-average-swap-out-pages-per-second"),
        pub window: Duration = read.seconds("eviction.average-window-seconds"),
        /// Swap traffic counts only while processes wait for memory.
        pub confirm_with_pressure: bool = read.truth("eviction.confirm-with-pressure"),
    }
    /// Swap is nearly used up.
    Utilization = "utilization" {
        pub swap_utilization_factor: f64 = read.float("eviction.swap-utilization-factor"),
    }
    /// More memory is in use than this amount of RAM can serve.
    Overcommit = "overcommit" {
        pub max_overcommit_ratio: f64 = read.float("eviction.overcommit.max-ratio"),
    }
    /// Processes wait for memory.
    Pressure = "pressure" {
        /// A share of time, in percent.
        pub max_full_percent: f64 = read.float("eviction.pressure.max-full-percent"),
        /// A share of time, in percent.
        pub max_some_percent: f64 = read.float("eviction.pressure.max-some-percent"),
    }
}

impl Signal {
    /// Returns a key that every signal has.
    fn key(self, key: &str) -> String {
        format!("eviction.{}.{key}", self.word())
    }
}

/// A value for each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BySignal<T>([T; Signal::ALL.len()]);

impl<T> BySignal<T> {
    pub fn of(mut value: impl FnMut(Signal) -> T) -> Self {
        Self(std::array::from_fn(|index| value(Signal::ALL[index])))
    }
}

impl<T> Index<Signal> for BySignal<T> {
    type Output = T;

    fn index(&self, signal: Signal) -> &T {
        &self.0[signal as usize]
    }
}

impl<T> IndexMut<Signal> for BySignal<T> {
    fn index_mut(&mut self, signal: Signal) -> &mut T {
        &mut self.0[signal as usize]
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

settings! {
    /// Settings of swap-driven eviction.
    #[derive(Clone, Debug, PartialEq)]
    pub struct EvictionSettings of read {
        pub mode: EvictionMode = read.choice("eviction.mode", EvictionMode::Off),
        pub guard: SchedulingGuard =
            read.choice("eviction.scheduling-guard", SchedulingGuard::None),
        /// The kubeconfig of an account that may taint the node; `None` if there is none.
        pub guard_kubeconfig: Option<PathBuf> = read.path("eviction.guard-kubeconfig"),
        /// The key of the taint.
        pub taint: String = read.text("eviction.taint").to_owned(),
        pub taint_effect: TaintEffect =
            read.choice("eviction.taint-effect", TaintEffect::NoSchedule),
        /// The node stays under pressure for this long after the last signal has ended.
        pub transition: Duration = read.seconds("eviction.pressure-transition-seconds"),
        /// The agent deletes a pod once its eviction has been refused for this long; `None`: never.
        pub last_resort: Option<Duration> = read
            .truth("eviction.last-resort-delete")
            .then(|| read.seconds("eviction.last-resort-seconds")),
        pub signals: BySignal<SignalSettings> = BySignal::of(|signal| SignalSettings {
            enabled: read.truth(&signal.key("enabled")),
            sustain: read.seconds(&signal.key("sustain-seconds")),
            release: read.float(&signal.key("release")),
        }),
        pub thresholds: Thresholds = Thresholds::read(read),
        /// A signal is critical above this multiple of its threshold.
        pub critical_factor: f64 = read.float("eviction.critical-factor"),
        pub cooldown: Duration = read.seconds("eviction.cooldown-seconds"),
        pub max_per_hour: usize =
            usize::try_from(read.integer("eviction.max-per-hour")).unwrap_or(0),
        /// The longest grace period that the agent allows a pod; `None`: the pod's own applies.
        pub longest_grace: Option<Duration> = Some(read.seconds("eviction.longest-grace-seconds"))
            .filter(|longest| !longest.is_zero()),
        /// While a signal is critical, the agent may evict another pod if the first has not left
        /// after this time.
        pub overtake_after: Duration = read.seconds("eviction.overtake-seconds"),
        /// Where the descheduler relieves the node, the agent gives it this long before it evicts
        /// pods.
        pub wait_for_others: Duration = read.seconds("eviction.wait-for-descheduler-seconds"),
        /// The share of the missing memory that the eviction of a pod must free, in percent.
        pub min_relief_percent: u64 = read.integer("eviction.min-relief-percent"),
        /// The agent never evicts a pod with one of these annotations, unless its value is "false".
        pub opt_out_annotations: Vec<String> = read.list("eviction.opt-out-annotations"),
        /// Namespace names, or prefixes that end in `*`.
        pub protected_namespaces: Vec<String> = read.list("eviction.protected-namespaces"),
    }
}
