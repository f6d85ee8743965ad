//! Evictions: preconditions, grace periods, dry runs, and every answer of the table.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use common::{PODS, admin, evict, eviction, expect, node, pod, rv, start};
use serde_json::{Value, json};
use test_apiserver::client::{Answer, Client};
use test_apiserver::envtest::Cluster;
use test_apiserver::faults::Fault;

async fn with_options(client: &Client, name: &str, options: Value) -> Answer {
    let mut body = eviction(name);
    body["deleteOptions"] = options;
    client.post(&format!("{PODS}/{name}/eviction"), &body).await.unwrap()
}

async fn read(client: &Client, name: &str) -> Value {
    client.get(&format!("{PODS}/{name}")).await.unwrap().ok().unwrap()
}

async fn preconditions(cluster: &Cluster) {
    let admin = cluster.admin();
    let made = admin.upsert(&pod("one", "node-a")).await.unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let wrong = with_options(&admin, "one", json!({"preconditions": {"uid": "other"}})).await;
    expect(&wrong, 409, "");
    assert_eq!(
        wrong.message(),
        format!(
            "Operation cannot be fulfilled on Pod \"one\": the UID in the precondition (other) does \
             not match the UID in record ({uid}). The object might have been deleted and then \
             recreated"
        )
    );
    let old = json!({"preconditions": {"resourceVersion": "1"}});
    let wrong = with_options(&admin, "one", old).await;
    expect(&wrong, 409, "the ResourceVersion in the precondition (1) does not match");
    expect(&wrong, 409, "The object might have been modified");
    assert!(read(&admin, "one").await["metadata"]["deletionTimestamp"].is_null());
    let right = json!({"preconditions": {"uid": uid}});
    assert_eq!(with_options(&admin, "one", right).await.code, 201);
}
on_each_server!(preconditions_are_held_against_the_pod, preconditions);

async fn graces(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let grace = |seconds: i64| json!({"gracePeriodSeconds": seconds});
    let of = |pod: &Value| pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap();
    assert_eq!(with_options(&admin, "one", grace(100)).await.code, 201);
    assert_eq!(of(&read(&admin, "one").await), 100);
    assert_eq!(with_options(&admin, "one", grace(200)).await.code, 201, "taken, without effect");
    assert_eq!(of(&read(&admin, "one").await), 100);
    assert_eq!(evict(&admin, "one").await.code, 201);
    assert_eq!(of(&read(&admin, "one").await), 100);
    assert_eq!(with_options(&admin, "one", grace(50)).await.code, 201);
    assert_eq!(of(&read(&admin, "one").await), 50, "it may only be shortened");
    assert_eq!(with_options(&admin, "one", grace(0)).await.code, 201);
    assert_eq!(admin.get(&format!("{PODS}/one")).await.unwrap().code, 404);
}
on_each_server!(a_grace_period_can_only_shrink, graces);

async fn dry_runs(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let before = read(&admin, "one").await;
    assert_eq!(with_options(&admin, "one", json!({"dryRun": ["All"]})).await.code, 201);
    let path = format!("{PODS}/one/eviction?dryRun=All");
    assert_eq!(admin.post(&path, &eviction("one")).await.unwrap().code, 201);
    assert_eq!(rv(&read(&admin, "one").await), rv(&before), "nothing changed");
    let path = format!("{PODS}/one/eviction?dryRun=Some");
    expect(&admin.post(&path, &eviction("one")).await.unwrap(), 422, "dryRun: Unsupported value");
}
on_each_server!(a_dry_run_has_no_effect, dry_runs);

async fn options(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let refused = with_options(&admin, "one", json!({"propagationPolicy": "Sideways"})).await;
    expect(
        &refused,
        422,
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported",
    );
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    let refused = with_options(&admin, "one", both).await;
    expect(&refused, 422, "orphanDependents and deletionPropagation cannot be both set");
}
on_each_server!(delete_options_are_validated, options);

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let table = admin.get("/_test/answers").await.unwrap().ok().unwrap();
    let table = table["answers"].as_array().unwrap();
    assert!(table.len() > 20);
    for row in table {
        let row = row["name"].as_str().unwrap();
        admin.upsert(&pod("one", "node-a")).await.unwrap();
        let fault = Fault {
            resource: "pods/eviction".to_owned(),
            namespace: "prod".to_owned(),
            name: "one".to_owned(),
            answer: row.to_owned(),
            times: Some(1),
            ..Fault::default()
        };
        server.fault(fault).unwrap();
        admin.upsert(&pod("two", "node-a")).await.unwrap();
        assert_eq!(evict(&agent, "two").await.code, 201, "{row}: another pod's");
        let path = format!("{PODS}/one/eviction");
        match agent.post(&path, &eviction("one")).await {
            Ok(answer) => {
                assert!(answer.code >= 429, "{row}: {}", answer.code);
                if answer.body["kind"] == "Status" {
                    assert_eq!(answer.body["code"], answer.code, "{row}");
                    assert!(!answer.message().contains('{'), "{row}: {}", answer.message());
                }
            }
            Err(_) => assert!(row.starts_with("cut"), "{row}"),
        }
        let gone = !read(&admin, "one").await["metadata"]["deletionTimestamp"].is_null();
        assert_eq!(gone, row.ends_with("-committed"), "{row}");
        for name in ["one", "two"] {
            let now = json!({"gracePeriodSeconds": 0});
            admin.delete(&format!("{PODS}/{name}"), &now).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_server_gives_no_status() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let fault = json!({"answer": "overloaded", "user": "system:node:node-a", "times": 2});
    admin.post("/_test/faults", &fault).await.unwrap().ok().unwrap();
    let list = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a";
    for answer in [evict(&agent, "one").await, agent.get(list).await.unwrap()] {
        assert_eq!((answer.code, answer.retry_after), (429, Some(2)));
        assert_eq!(answer.raw, "Too many requests, please try again later.\n");
        assert_eq!(answer.body, Value::Null);
    }
    assert_eq!(agent.get(list).await.unwrap().code, 200);
    let unknown = admin.post("/_test/faults", &json!({"answer": "weather"})).await.unwrap();
    expect(&unknown, 400, "no answer is named \"weather\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_write_can_be_done_and_yet_fail() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let agent = node(&server, "node-a");
    let path = "/api/v1/nodes/node-a";
    let cordon = json!({"spec": {"unschedulable": true}});
    let fault = Fault { code: Some(500), after_commit: true, times: Some(1), ..Fault::default() };
    server.fault(fault).unwrap();
    let answer = agent.patch(path, test_apiserver::client::MERGE, &cordon).await.unwrap();
    assert_eq!(answer.code, 500);
    assert_eq!(server.get(path).unwrap()["spec"]["unschedulable"], true);
}
