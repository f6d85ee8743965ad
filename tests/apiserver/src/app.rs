//! The server's state, and its initial objects.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::controllers::Controllers;
use crate::faults::Faults;
use crate::json::{timestamp, uid};
use crate::kubevirt::Kubevirt;
use crate::pdb;
use crate::record::Record;
use crate::stats::Stats;
use crate::store::{Inner, Key, Store};
use crate::tasks::Task;

/// The number of outages so far, and the length of the last one.
pub type Outage = (u64, Duration);

#[derive(Debug)]
pub struct App {
    pub store: Store,
    pub faults: Mutex<Faults>,
    pub stats: Stats,
    /// Rejects unknown fields, unless a request selects another mode.
    pub strict: Arc<AtomicBool>,
    pub record: Arc<Record>,
    /// Lock this before the store.
    pub kubevirt: Arc<Mutex<Kubevirt>>,
    pub controllers: Arc<Mutex<Controllers>>,
    /// Tasks that requests have left for later.
    pub tasks: Mutex<Vec<(Duration, Task)>>,
    /// By user: the server rejects certificates with a smaller serial.
    pub revoked: Mutex<BTreeMap<String, u64>>,
    pub bookmark_interval: Duration,
    /// The server acts as the disruption controller.
    pub disruption_controller: bool,
    /// A counter; each change closes all watches.
    pub drop_watches: watch::Sender<u64>,
    /// Closes listener and connections for this long; the counter distinguishes repeated outages.
    pub outage: watch::Sender<Outage>,
}

impl App {
    /// Applies the controllers' reactions to a write before any other request can read.
    pub fn after_write(&self, store: &mut Inner, plural: &str, namespace: &str) {
        if self.disruption_controller && matches!(plural, "pods" | "poddisruptionbudgets") {
            pdb::reconcile(store, namespace);
        }
    }

    /// Creates the objects that every cluster has, and the nodes, unless they exist.
    pub fn seed(&self, nodes: &[String]) -> Result<()> {
        let mut store = self.store.lock();
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            add(
                &mut store,
                "namespaces",
                json!({
                    "apiVersion": "v1", "kind": "Namespace",
                    "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                    "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
                }),
            );
        }
        // pkg/apis/scheduling/v1/helpers.go
        for (name, value) in
            [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
        {
            add(
                &mut store,
                "priorityclasses",
                json!({
                    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                    "metadata": {"name": name, "generation": 1}, "value": value,
                    "preemptionPolicy": "PreemptLowerPriority",
                }),
            );
        }
        for name in nodes {
            add(&mut store, "nodes", node(name));
        }
        Ok(())
    }
}

fn add(store: &mut Inner, plural: &str, mut object: Value) {
    let key = Key::new(plural, "", crate::json::text(&object, "/metadata/name"));
    if store.get(&key).is_none() {
        object["metadata"]["uid"] = json!(uid());
        object["metadata"]["creationTimestamp"] = json!(timestamp(0));
        store.put(key, object);
    }
}

/// Builds a node as a kubelet registers it.
pub fn node(name: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason,
               "message": format!("kubelet reports {reason}"),
               "lastHeartbeatTime": timestamp(0), "lastTransitionTime": timestamp(0)})
    };
    let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "250", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64", "node-role.kubernetes.io/worker": ""}},
        "spec": {},
        "status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"},
                          {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    })
}
