//! Alerts: the rules of packaging/alerts, as a cluster takes them.

use serde_json::{Value, json};

use super::cluster::NAMESPACE;

const RULES: &str = include_str!("../../packaging/alerts/wasp-agent.rules.yaml");

/// The groups of rules: one for a PrometheusRule of our own, one for the platform's monitoring, which
/// knows of every node.
fn groups() -> [Value; 2] {
    // A test parses it.
    let mut rules: Value = serde_saphyr::from_str(RULES).unwrap_or_default();
    [0, 1].map(|index| rules["groups"][index].take())
}

pub(super) fn prometheus_rule() -> Value {
    let [ours, _] = groups();
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "wasp-rules",
            "namespace": NAMESPACE,
            "labels": { "tier": "node", "wasp.io": "" },
        },
        "spec": { "groups": [ours] },
    })
}

pub(super) fn alerting_rule() -> Value {
    let [_, platform] = groups();
    json!({
        "apiVersion": "monitoring.openshift.io/v1",
        "kind": "AlertingRule",
        "metadata": { "name": "wasp-alerts", "namespace": "openshift-monitoring" },
        "spec": { "groups": [platform] },
    })
}
