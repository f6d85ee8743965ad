//! The keys of the kubelet's configuration that the agent needs: parsed from YAML, serialized as
//! the kubelet serializes them before it merges drop-ins, and merged into the final configuration.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use super::{KubeletError, document::FileValue, error::ContentError, flags::Flags};
use crate::model::kubelet::{KubeletConfig, Named, Origin, Sourced, Teller, duration};

/// A value of a chain of drop-ins, with its source.
#[derive(Clone, Debug)]
pub(super) enum MergedValue {
    Leaf(Value, Origin),
    Map(Entries),
}

/// The entries of a mapping, in the order in which the kubelet reads them. JSON can have a key
/// twice.
pub(super) type Entries = Vec<(String, MergedValue)>;

/// The configuration read so far; `None` means not set.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) bools: BTreeMap<&'static str, Sourced<bool>>,
    pub(super) texts: BTreeMap<&'static str, Sourced<String>>,
    pub(super) maps: BTreeMap<&'static str, Named>,
    pub(super) lists: BTreeMap<&'static str, Sourced<Vec<String>>>,
    pub(super) gates: BTreeMap<String, Sourced<bool>>,
    /// The gates of the files alone.
    pub(super) file_gates: BTreeMap<String, Sourced<bool>>,
    pub(super) warnings: Vec<String>,
}

const BOOLS: [&str; 3] = ["failSwapOn", "cgroupsPerQOS", "mergeDefaultEvictionSettings"];
const TEXTS: [&str; 6] = [
    "cgroupRoot",
    "cgroupDriver",
    STATIC_POD_PATH,
    "systemReservedCgroup",
    "kubeReservedCgroup",
    FREQUENCY,
];
const MAPS: [&str; 5] =
    ["evictionHard", "evictionSoft", "evictionSoftGracePeriod", "systemReserved", "kubeReserved"];
const LISTS: [&str; 1] = ["enforceNodeAllocatable"];
pub(super) const STATIC_POD_PATH: &str = "staticPodPath";
/// The only text that has a type of its own, which takes no null.
const FREQUENCY: &str = "nodeStatusUpdateFrequency";
const SWAP: &str = "memorySwap";
const GATES: &str = "featureGates";
const SWAP_BEHAVIOR: &str = "swapBehavior";

/// The comparison of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyCase {
    /// As in the API machinery's JSON: for the file of `--config`.
    Sensitive,
    /// As in Go's own JSON: for the result of merging drop-ins.
    Insensitive,
}

/// Reports a key that differs from one of the kubelet's only by case.
pub(super) fn misspelt(path: &Path, key: &str) -> Option<String> {
    let known = BOOLS.iter().chain(&TEXTS).chain(&MAPS).chain(&LISTS).chain(&[SWAP]);
    let meant = known.copied().find(|name| *name != key && name.eq_ignore_ascii_case(key))?;
    Some(format!("{}: {key} is not {meant}; the kubelet ignores it", path.display()))
}

pub(super) fn node(value: FileValue, origin: &Origin) -> MergedValue {
    match value {
        FileValue::Map(map) => MergedValue::Map(
            map.into_iter().map(|(key, value)| (key, node(value, origin))).collect(),
        ),
        FileValue::Leaf(value) => MergedValue::Leaf(value, origin.clone()),
    }
}

/// RFC 7386, JSON Merge Patch.
pub(super) fn patch(target: &mut Entries, with: Entries) {
    for (key, value) in with {
        let at = target.iter().position(|(known, _)| *known == key);
        let value = match value {
            MergedValue::Leaf(Value::Null, _) => {
                at.map(|at| target.remove(at));
                continue;
            }
            MergedValue::Map(with) => {
                let mut below = match at.map(|at| target.remove(at).1) {
                    Some(MergedValue::Map(below)) => below,
                    Some(MergedValue::Leaf(..)) | None => Entries::new(),
                };
                patch(&mut below, with);
                below.sort_by(|(one, _), (other, _)| one.cmp(other));
                target.push((key, MergedValue::Map(below)));
                continue;
            }
            value @ MergedValue::Leaf(..) => value,
        };
        match at {
            Some(at) => target[at].1 = value,
            None => target.push((key, value)),
        }
    }
}

impl Layer {
    /// Serializes like the kubelet before a merge: leaves out empty values.
    pub(super) fn serialized(self) -> Entries {
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
        let mut swap = Entries::new();
        for (key, Sourced { value, origin }) in self.texts {
            match key {
                SWAP_BEHAVIOR if !value.is_empty() => {
                    swap.push((key.to_owned(), MergedValue::Leaf(value.into(), origin)));
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
        nodes.into_iter().collect()
    }

    /// Reads the keys that matter here, as Go's JSON does: the last of several counts, except that
    /// several mappings of one key become one.
    pub(super) fn decode(&mut self, nodes: &Entries, case: KeyCase) -> Result<(), ContentError> {
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
                match text(key, node)? {
                    Some(text) if name == FREQUENCY && text.value.is_empty() => {
                        return Err(not(key, "a duration", node));
                    }
                    Some(text) => {
                        self.texts.insert(name, text);
                    }
                    None if name == FREQUENCY => return Err(not(key, "a duration", node)),
                    None => {}
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
                let gates = match node {
                    MergedValue::Map(gates) => gates,
                    MergedValue::Leaf(Value::Null, _) => {
                        self.gates.clear();
                        continue;
                    }
                    node => return Err(not(key, "a mapping", node)),
                };
                for (gate, node) in gates {
                    match node {
                        MergedValue::Leaf(Value::Bool(on), origin) => {
                            self.gates.insert(gate.clone(), Sourced::new(*on, origin.clone()));
                        }
                        // As false.
                        MergedValue::Leaf(Value::Null, origin) => {
                            self.gates.insert(gate.clone(), Sourced::new(false, origin.clone()));
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
            } else {
                fits(key, case, node)?;
            }
        }
        Ok(())
    }

    /// Applies the flags.
    pub(super) fn apply(&mut self, flags: &Flags, origin: &Origin) {
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
        self.file_gates = self.gates.clone();
        for (gate, on) in &flags.gates {
            self.gates.insert(gate.clone(), Sourced::new(*on, origin.clone()));
        }
        for (key, list) in &flags.lists {
            self.lists.insert(key, Sourced::new(list.clone(), origin.clone()));
        }
    }

    pub(super) fn config(mut self) -> Result<KubeletConfig, KubeletError> {
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
            flag_files: Vec::new(),
            gates: self.gates,
            file_gates: self.file_gates,
            minor: None,
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
            drop_in_folder: None,
            told_by: Teller::Nobody,
        })
    }
}

/// The keys of a KubeletConfiguration with their types: `recorded.md`.
const FIELDS: &str = include_str!("fields.txt");

/// Checks the type of a value that does not matter here: the kubelet does not start with another.
fn fits(key: &str, case: KeyCase, node: &MergedValue) -> Result<(), ContentError> {
    let is = |name: &str| {
        name == key || (case == KeyCase::Insensitive && name.eq_ignore_ascii_case(key))
    };
    let mut fields = FIELDS.lines().filter_map(|line| line.split_once(' '));
    let Some((_, of)) = fields.find(|(name, _)| is(name)) else { return Ok(()) };
    let leaf = match node {
        MergedValue::Leaf(Value::Null, _) => return Ok(()),
        MergedValue::Leaf(leaf, _) => Some(leaf),
        MergedValue::Map(_) => None,
    };
    let is_within = |most: i64| {
        // A float of YAML without a fraction is an integer for the kubelet.
        #[expect(clippy::cast_precision_loss, reason = "it is compared with small bounds")]
        let within = |value: f64| value.fract() == 0.0 && value.abs() <= most as f64;
        leaf.and_then(Value::as_f64).is_some_and(within)
    };
    let text = leaf.and_then(Value::as_str);
    let (expected, is_one) = match of {
        "boolean" => ("true or false", leaf.is_some_and(Value::is_boolean)),
        "string" => ("a string (numbers need quotes)", text.is_some()),
        "duration" => {
            let unsigned = text.map(|text| text.strip_prefix('-').unwrap_or(text));
            ("a duration", unsigned.is_some_and(|text| duration(text).is_some()))
        }
        "integer 32" => ("an integer", is_within(i32::MAX.into())),
        "integer 64" => ("an integer", is_within(i64::MAX)),
        "number" => ("a number", leaf.is_some_and(Value::is_number)),
        "list" => ("a list", leaf.is_some_and(Value::is_array)),
        _ => ("a mapping", leaf.is_none()),
    };
    if is_one { Ok(()) } else { Err(not(key, expected, node)) }
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
