//! Parses the kubelet's command line, as far as it concerns memory and swap.
//!
//! Source: Kubernetes `cmd/kubelet/app/options/options.go` (`AddFlags`, `AddKubeletConfigFlags`),
//! `spf13/pflag`, and `k8s.io/component-base/cli/flag` for maps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The values of the flags; absent flags are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
    pub bools: BTreeMap<&'static str, bool>,
    pub texts: BTreeMap<&'static str, String>,
    pub maps: BTreeMap<&'static str, BTreeMap<String, String>>,
    pub lists: BTreeMap<&'static str, Vec<String>>,
    pub gates: BTreeMap<String, bool>,
}

#[derive(Clone, Copy)]
enum Of {
    Config,
    ConfigDir,
    Bool(&'static str),
    Text(&'static str),
    /// Pairs with this separator.
    Map(&'static str, char),
    List(&'static str),
    Gates,
    /// Irrelevant here; takes a value.
    Other,
    /// Irrelevant here; takes a value only after `=`.
    Switch,
}

fn flag(name: &str) -> Option<Of> {
    Some(match name {
        "config" => Of::Config,
        "config-dir" => Of::ConfigDir,
        "fail-swap-on" => Of::Bool("failSwapOn"),
        "cgroups-per-qos" => Of::Bool("cgroupsPerQOS"),
        "cgroup-root" => Of::Text("cgroupRoot"),
        "cgroup-driver" => Of::Text("cgroupDriver"),
        "pod-manifest-path" => Of::Text("staticPodPath"),
        "system-reserved-cgroup" => Of::Text("systemReservedCgroup"),
        "kube-reserved-cgroup" => Of::Text("kubeReservedCgroup"),
        "node-status-update-frequency" => Of::Text("nodeStatusUpdateFrequency"),
        "eviction-hard" => Of::Map("evictionHard", '<'),
        "eviction-soft" => Of::Map("evictionSoft", '<'),
        "eviction-soft-grace-period" => Of::Map("evictionSoftGracePeriod", '='),
        "system-reserved" => Of::Map("systemReserved", '='),
        "kube-reserved" => Of::Map("kubeReserved", '='),
        "enforce-node-allocatable" => Of::List("enforceNodeAllocatable"),
        "feature-gates" => Of::Gates,
        _ if SWITCHES.contains(&name) => Of::Switch,
        _ => Of::Other,
    })
}

/// The kubelet's boolean flags: the word after one of them is not its value.
const SWITCHES: [&str; 29] = [
    "allow-privileged",
    "alsologtostderr",
    "anonymous-auth",
    "authentication-token-webhook",
    "cpu-cfs-quota",
    "contention-profiling",
    "docker-only",
    "enable-controller-attach-detach",
    "enable-debugging-handlers",
    "enable-server",
    "exit-on-lock-contention",
    "experimental-allocatable-ignore-eviction",
    "experimental-mounter-rootfs",
    "fail-cgroupv1",
    "help",
    "kernel-memcg-notification",
    "keep-terminated-pod-volumes",
    "local-storage-capacity-isolation",
    "logtostderr",
    "make-iptables-util-chains",
    "one-output",
    "protect-kernel-defaults",
    "register-node",
    "register-schedulable",
    "rotate-certificates",
    "rotate-server-certificates",
    "runonce",
    "seccomp-default",
    "serialize-image-pulls",
];

/// The reason why the kubelet does not start with its arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagsError {
    #[error("the kubelet has no flag {flag}")]
    NoFlag { flag: String },
    #[error("the kubelet reads {word:?} as a command")]
    Command { word: String },
    #[error("--{name} lacks its value")]
    NoValue { name: String },
    #[error("--{name} has the value {value:?}, which the kubelet rejects")]
    Refused { name: String, value: String },
}

/// Parses the arguments.
pub fn parse(words: &[String]) -> Result<Flags, FlagsError> {
    let mut flags = Flags::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix("--") else {
            // `-v 2` is a flag; the kubelet takes a single word for a command.
            if word.starts_with('-') && word.len() > 1 {
                if word == "-v" {
                    words.next();
                }
                if word.starts_with("-v") || word == "-h" {
                    continue;
                }
                return Err(FlagsError::NoFlag { flag: word.clone() });
            }
            return Err(FlagsError::Command { word: word.clone() });
        };
        if rest.is_empty() {
            match words.next() {
                Some(word) => return Err(FlagsError::Command { word: word.clone() }),
                None => break,
            }
        }
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        let name = name.replace('_', "-");
        let Some(of) = flag(&name) else { continue };
        let value = match (of, value) {
            (_, Some(value)) => value.to_owned(),
            (Of::Bool(_) | Of::Switch, None) => "true".to_owned(),
            (Of::Other, None) => {
                // If the unknown flag is a switch, the next flag follows it.
                if words.as_slice().first().is_some_and(|next| !next.starts_with("--")) {
                    words.next();
                }
                continue;
            }
            (_, None) => {
                words.next().cloned().ok_or_else(|| FlagsError::NoValue { name: name.clone() })?
            }
        };
        flags.set(&name, of, &value)?;
    }
    Ok(flags)
}

impl Flags {
    fn set(&mut self, name: &str, of: Of, value: &str) -> Result<(), FlagsError> {
        let wrong = || FlagsError::Refused { name: name.to_owned(), value: value.to_owned() };
        match of {
            Of::Config => self.config = path(value),
            Of::ConfigDir => self.config_dir = path(value),
            Of::Bool(key) => {
                self.bools.insert(key, truth(value).ok_or_else(wrong)?);
            }
            Of::Gates => {
                for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                    let (gate, on) = pair.split_once('=').ok_or_else(wrong)?;
                    let on = truth(on.trim()).ok_or_else(wrong)?;
                    self.gates.insert(gate.trim().to_owned(), on);
                }
            }
            Of::Text(key) => {
                if key == "nodeStatusUpdateFrequency" && super::merge::duration(value).is_none() {
                    return Err(wrong());
                }
                self.texts.insert(key, value.to_owned());
            }
            Of::Map(key, separator) => {
                let map = self.maps.entry(key).or_default();
                for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once(separator).ok_or_else(wrong)?;
                    map.insert(name.trim().to_owned(), value.trim().to_owned());
                }
            }
            Of::List(key) => {
                let list = self.lists.entry(key).or_default();
                list.extend(value.split(',').filter(|v| !v.is_empty()).map(str::to_owned));
            }
            Of::Other | Of::Switch => {}
        }
        Ok(())
    }
}

/// Go's `strconv.ParseBool`.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Relative paths start at the kubelet's working folder, which is the root for a unit.
fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| Path::new("/").join(text))
}
