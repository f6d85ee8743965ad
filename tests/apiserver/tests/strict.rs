//! Unknown fields, values of another type, query parameters, and the record of requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use common::{PODS, admin, eviction, expect, node, pod, start};
use serde_json::{Value, json};
use test_apiserver::client::{APPLY, JSON_PATCH, MERGE, STRATEGIC};
use test_apiserver::envtest::Cluster;

/// The delete options that the `kube` crate sent for an eviction.
fn misspelled(uid: &str) -> Value {
    let mut body = eviction("one");
    body["delete_options"] = json!({"preconditions": {"uid": uid}});
    body
}

async fn asked_to_be_strict(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let path = format!("{PODS}/one/eviction?fieldValidation=Strict");
    let refused = admin.post(&path, &misspelled("other")).await.unwrap();
    expect(&refused, 400, "");
    assert_eq!(
        refused.message(),
        "Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: unknown \
         field \"delete_options\""
    );
    let mut odd = pod("two", "node-a");
    odd["spec"]["containers"][0]["Image"] = json!("x");
    odd["spec"]["nodename"] = json!("x");
    let refused = admin.post(&format!("{PODS}?fieldValidation=Strict"), &odd).await.unwrap();
    expect(&refused, 400, "unknown field \"spec.containers[0].Image\"");
    expect(&refused, 400, "unknown field \"spec.nodename\"");
    let patch = json!({"status": {"conditions": [{"type": "A", "status": "True", "why": "x"}]}});
    for media_type in [MERGE, STRATEGIC] {
        let path = "/api/v1/nodes/node-a/status?fieldValidation=Strict";
        let refused = admin.patch(path, media_type, &patch).await.unwrap();
        expect(&refused, 422, "strict decoding error: unknown field \"status.conditions[");
    }
    let patch = json!([{"op": "add", "path": "/metadata/color", "value": "red"}]);
    let path = format!("{PODS}/one?fieldValidation=Strict");
    let refused = admin.patch(&path, JSON_PATCH, &patch).await.unwrap();
    expect(&refused, 422, "strict decoding error: unknown field \"metadata.color\"");
    // Server-side apply has no other mode.
    let apply = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
                       "spec": {"color": "red"}});
    let path = format!("{PODS}/one?fieldManager=test");
    let refused = admin.patch(&path, APPLY, &apply).await.unwrap();
    expect(&refused, 500, ".spec.color: field not declared in schema");
}
on_each_server!(a_strict_request_is_refused, asked_to_be_strict);

async fn asked_to_warn(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let mut odd = pod("odd", "node-a");
    odd["spec"]["nodename"] = json!("x");
    let made = admin.post(&format!("{PODS}?fieldValidation=Warn"), &odd).await.unwrap();
    assert_eq!(made.warnings, ["299 - \"unknown field \\\"spec.nodename\\\"\""]);
    assert!(made.ok().unwrap()["spec"].get("nodename").is_none(), "it is dropped");
    // So a misspelled precondition has no effect.
    let path = format!("{PODS}/one/eviction?fieldValidation=Ignore");
    let evicted = admin.post(&path, &misspelled("other")).await.unwrap();
    assert_eq!((evicted.code, evicted.warnings.len()), (201, 0));
}
on_each_server!(a_lenient_request_drops_what_does_not_exist, asked_to_warn);

async fn types(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let mut odd = pod("odd", "node-a");
    odd["spec"]["priority"] = json!("1");
    let refused = admin.post(PODS, &odd).await.unwrap();
    expect(
        &refused,
        400,
        "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32",
    );
    let mut body = eviction("one");
    body["deleteOptions"] = json!({"gracePeriodSeconds": "3"});
    let refused = admin.post(&format!("{PODS}/one/eviction"), &body).await.unwrap();
    expect(
        &refused,
        400,
        "cannot unmarshal string into Go struct field DeleteOptions.deleteOptions.gracePeriodSeconds \
         of type int64",
    );
    let patch = json!({"spec": {"unschedulable": "yes"}});
    let path = "/api/v1/nodes/node-a";
    let refused = admin.patch(path, MERGE, &patch).await.unwrap();
    expect(&refused, 422, "NodeSpec.spec.unschedulable of type bool");
}
on_each_server!(a_value_of_another_type_is_refused, types);

async fn quantities(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("zero", "node-a")).await.unwrap();
    for (given, listed) in [
        (json!("1e42"), "1e42"),
        (json!("1e4294967305"), "1e4294967305"),
        (json!("65E"), "65E"),
        (json!("1024Mi"), "1Gi"),
        (json!("0.5Gi"), "512Mi"),
        (json!("1000m"), "1"),
        (json!("1n"), "1n"),
        (json!(128_974_848), "128974848"),
    ] {
        let mut one = pod("one", "node-a");
        one["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": given}});
        let path = format!("{PODS}?dryRun=All");
        let made = admin.post(&path, &one).await.unwrap().ok().unwrap();
        assert_eq!(
            made["spec"]["containers"][0]["resources"]["limits"]["memory"], listed,
            "{given}"
        );
    }
    for (given, code) in [("-1", 422), ("1Qi", 400), ("1 Gi", 400), ("", 400)] {
        let mut one = pod("one", "node-a");
        one["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": given}});
        let refused = admin.post(&format!("{PODS}?dryRun=All"), &one).await.unwrap();
        assert_eq!(refused.code, code, "{given}: {}", refused.message());
    }
}
on_each_server!(quantities_are_taken_and_written_as_go_does, quantities);

#[tokio::test(flavor = "multi_thread")]
async fn it_is_strict_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let path = format!("{PODS}/one/eviction");
    let refused = agent.post(&path, &misspelled("other")).await.unwrap();
    expect(&refused, 400, "strict decoding error: unknown field \"delete_options\"");
    let mut right = eviction("one");
    right["deleteOptions"] = json!({"preconditions": {"uid": "other"}});
    expect(&agent.post(&path, &right).await.unwrap(), 409, "the UID in the precondition (other)");
    let refused = agent.get(&format!("{PODS}/one?colour=red")).await.unwrap();
    expect(&refused, 400, "unknown query parameter \"colour\" of GetOptions");
    let condition = json!({"status": {"conditions": [{"type": "A", "status": "True", "x": 1}]}});
    let refused = agent.patch("/api/v1/nodes/node-a/status", STRATEGIC, &condition).await.unwrap();
    expect(&refused, 422, "unknown field \"status.conditions[");
    let bad = json!({"gracePeriod": 3});
    expect(&admin.delete(&format!("{PODS}/one"), &bad).await.unwrap(), 400, "gracePeriod");

    admin.post("/_test/strict", &json!({"strict": false})).await.unwrap().ok().unwrap();
    let evicted = agent.post(&path, &misspelled("other")).await.unwrap();
    assert_eq!(evicted.code, 201, "as a real server takes it");
    assert_eq!(evicted.warnings, ["299 - \"unknown field \\\"delete_options\\\"\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir);
    let agent = node(&server, "node-a");
    admin(&server).upsert(&pod("one", "node-a")).await.unwrap();
    server.clear_record();
    agent.post(&format!("{PODS}/one/eviction?dryRun=All"), &eviction("one")).await.unwrap();
    let path = "/api/v1/nodes/node-a?fieldManager=x";
    agent.patch(path, MERGE, &json!({"spec": {"unschedulable": true}})).await.unwrap();
    server.restart().unwrap();
    let recorded = server.recorded();
    let [first, second] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!(
        serde_json::to_value(first).unwrap(),
        json!({"user": "system:node:node-a", "verb": "create", "resource": "pods/eviction",
               "namespace": "prod", "name": "one", "query": [["dryRun", "All"]],
               "userAgent": "test-apiserver-client", "contentType": "application/json",
               "body": eviction("one"), "code": 201})
    );
    assert_eq!(second.query, [("fieldManager".to_owned(), "x".to_owned())]);
    assert_eq!((second.content_type.as_str(), second.code), (MERGE, Some(200)));
    let listed = admin(&server).get("/_test/record").await.unwrap().ok().unwrap();
    assert_eq!(listed["requests"].as_array().unwrap().len(), 2, "its own calls are not among them");
}
