//! Parses the kubelet's command line, as far as it concerns memory and swap.
//!
//! Source: Kubernetes `cmd/kubelet/app/options/options.go` (`AddFlags`, `AddKubeletConfigFlags`),
//! `spf13/pflag`, and `k8s.io/component-base/cli/flag` for maps.

use std::{collections::BTreeMap, path::PathBuf};

/// The values of the flags; absent flags are `None`. Relative paths start at the kubelet's working
/// directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
    pub kubeconfig: Option<PathBuf>,
    /// The directory of the kubelet's certificates.
    pub cert_dir: Option<PathBuf>,
    pub bools: BTreeMap<&'static str, bool>,
    pub texts: BTreeMap<&'static str, String>,
    pub maps: BTreeMap<&'static str, BTreeMap<String, String>>,
    pub lists: BTreeMap<&'static str, Vec<String>>,
    pub gates: BTreeMap<String, bool>,
}

#[derive(Clone, Copy)]
enum FlagMeaning {
    Config,
    ConfigDir,
    Kubeconfig,
    CertDir,
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

fn flag(name: &str) -> Option<FlagMeaning> {
    Some(match name {
        "config" => FlagMeaning::Config,
        "config-dir" => FlagMeaning::ConfigDir,
        "kubeconfig" => FlagMeaning::Kubeconfig,
        "cert-dir" => FlagMeaning::CertDir,
        "fail-swap-on" => FlagMeaning::Bool("failSwapOn"),
        "cgroups-per-qos" => FlagMeaning::Bool("cgroupsPerQOS"),
        "cgroup-root" => FlagMeaning::Text("cgroupRoot"),
        "cgroup-driver" => FlagMeaning::Text("cgroupDriver"),
        "pod-manifest-path" => FlagMeaning::Text("staticPodPath"),
        "system-reserved-cgroup" => FlagMeaning::Text("systemReservedCgroup"),
        "kube-reserved-cgroup" => FlagMeaning::Text("kubeReservedCgroup"),
        "node-status-update-frequency" => FlagMeaning::Text("nodeStatusUpdateFrequency"),
        "eviction-hard" => FlagMeaning::Map("evictionHard", '<'),
        "eviction-soft" => FlagMeaning::Map("evictionSoft", '<'),
        "eviction-soft-grace-period" => FlagMeaning::Map("evictionSoftGracePeriod", '='),
        "system-reserved" => FlagMeaning::Map("systemReserved", '='),
        "kube-reserved" => FlagMeaning::Map("kubeReserved", '='),
        "enforce-node-allocatable" => FlagMeaning::List("enforceNodeAllocatable"),
        "feature-gates" => FlagMeaning::Gates,
        _ if SWITCHES.contains(&name) => FlagMeaning::Switch,
        _ => FlagMeaning::Other,
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
            (FlagMeaning::Bool(_) | FlagMeaning::Switch, None) => "true".to_owned(),
            (FlagMeaning::Other, None) => {
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
    fn set(&mut self, name: &str, of: FlagMeaning, value: &str) -> Result<(), FlagsError> {
        let wrong = || FlagsError::Refused { name: name.to_owned(), value: value.to_owned() };
        match of {
            FlagMeaning::Config => self.config = path(value),
            FlagMeaning::ConfigDir => self.config_dir = path(value),
            FlagMeaning::Kubeconfig => self.kubeconfig = path(value),
            FlagMeaning::CertDir => self.cert_dir = path(value),
            FlagMeaning::Bool(key) => {
                self.bools.insert(key, truth(value).ok_or_else(wrong)?);
            }
            FlagMeaning::Gates => {
                for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                    let (gate, on) = pair.split_once('=').ok_or_else(wrong)?;
                    let on = truth(on.trim()).ok_or_else(wrong)?;
                    self.gates.insert(gate.trim().to_owned(), on);
                }
            }
            FlagMeaning::Text(key) => {
                if key == "nodeStatusUpdateFrequency"
                    && crate::model::kubelet::duration(value).is_none()
                {
                    return Err(wrong());
                }
                self.texts.insert(key, value.to_owned());
            }
            FlagMeaning::Map(key, separator) => {
                let map = self.maps.entry(key).or_default();
                for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once(separator).ok_or_else(wrong)?;
                    map.insert(name.trim().to_owned(), value.trim().to_owned());
                }
            }
            FlagMeaning::List(key) => {
                let list = self.lists.entry(key).or_default();
                list.extend(value.split(',').filter(|v| !v.is_empty()).map(str::to_owned));
            }
            FlagMeaning::Other | FlagMeaning::Switch => {}
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

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}
