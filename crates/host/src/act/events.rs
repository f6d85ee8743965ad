//! Kubernetes Events about pods and the node.
//!
//! They are of core/v1, as the kubelet's own: before Kubernetes 1.35 a node may not create those of
//! events.k8s.io (`NodeRules` in `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{decide::guard::FIELD_MANAGER, model::event::EventReason};

/// In bytes; the API server rejects longer messages of newer events.
const LONGEST_MESSAGE: usize = 1024;
/// In bytes: 253 for the name of an event, less a dot and the time.
const LONGEST_OBJECT: usize = 253 - 17;
/// An event that follows an equal one within this time is counted in it, as client-go does.
const COUNTED_FOR: SignedDuration = SignedDuration::from_mins(6);

/// A message about a pod or the node, shown by `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub about: EventSubject,
    pub warning: bool,
    pub reason: EventReason,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventSubject {
    Node,
    /// Shown at the Node, as a separate event for each pod.
    PodOfNode(PodReference),
    Pod(PodReference),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodReference {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodReference {
    fn object(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// Publishes notes; counts a repeated one in the first one's event, which then shows the newest text.
pub struct Notes {
    client: Client,
    node: String,
    sent: HashMap<(EventSubject, bool, &'static str), Sent>,
}

struct Sent {
    name: String,
    count: i32,
    at: Timestamp,
}

impl Notes {
    pub fn new(client: Client, node: &str) -> Self {
        Self { client, node: node.to_owned(), sent: HashMap::new() }
    }

    pub async fn publish(&mut self, note: &Note) -> kube::Result<()> {
        let now = Timestamp::now();
        self.sent.retain(|_, sent| now.duration_since(sent.at) < COUNTED_FOR);
        let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= LONGEST_MESSAGE;
        let text: String =
            note.text.char_indices().take_while(fits).map(|(_, letter)| letter).collect();
        let namespace = match &note.about {
            EventSubject::Pod(pod) => &pod.namespace,
            // The API server wants events of objects without a namespace there.
            EventSubject::Node | EventSubject::PodOfNode(_) => "default",
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let key = (note.about.clone(), note.warning, note.reason.word());
        if let Some(sent) = self.sent.get_mut(&key) {
            let count = sent.count + 1;
            let repeated = json!({"count": count, "lastTimestamp": Time(now), "message": text});
            let patch = Patch::Merge(&repeated);
            match events.patch(&sent.name, &PatchParams::default(), &patch).await {
                Ok(_) => {
                    (sent.count, sent.at) = (count, now);
                    return Ok(());
                }
                // The event, or its namespace, was deleted meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.event(note, namespace, text, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        self.sent.insert(key, Sent { name, count: 1, at: now });
        Ok(())
    }

    fn event(&self, note: &Note, namespace: &str, text: String, now: Timestamp) -> Event {
        let about = match &note.about {
            // In the form in which the kubelet refers to its node.
            EventSubject::Node | EventSubject::PodOfNode(_) => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                uid: Some(self.node.clone()),
                ..ObjectReference::default()
            },
            EventSubject::Pod(pod) => pod.object(),
        };
        let name = event_name(about.name.as_deref().unwrap_or_default(), now);
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: about,
            related: match &note.about {
                EventSubject::PodOfNode(pod) => Some(pod.object()),
                EventSubject::Node | EventSubject::Pod(_) => None,
            },
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason.word().to_owned()),
            action: Some(note.reason.action().to_owned()),
            message: Some(text),
            source: Some(EventSource {
                component: Some(FIELD_MANAGER.to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.node.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            ..Event::default()
        }
    }
}

/// Names an event as client-go does, by its object and the time.
fn event_name(object: &str, now: Timestamp) -> String {
    let object = object.get(..LONGEST_OBJECT).unwrap_or(object).trim_end_matches(['-', '.']);
    format!("{object}.{:x}", now.as_nanosecond())
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Notes").field(&self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_fits_into_the_name_of_an_object() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(event_name("vm", at), "vm.18fae27693b40000");
        let long = format!("{}-{}", "a".repeat(LONGEST_OBJECT - 1), "b".repeat(17));
        assert_eq!(
            event_name(&long, at),
            format!("{}.18fae27693b40000", "a".repeat(LONGEST_OBJECT - 1))
        );
        assert_eq!(event_name(&"a".repeat(253), at).len(), 253);
    }
}
