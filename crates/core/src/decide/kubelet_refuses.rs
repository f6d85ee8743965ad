//! Why a kubelet does not start with its configuration, as far as the agent reads it.
//!
//! Source: Kubernetes `pkg/features/kube_features.go` (NodeSwap), `component-base/featuregate`,
//! `pkg/kubelet/apis/config/validation/validation.go`, `pkg/kubelet/eviction/helpers.go`,
//! `cmd/kubelet/app/server.go` (`parseResourceList`).

use std::collections::BTreeSet;

use crate::model::{
    kubelet::{
        ALL_ALPHA, ALL_BETA, KubeletConfig, NODE_SWAP, Named, Origin, Sourced, Teller,
        ThresholdError, duration, threshold,
    },
    quantity::Quantity,
};

/// The feature gate NodeSwap of a kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapGate {
    /// On, as far as is known: without a version, the default counts as on, because a kubelet whose
    /// gate is off does not start with a swapBehavior.
    On,
    /// Off, and why.
    Off(String),
    /// The kubelet does not start with the gate, and why.
    Refused(String),
}

/// Returns the state of the gate.
pub fn swap_gate(config: &KubeletConfig) -> SwapGate {
    let set = |gate: &str| config.gates.get(gate);
    let version = config.minor.map_or_else(String::new, |minor| format!("Kubernetes 1.{minor}"));
    let locked = |of: &Sourced<bool>| {
        format!(
            "the feature gate NodeSwap is false ({}), and {version} does not allow that",
            of.origin
        )
    };
    // The kubelet sets the gates of its files before those of its flags.
    if config.minor.is_some_and(|minor| minor >= 34)
        && let Some(of) = [config.file_gates.get(NODE_SWAP), set(NODE_SWAP)]
            .into_iter()
            .flatten()
            .find(|of| !of.value)
    {
        return SwapGate::Refused(locked(of));
    }
    if let Some(Sourced { value, origin }) = set(NODE_SWAP) {
        return match (config.minor, value) {
            (Some(..22), _) => SwapGate::Refused(format!(
                "{version} does not know the feature gate NodeSwap ({origin})"
            )),
            (_, true) => SwapGate::On,
            (_, false) => SwapGate::Off(format!("the feature gate NodeSwap is off ({origin})")),
        };
    }
    let (by_default, stage) = match config.minor {
        None | Some(34..) => return SwapGate::On,
        Some(..22) => (false, None),
        Some(22..28) => (false, Some(ALL_ALPHA)),
        Some(28..30) => (false, Some(ALL_BETA)),
        Some(30..34) => (true, Some(ALL_BETA)),
    };
    match stage.and_then(|stage| Some((stage, set(stage)?))) {
        Some((_, Sourced { value: true, .. })) => SwapGate::On,
        Some((stage, Sourced { value: false, origin })) => {
            SwapGate::Off(format!("the feature gate {stage} is off ({origin}), so NodeSwap is off"))
        }
        None if by_default => SwapGate::On,
        None => {
            SwapGate::Off(format!("the feature gate NodeSwap is off (the default of {version})"))
        }
    }
}

/// Returns the reason why the kubelet does not start with `config`.
pub fn refuses(config: &KubeletConfig) -> Option<String> {
    swap(config)
        .or_else(|| enforced(config))
        .or_else(|| reserved(config))
        .or_else(|| evictions(config))
        .map(|why| format!("the kubelet does not start: {why}"))
}

fn swap(config: &KubeletConfig) -> Option<String> {
    let Sourced { value, origin } = &config.swap_behavior;
    let off = match swap_gate(config) {
        SwapGate::Refused(why) => return Some(why),
        SwapGate::Off(why) => Some(why),
        SwapGate::On => None,
    };
    if let Some(off) = off {
        return (!value.is_empty())
            .then(|| format!("memorySwap.swapBehavior is {value:?} ({origin}), but {off}"));
    }
    // UnlimitedSwap was allowed up to 1.29, and NoSwap is from 1.30 on.
    let is_allowed = match value.as_str() {
        "" | "LimitedSwap" => true,
        "NoSwap" => config.minor.is_none_or(|minor| minor >= 30),
        "UnlimitedSwap" => config.minor.is_none_or(|minor| minor < 30),
        _ => false,
    };
    (!is_allowed).then(|| {
        format!("memorySwap.swapBehavior is {value:?} ({origin}), which this kubelet does not know")
    })
}

fn enforced(config: &KubeletConfig) -> Option<String> {
    let Sourced { value: enforced, origin } = &config.enforce_node_allocatable;
    let wrong = |why: String| Some(format!("enforceNodeAllocatable ({origin}): {why}"));
    let has = |name: &str| enforced.iter().any(|of| of == name);
    let mut known = BTreeSet::new();
    for of in enforced {
        if !known.insert(of) {
            return wrong(format!("{of:?} occurs twice"));
        }
        let cgroup = match of.as_str() {
            "pods" => None,
            "system-reserved" | "system-reserved-compressible" => {
                Some(("systemReservedCgroup", &config.system_reserved_cgroup))
            }
            "kube-reserved" | "kube-reserved-compressible" => {
                Some(("kubeReservedCgroup", &config.kube_reserved_cgroup))
            }
            "none" if enforced.len() > 1 => return wrong("\"none\" must stand alone".to_owned()),
            "none" => continue,
            _ => return wrong(format!("{of:?} is not a value of it")),
        };
        if let Some((key, Sourced { value, .. })) = cgroup
            && value.is_empty()
        {
            return wrong(format!("{of:?} needs {key}"));
        }
        if !config.cgroups_per_qos.value {
            let origin = &config.cgroups_per_qos.origin;
            return wrong(format!("{of:?} needs cgroupsPerQOS, which is false ({origin})"));
        }
    }
    for of in ["system-reserved", "kube-reserved"] {
        let compressible = format!("{of}-compressible");
        if has(of) && has(&compressible) {
            return wrong(format!("{of:?} and {compressible:?} exclude each other"));
        }
    }
    None
}

fn reserved(config: &KubeletConfig) -> Option<String> {
    for (key, of) in
        [("kubeReserved", &config.kube_reserved), ("systemReserved", &config.system_reserved)]
    {
        for (name, Sourced { value, origin }) in of {
            // A variable of an EnvironmentFile= that does not exist before the node's first boot ends.
            if value.is_empty() && matches!(config.told_by, Teller::Unit(_)) {
                continue;
            }
            let why = match value.parse::<Quantity>() {
                _ if !["cpu", "memory", "ephemeral-storage", "pid"].contains(&name.as_str()) => {
                    "is for a resource that the kubelet does not reserve"
                }
                Err(_) => "is not a quantity",
                Ok(quantity) if quantity.is_negative() => "is negative",
                Ok(_) => continue,
            };
            return Some(format!("{key} {name}: {value:?} ({origin}) {why}"));
        }
    }
    None
}

const SIGNALS: [&str; 9] = [
    "memory.available",
    "allocatableMemory.available",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "nodefs.available",
    "nodefs.inodesFree",
    "pid.available",
];

fn evictions(config: &KubeletConfig) -> Option<String> {
    for (signal, Sourced { value, origin }) in &config.eviction_soft_grace_period {
        let wrong = |why| Some(wrong("evictionSoftGracePeriod", signal, value, origin, why));
        if !SIGNALS.contains(&signal.as_str()) {
            return wrong("is for a signal that the kubelet does not know");
        }
        if duration(value).is_none() {
            return wrong("is not a duration");
        }
    }
    let maps: [(&'static str, &Named); 2] =
        [("evictionHard", &config.eviction_hard), ("evictionSoft", &config.eviction_soft)];
    for (key, of) in maps {
        for (signal, Sourced { value, origin }) in of {
            let wrong = |why| Some(wrong(key, signal, value, origin, why));
            if !SIGNALS.contains(&signal.as_str()) {
                return wrong("is for a signal that the kubelet does not know");
            }
            // The size of the whole does not affect the validity of a threshold.
            match threshold(value, 1 << 30) {
                Err(why) => return wrong(why),
                Ok(None) => {}
                Ok(Some(_)) if key == "evictionSoft" => {
                    if !config.eviction_soft_grace_period.contains_key(signal) {
                        return wrong("has no evictionSoftGracePeriod");
                    }
                }
                Ok(Some(_)) => {}
            }
        }
    }
    None
}

fn wrong(
    key: &'static str,
    signal: &str,
    value: &str,
    origin: &Origin,
    why: &'static str,
) -> String {
    ThresholdError {
        key,
        signal: signal.to_owned(),
        value: value.to_owned(),
        origin: origin.clone(),
        why,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(minor: Option<u32>, behavior: &str, gates: &[(&str, bool)]) -> KubeletConfig {
        KubeletConfig {
            swap_behavior: Sourced::new(behavior.to_owned(), Origin::File("/k".into())),
            gates: gates
                .iter()
                .map(|(gate, on)| {
                    ((*gate).to_owned(), Sourced::new(*on, Origin::File("/k".into())))
                })
                .collect(),
            minor,
            ..KubeletConfig::default()
        }
    }

    /// OpenShift's kubelet.service has `--system-reserved=cpu=${SYSTEM_RESERVED_CPU},…` of a file that
    /// another unit writes later in a node's first boot.
    #[test]
    fn a_variable_that_is_not_set_yet_is_no_mistake() {
        let empty = Sourced::default_value(String::new());
        let config = |told_by| KubeletConfig {
            system_reserved: [("cpu".to_owned(), empty.clone())].into(),
            told_by,
            ..KubeletConfig::default()
        };
        let unit = Teller::Unit("kubelet.service".into());
        assert_eq!(refuses(&config(unit)), None);
        assert!(refuses(&config(Teller::Process(1))).is_some());
    }

    /// The stages of NodeSwap by version, from `kube_features.go`: alpha in 1.22, beta and off in
    /// 1.28, beta and on in 1.30, and locked to true in 1.34.
    #[test]
    fn the_gate_is_on_from_its_stage_and_the_gates_of_all() {
        let limited = "LimitedSwap";
        for (minor, gates, refused) in [
            (21, vec![], true),
            (21, vec![(NODE_SWAP, true)], true),
            (27, vec![], true),
            (27, vec![(ALL_BETA, true)], true),
            (27, vec![(ALL_ALPHA, true)], false),
            (28, vec![(ALL_ALPHA, true)], true),
            (28, vec![(ALL_BETA, true)], false),
            (29, vec![(ALL_BETA, true), (NODE_SWAP, false)], true),
            (29, vec![(NODE_SWAP, true)], false),
            (30, vec![], false),
            (33, vec![(ALL_BETA, false)], true),
            (33, vec![(ALL_BETA, false), (NODE_SWAP, true)], false),
            (33, vec![(NODE_SWAP, false)], true),
            (34, vec![(ALL_BETA, false)], false),
            (34, vec![(NODE_SWAP, false)], true),
            (36, vec![(NODE_SWAP, true)], false),
        ] {
            let config = config(Some(minor), limited, &gates);
            assert_eq!(refuses(&config).is_some(), refused, "1.{minor} {gates:?}");
        }
        assert_eq!(refuses(&config(Some(33), "", &[(NODE_SWAP, false)])), None);
        assert!(refuses(&config(Some(34), "", &[(NODE_SWAP, false)])).is_some());
        // Without a version.
        assert_eq!(refuses(&config(None, limited, &[])), None);
        let why = refuses(&config(None, limited, &[(NODE_SWAP, false)])).unwrap();
        assert_eq!(
            why,
            "the kubelet does not start: memorySwap.swapBehavior is \"LimitedSwap\" (/k), but the \
             feature gate NodeSwap is off (/k)"
        );
    }

    #[test]
    fn the_behavior_must_be_one_of_the_version() {
        for (minor, behavior, refused) in [
            (None, "limitedSwap", true),
            (None, "B4", true),
            (Some(29), "UnlimitedSwap", false),
            (Some(29), "NoSwap", true),
            (Some(30), "UnlimitedSwap", true),
            (Some(36), "NoSwap", false),
            (Some(36), "Limitedswap", true),
        ] {
            let config = config(minor, behavior, &[(NODE_SWAP, true)]);
            assert_eq!(refuses(&config).is_some(), refused, "{minor:?} {behavior}");
        }
    }
}
