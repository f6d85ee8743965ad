//! Validated settings. [`Settings::valid`] is the only way to get them, and it rejects
//! contradictions.

use std::{borrow::Cow, path::PathBuf, time::Duration};

pub use super::{
    eviction::{EvictionMode, EvictionSettings, SchedulingGuard, SignalSettings, TaintEffect},
    metrics::MetricsSettings,
    reclaim::{ReclaimMode, ReclaimPods, ReclaimSettings},
    suspend::SuspendSettings,
};
use super::{
    keys,
    layers::{Resolved, resolve_drop_ins},
    read::Read,
    value::{ConfigProblem, Problems, SettingOrigin, Value},
};
use crate::model::hook::WhenUnknown;
pub use crate::model::policy::{Eligibility, Policy, WishRules};

crate::vocabulary! {
    /// The program that sets the containers' swap limits.
    pub enum Grants {
        /// As configured: the kubelet's configuration decides. In effect: the agent could not read
        /// that configuration yet, and raises no limit.
        Auto = "auto",
        Agent = "agent",
        Kubelet = "kubelet",
    }
}

/// The settings that a grant depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSettings {
    pub policy: Policy,
    pub eligibility: Eligibility,
    /// 0 to 100.
    pub system_reserved_percent: u8,
    pub wishes: WishRules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    pub resync: Duration,
    pub follow: Duration,
    /// If true, the agent resets limits that differ from the kubelet's where the kubelet grants.
    pub repair: bool,
}

/// An amount, absolute or as a part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Bytes(u64),
    /// 0 to 100.
    Percent(u64),
}

impl GrantSettings {
    /// The rules that the kubelet applies when it grants.
    pub const LIMITED_SWAP: Self = Self {
        policy: Policy::Limited,
        eligibility: Eligibility::Burstable,
        system_reserved_percent: 0,
        // A kubelet that grants swap does not read the annotations that lower a grant.
        wishes: WishRules {
            annotations: false,
            no_swap_namespaces: Vec::new(),
            opt_in_namespaces: Vec::new(),
        },
    };
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

crate::vocabulary! {
    pub enum SwapKind {
        File = "file",
        Partition = "partition",
        Zram = "zram",
    }
}

crate::vocabulary! {
    pub enum Discard {
        None = "none",
        Once = "once",
        Pages = "pages",
        Both = "both",
    }
}

/// The amount of swap to provide on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapSize {
    Bytes(u64),
    /// RAM × (percent / 100 − 1); 100 percent means no swap.
    Overcommit {
        percent: u64,
    },
}

/// Settings of the swap that the agent provisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapSettings {
    pub size: SwapSize,
    pub kind: SwapKind,
    /// The swapfile or the partition; unused for zram.
    pub path: PathBuf,
    pub priority: u16,
    pub discard: Discard,
    /// Free space to leave on the file system; `None`: derived from the kubelet's eviction
    /// threshold.
    pub reserve: Option<Share>,
    /// Provisions swap even where OpenShift provides its own.
    pub beside_others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// Slices that get no swap, without duplicates.
    pub slices: Vec<String>,
    /// `None`: the agent sets no target.
    pub io_latency_target: Option<Duration>,
    /// For the pods' slices; `None`: the agent sets no target.
    pub pods_io_latency_target: Option<Duration>,
    /// For `slices`; `None`: the agent leaves the current weight.
    pub io_weight: Option<u64>,
    pub cpu_weight: Option<u64>,
    /// The largest part of RAM to reserve for the working sets of `services`, in percent.
    pub working_set_percent: u64,
    pub services: Vec<String>,
}

/// Kernel parameters; the agent leaves those that are `None` unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    pub align_watermarks: bool,
    pub swappiness: Option<u64>,
    pub zswap: Option<bool>,
}

/// Settings of the OCI hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    pub install: bool,
    pub when_unknown: WhenUnknown,
    /// Namespace names, or prefixes that end in `*`.
    pub denied_namespaces: Vec<String>,
}

/// Default path of the swapfile.
pub const SWAPFILE: &str = "/var/lib/wasp-agent/swapfile";

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub grants: Grants,
    pub swap: SwapSettings,
    pub protection: ProtectionSettings,
    pub kernel: KernelSettings,
    pub hook: HookSettings,
    /// The kubelet's configuration file; `None`: the one on its command line, else the usual
    /// places.
    pub kubelet_config: Option<PathBuf>,
    pub grant: GrantSettings,
    pub limits: LimitSettings,
    pub eviction: EvictionSettings,
    pub reclaim: ReclaimSettings,
    pub metrics: MetricsSettings,
    pub suspend: SuspendSettings,
    /// `None`: the name in the client certificate.
    pub node_name: Option<String>,
    /// `None`: the agent searches the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// On klog's scale.
    pub verbosity: u8,
}

impl Settings {
    /// Returns the settings that a host will have with these drop-ins; each is a path and a text.
    pub fn of_drop_ins(drop_ins: &[(PathBuf, &str)]) -> Result<Self, Problems> {
        Ok(Self::valid(resolve_drop_ins(drop_ins)?)?.0)
    }

    /// Returns the settings that the layers give.
    ///
    /// # Errors
    /// Every problem, if values contradict each other.
    pub fn valid(resolved: Resolved) -> Result<(Self, Resolved), Problems> {
        let settings = Self::from_resolved(&resolved);
        let contradictions = contradictions(&settings, &resolved);
        if contradictions.is_empty() {
            Ok((settings, resolved))
        } else {
            Err(Problems(contradictions))
        }
    }

    /// Returns the grant rules in effect. A kubelet that grants swap itself does not read the
    /// annotations that lower a grant.
    pub fn grant_rules(&self) -> Cow<'_, GrantSettings> {
        match self.grants {
            Grants::Agent | Grants::Auto => Cow::Borrowed(&self.grant),
            Grants::Kubelet => {
                Cow::Owned(GrantSettings { wishes: WishRules::default(), ..self.grant.clone() })
            }
        }
    }

    /// Returns the settings of a host without any configuration.
    pub fn defaults() -> Self {
        Self::from_resolved(&Resolved::defaults())
    }

    /// Each value has passed its key's `Kind`; the fallbacks below are for values that the key
    /// table rules out (a test reads every key).
    fn from_resolved(resolved: &Resolved) -> Self {
        let read = Read(resolved);
        Self {
            swap: SwapSettings {
                size: match keys::size(read.text("swap.size")) {
                    Some(bytes) => SwapSize::Bytes(bytes),
                    None => SwapSize::Overcommit { percent: read.integer("overcommit-percent") },
                },
                kind: read.choice("swap.kind", SwapKind::File),
                path: read.path("swap.path").unwrap_or_else(|| SWAPFILE.into()),
                priority: u16::try_from(read.integer("swap.priority")).unwrap_or(0),
                discard: read.choice("swap.discard", Discard::None),
                reserve: match read.text("swap.reserve") {
                    "" => None,
                    reserve => keys::percent(reserve)
                        .map(Share::Percent)
                        .or_else(|| keys::size(reserve).map(Share::Bytes)),
                },
                beside_others: read.truth("swap.beside-others"),
            },
            protection: ProtectionSettings {
                slices: read.list("protection.protected-slices"),
                io_latency_target: Some(read.integer("protection.io-latency-target-ms"))
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
                pods_io_latency_target: Some(read.integer("protection.pods-io-latency-target-ms"))
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
                io_weight: read.kept("protection.io-weight"),
                cpu_weight: read.kept("protection.cpu-weight"),
                working_set_percent: read.integer("protection.working-set-percent"),
                services: read.list("protection.working-set-services"),
            },
            kernel: KernelSettings {
                align_watermarks: read.truth("kernel.align-watermarks"),
                swappiness: read.kept("kernel.swappiness"),
                zswap: read.switch("kernel.zswap"),
            },
            hook: HookSettings {
                install: read.truth("hook.install"),
                when_unknown: read.choice("hook.when-unknown", WhenUnknown::Deny),
                denied_namespaces: read.list("hook.denied-namespaces"),
            },
            kubelet_config: read.path("node.kubelet-config"),
            grants: read.choice("grants", Grants::Auto),
            grant: GrantSettings {
                policy: read.choice("limits.policy", Policy::None),
                eligibility: read.choice("limits.eligibility", Eligibility::VirtLauncher),
                system_reserved_percent: read.small("limits.system-reserved-percent"),
                wishes: WishRules {
                    annotations: read.truth("limits.annotations"),
                    no_swap_namespaces: read.list("limits.no-swap-namespaces"),
                    opt_in_namespaces: read.list("limits.opt-in-namespaces"),
                },
            },
            limits: LimitSettings {
                resync: read.seconds("limits.resync-seconds"),
                follow: read.seconds("limits.follow-seconds"),
                repair: read.truth("limits.repair"),
            },
            eviction: EvictionSettings::read(read),
            reclaim: ReclaimSettings::read(read),
            metrics: MetricsSettings::read(read),
            suspend: SuspendSettings::read(read),
            node_name: Some(read.text("node.name"))
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            kubeconfig: read.path("node.kubeconfig"),
            verbosity: read.small("log.verbosity"),
        }
    }
}

/// Finds values that are valid one by one, but contradict each other.
fn contradictions(settings: &Settings, resolved: &Resolved) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    // `places` are settings whose removal ends the contradiction, the preferred one first. A default
    // is in no file.
    let mut contradicts = |key: &str, places: [&str; 2], why: &str| {
        let value = resolved.get(key).map_or_else(String::new, |(value, _)| value.to_string());
        let origins = places.iter().filter_map(|key| Some(&resolved.get(key)?.1));
        let origin = origins.into_iter().find(|origin| **origin != SettingOrigin::Default);
        let origin = origin.cloned().unwrap_or(SettingOrigin::Default);
        problems.push(ConfigProblem { origin, text: format!("{key} = {value} contradicts {why}") });
    };
    if settings.grants == Grants::Kubelet {
        const WHY: &str = "grants = \"kubelet\": the kubelet supports";
        if settings.grant.policy != Policy::Limited {
            contradicts(
                "limits.policy",
                ["limits.policy", "grants"],
                &format!("{WHY} only \"limited\""),
            );
        }
        if settings.grant.eligibility != Eligibility::Burstable {
            contradicts(
                "limits.eligibility",
                ["limits.eligibility", "grants"],
                &format!("{WHY} only \"burstable\""),
            );
        }
        if !settings.grant.wishes.no_swap_namespaces.is_empty() {
            contradicts(
                "limits.no-swap-namespaces",
                ["limits.no-swap-namespaces", "grants"],
                &format!("{WHY} no such list"),
            );
        }
        if !settings.grant.wishes.opt_in_namespaces.is_empty() {
            contradicts(
                "limits.opt-in-namespaces",
                ["limits.opt-in-namespaces", "grants"],
                &format!("{WHY} no such list"),
            );
        }
        if settings.grant.system_reserved_percent != 0 {
            contradicts(
                "limits.system-reserved-percent",
                ["limits.system-reserved-percent", "grants"],
                &format!("{WHY} no such reserve"),
            );
        }
    }
    if let (SwapSize::Bytes(_), Some((Value::Integer(percent @ 101..), _))) =
        (settings.swap.size, resolved.get("overcommit-percent"))
    {
        let why =
            format!("overcommit-percent = {percent}: it sets the size too; remove one of the two");
        contradicts("swap.size", ["swap.size", "overcommit-percent"], &why);
    }
    let path_given =
        matches!(resolved.get("swap.path"), Some((Value::Text(p), _)) if !p.is_empty());
    match settings.swap.kind {
        SwapKind::Partition if !settings.swap.path.starts_with("/dev") => {
            contradicts(
                "swap.path",
                ["swap.kind", "swap.path"],
                "swap.kind = \"partition\": name the partition as \
                /dev/disk/by-…",
            );
        }
        SwapKind::Zram if path_given => {
            contradicts(
                "swap.path",
                ["swap.path", "swap.kind"],
                "swap.kind = \"zram\": the kernel numbers zram devices",
            );
        }
        _ => {}
    }
    if settings.eviction.guard == SchedulingGuard::Taint
        && settings.eviction.guard_kubeconfig.is_none()
    {
        let why = "eviction.guard-kubeconfig = \"\": the API server (NodeRestriction) does not \
            let a kubelet taint its node; set a kubeconfig of a user who may, or choose \
            \"cordon\"";
        contradicts(
            "eviction.scheduling-guard",
            ["eviction.scheduling-guard", "eviction.guard-kubeconfig"],
            why,
        );
    }
    if settings.reclaim.mode != ReclaimMode::Off && settings.eviction.mode == EvictionMode::Off {
        let why = "eviction.mode = \"off\": reclaim needs the signals that eviction measures; \
            choose \"observe\"";
        contradicts("reclaim.mode", ["reclaim.mode", "eviction.mode"], why);
    }
    let MetricsSettings { listen, certificate, key, .. } = &settings.metrics;
    if listen.is_some() {
        for (missing, name) in [(certificate, "certificate"), (key, "key")] {
            if missing.is_none() {
                let why = format!(
                    "metrics.{name} = \"\": the agent serves metrics over TLS only; set a PEM \
                     file, or use the unix socket or metrics.textfile"
                );
                contradicts("metrics.listen", ["metrics.listen", "metrics.listen"], &why);
            }
        }
    }
    if settings.limits.follow > settings.limits.resync {
        let why = format!(
            "limits.resync-seconds = {}: following must be the quicker of the two",
            settings.limits.resync.as_secs()
        );
        contradicts(
            "limits.follow-seconds",
            ["limits.follow-seconds", "limits.resync-seconds"],
            &why,
        );
    }
    problems
}
