//! Validated settings. [`Settings::valid`] is the only way to get them, and it rejects
//! contradictions.

use std::{borrow::Cow, path::PathBuf, time::Duration};

pub use super::{
    eviction::{
        BySignal, EvictionMode, EvictionSettings, SchedulingGuard, Signal, SignalSettings,
        TaintEffect, Thresholds,
    },
    metrics::MetricsSettings,
    read::Share,
    reclaim::{ReclaimMode, ReclaimPods, ReclaimSettings},
    suspend::SuspendSettings,
};
use super::{
    layers::{Contradiction, Layers, Resolved},
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

settings! {
    /// The settings that a grant depends on.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GrantSettings of read {
        pub policy: Policy = read.choice("limits.policy", Policy::None),
        pub eligibility: Eligibility =
            read.choice("limits.eligibility", Eligibility::VirtLauncher),
        /// 0 to 100.
        pub system_reserved_percent: u8 = read.small("limits.system-reserved-percent"),
        pub wishes: WishRules = WishRules {
            annotations: read.truth("limits.annotations"),
            no_swap_namespaces: read.list("limits.no-swap-namespaces"),
            opt_in_namespaces: read.list("limits.opt-in-namespaces"),
        },
    }
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

settings! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LimitSettings of read {
        pub resync: Duration = read.seconds("limits.resync-seconds"),
        pub follow: Duration = read.seconds("limits.follow-seconds"),
        /// If true, the agent resets limits that differ from the kubelet's where the kubelet
        /// grants.
        pub repair: bool = read.truth("limits.repair"),
    }
}

/// Default path of the swapfile.
pub const SWAPFILE: &str = "/var/lib/wasp-agent/swapfile";

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

settings! {
    /// Settings of the swap that the agent provisions.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SwapSettings of read {
        pub size: SwapSize = match read.size("swap.size") {
            Some(bytes) => SwapSize::Bytes(bytes),
            None => SwapSize::Overcommit { percent: read.integer("overcommit-percent") },
        },
        pub kind: SwapKind = read.choice("swap.kind", SwapKind::File),
        /// The swapfile or the partition; unused for zram.
        pub path: PathBuf = read.path("swap.path").unwrap_or_else(|| SWAPFILE.into()),
        pub priority: u16 = u16::try_from(read.integer("swap.priority")).unwrap_or(0),
        pub discard: Discard = read.choice("swap.discard", Discard::None),
        /// Free space to leave on the file system; `None`: derived from the kubelet's eviction
        /// threshold.
        pub reserve: Option<Share> = read.share("swap.reserve"),
        /// Provisions swap even where OpenShift provides its own.
        pub beside_others: bool = read.truth("swap.beside-others"),
    }
}

settings! {
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ProtectionSettings of read {
        /// Slices that get no swap, without duplicates.
        pub slices: Vec<String> = read.list("protection.protected-slices"),
        /// `None`: the agent sets no target.
        pub io_latency_target: Option<Duration> = read.millis("protection.io-latency-target-ms"),
        /// For the pods' slices; `None`: the agent sets no target.
        pub pods_io_latency_target: Option<Duration> =
            read.millis("protection.pods-io-latency-target-ms"),
        /// For `slices`; `None`: the agent leaves the current weight.
        pub io_weight: Option<u64> = read.kept("protection.io-weight"),
        pub cpu_weight: Option<u64> = read.kept("protection.cpu-weight"),
        /// The largest part of RAM to reserve for the working sets of `services`, in percent.
        pub working_set_percent: u64 = read.integer("protection.working-set-percent"),
        pub services: Vec<String> = read.list("protection.working-set-services"),
    }
}

settings! {
    /// Kernel parameters; the agent leaves those that are `None` unchanged.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KernelSettings of read {
        pub align_watermarks: bool = read.truth("kernel.align-watermarks"),
        pub swappiness: Option<u64> = read.kept("kernel.swappiness"),
        pub zswap: Option<bool> = read.switch("kernel.zswap"),
    }
}

settings! {
    /// Settings of the OCI hook.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HookSettings of read {
        pub install: bool = read.truth("hook.install"),
        pub when_unknown: WhenUnknown = read.choice("hook.when-unknown", WhenUnknown::Deny),
        /// Namespace names, or prefixes that end in `*`.
        pub denied_namespaces: Vec<String> = read.list("hook.denied-namespaces"),
    }
}

settings! {
    #[derive(Clone, Debug, PartialEq)]
    pub struct Settings of read {
        pub grants: Grants = read.choice("grants", Grants::Auto),
        pub swap: SwapSettings = SwapSettings::read(read),
        pub protection: ProtectionSettings = ProtectionSettings::read(read),
        pub kernel: KernelSettings = KernelSettings::read(read),
        pub hook: HookSettings = HookSettings::read(read),
        /// The kubelet's configuration file; `None`: the one on its command line, else the usual
        /// places.
        pub kubelet_config: Option<PathBuf> = read.path("node.kubelet-config"),
        pub grant: GrantSettings = GrantSettings::read(read),
        pub limits: LimitSettings = LimitSettings::read(read),
        pub eviction: EvictionSettings = EvictionSettings::read(read),
        pub reclaim: ReclaimSettings = ReclaimSettings::read(read),
        pub metrics: MetricsSettings = MetricsSettings::read(read),
        pub suspend: SuspendSettings = SuspendSettings::read(read),
        /// `None`: the name in the client certificate.
        pub node_name: Option<String> = Some(read.text("node.name"))
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        /// `None`: the agent searches the usual places.
        pub kubeconfig: Option<PathBuf> = read.path("node.kubeconfig"),
        /// On klog's scale.
        pub verbosity: u8 = read.small("log.verbosity"),
    }
}

impl Settings {
    /// Returns the settings that a host will have with these drop-ins; each is a path and a text.
    pub fn of_drop_ins(drop_ins: &[(PathBuf, &str)]) -> Result<Self, Problems> {
        Ok(Self::valid(Layers::of_drop_ins(drop_ins))?.0)
    }

    /// Returns the settings that the layers give, and each value with its origin.
    ///
    /// # Errors
    /// Every problem of the layers, and values that contradict each other.
    pub fn valid(layers: Layers) -> Result<(Self, Resolved), Problems> {
        let resolved = layers.checked(|found| contradictions(&Self::read(Read(found)), found))?;
        Ok((Self::read(Read(&resolved)), resolved))
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
        Self::read(Read(&Resolved::defaults()))
    }
}

/// Finds values that are valid one by one, but contradict each other.
fn contradictions(settings: &Settings, resolved: &Resolved) -> Vec<Contradiction> {
    let mut problems = Vec::new();
    // `places` are settings whose removal ends the contradiction, the preferred one first. A default
    // is in no file.
    let mut contradicts = |key: &str, places: [&'static str; 2], why: &str| {
        let value = resolved.get(key).map_or_else(String::new, |(value, _)| value.to_string());
        let origins = places.iter().filter_map(|key| Some(&resolved.get(key)?.1));
        let origin = origins.into_iter().find(|origin| **origin != SettingOrigin::Default);
        let origin = origin.cloned().unwrap_or(SettingOrigin::Default);
        let problem = ConfigProblem { origin, text: format!("{key} = {value} contradicts {why}") };
        problems.push(Contradiction { keys: places, problem });
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
    let MetricsSettings { listen, certificate, key, .. } = &settings.metrics;
    if listen.is_some() {
        for (missing, name) in [(certificate, "metrics.certificate"), (key, "metrics.key")] {
            if missing.is_none() {
                let why = format!(
                    "{name} = \"\": the agent serves metrics over TLS only; set a PEM \
                     file, or use the unix socket or metrics.textfile"
                );
                contradicts("metrics.listen", ["metrics.listen", name], &why);
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

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
