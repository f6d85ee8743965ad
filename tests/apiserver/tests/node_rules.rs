//! The permissions of a node's credentials, row by row, over TLS: with the test server, and with a
//! real kube-apiserver if there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use common::{PODS, add_pod, evict, expect, pod};
use serde_json::{Value, json};
use test_apiserver::client::{APPLY, Client, JSON_PATCH, MERGE, STRATEGIC};
use test_apiserver::envtest::Cluster;

const NODE: &str = "/api/v1/nodes/node-a";

async fn reading(cluster: &Cluster) {
    let node = cluster.node("node-a");
    add_pod(cluster, &pod("own", "node-a")).await;
    add_pod(cluster, &pod("other", "node-b")).await;
    let selector = "can only list/watch pods with spec.nodeName field selector";
    let relation = "no relationship found between node 'node-a' and this object";
    for (path, code, fragment) in [
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a", 200, ""),
        ("/api/v1/pods?fieldSelector=spec.nodeName=node-a,status.phase=Running", 200, ""),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a&watch=1&timeoutSeconds=1", 200, ""),
        ("/api/v1/pods", 403, selector),
        ("/api/v1/pods?watch=true", 403, selector),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-b", 403, selector),
        ("/api/v1/pods?fieldSelector=spec.nodeName!%3Dnode-b", 403, selector),
        ("/api/v1/namespaces/prod/pods", 403, selector),
        ("/api/v1/namespaces/prod/pods/own", 200, ""),
        ("/api/v1/namespaces/prod/pods/other", 403, relation),
        ("/api/v1/namespaces/prod/pods/none", 403, relation),
        ("/api/v1/nodes/node-a", 200, ""),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dnode-a", 200, ""),
        ("/api/v1/nodes/node-b", 403, "cannot read 'node-b', only its own Node object"),
        ("/api/v1/nodes", 403, "cannot read all nodes, only its own Node object"),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            403,
            "User \"system:node:node-a\" cannot list resource \"priorityclasses\" in API group \
             \"scheduling.k8s.io\" at the cluster scope",
        ),
        ("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical", 403, "cannot get"),
        ("/apis/policy/v1/poddisruptionbudgets", 403, "cannot list resource"),
        (
            "/apis/policy/v1/namespaces/prod/poddisruptionbudgets/x",
            403,
            "in the namespace \"prod\"",
        ),
        ("/api/v1/namespaces", 403, "cannot list resource \"namespaces\""),
        ("/api/v1/namespaces/prod", 403, "cannot get resource \"namespaces\""),
        ("/api/v1/events", 403, "cannot list resource \"events\""),
        ("/api/v1/namespaces/default/events", 403, "cannot list resource \"events\""),
        ("/apis/events.k8s.io/v1/namespaces/default/events", 403, "cannot list resource"),
        (
            "/apis/kubevirt.io/v1/namespaces/prod/virtualmachineinstances/vm",
            403,
            "virtualmachineinstances.kubevirt.io \"vm\" is forbidden: User \"system:node:node-a\" \
             cannot get resource \"virtualmachineinstances\" in API group \"kubevirt.io\" in the \
             namespace \"prod\"",
        ),
        ("/apis/metrics.k8s.io/v1beta1/nodes", 403, "cannot list resource \"nodes\""),
        ("/version", 200, ""),
        ("/api", 200, ""),
        ("/apis", 200, ""),
        ("/api/v1", 200, ""),
        ("/apis/policy/v1", 200, ""),
        ("/apis/events.k8s.io/v1", 200, ""),
        ("/readyz", 200, ""),
        ("/livez", 200, ""),
        ("/healthz", 200, ""),
    ] {
        let answer = node.get(path).await.unwrap();
        println!("{path}: {}", answer.code);
        expect(&answer, code, fragment);
    }
    expect(&cluster.anonymous().get("/api/v1/pods").await.unwrap(), 401, "Unauthorized");
    // The node has no relation to its own pod once that is gone.
    let now = json!({"gracePeriodSeconds": 0});
    expect(&node.delete(&format!("{PODS}/own"), &now).await.unwrap(), 200, "");
    for _ in 0..200 {
        if node.get(&format!("{PODS}/own")).await.unwrap().code != 200 {
            break;
        }
    }
    expect(&node.get(&format!("{PODS}/own")).await.unwrap(), 403, relation);
}
on_each_server!(a_node_reads_only_what_is_its_own, reading);

async fn deleting(cluster: &Cluster) {
    let node = cluster.node("node-a");
    add_pod(cluster, &pod("own", "node-a")).await;
    add_pod(cluster, &pod("other", "node-b")).await;
    let slow = json!({"gracePeriodSeconds": 30});
    let answer = node.delete(&format!("{PODS}/own"), &slow).await.unwrap();
    expect(&answer, 200, "");
    assert_eq!(answer.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(answer.body["metadata"]["deletionTimestamp"].is_string());
    // A pod that is being deleted still exists.
    expect(&cluster.admin().get(&format!("{PODS}/own")).await.unwrap(), 200, "");
    let now = json!({"gracePeriodSeconds": 0});
    expect(&node.delete(&format!("{PODS}/own"), &now).await.unwrap(), 200, "");
    expect(
        &cluster.admin().get(&format!("{PODS}/own")).await.unwrap(),
        404,
        "pods \"own\" not found",
    );
    expect(
        &node.delete(&format!("{PODS}/other"), &now).await.unwrap(),
        403,
        "node \"node-a\" can only delete pods with spec.nodeName set to itself",
    );
    expect(
        &node.delete(&format!("{PODS}/none"), &now).await.unwrap(),
        404,
        "pods \"none\" not found",
    );
    let create = node.post(PODS, &pod("new", "node-a")).await.unwrap();
    expect(&create, 403, "pod does not have \"kubernetes.io/config.mirror\" annotation");
}
on_each_server!(a_node_deletes_only_its_own_pods, deleting);

fn budget(name: &str, status: Value) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
           "metadata": {"name": name, "namespace": "prod",
                        "annotations": {"test.wasp/disruption-controller": "off"}},
           "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}},
           "status": status})
}

async fn evicting(cluster: &Cluster) {
    let node = cluster.node("node-a");
    for name in ["free", "exhausted", "unprocessed", "allowed", "pending"] {
        add_pod(cluster, &pod(name, "node-a")).await;
    }
    add_pod(cluster, &pod("other", "node-b")).await;
    let mut pending = pod("pending", "node-a");
    pending["status"] = json!({"phase": "Pending"});
    cluster.admin().upsert(&pending).await.unwrap();
    let status = |observed, allowed| {
        json!({"observedGeneration": observed, "disruptionsAllowed": allowed, "currentHealthy": 1,
               "desiredHealthy": 1, "expectedPods": 1})
    };
    for (name, status) in [
        ("exhausted", status(1, 0)),
        ("pending", status(1, 0)),
        ("unprocessed", status(0, 0)),
        ("allowed", status(1, 1)),
    ] {
        cluster.admin().upsert(&budget(name, status)).await.unwrap();
    }
    let answer = evict(&node, "free").await;
    expect(&answer, 201, "");
    assert_eq!(answer.body["status"], "Success");
    let evicted = node.get(&format!("{PODS}/free")).await.unwrap().ok().unwrap();
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    let mark = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&mark["status"], &mark["reason"]),
        (&json!("True"), &json!("EvictionByEvictionAPI"))
    );

    expect(
        &evict(&node, "other").await,
        403,
        "node node-a can only evict pods with spec.nodeName set to itself",
    );
    expect(&evict(&node, "none").await, 404, "not found");

    let cannot = "Cannot evict pod as it would violate the pod's disruption budget.";
    let answer = evict(&node, "exhausted").await;
    expect(&answer, 429, cannot);
    assert_eq!(answer.retry_after, None);
    assert_eq!(answer.body["reason"], "TooManyRequests");
    assert_eq!(answer.body["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(
        answer.body["details"]["causes"][0]["message"],
        "The disruption budget exhausted needs 1 healthy pods and has 1 currently"
    );
    let answer = evict(&node, "unprocessed").await;
    expect(&answer, 429, cannot);
    assert_eq!(answer.retry_after, Some(10));
    assert_eq!(
        answer.body["details"]["causes"][0]["message"],
        "The disruption budget unprocessed is still being processed by the server."
    );
    expect(&evict(&node, "pending").await, 201, "");

    let path = format!("{PODS}/allowed/eviction");
    let dry = node.post(&format!("{path}?dryRun=All"), &common::eviction("allowed")).await.unwrap();
    expect(&dry, 201, "");
    let untouched = node.get(&format!("{PODS}/allowed")).await.unwrap().ok().unwrap();
    assert!(untouched["metadata"]["deletionTimestamp"].is_null());
    let wrong = node.post(&path, &common::eviction("exhausted")).await.unwrap();
    expect(&wrong, 400, "name in URL does not match name in Eviction object");
    expect(&evict(&node, "allowed").await, 201, "");
    let budgets = "/apis/policy/v1/namespaces/prod/poddisruptionbudgets/allowed";
    let after = cluster.admin().get(budgets).await.unwrap().ok().unwrap();
    assert_eq!(after["status"]["disruptionsAllowed"].as_i64().unwrap_or(0), 0);
    assert!(after["status"]["disruptedPods"]["allowed"].is_string());
}
on_each_server!(evictions_ask_the_budget, evicting);

async fn patching(cluster: &Cluster) {
    let node = cluster.node("node-a");
    let status = format!("{NODE}/status");
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let label = |key: &str| json!({"metadata": {"labels": {key: "1"}}});
    let no_taints = "is not allowed to modify taints";
    let no_labels = "is not allowed to modify labels: ";
    for (path, kind, patch, code, fragment) in [
        (NODE, STRATEGIC, &taint, 403, no_taints),
        (NODE, MERGE, &taint, 403, no_taints),
        (&status, MERGE, &taint, 403, no_taints),
        (NODE, MERGE, &json!({"spec": {"unschedulable": true}}), 200, ""),
        (NODE, MERGE, &json!({"spec": {"unschedulable": null}}), 200, ""),
        (NODE, MERGE, &json!({"metadata": {"annotations": {"example.com/a": "1"}}}), 200, ""),
        (NODE, MERGE, &label("example.com/x"), 200, ""),
        (NODE, MERGE, &label("feature.node.kubernetes.io/x"), 200, ""),
        (NODE, MERGE, &label("node-restriction.kubernetes.io/x"), 403, no_labels),
        (NODE, MERGE, &label("unknown.kubernetes.io/x"), 403, no_labels),
        (
            "/api/v1/nodes/node-b",
            MERGE,
            &label("example.com/x"),
            403,
            "node \"node-a\" is not allowed to modify node \"node-b\"",
        ),
        (NODE, "application/what", &label("x"), 415, ""),
    ] {
        let answer = node.patch(path, kind, patch).await.unwrap();
        println!("{path} {patch}: {}", answer.code);
        expect(&answer, code, fragment);
    }
    let after = node.get(NODE).await.unwrap().ok().unwrap();
    assert!(after["spec"]["unschedulable"].is_null());
    assert_eq!(after["metadata"]["annotations"]["example.com/a"], "1");
    assert_eq!(after["metadata"]["labels"]["feature.node.kubernetes.io/x"], "1");

    // The node cannot remove an administrator's taint.
    expect(&cluster.admin().patch(NODE, MERGE, &taint).await.unwrap(), 200, "");
    let untaint = json!([{"op": "remove", "path": "/spec/taints"}]);
    expect(&node.patch(NODE, JSON_PATCH, &untaint).await.unwrap(), 403, no_taints);
    conditions(&node).await;
}
on_each_server!(a_node_changes_only_some_of_its_node, patching);

async fn conditions(node: &Client) {
    let kinds = |node: &Value| -> Vec<String> {
        let list = node["status"]["conditions"].as_array().unwrap();
        list.iter().map(|c| c["type"].as_str().unwrap().to_owned()).collect()
    };
    let before = node.get(NODE).await.unwrap().ok().unwrap();
    let condition = json!({"status": {"conditions": [
        {"type": "SwapPressure", "status": "False", "reason": "X", "message": "y"}]}});
    // Sent to the main resource: accepted, without effect.
    expect(&node.patch(NODE, STRATEGIC, &condition).await.unwrap(), 200, "");
    let ignored = node.get(NODE).await.unwrap().ok().unwrap();
    assert_eq!(kinds(&ignored), kinds(&before));
    assert_eq!(ignored["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    let path = format!("{NODE}/status");
    expect(&node.patch(&path, STRATEGIC, &condition).await.unwrap(), 200, "");
    let after = node.get(NODE).await.unwrap().ok().unwrap();
    let mut found = kinds(&after);
    found.sort();
    let mut want = kinds(&before);
    want.push("SwapPressure".to_owned());
    want.sort();
    assert_eq!(found, want);
    // A merge patch replaces the list: the kubelet's own conditions are lost.
    expect(&node.patch(&path, MERGE, &condition).await.unwrap(), 200, "");
    let lost = node.get(NODE).await.unwrap().ok().unwrap();
    assert_eq!(kinds(&lost), ["SwapPressure"]);
}

async fn applying(cluster: &Cluster) {
    let node = cluster.node("node-a");
    let annotated = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Node",
               "metadata": {"name": "node-a", "annotations": {"example.com/owned": value}}})
    };
    let path = |manager: &str, more: &str| format!("{NODE}?fieldManager={manager}{more}");
    expect(&node.patch(NODE, APPLY, &annotated("1")).await.unwrap(), 422, "fieldManager");
    expect(&node.patch(&path("one", ""), APPLY, &annotated("1")).await.unwrap(), 200, "");
    let refused = node.patch(&path("two", ""), APPLY, &annotated("2")).await.unwrap();
    expect(&refused, 409, "Apply failed with 1 conflict: conflict with \"one\"");
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "FieldManagerConflict");
    expect(
        &node.patch(&path("two", "&force=true"), APPLY, &annotated("2")).await.unwrap(),
        200,
        "",
    );
    let after = node.get(NODE).await.unwrap().ok().unwrap();
    assert_eq!(after["metadata"]["annotations"]["example.com/owned"], "2");
}
on_each_server!(apply_conflicts_name_the_owner, applying);

async fn recording(cluster: &Cluster) {
    let (node, admin) = (cluster.node("node-a"), cluster.admin());
    add_pod(cluster, &pod("own", "node-a")).await;
    let core = |namespace: &str, about: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "reason": "X", "message": "y",
               "type": "Normal", "metadata": {"generateName": "e-", "namespace": namespace},
               "involvedObject": {"kind": "Pod", "namespace": about, "name": "own"}})
    };
    let new = |namespace: &str, about: Value| {
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "reason": "X", "note": "y",
               "type": "Normal", "metadata": {"generateName": "e-", "namespace": namespace},
               "eventTime": "2026-01-01T00:00:00.000000Z", "action": "A",
               "reportingController": "example.com/agent", "reportingInstance": "node-a",
               "regarding": about})
    };
    let own_pod = json!({"kind": "Pod", "namespace": "prod", "name": "own"});
    let own_node = json!({"kind": "Node", "name": "node-a", "apiVersion": "v1"});
    let mismatch = "does not match event.namespace";
    for (group, namespace, event, code, fragment) in [
        ("/api/v1", "default", core("default", ""), 201, ""),
        ("/api/v1", "prod", core("prod", "prod"), 201, ""),
        ("/api/v1", "default", core("default", "prod"), 422, mismatch),
        ("/api/v1", "prod", core("prod", ""), 422, mismatch),
        ("/apis/events.k8s.io/v1", "default", new("default", own_node.clone()), 201, ""),
        ("/apis/events.k8s.io/v1", "prod", new("prod", own_pod.clone()), 201, ""),
        ("/apis/events.k8s.io/v1", "prod", new("prod", own_node), 422, mismatch),
        ("/api/v1", "nowhere", core("nowhere", "nowhere"), 404, "namespaces \"nowhere\" not found"),
    ] {
        // Before 1.35 a node may not write events of events.k8s.io.
        let client = if group == "/api/v1" { &node } else { &admin };
        let answer = client.post(&format!("{group}/namespaces/{namespace}/events"), &event).await;
        let answer = answer.unwrap();
        println!("{group} {namespace}: {}", answer.code);
        expect(&answer, code, fragment);
    }
    let path = "/apis/events.k8s.io/v1/namespaces/prod/events";
    for (field, value, code, fragment) in [
        ("eventTime", json!("2026-01-01T00:00:00Z"), 400, "cannot parse \"Z\" as \".000000\""),
        ("reportingController", json!("a/b/c"), 422, "reportingController: Invalid value"),
        ("type", json!("Other"), 422, "Event \"e-x\" is invalid: type: Invalid value"),
        ("deprecatedCount", json!(1), 422, "count: Invalid value: \"\": needs to be unset"),
        ("action", json!(""), 422, "action: Required value"),
    ] {
        let mut event = new("prod", own_pod.clone());
        event["metadata"]["name"] = json!("e-x");
        event[field] = value;
        expect(&admin.post(path, &event).await.unwrap(), code, fragment);
    }
    let made = admin.post(path, &new("prod", own_pod)).await.unwrap().ok().unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("e-") && name.len() == 7, "{name}");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    let patched = admin.patch(&format!("{path}/{name}"), MERGE, &series).await.unwrap();
    expect(&patched, 200, "");
    let reason = json!({"reason": "Other"});
    let refused = admin.patch(&format!("{path}/{name}"), MERGE, &reason).await.unwrap();
    expect(&refused, 422, "reason: Invalid value: \"Other\": field is immutable");
    // The same event, with the field names of core/v1.
    let seen =
        cluster.admin().get(&format!("/api/v1/namespaces/prod/events/{name}")).await.unwrap();
    let seen = seen.ok().unwrap();
    assert_eq!((&seen["message"], &seen["series"]["count"]), (&json!("y"), &json!(2)));
    assert_eq!(seen["involvedObject"]["name"], "own");
    let path = "/api/v1/namespaces/prod/events";
    let made = node.post(path, &core("prod", "prod")).await.unwrap().ok().unwrap();
    let path = format!("{path}/{}", made["metadata"]["name"].as_str().unwrap());
    let again = json!({"count": 2, "lastTimestamp": "2026-01-01T00:00:01Z", "message": "z"});
    expect(&node.patch(&path, MERGE, &again).await.unwrap(), 200, "");
    assert_eq!(admin.get(&path).await.unwrap().ok().unwrap()["message"], "z");
}
on_each_server!(events_are_written_not_read, recording);

async fn reviewing(cluster: &Cluster) {
    let node = cluster.node("node-a");
    add_pod(cluster, &pod("own", "node-a")).await;
    for (attributes, allowed) in [
        (
            json!({"verb": "create", "resource": "pods", "subresource": "eviction",
                "namespace": "prod"}),
            true,
        ),
        (json!({"verb": "list", "resource": "pods"}), false),
        (
            json!({"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [
            {"key": "spec.nodeName", "operator": "In", "values": ["node-a"]}]}}),
            true,
        ),
        (
            json!({"verb": "patch", "resource": "nodes", "subresource": "status",
                "name": "node-a"}),
            true,
        ),
        (
            json!({"verb": "get", "resource": "priorityclasses",
                "group": "scheduling.k8s.io"}),
            false,
        ),
    ] {
        let review = json!({"apiVersion": "authorization.k8s.io/v1",
                            "kind": "SelfSubjectAccessReview",
                            "spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = node.post(path, &review).await.unwrap();
        expect(&answer, 201, "");
        assert_eq!(answer.body["status"]["allowed"], allowed, "{attributes}");
    }
}
on_each_server!(access_reviews_tell_the_truth, reviewing);
