//! Every key there is: its type, range, default and effect. The loader, `check-config`, the
//! messages and the reference in the manual all read this one table.

use super::value::Value;

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
}

impl Default {
    pub fn value(&self) -> Value {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Text(text) => Value::Text((*text).to_owned()),
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
            Self::Path => "an absolute path, or \"\" to search the usual places".to_owned(),
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
            _ => None,
        }
    }

    /// A value from text without quotes, as environment variables hold it.
    pub fn from_environment(&self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Integer { .. } => Value::Integer(text.parse().ok()?),
            Self::Float { .. } => Value::Float(text.parse().ok()?),
            Self::Choice(_) | Self::Path | Self::NodeName => Value::Text(text.to_owned()),
        };
        self.accept(value)
    }
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
