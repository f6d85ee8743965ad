//! Reports to the cluster about the node: its condition and its schedulability.
//!
//! Uses the node's own credentials, except for the taint. Source: Kubernetes "Using Node
//! Authorization", "NodeRestriction".

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    config::settings::TaintEffect,
    decide::{
        evict::condition::{ConditionValue, SwapCondition, TYPE},
        guard::{CORDON_LEFT, FIELD_MANAGER, NodeFacts},
    },
    observe::kube::node::WireNode,
};

/// Prefix of the Machine Config Operator's annotations.
const MACHINE_CONFIG: &str = "machineconfiguration.openshift.io/";

/// Reads and writes the Node object.
#[derive(Clone)]
pub struct NodeApi {
    nodes: Api<WireNode>,
    name: String,
}

impl NodeApi {
    pub fn new(client: Client, name: &str) -> Self {
        Self { nodes: Api::all(client), name: name.to_owned() }
    }

    pub async fn get(&self) -> kube::Result<WireNode> {
        self.nodes.get(&self.name).await
    }

    /// Sets or removes the agent's condition, and leaves the kubelet's own unchanged. `since` is
    /// the time of the last change of its status. Returns the resulting node.
    pub async fn set_condition(
        &self,
        condition: Option<&SwapCondition>,
        since: Timestamp,
    ) -> kube::Result<WireNode> {
        let condition = match condition {
            Some(SwapCondition { status, reason, message }) => json!({
                "type": TYPE, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": seconds(Timestamp::now()), "lastTransitionTime": seconds(since),
            }),
            None => json!({"type": TYPE, "$patch": "delete"}),
        };
        let patch = json!({"status": {"conditions": [condition]}});
        let parameters = named();
        self.nodes.patch_status(&self.name, &parameters, &Patch::Strategic(patch)).await
    }

    /// Sets `spec.unschedulable: true` as its owner; rejected (409) if another manager owns it with
    /// another value, or if the node has changed since it was read: with the same value, the API
    /// server would share the ownership of an administrator's cordon.
    pub async fn cordon(&self, node: &WireNode) -> kube::Result<()> {
        let version = &node.metadata.resource_version;
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "resourceVersion": version},
            "spec": {"unschedulable": true},
        });
        let parameters = PatchParams::apply(FIELD_MANAGER);
        self.nodes.patch(&self.name, &parameters, &Patch::Apply(node)).await.map(drop)
    }

    /// Removes `spec.unschedulable` of `node`; rejected (409) if the node has changed since it was
    /// read. An apply without the field would be wrong: the API server would prune all of `spec`
    /// that has no owner, for example taints set by admission.
    pub async fn uncordon(&self, node: &WireNode) -> kube::Result<()> {
        let version = &node.metadata.resource_version;
        let patch = json!({
            "metadata": {"resourceVersion": version}, "spec": {"unschedulable": null},
        });
        let parameters = named();
        self.nodes.patch(&self.name, &parameters, &Patch::Merge(patch)).await.map(drop)
    }

    /// Sets or removes the annotation [`CORDON_LEFT`]; returns the resulting node.
    pub async fn leave_cordon(&self, left: bool) -> kube::Result<WireNode> {
        let value = left.then_some("drained");
        let patch = json!({"metadata": {"annotations": {CORDON_LEFT: value}}});
        self.nodes.patch(&self.name, &named(), &Patch::Merge(patch)).await
    }

    /// Adds the taint `key` with an effect to those of `node`, or removes it (`None`) with any
    /// effect; rejected (409) if the node has changed since it was read.
    pub async fn taint(
        &self,
        node: &WireNode,
        key: &str,
        effect: Option<TaintEffect>,
    ) -> kube::Result<()> {
        let taints = node.spec.taints.clone().unwrap_or_default();
        let mut taints: Vec<_> = taints.into_iter().filter(|taint| !is_ours(taint, key)).collect();
        if let Some(effect) = effect {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.word().to_owned(),
                ..Default::default()
            });
        }
        let version = &node.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        let parameters = named();
        self.nodes.patch(&self.name, &parameters, &Patch::Merge(patch)).await.map(drop)
    }
}

impl std::fmt::Debug for NodeApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeApi").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Formats a time as the API server does.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Every change names the agent as its manager.
fn named() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Returns true for a taint of the agent's. NoExecute never is: it evicts pods.
fn is_ours(taint: &Taint, key: &str) -> bool {
    let effects = [TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule];
    taint.key == key && effects.iter().any(|effect| effect.word() == taint.effect)
}

/// The taint (effect PreferNoSchedule) on a node that the descheduler of OpenShift relieves.
///
/// Source: cluster-kube-descheduler-operator, its soft tainter.
const DESCHEDULER_TAINT: &str = "nodeutilization.descheduler.openshift.io/overutilized";

/// Returns true if the descheduler relieves `node`.
pub fn is_relieved_by_others(node: &WireNode) -> bool {
    taints_of(node).any(|taint| taint.key == DESCHEDULER_TAINT)
}

/// Returns the facts that the guard needs.
pub fn facts(node: &WireNode, taint_key: &str, effect: TaintEffect) -> NodeFacts {
    let annotations = node.metadata.annotations.iter().flatten();
    let machine_config: BTreeMap<String, String> = annotations
        .filter_map(|(key, value)| Some((key.strip_prefix(MACHINE_CONFIG)?.into(), value.clone())))
        .collect();
    let left = node.metadata.annotations.iter().flatten().any(|(key, _)| key == CORDON_LEFT);
    let managers = node.metadata.managed_fields.iter().flatten();
    let mut owners = managers.filter(|entry| {
        let spec = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec"));
        spec.is_some_and(|fields| fields.get("f:unschedulable").is_some())
    });
    let is_own = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    };
    let ours = owners.next().is_some_and(is_own) && owners.next().is_none();
    NodeFacts {
        unschedulable: node.spec.unschedulable.unwrap_or(false),
        ours,
        tainted: taints_of(node).any(|taint| is_ours(taint, taint_key)),
        tainted_as_wanted: taints_of(node)
            .any(|taint| taint.key == taint_key && taint.effect == effect.word()),
        machine_config,
        others_leave: false,
        drained: false,
        left,
    }
}

fn taints_of(node: &WireNode) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().flatten()
}

/// Returns the agent's condition on the node, which a killed agent could not remove.
pub fn condition(node: &WireNode) -> Option<(ConditionValue, Timestamp)> {
    let conditions = node.status.conditions.as_ref()?;
    let NodeCondition { status, last_transition_time, .. } =
        conditions.iter().find(|condition| condition.type_ == TYPE)?;
    let status = match status.as_str() {
        "True" => ConditionValue::True,
        "False" => ConditionValue::False,
        _ => ConditionValue::Unknown,
    };
    Some((status, last_transition_time.as_ref()?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> WireNode {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_node_is_read() {
        let managed = |manager: &str, operation: &str| {
            json!([{"manager": manager, "operation": operation, "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:unschedulable": {}}}}])
        };
        let json = json!({
            "metadata": {
                "annotations": {"machineconfiguration.openshift.io/state": "Done", "x": "y"},
                "managedFields": managed(FIELD_MANAGER, "Apply"),
            },
            "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": TYPE, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"},
            ]},
        });
        let facts = |node: &WireNode, key: &str| facts(node, key, TaintEffect::NoSchedule);
        let found = facts(&node(json.clone()), "k");
        assert!(found.unschedulable && found.ours && found.tainted && found.tainted_as_wanted);
        assert_eq!(found.machine_config, BTreeMap::from([("state".into(), "Done".into())]));
        let (status, since) = condition(&node(json.clone())).unwrap();
        assert_eq!(
            (status, seconds(since).as_str()),
            (ConditionValue::True, "2026-01-02T03:04:05Z")
        );
        assert!(!facts(&node(json.clone()), "other").tainted);
        for (manager, operation) in [("kubectl", "Apply"), (FIELD_MANAGER, "Update")] {
            let mut other = json.clone();
            other["metadata"]["managedFields"] = managed(manager, operation);
            assert!(!facts(&node(other), "k").ours, "{manager} {operation}");
        }
        let mut shared = json.clone();
        let admins = managed("kubectl-cordon", "Update")[0].clone();
        shared["metadata"]["managedFields"].as_array_mut().unwrap().push(admins);
        assert!(!facts(&node(shared), "k").ours, "an administrator's too");
        let mut left = json.clone();
        left["metadata"]["annotations"][CORDON_LEFT] = json!("drained");
        assert!(facts(&node(left), "k").left && !facts(&node(json), "k").left);
        assert_eq!(facts(&node(json!({})), "k"), NodeFacts::default());
        assert_eq!(condition(&node(json!({}))), None);
    }

    #[test]
    fn the_descheduler_and_the_kubelets_version_are_seen() {
        let json = json!({
            "spec": {"taints": [{"key": DESCHEDULER_TAINT, "effect": "PreferNoSchedule", "value": "true"}]},
            "status": {"nodeInfo": {"kubeletVersion": "v1.31.9+1a2b3c", "swap": {"capacity": 4_294_967_296_u64}}},
        });
        assert!(is_relieved_by_others(&node(json.clone())));
        assert_eq!(node(json).kubelet_minor(), Some(31));
        assert!(!is_relieved_by_others(&node(json!({}))));
        assert_eq!(node(json!({})).kubelet_minor(), None);
    }

    #[test]
    fn a_taint_with_the_other_effect_is_ours_but_not_as_wanted() {
        let json = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        let found = facts(&node(json.clone()), "k", TaintEffect::NoSchedule);
        assert!(found.tainted && !found.tainted_as_wanted);
        assert!(facts(&node(json), "k", TaintEffect::PreferNoSchedule).tainted_as_wanted);
        let evicts = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        assert!(!facts(&node(evicts), "k", TaintEffect::NoSchedule).tainted);
    }
}
