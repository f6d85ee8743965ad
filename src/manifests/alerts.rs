//! The alerts of packaging/alerts/wasp-agent.rules.yaml in the form for a cluster: the first group
//! for our own PrometheusRule, the second for the platform's monitoring, which knows every node.

use serde_json::{Value, json};

use super::cluster::NAMESPACE;
use crate::yaml;

const RULES: &str = include_str!("../../packaging/alerts/wasp-agent.rules.yaml");

/// Returns the group at `index`; a test checks that it exists.
fn group(index: usize) -> Value {
    let rules = yaml::parse(RULES.as_bytes()).unwrap_or_default().value;
    rules["groups"][index].clone()
}

/// Returns the names of the alerts. Each has a page in docs/runbooks.
pub fn alert_names() -> Vec<String> {
    let rules = [group(0), group(1)];
    let rules = rules.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
    rules.filter_map(|rule| Some(rule["alert"].as_str()?.to_owned())).collect()
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
        "spec": { "groups": [group(0)] },
    })
}

pub(super) fn alerting_rule() -> Value {
    json!({
        "apiVersion": "monitoring.openshift.io/v1",
        "kind": "AlertingRule",
        "metadata": { "name": "wasp-alerts", "namespace": "openshift-monitoring" },
        "spec": { "groups": [group(1)] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_groups_have_their_alerts() {
        let names = alert_names();
        assert!(names.contains(&"NodeHighSwapActivity".to_owned()), "{names:?}");
        assert_eq!(alerting_rule()["spec"]["groups"][0]["rules"][0]["alert"], "NodeSwapping");
        assert_eq!(prometheus_rule()["spec"]["groups"][0]["name"], "alerts.rules");
    }
}
