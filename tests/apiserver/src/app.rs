//! The server's state, and what it starts with.

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

/// How many there have been, and how long the last is.
pub type Outage = (u64, Duration);

#[derive(Debug)]
pub struct App {
    pub store: Store,
    pub faults: Mutex<Faults>,
    pub stats: Stats,
    /// Fields that do not exist are refused, unless a request says otherwise.
    pub strict: Arc<AtomicBool>,
    pub record: Arc<Record>,
    /// Locked before the store.
    pub kubevirt: Arc<Mutex<Kubevirt>>,
    pub controllers: Arc<Mutex<Controllers>>,
    /// Left by a request to be done later.
    pub tasks: Mutex<Vec<(Duration, Task)>>,
    /// By user: certificates with a smaller serial are no longer taken.
    pub revoked: Mutex<BTreeMap<String, u64>>,
    pub bookmark_interval: Duration,
    /// Act as the disruption controller.
    pub disruption_controller: bool,
    /// Counts up to close all watches.
    pub drop_watches: watch::Sender<u64>,
    /// Set to close listener and connections for so long; the count makes each time distinct.
    pub outage: watch::Sender<Outage>,
}

impl App {
    /// What follows a write before anyone else can look: the controllers' part.
    pub fn after_write(&self, store: &mut Inner, plural: &str, namespace: &str) {
        if self.disruption_controller && matches!(plural, "pods" | "poddisruptionbudgets") {
            pdb::reconcile(store, namespace);
        }
    }

    /// Objects that every cluster has, and the nodes, unless they are there.
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

/// A node as a kubelet registers it.
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
