//! The controllers that replace pods: of DaemonSets, ReplicaSets and others, by the pods'
//! ownerReferences. Off unless a test enables them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::json::{list, name_suffix, remove, text, timestamp, uid};
use crate::store::{Inner, Key};

/// The content of `POST /_test/controllers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Controllers {
    pub on: bool,
    /// The delay of the controllers.
    pub delay_ms: u64,
    /// The node for replaced pods, except of DaemonSets; by default the node that they left.
    pub node: String,
    /// The new pod is running and ready, as if a kubelet had started it; otherwise it is pending.
    pub running: bool,
}

/// The time at which a kind's controller replaces a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// As soon as its deletion begins.
    Deleted,
    /// When its object is gone.
    Gone,
}

fn when(pod: &Value) -> Option<(When, &Value)> {
    let owner = list(pod, "/metadata/ownerReferences").iter().find(|o| o["controller"] == true)?;
    match text(owner, "/kind") {
        "ReplicaSet" | "ReplicationController" | "Job" => Some((When::Deleted, owner)),
        "DaemonSet" | "StatefulSet" => Some((When::Gone, owner)),
        _ => None,
    }
}

impl Controllers {
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Returns the pod that replaces this one, whose deletion has begun or ended.
    pub fn replacement(&self, old: &Value, gone: bool) -> Option<(Key, Value)> {
        let (when, owner) = when(old).filter(|_| self.on)?;
        // A pod without a grace period disappears immediately, which is both.
        let had_begun = !old["metadata"]["deletionTimestamp"].is_null();
        let due = match when {
            When::Deleted => !had_begun,
            When::Gone => gone,
        };
        if !due {
            return None;
        }
        let kind = text(owner, "/kind");
        let name = match kind {
            "StatefulSet" => text(old, "/metadata/name").to_owned(),
            _ => format!("{}-{}", text(owner, "/name"), name_suffix()),
        };
        let mut pod = old.clone();
        let meta = &mut pod["metadata"];
        for field in
            ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "finalizers"]
        {
            remove(meta, field);
        }
        meta["name"] = json!(name);
        meta["uid"] = json!(uid());
        meta["creationTimestamp"] = json!(timestamp(0));
        meta["generation"] = json!(1);
        if !(self.node.is_empty() || kind == "DaemonSet") {
            pod["spec"]["nodeName"] = json!(self.node);
        }
        let qos = old["status"]["qosClass"].clone();
        pod["status"] = if self.running {
            json!({"phase": "Running", "qosClass": qos, "startTime": timestamp(0),
                   "conditions": [{"type": "Ready", "status": "True",
                                   "lastTransitionTime": timestamp(0)}]})
        } else {
            json!({"phase": "Pending", "qosClass": qos})
        };
        let namespace = text(old, "/metadata/namespace").to_owned();
        Some((Key::new("pods", &namespace, &name), pod))
    }
}

/// Adds a replacement to the store, unless its name is in use.
pub(crate) fn create(store: &mut Inner, key: Key, pod: Value) {
    if store.get(&key).is_none() {
        store.put(key, pod);
    }
}
