//! The configuration that the kubelet uses, as far as it concerns memory and swap, with the source
//! of each value.

use crate::model::counted::counted;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::quantity::Quantity;

/// The eviction signals whose thresholds the agent reads.
pub const MEMORY_AVAILABLE: &str = "memory.available";
pub const NODEFS_AVAILABLE: &str = "nodefs.available";
pub const IMAGEFS_AVAILABLE: &str = "imagefs.available";

/// The feature gate that LimitedSwap needs.
pub const NODE_SWAP: &str = "NodeSwap";

/// The gates that switch all gates of a stage that are not set themselves.
pub const ALL_ALPHA: &str = "AllAlpha";
pub const ALL_BETA: &str = "AllBeta";

/// The feature gates that matter here.
pub const GATES: [&str; 3] = [NODE_SWAP, ALL_ALPHA, ALL_BETA];

/// The source of a value. Later variants override earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The kubelet's own default.
    #[default]
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// A file below `--config-dir`.
    DropIn(PathBuf),
    /// The command line, and where the agent read it.
    Flag(Teller),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) | Self::DropIn(path) => write!(f, "{}", path.display()),
            Self::Flag(teller) => write!(f, "a flag of {teller}"),
        }
    }
}

/// The source of the kubelet's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Teller {
    /// From the running kubelet, by process ID.
    Process(u32),
    /// From the kubelet that ran last, by process ID; none runs now.
    LastProcess(u32),
    /// From systemd, or from the unit's files.
    Unit(String),
    /// Without a unit: from the environment files that kubeadm's unit reads.
    Environment(PathBuf),
    /// Nowhere: the agent searches the usual places.
    #[default]
    Nobody,
}

impl fmt::Display for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "the running kubelet (process {pid})"),
            Self::LastProcess(pid) => {
                write!(f, "the last kubelet (process {pid})")
            }
            Self::Unit(name) => f.write_str(name),
            Self::Environment(path) => write!(f, "{}", path.display()),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// A value with its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// The kubelet's default.
    pub fn default_value(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// Thresholds and reservations by name.
pub type Named = BTreeMap<String, Sourced<String>>;

/// The effective `KubeletConfiguration`: no value is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletConfig {
    /// The file of `--config`, as a path on the host.
    pub file: Option<PathBuf>,
    /// The files of `--config-dir`, in the order in which the kubelet applies them.
    pub drop_ins: Vec<PathBuf>,
    /// The directory of `--config-dir`, if the kubelet reads drop-ins in it.
    pub drop_in_folder: Option<PathBuf>,
    pub told_by: Teller,
    /// The files with the flag `--fail-swap-on`, if it has the value that counts and is true.
    pub flag_files: Vec<PathBuf>,
    pub fail_swap_on: Sourced<bool>,
    /// Empty means NoSwap.
    pub swap_behavior: Sourced<String>,
    /// The feature gates that files and flags set.
    pub gates: BTreeMap<String, Sourced<bool>>,
    /// The feature gates that the files set, including those that flags override.
    pub file_gates: BTreeMap<String, Sourced<bool>>,
    /// The minor version of the kubelet, 36 for v1.36.2; `None` if unknown.
    pub minor: Option<u32>,
    pub eviction_hard: Named,
    pub eviction_soft: Named,
    pub eviction_soft_grace_period: Named,
    /// Empty means the root.
    pub cgroup_root: Sourced<String>,
    /// Where the kubelet asks the runtime (Kubernetes 1.34 and later), the runtime's own driver
    /// takes precedence.
    pub cgroup_driver: Sourced<String>,
    pub cgroups_per_qos: Sourced<bool>,
    pub system_reserved: Named,
    pub kube_reserved: Named,
    pub system_reserved_cgroup: Sourced<String>,
    pub kube_reserved_cgroup: Sourced<String>,
    pub enforce_node_allocatable: Sourced<Vec<String>>,
    /// Empty means no static pods.
    pub static_pod_path: Sourced<String>,
    pub node_status_update_frequency: Sourced<Duration>,
    /// Problems that the kubelet only logs: unknown keys, duplicate keys.
    pub warnings: Vec<String>,
}

impl Default for KubeletConfig {
    /// The kubelet's defaults.
    fn default() -> Self {
        let hard = DEFAULT_EVICTION_HARD.map(|(signal, threshold)| {
            (signal.to_owned(), Sourced::default_value(threshold.to_owned()))
        });
        Self {
            file: None,
            drop_ins: Vec::new(),
            drop_in_folder: None,
            told_by: Teller::Nobody,
            flag_files: Vec::new(),
            fail_swap_on: Sourced::default_value(true),
            swap_behavior: Sourced::default(),
            gates: BTreeMap::new(),
            file_gates: BTreeMap::new(),
            minor: None,
            eviction_hard: hard.into(),
            eviction_soft: Named::new(),
            eviction_soft_grace_period: Named::new(),
            cgroup_root: Sourced::default(),
            cgroup_driver: Sourced::default_value("cgroupfs".to_owned()),
            cgroups_per_qos: Sourced::default_value(true),
            system_reserved: Named::new(),
            kube_reserved: Named::new(),
            system_reserved_cgroup: Sourced::default(),
            kube_reserved_cgroup: Sourced::default(),
            enforce_node_allocatable: Sourced::default_value(vec!["pods".to_owned()]),
            static_pod_path: Sourced::default(),
            node_status_update_frequency: Sourced::default_value(Duration::from_secs(10)),
            warnings: Vec::new(),
        }
    }
}

/// Source: Kubernetes `pkg/kubelet/eviction/defaults_linux.go`.
pub const DEFAULT_EVICTION_HARD: [(&str, &str); 5] = [
    (MEMORY_AVAILABLE, "100Mi"),
    (NODEFS_AVAILABLE, "10%"),
    ("nodefs.inodesFree", "5%"),
    (IMAGEFS_AVAILABLE, "15%"),
    ("imagefs.inodesFree", "5%"),
];

/// A threshold that the kubelet rejects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {signal}: {value:?} ({origin}) {why}")]
pub struct ThresholdError {
    /// `evictionHard` or `evictionSoft`.
    pub key: &'static str,
    pub signal: String,
    pub value: String,
    pub origin: Origin,
    /// Completes a sentence that begins with the value.
    pub why: &'static str,
}

impl KubeletConfig {
    /// Returns the configuration as that of a kubelet of this minor version, if it is known.
    pub fn of_version(&self, minor: Option<u32>) -> Self {
        Self { minor: minor.or(self.minor), ..self.clone() }
    }

    /// Returns the hard and the soft threshold of `signal` in bytes; `None` if there is none. An
    /// error is the reason why the kubelet does not start with it.
    pub fn thresholds(&self, signal: &str, whole: u64) -> [Result<Option<u64>, ThresholdError>; 2] {
        [("evictionHard", &self.eviction_hard), ("evictionSoft", &self.eviction_soft)].map(
            |(key, of)| {
                let Some(Sourced { value, origin }) = of.get(signal) else { return Ok(None) };
                threshold(value, whole).map_err(|why| ThresholdError {
                    key,
                    signal: signal.to_owned(),
                    value: value.clone(),
                    origin: origin.clone(),
                    why,
                })
            },
        )
    }

    /// Returns the kubelet's top cgroup, `kubepods`, as paths below the cgroup root: for the
    /// systemd and for the cgroupfs driver. `cgroupRoot: /kubelet` gives
    /// `kubelet.slice/kubelet-kubepods.slice` and `kubelet/kubepods`.
    ///
    /// Source: Kubernetes `pkg/kubelet/cm/cgroup_manager_linux.go`, `ToSystemd` and `ToCgroupfs`.
    pub fn pods_roots(&self) -> [PathBuf; 2] {
        let names = self.cgroup_root.value.split('/');
        let names: Vec<&str> =
            names.filter(|name| !matches!(*name, "" | "." | "..")).chain(["kubepods"]).collect();
        let escaped = names.iter().map(|name| name.replace('-', "_"));
        let slices = escaped.scan(String::new(), |stem, name| {
            *stem = if stem.is_empty() { name } else { format!("{stem}-{name}") };
            Some(format!("{stem}.slice"))
        });
        [slices.collect(), names.iter().collect()]
    }

    /// Returns every value by its key, with its source. Leaves out values that are neither set nor
    /// have a default.
    pub fn values(&self) -> Vec<(String, String, &Origin)> {
        fn one<'a, T: fmt::Display>(key: &str, of: &'a Sourced<T>) -> (String, String, &'a Origin) {
            (key.to_owned(), of.value.to_string(), &of.origin)
        }
        let enforced = &self.enforce_node_allocatable;
        let frequency = &self.node_status_update_frequency;
        let mut values = vec![
            one("failSwapOn", &self.fail_swap_on),
            one("memorySwap.swapBehavior", &self.swap_behavior),
            one("cgroupRoot", &self.cgroup_root),
            one("cgroupDriver", &self.cgroup_driver),
            one("cgroupsPerQOS", &self.cgroups_per_qos),
            ("enforceNodeAllocatable".to_owned(), enforced.value.join(","), &enforced.origin),
            one("systemReservedCgroup", &self.system_reserved_cgroup),
            one("kubeReservedCgroup", &self.kube_reserved_cgroup),
            one("staticPodPath", &self.static_pod_path),
            (
                "nodeStatusUpdateFrequency".to_owned(),
                format!("{}s", frequency.value.as_secs_f64()),
                &frequency.origin,
            ),
        ];
        let gates = GATES.iter().filter_map(|gate| Some((gate, self.gates.get(*gate)?)));
        values.extend(gates.map(|(gate, of)| one(&format!("featureGates.{gate}"), of)));
        for (key, of) in [
            ("evictionHard", &self.eviction_hard),
            ("evictionSoft", &self.eviction_soft),
            ("evictionSoftGracePeriod", &self.eviction_soft_grace_period),
            ("systemReserved", &self.system_reserved),
            ("kubeReserved", &self.kube_reserved),
        ] {
            values.extend(of.iter().map(|(name, of)| one(&format!("{key}.{name}"), of)));
        }
        values.retain(|(_, value, _)| !value.is_empty());
        values
    }

    /// Describes the file and the number of drop-ins and flags, for a sentence.
    pub fn described(&self) -> String {
        let mut text = self.file.as_deref().map_or_else(
            || "no --config file".to_owned(),
            |path: &Path| path.display().to_string(),
        );
        if let Some(last) = self.drop_ins.last() {
            let count = counted(self.drop_ins.len(), "drop-in", "drop-ins");
            text += &format!(", {count} up to {}", last.display());
        }
        if self.told_by != Teller::Nobody {
            text += &format!("; flags of {}", self.told_by);
        }
        text
    }
}

/// Parses a threshold in bytes of `whole`; `None` for a value that the kubelet treats as none.
///
/// Source: Kubernetes `pkg/kubelet/eviction/helpers.go`, `parseThresholdStatement` and
/// `GetThresholdQuantity`: percentages are float32.
pub fn threshold(text: &str, whole: u64) -> Result<Option<u64>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if let Some(number) = text.strip_suffix('%') {
        if text == "0%" || text == "100%" {
            return Ok(None);
        }
        let part = percentage(number.trim_end_matches('%')).ok_or("is not a percentage")? / 100.0;
        if !(0.0..=1.0).contains(&part) {
            return Err("is not between 0% and 100%");
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as the kubelet computes it"
        )]
        let bytes = (whole as f64 * f64::from(part)) as u64;
        return Ok(Some(bytes));
    }
    let quantity: Quantity = text.parse().map_err(|_| "is not a quantity")?;
    if !quantity.is_positive() {
        return Err("is not above 0");
    }
    Ok(u64::try_from(quantity.value()).ok())
}

/// Parses as Go's ParseFloat with 32 bits, without hexadecimal numbers.
fn percentage(text: &str) -> Option<f32> {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let separates =
        |(at, _): (usize, &str)| digit(bytes.get(at + 1)) && at > 0 && digit(bytes.get(at - 1));
    if !text.match_indices('_').all(separates) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Parses Go's durations: `1m30s`, `1.5h`, `300ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let (unit, after) = after
            .split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        nanos += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = after;
    }
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_pods_is_the_kubelets() {
        for (root, systemd, cgroupfs) in [
            ("", "kubepods.slice", "kubepods"),
            ("/", "kubepods.slice", "kubepods"),
            ("/kubelet", "kubelet.slice/kubelet-kubepods.slice", "kubelet/kubepods"),
            ("/a/b/", "a.slice/a-b.slice/a-b-kubepods.slice", "a/b/kubepods"),
            ("/a-b", "a_b.slice/a_b-kubepods.slice", "a-b/kubepods"),
            ("/../x", "x.slice/x-kubepods.slice", "x/kubepods"),
        ] {
            let config = KubeletConfig {
                cgroup_root: Sourced::default_value(root.to_owned()),
                ..KubeletConfig::default()
            };
            assert_eq!(config.pods_roots(), [systemd, cgroupfs].map(PathBuf::from), "{root}");
        }
    }
}
