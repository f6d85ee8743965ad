//! Decodes pods one by one: a pod with an unreadable field does not affect any other.

use std::{borrow::Cow, fmt};

use super::{
    json::{Met, Step, path_at, shown, walk},
    wire::{self, WirePod},
};
use crate::{
    json_fault::plain_fault,
    model::{
        plain::plain,
        pod::{Pod, PodUid, is_name},
        quantity::Quantity,
    },
};

/// Upper bound of an object, in bytes. etcd allows 1.5 MiB, in a shorter encoding than JSON.
pub const LONGEST_OBJECT: usize = 4 << 20;

/// Upper bound of the reason that is reported for an unreadable pod.
const LONGEST_REASON: usize = 200;

/// A pod that cannot be read, with the fields that could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OddPod {
    /// As in the names of the containers' cgroups.
    pub uid: Option<PodUid>,
    /// Empty if it is not a valid name, like the next field.
    pub namespace: String,
    pub name: String,
    /// The faulty field, and the fault.
    pub reason: String,
}

impl OddPod {
    /// `namespace/name`, or the best substitute.
    pub fn label(&self) -> String {
        match (&self.uid, self.name.as_str()) {
            (None, "") => "a pod without a name".to_owned(),
            (Some(uid), "") => format!("the pod with UID {uid}"),
            _ => format!("{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Display for OddPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label(), self.reason)
    }
}

/// Decodes a pod. `kept`: keys of annotations to keep in addition to the known ones.
pub fn pod(json: &[u8], kept: &[String]) -> Result<Pod, OddPod> {
    let text = String::from_utf8_lossy(json);
    match serde_json::from_str::<WirePod>(&text) {
        Ok(wire) => wire::pod(wire, kept).ok_or_else(|| {
            let reason = "its UID, its name, its namespace or the name of a container is not valid";
            odd(&text, reason.to_owned())
        }),
        Err(error) => Err(odd(&text, why(&text, &error))),
    }
}

/// Describes a pod that is longer than [`LONGEST_OBJECT`], from its beginning.
pub fn too_long(beginning: &[u8]) -> OddPod {
    let reason = format!("it is longer than {} MiB", LONGEST_OBJECT >> 20);
    odd(&String::from_utf8_lossy(beginning), reason)
}

/// Returns `metadata.resourceVersion` of an object, with any other content.
pub fn version(json: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(json);
    let mut version = None;
    walk(&text, |path, met| {
        if let (["metadata", "resourceVersion"], Met::Scalar(text, _)) = (&keys(path)[..], met) {
            version = unquoted(text).filter(|version| !version.is_empty());
        }
        version.is_none()
    });
    version
}

/// Returns the path without the `object` that a watch puts around an object.
fn keys<'a>(path: &[Step<'a>]) -> Vec<&'a str> {
    let path = path.strip_prefix(&[Step::Key("object")]).unwrap_or(path);
    if path.len() > 3 {
        return Vec::new();
    }
    path.iter()
        .filter_map(|step| if let Step::Key(key) = step { Some(*key) } else { None })
        .collect()
}

fn unquoted(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

fn odd(text: &str, reason: String) -> OddPod {
    let (mut namespace, mut name, mut uid, mut mirror) = (None, None, None, None);
    walk(text, |path, met| {
        let Met::Scalar(value, _) = met else { return true };
        match keys(path)[..] {
            ["metadata", "namespace"] => namespace = unquoted(value),
            ["metadata", "name"] => name = unquoted(value),
            ["metadata", "uid"] => uid = unquoted(value),
            // The UID under which the kubelet runs a static pod.
            ["metadata", "annotations", "kubernetes.io/config.mirror"] => {
                mirror = Some(unquoted(value).filter(|hash| !hash.contains('-')));
            }
            _ => {}
        }
        true
    });
    let named = |text: Option<String>| text.filter(|text| is_name(text)).unwrap_or_default();
    let uid = mirror.unwrap_or(uid);
    OddPod {
        uid: uid.and_then(|uid| PodUid::new(&uid)),
        namespace: named(namespace),
        name: named(name),
        reason: shortened(&plain(&reason)),
    }
}

/// Describes the faulty field and the fault.
fn why(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    if let Some(reason) = odd_quantity(text).filter(|_| message.contains("is not a quantity")) {
        return reason;
    }
    // serde_json appends the position.
    let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
    let message = plain_fault(message);
    match path_at(text, error.line(), error.column()) {
        path if path.is_empty() => message,
        path => format!("{}: {message}", shortened(&path)),
    }
}

/// Finds the first invalid amount of CPU or memory, because serde_json does not report its
/// position.
fn odd_quantity(text: &str) -> Option<String> {
    let mut reason = None;
    walk(text, |path, met| {
        let [
            ..,
            Step::Key("requests" | "limits" | "allocatedResources"),
            Step::Key("cpu" | "memory"),
        ] = path
        else {
            return true;
        };
        let wrong = match met {
            Met::Scalar(value, _) => {
                serde_json::from_str::<Quantity>(value).err().map(|error| error.to_string())
            }
            Met::Open(_) => Some("a list or an object is not a quantity".to_owned()),
            Met::Closed(_) => None,
        };
        reason = wrong.map(|wrong| format!("{}: {wrong}", shown(path)));
        reason.is_none()
    });
    let reason = reason?;
    Some(reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason).to_owned())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// Added or modified.
    Applied(Result<Pod, OddPod>),
    Deleted(Result<Pod, OddPod>),
    Bookmark,
    /// The server's error, and its code.
    Error {
        code: u16,
        message: String,
    },
}

/// Decodes a line of a watch, and the version after it. `None` if the line is not an event.
pub fn event(line: &[u8], kept: &[String]) -> Option<(PodEvent, Option<String>)> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        object: &'a serde_json::value::RawValue,
    }
    let text = String::from_utf8_lossy(line);
    let Line { kind, object } = serde_json::from_str(&text).ok()?;
    let object = object.get().as_bytes();
    let event = match &*kind {
        "ADDED" | "MODIFIED" => PodEvent::Applied(pod(object, kept)),
        "DELETED" => PodEvent::Deleted(pod(object, kept)),
        "BOOKMARK" => PodEvent::Bookmark,
        "ERROR" => {
            let (code, message) = status(object);
            return Some((PodEvent::Error { code, message }, None));
        }
        _ => return None,
    };
    Some((event, version(object)))
}

/// Decodes a line of which only the beginning is known.
pub fn long_event(beginning: &[u8]) -> Option<(PodEvent, Option<String>)> {
    let text = String::from_utf8_lossy(beginning);
    let mut kind = None;
    walk(&text, |path, met| {
        if let (["type"], Met::Scalar(text, _)) = (&keys(path)[..], met) {
            kind = unquoted(text);
        }
        kind.is_none()
    });
    let odd = Err(too_long(beginning));
    let event = match kind.as_deref()? {
        "ADDED" | "MODIFIED" => PodEvent::Applied(odd),
        "DELETED" => PodEvent::Deleted(odd),
        _ => return None,
    };
    Some((event, version(beginning)))
}

/// Returns code and message of a `Status`; code 0 if there is none.
pub fn status(json: &[u8]) -> (u16, String) {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Status {
        code: u16,
        message: String,
        reason: String,
    }
    let status = serde_json::from_slice(json).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(json).trim().to_owned(),
        ..Status::default()
    });
    let text = if status.message.is_empty() { status.reason } else { status.message };
    (status.code, shortened(&plain(&text)))
}

/// Returns the version of a list, from the list without its items.
pub fn list_version(frame: &[u8]) -> Result<String, &'static str> {
    #[derive(serde::Deserialize)]
    struct List {
        metadata: ListMeta,
        /// `null` if there are none.
        items: Option<Vec<serde::de::IgnoredAny>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ListMeta {
        #[serde(default)]
        resource_version: String,
        #[serde(rename = "continue", default)]
        more: String,
    }
    let list: List =
        serde_json::from_slice(frame).map_err(|_| "it is not JSON, or has no metadata")?;
    // serde_json does not distinguish an absent field from null.
    let has_items = list.items.is_some() || frame.windows(7).any(|bytes| bytes == b"\"items\"");
    match list.metadata {
        _ if !has_items => Err("it has no items"),
        ListMeta { more, .. } if !more.is_empty() => Err("it is incomplete"),
        ListMeta { resource_version, .. } if resource_version.is_empty() => {
            Err("it has no metadata.resourceVersion")
        }
        ListMeta { resource_version, .. } => Ok(resource_version),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
