//! PodDisruptionBudgets: the disruption controller's part (status), and the check of an eviction
//! (pkg/registry/core/pod/storage/eviction.go).

use serde_json::{Value, json};

use crate::json::{list, number, text};
use crate::selector::LabelSelector;
use crate::status::{ApiError, ApiResult, Subject};
use crate::store::{Inner, Key};

/// On a PodDisruptionBudget: leaves its status to the test.
pub(crate) const CONTROLLER_OFF: &str = "test.wasp/disruption-controller";

pub(crate) fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Returns a count, or a percentage of `of`, rounded up.
fn scaled(value: &Value, of: i64) -> i64 {
    match value {
        Value::String(s) => {
            let percent: i64 = s.trim_end_matches('%').parse().unwrap_or(0);
            (percent * of + 99) / 100
        }
        other => other.as_i64().unwrap_or(0),
    }
}

/// Computes the disruption controller's status. Every matching pod counts as expected, because
/// there are no ReplicaSets here with a scale.
fn computed_status(pdb: &Value, pods: &[&Value]) -> Value {
    let expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let disrupted = &pdb["status"]["disruptedPods"];
    let live = |p: &Value| p["metadata"]["deletionTimestamp"].is_null();
    let counted =
        |p: &&&Value| live(p) && disrupted[text(p, "/metadata/name")].is_null() && is_ready(p);
    let healthy = i64::try_from(pods.iter().filter(counted).count()).unwrap_or(i64::MAX);
    let spec = &pdb["spec"];
    let desired = if spec["maxUnavailable"].is_null() {
        scaled(&spec["minAvailable"], expected)
    } else {
        (expected - scaled(&spec["maxUnavailable"], expected)).max(0)
    };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let mut status = json!({
        "observedGeneration": pdb["metadata"]["generation"], "expectedPods": expected,
        "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed,
        "conditions": [{
            "type": "DisruptionAllowed", "message": "",
            "status": if allowed > 0 { "True" } else { "False" },
            "reason": if allowed > 0 { "SufficientPods" } else { "InsufficientPods" },
            "observedGeneration": pdb["metadata"]["generation"],
            "lastTransitionTime": pdb["metadata"]["creationTimestamp"],
        }],
    });
    // Kept until the pod that may go has begun to go.
    let waiting: serde_json::Map<String, Value> = disrupted
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| pods.iter().any(|p| live(p) && text(p, "/metadata/name") == *name))
        .map(|(name, time)| (name.clone(), time.clone()))
        .collect();
    if !waiting.is_empty() {
        status["disruptedPods"] = Value::Object(waiting);
    }
    status
}

/// Updates the status of a namespace's budgets, as the controller would.
pub(crate) fn reconcile(store: &mut Inner, namespace: &str) {
    let mut updates = Vec::new();
    for (key, pdb) in store.list("poddisruptionbudgets", namespace) {
        if pdb["metadata"]["annotations"][CONTROLLER_OFF] == "off" {
            continue;
        }
        let selector = LabelSelector::of_object(&pdb["spec"]["selector"]);
        let pods: Vec<&Value> = store
            .list("pods", namespace)
            .map(|(_, pod)| &**pod)
            .filter(|pod| selector.matches(pod))
            .collect();
        let status = computed_status(pdb, &pods);
        if status != pdb["status"] {
            let mut pdb = (**pdb).clone();
            pdb["status"] = status;
            updates.push((key.clone(), pdb));
        }
    }
    for (key, pdb) in updates {
        store.put(key, pdb);
    }
}

fn too_many(message: &str, retry_after: u64) -> ApiError {
    ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.")
        .retry_after(retry_after)
        .cause("DisruptionBudget", message, "")
}

/// Asks the pod's budget for permission, and uses it up unless this is a dry run.
pub(crate) fn ask(store: &mut Inner, pod: &Value, dry_run: bool) -> ApiResult<()> {
    let namespace = text(pod, "/metadata/namespace");
    let matching: Vec<(Key, Value)> = store
        .list("poddisruptionbudgets", namespace)
        .filter(|(_, pdb)| LabelSelector::of_object(&pdb["spec"]["selector"]).matches(pod))
        .map(|(key, pdb)| (key.clone(), (**pdb).clone()))
        .collect();
    let (key, mut pdb) = match <[_; 1]>::try_from(matching) {
        Ok([one]) => one,
        Err(none) if none.is_empty() => return Ok(()),
        Err(_) => {
            return Err(ApiError::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                 does not support.",
            ));
        }
    };
    let status = &pdb["status"];
    let current = number(status, "/currentHealthy");
    let desired = number(status, "/desiredHealthy");
    if !is_ready(pod) {
        let always = pdb["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || (current >= desired && desired > 0) {
            return Ok(());
        }
    }
    let name = &key.name;
    if number(status, "/observedGeneration") < number(&pdb, "/metadata/generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(&why, 10));
    }
    let allowed = number(status, "/disruptionsAllowed");
    if allowed < 0 {
        let subject = Subject { group: "policy", resource: "poddisruptionbudget", name };
        return Err(ApiError::forbidden(&subject, "pdb disruptions allowed is negative"));
    }
    if allowed == 0 {
        let why = if current <= desired {
            format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} \
                 currently"
            )
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        };
        return Err(too_many(&why, 0));
    }
    if !dry_run {
        pdb["status"]["disruptionsAllowed"] = json!(allowed - 1);
        let pod_name = text(pod, "/metadata/name");
        pdb["status"]["disruptedPods"][pod_name] = json!(crate::json::timestamp(0));
        store.put(key, pdb);
    }
    Ok(())
}
