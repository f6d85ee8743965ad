//! Merges the kubelet's defaults, its file, its drop-ins and its flags as the kubelet does.
//!
//! Source: Kubernetes `cmd/kubelet/app/server.go` (`loadConfigFile`, `mergeKubeletConfigurations`,
//! `kubeletConfigFlagPrecedence`) and `pkg/kubelet/apis/config/v1beta1/defaults.go`.
//! `recorded.json` has the results of that code.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    KubeletError,
    flags::Flags,
    yaml::{self, YamlError},
};
use crate::model::kubelet::{DEFAULT_EVICTION_HARD, KubeletConfig, Named, Origin, Sourced, Teller};

const KIND: &str = "KubeletConfiguration";
const GROUP: &str = "kubelet.config.k8s.io";

/// A value of a chain of drop-ins, with its source.
#[derive(Clone, Debug)]
enum MergedValue {
    Leaf(Value, Origin),
    Map(BTreeMap<String, MergedValue>),
}

/// The configuration read so far; `None` means not set.
#[derive(Clone, Debug, Default)]
struct Layer {
    bools: BTreeMap<&'static str, Sourced<bool>>,
    texts: BTreeMap<&'static str, Sourced<String>>,
    maps: BTreeMap<&'static str, Named>,
    lists: BTreeMap<&'static str, Sourced<Vec<String>>>,
    gates: BTreeMap<String, Sourced<bool>>,
    warnings: Vec<String>,
}

const BOOLS: [&str; 3] = ["failSwapOn", "cgroupsPerQOS", "mergeDefaultEvictionSettings"];
const TEXTS: [&str; 6] = [
    "cgroupRoot",
    "cgroupDriver",
    "staticPodPath",
    "systemReservedCgroup",
    "kubeReservedCgroup",
    "nodeStatusUpdateFrequency",
];
const MAPS: [&str; 5] =
    ["evictionHard", "evictionSoft", "evictionSoftGracePeriod", "systemReserved", "kubeReserved"];
const LISTS: [&str; 1] = ["enforceNodeAllocatable"];
const SWAP: &str = "memorySwap";
const GATES: &str = "featureGates";
const NODE_SWAP: &str = "NodeSwap";
const SWAP_BEHAVIOR: &str = "swapBehavior";

/// The comparison of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyCase {
    /// As in the API machinery's JSON: for the file of `--config`.
    Sensitive,
    /// As in Go's own JSON: for the result of merging drop-ins.
    Insensitive,
}

/// The texts that the kubelet reads.
#[derive(Debug, Default)]
pub struct Texts {
    pub file: Option<(PathBuf, String)>,
    /// `None` without `--config-dir`.
    pub drop_ins: Option<Vec<(PathBuf, String)>>,
}

/// A fault in the content of a file or of a drop-in.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("it is empty, or not a KubeletConfiguration")]
    NoMapping,
    #[error("it is not a {KIND} of {GROUP}/v1beta1")]
    Kind,
    #[error("its apiVersion is not {GROUP}/v1beta1")]
    Version,
    #[error("{key} occurs twice, which the kubelet rejects in a drop-in")]
    Twice { key: String },
    #[error("{key} must be {expected}{}", in_parentheses(.origin))]
    Type { key: String, expected: &'static str, origin: Origin },
}

impl ContentError {
    fn of(path: &Path) -> impl FnOnce(Self) -> KubeletError {
        move |source| KubeletError::Content { path: path.to_owned(), source }
    }
}

/// The default is a source that explains nothing.
fn in_parentheses(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        origin => format!(" ({origin})"),
    }
}

/// Returns the configuration in effect.
pub fn effective(
    texts: &Texts,
    flags: &Flags,
    told_by: &Teller,
) -> Result<KubeletConfig, KubeletError> {
    let flag = Origin::Flag(told_by.clone());
    let mut layer = match &texts.file {
        Some((path, text)) => file(path, text).map_err(ContentError::of(path))?,
        None => {
            let mut layer = Layer::default();
            layer.maps.insert("evictionHard", default_eviction_hard());
            layer.apply(flags, &flag);
            layer
        }
    };
    if let Some(drop_ins) = &texts.drop_ins {
        layer = layer.under(drop_ins)?;
    }
    layer.apply(flags, &flag);
    let mut config = layer.config()?;
    config.file = texts.file.as_ref().map(|(path, _)| path.clone());
    config.drop_ins = texts.drop_ins.iter().flatten().map(|(path, _)| path.clone()).collect();
    config.told_by = told_by.clone();
    Ok(config)
}

fn default_eviction_hard() -> Named {
    DEFAULT_EVICTION_HARD
        .map(|(signal, threshold)| {
            (signal.to_owned(), Sourced::default_value(threshold.to_owned()))
        })
        .into()
}

/// Checks the kind that the file declares.
fn kind(value: Value) -> Result<Map<String, Value>, ContentError> {
    let Value::Object(map) = value else { return Err(ContentError::NoMapping) };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    // Without a version the kubelet does not start either, but the intention is clear.
    let group = version.split('/').next().unwrap_or_default();
    if text("kind") != KIND || !(version.is_empty() || group == GROUP) {
        return Err(ContentError::Kind);
    }
    if !version.is_empty() && version != "kubelet.config.k8s.io/v1beta1" {
        return Err(ContentError::Version);
    }
    Ok(map)
}

fn file(path: &Path, text: &str) -> Result<Layer, ContentError> {
    let document = yaml::parse(text)?;
    let map = kind(document.value)?;
    let origin = Origin::File(path.to_owned());
    let nodes = map.into_iter().map(|(key, value)| (key, node(value, &origin))).collect();
    let mut layer = Layer::default();
    let twice = document
        .duplicates
        .iter()
        .map(|key| format!("{}: {key} occurs twice; the kubelet uses the last", path.display()));
    layer.warnings.extend(twice);
    layer.decode(&nodes, KeyCase::Sensitive)?;
    layer.warnings.extend(nodes.keys().filter_map(|key| misspelt(path, key)));
    // Some defaults depend on the system, so they are no defaults of the file.
    let merge = layer.bools.get("mergeDefaultEvictionSettings").is_some_and(|merge| merge.value);
    match layer.maps.get_mut("evictionHard") {
        None => {
            layer.maps.insert("evictionHard", default_eviction_hard());
        }
        Some(hard) if merge => {
            for (signal, threshold) in default_eviction_hard() {
                hard.entry(signal).or_insert(threshold);
            }
        }
        Some(_) => {}
    }
    Ok(layer)
}

fn drop_in(text: &str) -> Result<Map<String, Value>, ContentError> {
    let document = yaml::parse(text)?;
    match document.duplicates.into_iter().next() {
        Some(key) => Err(ContentError::Twice { key }),
        None => kind(document.value),
    }
}

/// Reports a key that differs from one of the kubelet's only by case.
fn misspelt(path: &Path, key: &str) -> Option<String> {
    let known = BOOLS.iter().chain(&TEXTS).chain(&MAPS).chain(&LISTS).chain(&[SWAP]);
    let meant = known.copied().find(|name| *name != key && name.eq_ignore_ascii_case(key))?;
    Some(format!("{}: {key} is not {meant}; the kubelet ignores it", path.display()))
}

fn node(value: Value, origin: &Origin) -> MergedValue {
    match value {
        Value::Object(map) => MergedValue::Map(
            map.into_iter().map(|(key, value)| (key, node(value, origin))).collect(),
        ),
        value => MergedValue::Leaf(value, origin.clone()),
    }
}

/// RFC 7386, JSON Merge Patch.
fn patch(target: &mut BTreeMap<String, MergedValue>, with: Map<String, Value>, origin: &Origin) {
    for (key, value) in with {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Object(with) => {
                let below = target.entry(key).or_insert_with(|| MergedValue::Map(BTreeMap::new()));
                if let MergedValue::Leaf(..) = below {
                    *below = MergedValue::Map(BTreeMap::new());
                }
                if let MergedValue::Map(map) = below {
                    patch(map, with, origin);
                }
            }
            value => {
                target.insert(key, MergedValue::Leaf(value, origin.clone()));
            }
        }
    }
}

impl Layer {
    /// Applies the drop-ins.
    fn under(self, drop_ins: &[(PathBuf, String)]) -> Result<Self, KubeletError> {
        let warnings = self.warnings.clone();
        let mut nodes = self.serialized();
        for (path, text) in drop_ins {
            let map = drop_in(text).map_err(ContentError::of(path))?;
            patch(&mut nodes, map, &Origin::DropIn(path.clone()));
        }
        let mut layer = Self { warnings, ..Self::default() };
        let last = drop_ins.last().map(|(path, _)| path.as_path()).unwrap_or(Path::new("/"));
        layer.decode(&nodes, KeyCase::Insensitive).map_err(ContentError::of(last))?;
        Ok(layer)
    }

    /// Serializes like the kubelet before a merge: leaves out empty values.
    fn serialized(self) -> BTreeMap<String, MergedValue> {
        let mut nodes = BTreeMap::new();
        let mut leaf = |key: &str, value: Value, origin: Origin| {
            nodes.insert(key.to_owned(), MergedValue::Leaf(value, origin));
        };
        for (key, Sourced { value, origin }) in self.bools {
            leaf(key, value.into(), origin);
        }
        // The kubelet serializes defaults too, which matters for keys in another case.
        for key in BOOLS {
            let default = key != "mergeDefaultEvictionSettings";
            nodes
                .entry(key.to_owned())
                .or_insert_with(|| MergedValue::Leaf(default.into(), Origin::Default));
        }
        let mut swap = BTreeMap::new();
        for (key, Sourced { value, origin }) in self.texts {
            match key {
                SWAP_BEHAVIOR if !value.is_empty() => {
                    swap.insert(key.to_owned(), MergedValue::Leaf(value.into(), origin));
                }
                _ if value.is_empty() || key == SWAP_BEHAVIOR => {}
                _ => {
                    nodes.insert(key.to_owned(), MergedValue::Leaf(value.into(), origin));
                }
            }
        }
        nodes.insert(SWAP.to_owned(), MergedValue::Map(swap));
        let gates = self.gates.into_iter();
        let gates = gates.map(|(gate, of)| (gate, MergedValue::Leaf(of.value.into(), of.origin)));
        nodes.insert(GATES.to_owned(), MergedValue::Map(gates.collect()));
        for (key, default) in [("cgroupDriver", "cgroupfs"), ("nodeStatusUpdateFrequency", "10s")] {
            nodes
                .entry(key.to_owned())
                .or_insert_with(|| MergedValue::Leaf(default.into(), Origin::Default));
        }
        for (key, map) in self.maps.into_iter().filter(|(_, map)| !map.is_empty()) {
            let map = map.into_iter().map(|(name, Sourced { value, origin })| {
                (name, MergedValue::Leaf(value.into(), origin))
            });
            nodes.insert(key.to_owned(), MergedValue::Map(map.collect()));
        }
        for key in LISTS {
            let default = || Sourced::default_value(vec!["pods".to_owned()]);
            let list = self.lists.get(key).cloned().unwrap_or_else(default);
            if !list.value.is_empty() {
                nodes.insert(key.to_owned(), MergedValue::Leaf(list.value.into(), list.origin));
            }
        }
        nodes
    }

    /// Reads the keys that matter here; keys are sorted by their bytes, and the last of several
    /// counts.
    fn decode(
        &mut self,
        nodes: &BTreeMap<String, MergedValue>,
        case: KeyCase,
    ) -> Result<(), ContentError> {
        let named = |key: &str, names: &[&'static str]| {
            names.iter().copied().find(|name| {
                *name == key || (case == KeyCase::Insensitive && name.eq_ignore_ascii_case(key))
            })
        };
        for (key, node) in nodes {
            if let Some(name) = named(key, &BOOLS) {
                match node {
                    MergedValue::Leaf(Value::Bool(value), origin) => {
                        self.bools.insert(name, Sourced::new(*value, origin.clone()));
                    }
                    MergedValue::Leaf(Value::Null, _) => {
                        self.bools.remove(name);
                    }
                    node => return Err(not(key, "true or false", node)),
                }
            } else if let Some(name) = named(key, &TEXTS) {
                if let Some(text) = text(key, node)? {
                    self.texts.insert(name, text);
                }
            } else if let Some(name) = named(key, &MAPS) {
                match node {
                    MergedValue::Map(entries) => {
                        let map = self.maps.entry(name).or_default();
                        for (entry, node) in entries {
                            let path = format!("{key}.{entry}");
                            let empty = || Sourced::new(String::new(), origin(node));
                            let text = text(&path, node)?.unwrap_or_else(empty);
                            map.insert(entry.clone(), text);
                        }
                    }
                    MergedValue::Leaf(Value::Null, _) => {
                        self.maps.remove(name);
                    }
                    node => return Err(not(key, "a mapping", node)),
                }
            } else if let Some(name) = named(key, &LISTS) {
                match node {
                    MergedValue::Leaf(Value::Array(values), origin) => {
                        let texts = values.iter().map(|value| match value {
                            Value::String(text) => Ok(text.clone()),
                            Value::Null => Ok(String::new()),
                            _ => Err(ContentError::Type {
                                key: key.clone(),
                                expected: "a list of strings",
                                origin: Origin::Default,
                            }),
                        });
                        let texts = texts.collect::<Result<_, _>>()?;
                        self.lists.insert(name, Sourced::new(texts, origin.clone()));
                    }
                    MergedValue::Leaf(Value::Null, _) => {
                        self.lists.remove(name);
                    }
                    node => return Err(not(key, "a list", node)),
                }
            } else if named(key, &[GATES]).is_some() {
                let MergedValue::Map(gates) = node else { continue };
                for (gate, node) in gates {
                    match node {
                        MergedValue::Leaf(Value::Bool(on), origin) => {
                            self.gates.insert(gate.clone(), Sourced::new(*on, origin.clone()));
                        }
                        MergedValue::Leaf(Value::Null, _) => {
                            self.gates.remove(gate);
                        }
                        node => return Err(not(&format!("{key}.{gate}"), "true or false", node)),
                    }
                }
            } else if named(key, &[SWAP]).is_some() {
                match node {
                    MergedValue::Map(entries) => {
                        for (entry, node) in entries {
                            if named(entry, &[SWAP_BEHAVIOR]).is_some()
                                && let Some(text) = text(&format!("{key}.{entry}"), node)?
                            {
                                self.texts.insert(SWAP_BEHAVIOR, text);
                            }
                        }
                    }
                    MergedValue::Leaf(Value::Null, _) => {}
                    node => return Err(not(key, "a mapping", node)),
                }
            }
        }
        Ok(())
    }

    /// Applies the flags.
    fn apply(&mut self, flags: &Flags, origin: &Origin) {
        let sourced = |value: &String| Sourced::new(value.clone(), origin.clone());
        for (key, value) in &flags.bools {
            self.bools.insert(key, Sourced::new(*value, origin.clone()));
        }
        for (key, value) in &flags.texts {
            self.texts.insert(key, sourced(value));
        }
        for (key, map) in &flags.maps {
            let map = map.iter().map(|(name, value)| (name.clone(), sourced(value)));
            self.maps.insert(key, map.collect());
        }
        for (gate, on) in &flags.gates {
            self.gates.insert(gate.clone(), Sourced::new(*on, origin.clone()));
        }
        for (key, list) in &flags.lists {
            self.lists.insert(key, Sourced::new(list.clone(), origin.clone()));
        }
    }

    fn config(mut self) -> Result<KubeletConfig, KubeletError> {
        let default = KubeletConfig::default();
        let mut text = |key: &str, default: Sourced<String>| {
            self.texts.remove(key).filter(|text| !text.value.is_empty()).unwrap_or(default)
        };
        let swap_behavior = text(SWAP_BEHAVIOR, default.swap_behavior);
        let cgroup_root = text("cgroupRoot", default.cgroup_root);
        let cgroup_driver = text("cgroupDriver", default.cgroup_driver);
        let static_pod_path = text("staticPodPath", default.static_pod_path);
        let system_reserved_cgroup = text("systemReservedCgroup", default.system_reserved_cgroup);
        let kube_reserved_cgroup = text("kubeReservedCgroup", default.kube_reserved_cgroup);
        let frequency = text("nodeStatusUpdateFrequency", Sourced::default());
        let parsed = match frequency.value.is_empty() {
            true => Duration::ZERO,
            false => duration(&frequency.value).ok_or_else(|| {
                let Sourced { value, origin } = frequency.clone();
                KubeletError::Frequency { value, origin }
            })?,
        };
        let node_status_update_frequency = match parsed.is_zero() {
            true => default.node_status_update_frequency,
            false => Sourced::new(parsed, frequency.origin),
        };
        let mut map = |key: &str| self.maps.remove(key).unwrap_or_default();
        let flag = |key: &str| self.bools.get(key).cloned();
        Ok(KubeletConfig {
            node_swap: self.gates.remove(NODE_SWAP),
            fail_swap_on: flag("failSwapOn").unwrap_or(default.fail_swap_on),
            cgroups_per_qos: flag("cgroupsPerQOS").unwrap_or(default.cgroups_per_qos),
            swap_behavior,
            eviction_hard: map("evictionHard"),
            eviction_soft: map("evictionSoft"),
            eviction_soft_grace_period: map("evictionSoftGracePeriod"),
            system_reserved: map("systemReserved"),
            kube_reserved: map("kubeReserved"),
            cgroup_root,
            cgroup_driver,
            static_pod_path,
            system_reserved_cgroup,
            kube_reserved_cgroup,
            node_status_update_frequency,
            enforce_node_allocatable: self
                .lists
                .remove("enforceNodeAllocatable")
                .unwrap_or(default.enforce_node_allocatable),
            warnings: self.warnings,
            file: None,
            drop_ins: Vec::new(),
            told_by: Teller::Nobody,
        })
    }
}

/// `None` for null, which leaves the previous value.
fn text(key: &str, node: &MergedValue) -> Result<Option<Sourced<String>>, ContentError> {
    match node {
        MergedValue::Leaf(Value::String(text), origin) => {
            Ok(Some(Sourced::new(text.clone(), origin.clone())))
        }
        MergedValue::Leaf(Value::Null, _) => Ok(None),
        node => Err(not(key, "a string (numbers need quotes)", node)),
    }
}

fn origin(node: &MergedValue) -> Origin {
    match node {
        MergedValue::Leaf(_, origin) => origin.clone(),
        MergedValue::Map(_) => Origin::Default,
    }
}

fn not(key: &str, expected: &'static str, node: &MergedValue) -> ContentError {
    ContentError::Type { key: key.to_owned(), expected, origin: origin(node) }
}

/// Parses Go's durations: `1m30s`, `1.5h`, `300ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
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
