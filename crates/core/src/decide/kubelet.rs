//! Evaluates the kubelet's configuration.
//!
//! Source: Kubernetes "Node-pressure Eviction"; `pkg/kubelet/cm/container_manager_linux.go`
//! (failSwapOn).

use std::path::{Path, PathBuf};

use super::{
    kubelet_pool::set_in_pool,
    kubelet_refuses::{SwapGate, refuses, swap_gate},
};
use crate::{
    config::settings::{GrantSettings, Grants, Policy, Settings, WishRules},
    decide::hook::listed,
    model::{
        host::NodeMemory,
        kubelet::{
            IMAGEFS_AVAILABLE, KubeletConfig, MEMORY_AVAILABLE, NODEFS_AVAILABLE, Origin, Sourced,
        },
        published,
        shell::{self, quoted},
        system::System,
        words::Vocabulary,
    },
};

/// Returns the eviction threshold for `memory.available`: the higher of the hard and the soft one,
/// in bytes.
pub fn memory_threshold(config: Option<&KubeletConfig>, ram_bytes: u64) -> u64 {
    highest(config, MEMORY_AVAILABLE, ram_bytes)
}

/// Returns the default for the bytes that a swapfile must leave free on a file system of
/// `total_bytes`: a twentieth of the file system above the kubelet's `nodefs.available`, and above
/// its `imagefs.available` if the file system `holds_images`.
pub fn disk_reserve(config: Option<&KubeletConfig>, total_bytes: u64, holds_images: bool) -> u64 {
    let images = if holds_images { highest(config, IMAGEFS_AVAILABLE, total_bytes) } else { 0 };
    let threshold = highest(config, NODEFS_AVAILABLE, total_bytes).max(images);
    threshold.saturating_add(total_bytes / 20)
}

/// A threshold that the kubelet rejects counts as none: the kubelet does not start with it.
fn highest(config: Option<&KubeletConfig>, signal: &str, whole: u64) -> u64 {
    let default = KubeletConfig::default();
    let [hard, soft] = config.unwrap_or(&default).thresholds(signal, whole);
    hard.ok().flatten().max(soft.ok().flatten()).unwrap_or(0)
}

/// Returns commands that set `key` where it takes effect: flags override drop-ins, and drop-ins
/// override the file.
///
/// The commands never rewrite a file of the kubelet by guess. If the kubelet reads drop-ins, they
/// write a separate drop-in for this key. Otherwise they change the value on the line of the key,
/// or give the administrator a remark. They restart the kubelet only after a change.
pub fn commands_to_set(
    system: &System,
    config: &KubeletConfig,
    origin: &Origin,
    key: &str,
    value: &str,
    flag: &str,
) -> Vec<String> {
    if let Some(pool) = &system.pool {
        return set_in_pool(pool, config, origin, key, value);
    }
    let (table, last) =
        key.rsplit_once('.').map_or((None, key), |(table, last)| (Some(table), last));
    let by_hand = |step: String| vec![format!("# {step}; then restart the kubelet")];
    let lines = match table {
        None => format!(r"{last}: {value}"),
        Some(table) => format!(r"{table}:\n  {last}: {value}"),
    };
    // A command that changes nothing fails, and names the step.
    let else_fails = |path: &Path| {
        let step = quoted(&format!("set {key}: {value} in {}", path.display()));
        format!("else echo {step} >&2; false; fi")
    };
    match (origin, &config.drop_in_folder, &config.file) {
        (Origin::Flag(teller), ..) if !flag.is_empty() => match &config.flag_files[..] {
            [] => by_hand(format!("put {flag}={value} on the command line of {teller}")),
            files => {
                let files: Vec<String> = files.iter().map(|file| shell::path(file)).collect();
                let files = files.join(" ");
                vec![
                    format!(
                        r#"sed -i --follow-symlinks -E 's/{flag}(=("[^"]*"|\x27[^\x27]*\x27|[^[:space:]"\x27\\]+))?/{flag}={value}/g' {files}"#
                    ),
                    "systemctl daemon-reload".to_owned(),
                    RESTART.to_owned(),
                ]
            }
        },
        (_, Some(folder), _) => {
            let path = shell::path(&own_drop_in(folder, config.drop_ins.last(), last));
            vec![format!(
                r"printf 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{lines}\n' > {path} && {RESTART}"
            )]
        }
        // Changes nothing if the value is on another line than the key.
        (Origin::File(file), None, _) => {
            let (path, otherwise) = (shell::path(file), else_fails(file));
            vec![format!(
                r#"if sed -i --follow-symlinks -E 's/^([^#]*\b{last}["\x27]?\s*:\s*["\x27]?)[A-Za-z]+/\1{value}/w /dev/stdout' {path} | grep .; then {RESTART}; {otherwise}"#
            )]
        }
        // Appends to YAML in block style, which has the key on no line of its own, and no second
        // document.
        (_, None, Some(file)) => {
            let (path, otherwise) = (shell::path(file), else_fails(file));
            let first = table.unwrap_or(last);
            vec![format!(
                r"if grep -q '^kind:' {path} && ! grep -q '^{first}:' {path} && ! tail -n +2 {path} | grep -qE '^(---|\.\.\.)'; then printf '\n{lines}\n' >> {path} && {RESTART}; {otherwise}"
            )]
        }
        (_, None, None) => {
            by_hand(format!("set {key}: {value} in the file of the kubelet's --config"))
        }
    }
}

/// Returns commands that show why the kubelet does not start, for a file that only a person can
/// correct.
pub fn by_journal(system: &System) -> Vec<String> {
    let look = "journalctl -u kubelet -b -n 20".to_owned();
    let Some(pool) = &system.pool else {
        return vec![
            look,
            "# correct the file that the message names".to_owned(),
            RESTART.to_owned(),
        ];
    };
    vec![
        look,
        "oc get kubeletconfig,machineconfig".to_owned(),
        format!(
            "# then correct the value in the object that contains it, and wait for pool {pool}"
        ),
    ]
}

const RESTART: &str = "systemctl restart kubelet";

/// Returns a drop-in for one key that overrides `last_read`, the last one that the kubelet reads:
/// our drop-ins for other keys stay.
pub(super) fn own_drop_in(folder: &Path, last_read: Option<&PathBuf>, key: &str) -> PathBuf {
    let own = format!("99-wasp-agent-{key}.conf");
    let Some(last_read) = last_read else { return folder.join(own) };
    let name = last_read.file_name().unwrap_or_default().to_string_lossy();
    last_read.with_file_name(match *name <= *own {
        true => own,
        false => format!("{name}-wasp-agent-{key}.conf"),
    })
}

/// Returns the reason why the kubelet does not start with swap on, if there is one.
pub fn fails_with_swap(config: &KubeletConfig) -> Option<String> {
    let Sourced { value, origin } = &config.fail_swap_on;
    value.then(|| {
        format!(
            "the kubelet does not start while swap is on: failSwapOn is true ({origin}); {} (on \
             OpenShift by a KubeletConfig up to 4.20, by a drop-in from 4.21 on)",
            match (origin, &config.file) {
                (Origin::Flag(_), _) => match &config.flag_files[..] {
                    [] => "remove the flag --fail-swap-on".to_owned(),
                    files => format!("remove the flag --fail-swap-on in {}", listed(files)),
                },
                (Origin::File(path) | Origin::DropIn(path), _) | (Origin::Default, Some(path)) => {
                    format!("set it to false in {}", path.display())
                }
                (Origin::Default, None) => "set it to false".to_owned(),
            }
        )
    })
}

/// Returns true if the kubelet grants swap by this configuration.
///
/// Source: Kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`,
/// `GetContainerSwapBehavior`.
fn is_limited_swap(config: &KubeletConfig) -> bool {
    config.swap_behavior.value == "LimitedSwap" && swap_gate(config) == SwapGate::On
}

/// Returns which program grants swap, and the rule that decides it: `configured` against the
/// configuration that the kubelet uses. `None` is a host without a kubelet.
pub fn in_force(
    configured: (Grants, GrantSettings),
    config: Option<&KubeletConfig>,
) -> (Grants, GrantSettings) {
    let (grants, grant) = configured;
    let limited_swap = config.map(is_limited_swap);
    match (grants, limited_swap) {
        (_, Some(true)) | (Grants::Kubelet, None) => (Grants::Kubelet, GrantSettings::LIMITED_SWAP),
        (Grants::Kubelet, Some(false)) => {
            (Grants::Kubelet, GrantSettings { policy: Policy::None, ..GrantSettings::LIMITED_SWAP })
        }
        (Grants::Auto | Grants::Agent, _) => (Grants::Agent, grant),
    }
}

/// Returns the settings in effect on a host whose kubelet uses `config`.
pub fn settings_in_force(settings: &Settings, config: Option<&KubeletConfig>) -> Settings {
    let (grants, grant) = in_force((settings.grants, settings.grant.clone()), config);
    Settings { grants, grant, ..settings.clone() }
}

/// Returns the settings and the node as the agent uses them, for commands that run in addition, and
/// whether the swap that the kubelet counts is certain. `config` is the configuration that the
/// kubelet uses, `Err` if it cannot be read; one with which the kubelet does not start counts as
/// such. `running` is what a running agent has published of it.
pub fn as_in_force(
    settings: &Settings,
    config: Result<Option<&KubeletConfig>, ()>,
    running: Option<&published::KubeletStatus>,
    node: NodeMemory,
) -> (Settings, NodeMemory, bool) {
    let with = |grants| Settings { grants, ..settings.clone() };
    let version = running.and_then(|kubelet| kubelet.minor);
    let config = config.map(|config| config.map(|config| config.of_version(version)));
    let config = match &config {
        Ok(Some(config)) if refuses(config).is_some() => Err(()),
        Ok(config) => Ok(config.as_ref()),
        Err(()) => Err(()),
    };
    let granting = running.and_then(|kubelet| Grants::from_word(&kubelet.grants));
    let in_force = match (config, granting) {
        (Ok(config), _) => settings_in_force(settings, config),
        // A running agent keeps the granting program that it knew before.
        (Err(()), Some(Grants::Kubelet)) => {
            Settings { grant: GrantSettings::LIMITED_SWAP, ..with(Grants::Kubelet) }
        }
        (Err(()), Some(grants)) => with(grants),
        (Err(()), None) => with(Grants::Auto),
    };
    if in_force.grants != Grants::Kubelet {
        return (in_force, node, true);
    }
    let counted = running.and_then(|kubelet| kubelet.swap_bytes);
    let swap_bytes = counted.unwrap_or(node.swap_bytes);
    let ram_bytes = running.and_then(|kubelet| kubelet.ram_bytes).unwrap_or(node.ram_bytes);
    (in_force, NodeMemory { swap_bytes, ram_bytes, ..node }, counted.is_some())
}

/// Describes settings of grants that have no effect, or another than intended.
pub fn grants_otherwise(
    configured: (Grants, GrantSettings),
    config: &KubeletConfig,
) -> Option<String> {
    let (grants, grant) = configured;
    let Sourced { value, origin } = &config.swap_behavior;
    let said = match (value.as_str(), swap_gate(config)) {
        ("LimitedSwap", SwapGate::Off(why) | SwapGate::Refused(why)) => why,
        ("", _) => format!("swapBehavior is not set ({origin})"),
        (value, _) => format!("swapBehavior is {value} ({origin})"),
    };
    match (grants, is_limited_swap(config)) {
        (Grants::Agent, true) => Some(format!(
            "the kubelet sets swap limits: {said}, but grants = \"agent\" here; the kubelet's \
             limits apply, as with grants = \"kubelet\"; choose one of the two"
        )),
        (Grants::Kubelet, false) => {
            Some(format!("no program sets swap limits: {said}, but grants = \"kubelet\" here"))
        }
        // Reading annotations is the default and no mistake; the administrator asked for the rest.
        (_, true)
            if GrantSettings {
                wishes: WishRules { annotations: false, ..grant.wishes.clone() },
                ..grant.clone()
            } != GrantSettings::LIMITED_SWAP =>
        {
            Some(format!(
                "the kubelet sets swap limits: {said}; limits.policy, limits.eligibility, \
                 limits.system-reserved-percent, limits.no-swap-namespaces and \
                 limits.opt-in-namespaces have no effect; remove them, or set NoSwap"
            ))
        }
        _ => None,
    }
}

/// Returns commands that make the kubelet grant as `configured` asks, for what [`grants_otherwise`]
/// describes. A swapBehavior with which the kubelet would not start is none of them.
pub fn grants_remedy(system: &System, configured: Grants, config: &KubeletConfig) -> Vec<String> {
    let (behavior, own) = match configured {
        Grants::Kubelet => ("LimitedSwap", FOLLOW),
        Grants::Agent => ("NoSwap", FOLLOW),
        Grants::Auto => ("NoSwap", "remove these keys from /etc/wasp-agent"),
    };
    let Sourced { origin, .. } = &config.swap_behavior;
    let swap_behavior = Sourced { value: behavior.to_owned(), origin: origin.clone() };
    if let Some(why) = refuses(&KubeletConfig { swap_behavior, ..config.clone() }) {
        return vec![format!("# {own}; with {behavior} {why}")];
    }
    let mut commands =
        commands_to_set(system, config, origin, "memorySwap.swapBehavior", behavior, "");
    commands.push(format!("# or {own}"));
    commands
}

const FOLLOW: &str =
    "remove grants from /etc/wasp-agent: the default, \"auto\", follows the kubelet";

/// Returns the reason why the agent cannot find pods' cgroups.
pub fn hides_pods(config: &KubeletConfig) -> Option<String> {
    let Sourced { value, origin } = &config.cgroups_per_qos;
    (!value).then(|| {
        format!(
            "cgroupsPerQOS is false ({origin}): pods have no separate cgroups, and the agent \
             sets no limit"
        )
    })
}

/// Returns the reason why the kubelet does not start, or why the agent cannot find its pods.
pub fn unusable(config: &KubeletConfig) -> Option<String> {
    hides_pods(config).or_else(|| refuses(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kubelet::{NODE_SWAP, Named};

    #[test]
    fn no_remedy_keeps_the_kubelet_from_starting() {
        let config = |minor, gate: Option<bool>| KubeletConfig {
            minor: Some(minor),
            gates: gate
                .map(|gate| (NODE_SWAP.to_owned(), Sourced::default_value(gate)))
                .into_iter()
                .collect(),
            file: Some("/etc/kubernetes/kubelet.conf".into()),
            ..KubeletConfig::default()
        };
        let remedy = |grants, config: &KubeletConfig| {
            grants_remedy(&System::default(), grants, config).join("\n")
        };
        for (grants, config, sets) in [
            (Grants::Kubelet, config(29, None), false),
            (Grants::Kubelet, config(33, Some(false)), false),
            (Grants::Kubelet, config(33, None), true),
            // NoSwap is a value from 1.30 on.
            (Grants::Agent, config(29, Some(true)), false),
            (Grants::Agent, config(30, None), true),
            (Grants::Auto, config(34, None), true),
        ] {
            let remedy = remedy(grants, &config);
            assert_eq!(remedy.contains("systemctl restart kubelet"), sets, "{remedy}");
            assert_eq!(remedy.contains("the kubelet does not start"), !sets, "{remedy}");
            assert!(remedy.contains("/etc/wasp-agent"), "{remedy}");
        }
    }

    const MIB: u64 = 1 << 20;
    const RAM: u64 = 4096 * MIB;

    fn named(signal: &str, value: &str) -> Named {
        [(signal.to_owned(), Sourced::default_value(value.to_owned()))].into()
    }

    #[test]
    fn a_person_corrects_the_file_or_the_object_of_the_pool() {
        let lines = |system: &System| by_journal(system).join("; ");
        assert!(lines(&System::default()).ends_with("; systemctl restart kubelet"));
        let pool = System { pool: Some("infra".to_owned()), ..System::default() };
        assert!(lines(&pool).contains("oc get kubeletconfig,machineconfig"));
        assert!(!lines(&pool).contains("systemctl restart"), "{}", lines(&pool));
    }

    #[test]
    fn the_higher_threshold_counts() {
        let memory = |config: &KubeletConfig| memory_threshold(Some(config), RAM) / MIB;
        let mut config = KubeletConfig::default();
        assert_eq!(memory_threshold(None, RAM), 100 * MIB);
        assert_eq!(memory(&config), 100);
        config.eviction_soft = named(MEMORY_AVAILABLE, "1Gi");
        assert_eq!(memory(&config), 1024);
        config.eviction_hard = named(MEMORY_AVAILABLE, "50%");
        assert_eq!(memory(&config), 2048);
        config.eviction_soft = named(MEMORY_AVAILABLE, "100%");
        config.eviction_hard = named(NODEFS_AVAILABLE, "5%");
        assert_eq!(memory(&config), 0, "100% and a missing one are none");
    }

    #[test]
    fn the_reserve_is_above_the_kubelets() {
        assert_eq!(disk_reserve(None, 1000, false), 150);
        assert_eq!(disk_reserve(None, 1000, true), 200, "the images' threshold is higher");
        let config = KubeletConfig {
            eviction_hard: named(NODEFS_AVAILABLE, "100"),
            eviction_soft: named(NODEFS_AVAILABLE, "20%"),
            ..KubeletConfig::default()
        };
        assert_eq!(disk_reserve(Some(&config), 1000, true), 250);
        let config = KubeletConfig {
            eviction_hard: named(IMAGEFS_AVAILABLE, "25%"),
            ..KubeletConfig::default()
        };
        assert_eq!(disk_reserve(Some(&config), 1000, true), 300);
        assert_eq!(disk_reserve(Some(&config), 1000, false), 50);
    }

    #[test]
    fn conflicts_are_named_with_value_origin_and_remedy() {
        let mut config = KubeletConfig { file: Some("/etc/k".into()), ..KubeletConfig::default() };
        let said = fails_with_swap(&config).unwrap();
        assert!(
            said.contains("failSwapOn is true (the default); set it to false in /etc/k"),
            "{said}"
        );
        config.fail_swap_on = Sourced::new(true, Origin::DropIn("/etc/d/9.conf".into()));
        assert!(fails_with_swap(&config).unwrap().contains("true (/etc/d/9.conf)"));
        config.fail_swap_on.value = false;
        assert_eq!(fails_with_swap(&config), None);
    }

    #[test]
    fn whoever_the_kubelets_configuration_leaves_it_to_grants() {
        let own = || GrantSettings { system_reserved_percent: 10, ..GrantSettings::LIMITED_SWAP };
        let nobody = GrantSettings { policy: Policy::None, ..GrantSettings::LIMITED_SWAP };
        let kubelet = || (Grants::Kubelet, GrantSettings::LIMITED_SWAP);
        let gate = |on| Some(Sourced::default_value(on));
        let gates = |gate: Option<Sourced<bool>>| {
            gate.into_iter().map(|gate| (NODE_SWAP.to_owned(), gate)).collect()
        };
        for (configured, behavior, gate, expected) in [
            (Grants::Auto, None, None, (Grants::Agent, own())),
            (Grants::Auto, Some(""), None, (Grants::Agent, own())),
            (Grants::Auto, Some("NoSwap"), None, (Grants::Agent, own())),
            (Grants::Auto, Some("LimitedSwap"), None, kubelet()),
            (Grants::Auto, Some("LimitedSwap"), gate(true), kubelet()),
            (Grants::Auto, Some("LimitedSwap"), gate(false), (Grants::Agent, own())),
            (Grants::Agent, None, None, (Grants::Agent, own())),
            (Grants::Agent, Some("NoSwap"), None, (Grants::Agent, own())),
            (Grants::Agent, Some("LimitedSwap"), None, kubelet()),
            (Grants::Kubelet, None, None, kubelet()),
            (Grants::Kubelet, Some("LimitedSwap"), None, kubelet()),
            (Grants::Kubelet, Some("NoSwap"), None, (Grants::Kubelet, nobody)),
        ] {
            let config = behavior.map(|behavior| KubeletConfig {
                swap_behavior: Sourced::default_value(behavior.to_owned()),
                gates: gates(gate),
                ..KubeletConfig::default()
            });
            let found = in_force((configured, own()), config.as_ref());
            assert_eq!(found, expected, "{configured:?} {behavior:?}");
        }
    }

    #[test]
    fn what_is_configured_and_does_not_count_is_named() {
        let mut config = KubeletConfig::default();
        let limited = GrantSettings::LIMITED_SWAP;
        let otherwise =
            |config: &KubeletConfig, grants| grants_otherwise((grants, limited.clone()), config);
        assert_eq!(otherwise(&config, Grants::Auto), None);
        assert_eq!(otherwise(&config, Grants::Agent), None);
        let said = otherwise(&config, Grants::Kubelet).unwrap();
        assert!(
            said.contains("no program sets swap limits: swapBehavior is not set (the default)"),
            "{said}"
        );
        config.swap_behavior.value = "LimitedSwap".to_owned();
        assert_eq!(otherwise(&config, Grants::Auto), None);
        assert_eq!(otherwise(&config, Grants::Kubelet), None);
        assert!(otherwise(&config, Grants::Agent).unwrap().contains("LimitedSwap (the default)"));
        let own = GrantSettings { policy: Policy::Max, ..limited.clone() };
        let said = grants_otherwise((Grants::Auto, own), &config).unwrap();
        assert!(said.contains("limits.policy"), "{said}");
        let off = Sourced::new(false, Origin::DropIn("/etc/d/9.conf".into()));
        config.gates.insert(NODE_SWAP.to_owned(), off);
        let said = otherwise(&config, Grants::Kubelet).unwrap();
        assert!(said.contains("the feature gate NodeSwap is off (/etc/d/9.conf)"), "{said}");
    }

    #[test]
    fn what_the_kubelet_refuses_is_named() {
        let mut config = KubeletConfig::default();
        assert_eq!(unusable(&config), None);
        config.eviction_hard = named(MEMORY_AVAILABLE, "101%");
        let said = unusable(&config).unwrap();
        assert!(said.contains("evictionHard memory.available: \"101%\""), "{said}");
        config.eviction_hard.clear();
        config.eviction_soft = named(MEMORY_AVAILABLE, "1Gi");
        assert!(unusable(&config).unwrap().contains("has no evictionSoftGracePeriod"));
        config.eviction_soft_grace_period = named(MEMORY_AVAILABLE, "1m30s");
        assert_eq!(unusable(&config), None);
        config.cgroups_per_qos.value = false;
        assert!(unusable(&config).unwrap().contains("cgroupsPerQOS is false"));
    }
}
