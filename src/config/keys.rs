//! Every key there is: its type, range, default and effect. The loader, `check-config`, the
//! messages and the reference in the manual all read this one table.

use super::value::Value;
use crate::model::quantity::Quantity;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Dotted, as in TOML: `limits.policy`.
    pub path: &'static str,
    pub kind: Kind,
    pub default: Default,
    /// The environment variable of the DaemonSet's documentation that sets it too.
    pub environment: Option<&'static str>,
    pub help: &'static str,
}

#[derive(Debug)]
pub enum Default {
    Integer(u64),
    Float(f64),
    Text(&'static str),
    Boolean(bool),
    List(&'static [&'static str]),
}

impl Default {
    pub fn value(&self) -> Value {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Text(text) => Value::Text((*text).to_owned()),
            Self::Boolean(truth) => Value::Boolean(*truth),
            Self::List(texts) => Value::List(texts.iter().map(|t| (*t).to_owned()).collect()),
        }
    }
}

#[derive(Debug)]
pub enum Kind {
    Integer {
        min: u64,
        max: u64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Choice(&'static [&'static str]),
    /// An absolute path, or empty.
    Path,
    /// An RFC 1123 subdomain, as Kubernetes names nodes, or empty.
    NodeName,
    Boolean,
    /// A whole number, or "keep": what the kernel has is left alone.
    IntegerOrKeep {
        min: u64,
        max: u64,
    },
    /// A Kubernetes quantity of bytes, or empty.
    Size,
    /// A Kubernetes quantity of bytes, a percentage, or empty.
    SizeOrPercent,
    /// Names of systemd slices, each once.
    Slices,
    /// Names of namespaces, or beginnings of names that end in `*`.
    Namespaces,
}

impl Kind {
    /// What is allowed, for messages.
    pub fn allowed(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Path => "an absolute path, or \"\" for the usual one".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::IntegerOrKeep { min, max } => {
                format!("a whole number from {min} to {max}, or \"keep\"")
            }
            Self::Size => "a size (8Gi, 512Mi), or \"\"".to_owned(),
            Self::SizeOrPercent => "a size (8Gi), a percentage (\"15%\"), or \"\"".to_owned(),
            Self::Namespaces => {
                "a list of namespaces, or of their beginnings ([\"kube-system\", \"openshift*\"])"
                    .to_owned()
            }
            Self::Slices => "a list of slices ([\"system.slice\"])".to_owned(),
            Self::NodeName => {
                "a node's name (lower case letters, digits, '-' and '.'), or \"\"".to_owned()
            }
        }
    }

    /// Whether `value` is allowed; integers are taken for floats.
    pub fn accept(&self, value: Value) -> Option<Value> {
        match (self, value) {
            (Self::Integer { min, max }, Value::Integer(number)) => {
                (*min..=*max).contains(&number).then_some(Value::Integer(number))
            }
            #[expect(clippy::cast_precision_loss, reason = "thresholds are small numbers")]
            (Self::Float { .. }, Value::Integer(number)) => {
                self.accept(Value::Float(number as f64))
            }
            (Self::Float { min, max }, Value::Float(number)) => {
                (*min..=*max).contains(&number).then_some(Value::Float(number))
            }
            (Self::Choice(words), Value::Text(text)) => {
                words.contains(&text.as_str()).then_some(Value::Text(text))
            }
            (Self::Path, Value::Text(text)) => {
                (text.is_empty() || text.starts_with('/')).then_some(Value::Text(text))
            }
            (Self::NodeName, Value::Text(text)) => {
                let plain =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
                (text.len() <= 253 && text.bytes().all(plain)).then_some(Value::Text(text))
            }
            (Self::Boolean, Value::Boolean(truth)) => Some(Value::Boolean(truth)),
            (Self::IntegerOrKeep { min, max }, Value::Integer(number)) => {
                (*min..=*max).contains(&number).then_some(Value::Integer(number))
            }
            (Self::IntegerOrKeep { .. }, Value::Text(text)) => {
                (text == "keep").then_some(Value::Text(text))
            }
            (Self::Size, Value::Text(text)) => {
                (text.is_empty() || size(&text).is_some()).then_some(Value::Text(text))
            }
            (Self::SizeOrPercent, Value::Text(text)) => {
                let allowed = text.is_empty() || size(&text).is_some() || percent(&text).is_some();
                allowed.then_some(Value::Text(text))
            }
            (Self::Slices, Value::List(names)) => {
                let once = |(i, name): (usize, &String)| !names[..i].contains(name);
                let allowed =
                    names.iter().all(|name| is_slice(name)) && names.iter().enumerate().all(once);
                allowed.then_some(Value::List(names))
            }
            (Self::Namespaces, Value::List(names)) => {
                names.iter().all(|name| is_namespace_pattern(name)).then_some(Value::List(names))
            }
            _ => None,
        }
    }

    /// A value from text without quotes, as environment variables hold it.
    pub fn from_environment(&self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Integer { .. } => Value::Integer(text.parse().ok()?),
            Self::Float { .. } => Value::Float(text.parse().ok()?),
            Self::Choice(_)
            | Self::Path
            | Self::NodeName
            | Self::Size
            | Self::SizeOrPercent
            | Self::IntegerOrKeep { .. } => Value::Text(text.to_owned()),
            Self::Boolean => Value::Boolean(text.parse().ok()?),
            Self::Slices | Self::Namespaces => {
                Value::List(text.split_whitespace().map(str::to_owned).collect())
            }
        };
        self.accept(value)
    }
}

/// A positive number of bytes.
pub fn size(text: &str) -> Option<u64> {
    let bytes = text.parse::<Quantity>().ok()?.value();
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// `15%`: 0 to 100.
pub fn percent(text: &str) -> Option<u64> {
    text.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)
}

/// An RFC 1123 label, or the beginning of one and `*`.
fn is_namespace_pattern(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let stem = name.strip_suffix('*').unwrap_or(name);
    !name.is_empty() && stem.len() <= 63 && stem.bytes().all(plain)
}

/// systemd.unit(5): the characters of unit names. The root slice has nothing to be protected from.
fn is_slice(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":_.\\-".contains(&b);
    name.strip_suffix(".slice")
        .is_some_and(|stem| !stem.is_empty() && stem != "-" && stem.bytes().all(plain))
}

/// In the order in which they are shown: the top level first, then by table.
pub const KEYS: &[Key] = &[
    Key {
        path: "grants",
        kind: Kind::Choice(&["agent", "kubelet"]),
        default: Default::Text("agent"),
        environment: None,
        help: "Who sets the containers' swap limits. \"kubelet\": the kubelet does \
               (swapBehavior: LimitedSwap); the agent compares its limits with the same \
               arithmetic and changes none.",
    },
    Key {
        path: "overcommit-percent",
        kind: Kind::Integer { min: 100, max: 1000 },
        default: Default::Integer(100),
        environment: None,
        help: "How much memory the node's pods may use in all, in percent of its RAM. The agent \
               provisions swap for what is above 100: RAM × (percent / 100 − 1). 100: none.",
    },
    Key {
        path: "node.name",
        kind: Kind::NodeName,
        default: Default::Text(""),
        environment: Some("NODE_NAME"),
        help: "This node's name in the cluster. \"\": as the client certificate says \
               (CN=system:node:NAME).",
    },
    Key {
        path: "node.kubeconfig",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's kubeconfig. \"\": the first there is of \
               /var/lib/kubelet/kubeconfig and /etc/kubernetes/kubelet.conf.",
    },
    Key {
        path: "node.kubelet-config",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's KubeletConfiguration, which tells what it does about swap. \"\": the \
               first there is of /etc/kubernetes/kubelet.conf and /var/lib/kubelet/config.yaml.",
    },
    Key {
        path: "swap.kind",
        kind: Kind::Choice(&["file", "partition", "zram"]),
        default: Default::Text("file"),
        environment: None,
        help: "Where swapped pages go. \"zram\": compressed, to RAM.",
    },
    Key {
        path: "swap.size",
        kind: Kind::Size,
        default: Default::Text(""),
        environment: None,
        help: "How much swap `wasp-agent provision` makes. \"\": as overcommit-percent says. A \
               partition is used whole.",
    },
    Key {
        path: "swap.path",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The swapfile (\"\": /var/lib/wasp-agent/swapfile), or the partition, by a name that \
               stays: /dev/disk/by-….",
    },
    Key {
        path: "swap.priority",
        kind: Kind::Integer { min: 0, max: 32767 },
        default: Default::Integer(10),
        environment: None,
        help: "Which swap the kernel fills first, where the node has several: the highest. Swap \
               that was added without a priority comes last.",
    },
    Key {
        path: "swap.discard",
        kind: Kind::Choice(&["none", "once", "pages", "both"]),
        default: Default::Text("none"),
        environment: None,
        help: "Tell the disk which blocks are free: all at swapon (\"once\"), freed clusters while \
               it is in use (\"pages\"), or both. See swapon(8).",
    },
    Key {
        path: "swap.reserve",
        kind: Kind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "What a swapfile must leave free on its file system. \"\": 5 % of it more than the \
               kubelet's eviction threshold for nodefs.available, so 15 % by default.",
    },
    Key {
        path: "protection.protected-slices",
        kind: Kind::Slices,
        default: Default::List(&["system.slice"]),
        environment: None,
        help: "The slices whose processes never swap (MemorySwapMax=0) and are served first by the \
               disks (IODeviceLatencyTargetSec=).",
    },
    Key {
        path: "protection.io-latency-target-ms",
        kind: Kind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(50),
        environment: None,
        help: "Who waits longer than this for the disk of /, /var or the swap has others slowed \
               down (the kernel's io.latency). 0: no target is set.",
    },
    Key {
        path: "kernel.align-watermarks",
        kind: Kind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Raise vm.watermark_scale_factor, and vm.min_free_kbytes where that is not enough, \
               until the kernel swaps before the kubelet evicts for memory.available.",
    },
    Key {
        path: "kernel.swappiness",
        kind: Kind::IntegerOrKeep { min: 0, max: 200 },
        default: Default::Text("keep"),
        environment: None,
        help: "vm.swappiness: how much the kernel prefers to swap over dropping file cache.",
    },
    Key {
        path: "kernel.zswap",
        kind: Kind::Choice(&["keep", "on", "off"]),
        default: Default::Text("keep"),
        environment: None,
        help: "Whether the kernel keeps swapped pages compressed in RAM before they go to disk.",
    },
    Key {
        path: "hook.install",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Install the OCI hook, which gives containers their limit before their first \
               instruction, into a hooks folder that CRI-O reads.",
    },
    Key {
        path: "hook.when-unknown",
        kind: Kind::Choice(&["estimate", "deny"]),
        default: Default::Text("estimate"),
        environment: None,
        help: "What the hook gives a container whose pod the agent does not know (it does not run, or \
               the API server is away). \"estimate\": by the request that the kubelet has encoded in \
               oomScoreAdj. \"deny\": no swap.",
    },
    Key {
        path: "hook.denied-namespaces",
        kind: Kind::Namespaces,
        default: Default::List(&["openshift*", "kube-system"]),
        environment: None,
        help: "Namespaces whose containers the hook never estimates: it cannot tell critical pods by \
               their priority.",
    },
    Key {
        path: "limits.policy",
        kind: Kind::Choice(&["limited", "max", "none"]),
        default: Default::Text("limited"),
        environment: None,
        help: "How much swap an eligible container may have. \"limited\": request / RAM of the \
               swap for pods, as the kubelet's LimitedSwap. \"max\": no limit. \"none\": none.",
    },
    Key {
        path: "limits.eligibility",
        kind: Kind::Choice(&["burstable", "virt-launcher"]),
        default: Default::Text("burstable"),
        environment: None,
        help: "Which pods may swap at all: every Burstable one that is not critical, or of \
               those only KubeVirt's (label kubevirt.io: virt-launcher).",
    },
    Key {
        path: "limits.system-reserved-percent",
        kind: Kind::Integer { min: 0, max: 100 },
        default: Default::Integer(0),
        environment: None,
        help: "Share of all swap that is kept back for the system and not granted to pods.",
    },
    Key {
        path: "limits.resync-seconds",
        kind: Kind::Integer { min: 10, max: 3600 },
        default: Default::Integer(60),
        environment: None,
        help: "How often every limit is compared though no change was noticed.",
    },
    Key {
        path: "limits.follow-seconds",
        kind: Kind::Integer { min: 1, max: 60 },
        default: Default::Integer(2),
        environment: None,
        help: "How often a container that uses more swap than its grant is looked at, to lower \
               its limit as its use goes down.",
    },
    Key {
        path: "eviction.swap-utilization-factor",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: Some("SWAP_UTILIZATION_THRESHOLD_FACTOR"),
        help: "Swap is used too highly when working set + swap used exceed RAM + swap × factor.",
    },
    Key {
        path: "eviction.max-average-swap-in-pages-per-second",
        kind: Kind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_IN_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.max-average-swap-out-pages-per-second",
        kind: Kind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_OUT_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.average-window-seconds",
        kind: Kind::Integer { min: 5, max: 3600 },
        default: Default::Integer(30),
        environment: Some("AVERAGE_WINDOW_SIZE_SECONDS"),
        help: "The window over which swap traffic is averaged.",
    },
    Key {
        path: "log.verbosity",
        kind: Kind::Integer { min: 0, max: 10 },
        default: Default::Integer(1),
        environment: Some("VERBOSITY"),
        help: "As klog's -v: 0 to 2 logs what changed, 3 to 5 also every pass, 6 and more all.",
    },
];

/// The key at `path`.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The existing key that `path` probably means, for "did you mean".
pub fn nearest(path: &str) -> Option<&'static str> {
    let (distance, nearest) = KEYS
        .iter()
        .map(|key| {
            (edit_distance(path, key.path).min(edit_distance(path, last(key.path))), key.path)
        })
        .min()?;
    (distance <= path.len() / 3).then_some(nearest)
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

/// Levenshtein's.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_every_key_is_there_once() {
        for (i, key) in KEYS.iter().enumerate() {
            assert_eq!(
                key.kind.accept(key.default.value()),
                Some(key.default.value()),
                "{}",
                key.path
            );
            assert!(KEYS[..i].iter().all(|other| other.path != key.path), "{}", key.path);
            assert!(!key.help.is_empty() && !key.help.contains("  "), "{}", key.path);
        }
    }

    #[test]
    fn a_typing_error_finds_its_key() {
        assert_eq!(nearest("limits.polcy"), Some("limits.policy"));
        assert_eq!(nearest("resync-seconds"), Some("limits.resync-seconds"));
        assert_eq!(nearest("something-else-altogether"), None);
    }
}
