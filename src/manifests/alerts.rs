//! Alerts: one list, from which every kind of rule is rendered. Each has its page in docs/runbooks.

use serde_json::{Value, json};

use super::cluster::NAMESPACE;

/// Whose monitoring an alert belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A PrometheusRule of our own.
    Namespace,
    /// An AlertingRule: the platform's, which knows of every node.
    Platform,
}

#[derive(Debug)]
pub struct Alert {
    pub name: &'static str,
    pub home: Home,
    pub expression: &'static str,
    /// How long it must hold.
    pub holds: &'static str,
    pub severity: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
}

/// node-exporter's metrics count pages of 4 KiB.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "NodeHighSwapActivity",
        home: Home::Namespace,
        expression: "rate(node_vmstat_pswpout[1m]) > 200 and rate(node_vmstat_pswpin[1m]) > 200",
        holds: "1m",
        severity: "warning",
        summary: "High swap activity detected at {{ $labels.instance }}.",
        description: "High swap activity detected at {{ $labels.instance }}. The rate of swap out and \
                      swap in exceeds 200 in both operations in the last minute. This could indicate \
                      memory pressure and may affect system performance.",
    },
    Alert {
        name: "NodeSwapping",
        home: Home::Platform,
        expression: "(rate(node_vmstat_pswpin{job=\"node-exporter\"}[5m]) + \
                     rate(node_vmstat_pswpout{job=\"node-exporter\"}[5m])) * 4096 / 1024^2 > 1",
        holds: "1m",
        severity: "critical",
        summary: "A node is swapping memory pages",
        description: "Node {{ $labels.instance }} is swapping at a rate of {{ printf \"%.2f\" $value \
                      }} MB/s",
    },
];

const RUNBOOKS: &str =
    "https://github.com/openshift-virtualization/wasp-agent/tree/main/docs/runbooks";

fn rules(home: Home) -> Vec<Value> {
    let rule = |alert: &Alert| {
        json!({
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.holds,
            "labels": {
                "severity": alert.severity,
                "operator_health_impact": "warning",
                "kubernetes_operator_part_of": "kubevirt",
                "kubernetes_operator_component": "kubevirt",
            },
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": format!("{RUNBOOKS}/{}.md", alert.name),
            },
        })
    };
    ALERTS.iter().filter(|alert| alert.home == home).map(rule).collect()
}

pub(super) fn prometheus_rule() -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "wasp-rules",
            "namespace": NAMESPACE,
            "labels": { "tier": "node", "wasp.io": "" },
        },
        "spec": { "groups": [{ "name": "alerts.rules", "rules": rules(Home::Namespace) }] },
    })
}

pub(super) fn alerting_rule() -> Value {
    json!({
        "apiVersion": "monitoring.openshift.io/v1",
        "kind": "AlertingRule",
        "metadata": { "name": "wasp-alerts", "namespace": "openshift-monitoring" },
        "spec": { "groups": [{ "name": "wasp.rules", "rules": rules(Home::Platform) }] },
    })
}
