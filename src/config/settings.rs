//! Settings that make sense. There is no way to have others: [`Settings::load`] refuses them.

use std::{path::PathBuf, time::Duration};

use super::{
    keys,
    layers::{Resolved, resolve, resolve_drop_ins},
    value::{Origin, Problem, Problems, Value},
};
use crate::{model::hook::WhenUnknown, roots::Roots};

/// Who sets the containers' limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grants {
    Agent,
    Kubelet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    Limited,
    Max,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligibility {
    Burstable,
    VirtLauncher,
}

/// What a grant depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantSettings {
    pub policy: Policy,
    pub eligibility: Eligibility,
    /// 0 to 100.
    pub system_reserved_percent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    pub resync: Duration,
    pub follow: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionMode {
    Off,
    /// Say what would be done.
    Observe,
    Enforce,
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
    /// Names, or beginnings of names that end in `*`.
    pub protected_namespaces: Vec<String>,
    pub swap_utilization_factor: f64,
    pub max_swap_in_pages_per_second: u64,
    pub max_swap_out_pages_per_second: u64,
    pub window: Duration,
}

/// How much of something, absolute or of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Bytes(u64),
    /// 0 to 100.
    Percent(u64),
}

impl Share {
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                let part = u128::from(whole) * u128::from(percent) / 100;
                u64::try_from(part).unwrap_or(whole)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwapKind {
    File,
    Partition,
    Zram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    None,
    Once,
    Pages,
    Both,
}

/// How much swap the node is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapSize {
    Bytes(u64),
    /// RAM × (percent / 100 − 1); 100 is none.
    Overcommit {
        percent: u64,
    },
}

/// The swap that the agent provisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapSettings {
    pub size: SwapSize,
    pub kind: SwapKind,
    /// The swapfile or the partition; of no meaning for zram.
    pub path: PathBuf,
    pub priority: u16,
    pub discard: Discard,
    /// `None`: by the kubelet's eviction threshold.
    pub reserve: Option<Share>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// Slices without swap, each once.
    pub slices: Vec<String>,
    /// `None`: no target is set.
    pub io_latency_target: Option<Duration>,
}

/// What the kernel is told; `None` is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    pub align_watermarks: bool,
    pub swappiness: Option<u64>,
    pub zswap: Option<bool>,
}

/// The OCI hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    pub install: bool,
    pub when_unknown: WhenUnknown,
    /// Names, or beginnings of names that end in `*`.
    pub denied_namespaces: Vec<String>,
}

/// Where the swapfile is unless configured.
pub const SWAPFILE: &str = "/var/lib/wasp-agent/swapfile";

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub grants: Grants,
    pub swap: SwapSettings,
    pub protection: ProtectionSettings,
    pub kernel: KernelSettings,
    pub hook: HookSettings,
    /// The kubelet's configuration; `None`: search the usual places.
    pub kubelet_config: Option<PathBuf>,
    pub grant: GrantSettings,
    pub limits: LimitSettings,
    pub eviction: EvictionSettings,
    /// `None`: as the client certificate says.
    pub node_name: Option<String>,
    /// `None`: search the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// klog's scale.
    pub verbosity: u8,
}

impl Settings {
    /// The settings of the host at `roots`, and where each came from.
    pub fn load(
        roots: &Roots,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Resolved), Problems> {
        Self::valid(resolve(roots, environment)?)
    }

    /// What a host's settings will be by these drop-ins, path and text.
    pub fn of_drop_ins(drop_ins: &[(PathBuf, &str)]) -> Result<Self, Problems> {
        Ok(Self::valid(resolve_drop_ins(drop_ins)?)?.0)
    }

    fn valid(resolved: Resolved) -> Result<(Self, Resolved), Problems> {
        let settings = Self::from_resolved(&resolved);
        let contradictions = contradictions(&settings, &resolved);
        if contradictions.is_empty() {
            Ok((settings, resolved))
        } else {
            Err(Problems(contradictions))
        }
    }

    /// Each value has passed its key's `Kind`; the fallbacks below are what the key table excludes
    /// (a test reads every key).
    fn from_resolved(resolved: &Resolved) -> Self {
        let value = |path: &str| resolved.get(path).map(|(value, _)| value);
        let text = |path: &str| match value(path) {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        };
        let integer = |path: &str| match value(path) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        };
        let float = |path: &str| match value(path) {
            Some(Value::Float(number)) => *number,
            _ => 0.0,
        };
        let small = |path: &str| u8::try_from(integer(path)).unwrap_or(u8::MAX);
        let seconds = |path: &str| Duration::from_secs(integer(path));
        let truth = |path: &str| value(path) == Some(&Value::Boolean(true));
        let signal = |name: &str| {
            let key = |key: &str| format!("eviction.{name}.{key}");
            SignalSettings {
                enabled: truth(&key("enabled")),
                sustain: seconds(&key("sustain-seconds")),
                release: float(&key("release")),
            }
        };
        let list = |path: &str| match value(path) {
            Some(Value::List(names)) => names.clone(),
            _ => Vec::new(),
        };
        let path = |path: &str| Some(text(path)).filter(|p| !p.is_empty()).map(PathBuf::from);
        Self {
            swap: SwapSettings {
                size: match keys::size(text("swap.size")) {
                    Some(bytes) => SwapSize::Bytes(bytes),
                    None => SwapSize::Overcommit { percent: integer("overcommit-percent") },
                },
                kind: match text("swap.kind") {
                    "partition" => SwapKind::Partition,
                    "zram" => SwapKind::Zram,
                    _ => SwapKind::File,
                },
                path: path("swap.path").unwrap_or_else(|| SWAPFILE.into()),
                priority: u16::try_from(integer("swap.priority")).unwrap_or(0),
                discard: match text("swap.discard") {
                    "once" => Discard::Once,
                    "pages" => Discard::Pages,
                    "both" => Discard::Both,
                    _ => Discard::None,
                },
                reserve: match text("swap.reserve") {
                    "" => None,
                    reserve => keys::percent(reserve)
                        .map(Share::Percent)
                        .or_else(|| keys::size(reserve).map(Share::Bytes)),
                },
            },
            protection: ProtectionSettings {
                slices: list("protection.protected-slices"),
                io_latency_target: Some(integer("protection.io-latency-target-ms"))
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
            },
            kernel: KernelSettings {
                align_watermarks: truth("kernel.align-watermarks"),
                swappiness: match value("kernel.swappiness") {
                    Some(Value::Integer(number)) => Some(*number),
                    _ => None,
                },
                zswap: match text("kernel.zswap") {
                    "on" => Some(true),
                    "off" => Some(false),
                    _ => None,
                },
            },
            hook: HookSettings {
                install: truth("hook.install"),
                when_unknown: match text("hook.when-unknown") {
                    "estimate" => WhenUnknown::Estimate,
                    _ => WhenUnknown::Deny,
                },
                denied_namespaces: list("hook.denied-namespaces"),
            },
            kubelet_config: path("node.kubelet-config"),
            grants: match text("grants") {
                "kubelet" => Grants::Kubelet,
                _ => Grants::Agent,
            },
            grant: GrantSettings {
                policy: match text("limits.policy") {
                    "limited" => Policy::Limited,
                    "max" => Policy::Max,
                    _ => Policy::None,
                },
                eligibility: match text("limits.eligibility") {
                    "burstable" => Eligibility::Burstable,
                    _ => Eligibility::VirtLauncher,
                },
                system_reserved_percent: small("limits.system-reserved-percent"),
            },
            limits: LimitSettings {
                resync: seconds("limits.resync-seconds"),
                follow: seconds("limits.follow-seconds"),
            },
            eviction: EvictionSettings {
                mode: match text("eviction.mode") {
                    "enforce" => EvictionMode::Enforce,
                    "observe" => EvictionMode::Observe,
                    _ => EvictionMode::Off,
                },
                traffic: signal("traffic"),
                utilization: signal("utilization"),
                overcommit: signal("overcommit"),
                pressure: signal("pressure"),
                confirm_with_pressure: truth("eviction.confirm-with-pressure"),
                max_overcommit_ratio: float("eviction.overcommit.max-ratio"),
                max_full_percent: float("eviction.pressure.max-full-percent"),
                max_some_percent: float("eviction.pressure.max-some-percent"),
                critical_factor: float("eviction.critical-factor"),
                cooldown: seconds("eviction.cooldown-seconds"),
                max_per_hour: usize::try_from(integer("eviction.max-per-hour")).unwrap_or(0),
                protected_namespaces: list("eviction.protected-namespaces"),
                swap_utilization_factor: float("eviction.swap-utilization-factor"),
                max_swap_in_pages_per_second: integer(
                    "eviction.max-average-swap-in-pages-per-second",
                ),
                max_swap_out_pages_per_second: integer(
                    "eviction.max-average-swap-out-pages-per-second",
                ),
                window: seconds("eviction.average-window-seconds"),
            },
            node_name: Some(text("node.name")).filter(|name| !name.is_empty()).map(str::to_owned),
            kubeconfig: path("node.kubeconfig"),
            verbosity: small("log.verbosity"),
        }
    }
}

/// Values that are each allowed and yet cannot both be meant.
fn contradictions(settings: &Settings, resolved: &Resolved) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut contradicts = |key: &str, why: &str| {
        let (value, origin) = match resolved.get(key) {
            Some((value, origin)) => (value.to_string(), origin.clone()),
            None => (String::new(), Origin::Default),
        };
        problems.push(Problem { origin, text: format!("{key} = {value} contradicts {why}") });
    };
    if settings.grants == Grants::Kubelet {
        const WHY: &str = "grants = \"kubelet\": the kubelet knows";
        if settings.grant.policy != Policy::Limited {
            contradicts("limits.policy", &format!("{WHY} only \"limited\""));
        }
        if settings.grant.eligibility != Eligibility::Burstable {
            contradicts("limits.eligibility", &format!("{WHY} only \"burstable\""));
        }
        if settings.grant.system_reserved_percent != 0 {
            contradicts("limits.system-reserved-percent", &format!("{WHY} no such reserve"));
        }
    }
    if let (SwapSize::Bytes(_), Some((Value::Integer(percent @ 101..), _))) =
        (settings.swap.size, resolved.get("overcommit-percent"))
    {
        let why = format!("overcommit-percent = {percent}: it gives a size of its own");
        contradicts("swap.size", &why);
    }
    let path_given =
        matches!(resolved.get("swap.path"), Some((Value::Text(p), _)) if !p.is_empty());
    match settings.swap.kind {
        SwapKind::Partition if !settings.swap.path.starts_with("/dev") => {
            contradicts("swap.path", "swap.kind = \"partition\": name it as /dev/disk/by-…");
        }
        SwapKind::Zram if path_given => {
            contradicts("swap.path", "swap.kind = \"zram\": the kernel numbers its devices");
        }
        _ => {}
    }
    if settings.limits.follow > settings.limits.resync {
        let why = format!(
            "limits.resync-seconds = {}: following is the quicker of the two",
            settings.limits.resync.as_secs()
        );
        contradicts("limits.follow-seconds", &why);
    }
    problems
}

#[cfg(test)]
impl Settings {
    /// The defaults, for tests of what needs settings.
    pub(crate) fn defaults() -> Self {
        let nowhere = Roots::at("/nonexistent");
        Self::load(&nowhere, |_| None).unwrap().0
    }
}
