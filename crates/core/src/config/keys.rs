//! Keys of the configuration: their type, range, default and effect. table.rs lists them all.

pub use super::table::KEYS;
use strsim::levenshtein;

use super::value::Value;
use crate::model::quantity::Quantity;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Dotted path, as in TOML: `limits.policy`.
    pub path: &'static str,
    pub kind: ValueKind,
    pub default: Default,
    /// The environment variable of the DaemonSet that sets the same key.
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
pub enum ValueKind {
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
    /// An IP address and a port, or empty.
    Listen,
    /// A key of a label or taint: a name, or a prefix, a slash and a name.
    LabelKey,
    Boolean,
    /// A whole number, or "keep", which leaves the kernel's current value in place.
    IntegerOrKeep {
        min: u64,
        max: u64,
    },
    /// A Kubernetes quantity of bytes, or empty.
    Size,
    /// A Kubernetes quantity of bytes, a percentage, or empty.
    SizeOrPercent,
    /// Names of systemd slices, without duplicates.
    Slices,
    /// Names of systemd services, without duplicates.
    Services,
    /// Names of namespaces, or prefixes that end in `*`.
    Namespaces,
    /// Annotation keys.
    Annotations,
}

impl ValueKind {
    /// The allowed values, worded for messages.
    pub fn allowed(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Path => "an absolute path, or \"\" for the default".to_owned(),
            Self::Listen => "an address and a port (127.0.0.1:9753, [::]:9753), or \"\"".to_owned(),
            Self::LabelKey => "a key of a label or taint (example.com/name)".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::IntegerOrKeep { min, max } => {
                format!("a whole number from {min} to {max}, or \"keep\"")
            }
            Self::Size => "a size (8Gi, 512Mi), or \"\"".to_owned(),
            Self::SizeOrPercent => "a size (8Gi), a percentage (\"15%\"), or \"\"".to_owned(),
            Self::Namespaces => {
                "a list of namespaces or prefixes ([\"kube-system*\", \"openshift*\"])".to_owned()
            }
            Self::Annotations => {
                "a list of annotation keys ([\"example.com/never-evict\"])".to_owned()
            }
            Self::Slices => "a list of slices ([\"system.slice\"])".to_owned(),
            Self::Services => "a list of services ([\"kubelet.service\"])".to_owned(),
            Self::NodeName => {
                "a node's name (lower case letters, digits, '-' and '.'), or \"\"".to_owned()
            }
        }
    }

    /// Returns `value` if the kind allows it, with integers converted to floats where the kind is a
    /// float.
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
            (Self::Listen, Value::Text(text)) => {
                let address = text.parse::<std::net::SocketAddr>();
                let allowed = text.is_empty() || address.is_ok_and(|address| address.port() > 0);
                allowed.then_some(Value::Text(text))
            }
            (Self::LabelKey, Value::Text(text)) => is_label_key(&text).then_some(Value::Text(text)),
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
            (Self::Services, Value::List(names)) => {
                let once = |(i, name): (usize, &String)| !names[..i].contains(name);
                let allowed =
                    names.iter().all(|name| is_service(name)) && names.iter().enumerate().all(once);
                allowed.then_some(Value::List(names))
            }
            (Self::Namespaces, Value::List(names)) => {
                names.iter().all(|name| is_namespace_pattern(name)).then_some(Value::List(names))
            }
            (Self::Annotations, Value::List(keys)) => {
                keys.iter().all(|key| is_label_key(key)).then_some(Value::List(keys))
            }
            _ => None,
        }
    }

    /// Parses a value without quotes, as environment variables hold it.
    pub fn from_environment(&self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Integer { .. } => Value::Integer(text.parse().ok()?),
            Self::Float { .. } => Value::Float(text.parse().ok()?),
            Self::Choice(_)
            | Self::Path
            | Self::NodeName
            | Self::Listen
            | Self::LabelKey
            | Self::Size
            | Self::SizeOrPercent
            | Self::IntegerOrKeep { .. } => Value::Text(text.to_owned()),
            Self::Boolean => Value::Boolean(text.parse().ok()?),
            Self::Slices | Self::Services | Self::Namespaces | Self::Annotations => {
                Value::List(text.split_whitespace().map(str::to_owned).collect())
            }
        };
        self.accept(value)
    }
}

/// Parses a positive Kubernetes quantity of bytes.
pub fn size(text: &str) -> Option<u64> {
    let quantity = text.parse::<Quantity>().ok().filter(|quantity| quantity.fits())?;
    u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0)
}

/// Parses a percentage such as `15%`: 0 to 100.
pub fn percent(text: &str) -> Option<u64> {
    text.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)
}

/// Returns true for an RFC 1123 label, or for a prefix of one and `*`.
fn is_namespace_pattern(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let stem = name.strip_suffix('*').unwrap_or(name);
    !name.is_empty() && stem.len() <= 63 && stem.bytes().all(plain)
}

/// Returns true for a label key: at most 63 letters, digits and `-_.`, after an optional DNS
/// subdomain and a slash.
///
/// Source: Kubernetes "Labels and Selectors".
fn is_label_key(key: &str) -> bool {
    let (prefix, name) =
        key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let subdomain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    name.len() <= 63
        && name.bytes().all(plain)
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && prefix.is_none_or(|p| !p.is_empty() && p.len() <= 253 && p.bytes().all(subdomain))
}

/// Returns true for the name of a service or of a template's instance, in the characters that
/// systemd.unit(5) allows.
fn is_service(name: &str) -> bool {
    let stem = name.strip_suffix(".service").unwrap_or("");
    !stem.is_empty()
        && name.len() < 256
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
}

/// Returns true for the name of a slice, in the characters that systemd.unit(5) allows. The root
/// slice is excluded: the agent cannot protect it from anything.
fn is_slice(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":_.\\-".contains(&b);
    name.strip_suffix(".slice")
        .is_some_and(|stem| !stem.is_empty() && stem != "-" && stem.bytes().all(plain))
}

/// Returns the key with this path.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Returns the existing key that is nearest to `path`, for "did you mean".
pub fn nearest(path: &str) -> Option<&'static str> {
    let (distance, nearest) = KEYS
        .iter()
        .map(|key| (levenshtein(path, key.path).min(levenshtein(path, last(key.path))), key.path))
        .min()?;
    (distance <= path.len() / 3).then_some(nearest)
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
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
    fn label_keys_are_as_kubernetes_has_them() {
        for (key, allowed) in [
            ("waspEvictionTaint", true),
            ("example.com/swap_pressure", true),
            ("", false),
            ("/x", false),
            ("a/b/c", false),
            ("-x", false),
            ("Example.com/x", false),
        ] {
            assert_eq!(is_label_key(key), allowed, "{key}");
        }
    }

    #[test]
    fn a_typing_error_finds_its_key() {
        assert_eq!(nearest("limits.polcy"), Some("limits.policy"));
        assert_eq!(nearest("resync-seconds"), Some("limits.resync-seconds"));
        assert_eq!(nearest("something-else-altogether"), None);
    }
}
