//! Writes: conflicts, deletion with grace and finalizers, budgets that the server keeps itself, the
//! webhook's stand-in, create's rules.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{PODS, admin, evict, node, pod, rv, start};
use serde_json::{Value, json};
use test_apiserver::client::{MERGE, STRATEGIC};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_update_conflicts() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let admin = admin(&server);
    let old = admin.upsert(&pod("one", "node-a")).await.unwrap();
    let path = format!("{PODS}/one");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let new = admin.patch(&path, MERGE, &label).await.unwrap().ok().unwrap();
    assert_eq!(rv(&new), rv(&old) + 1);
    // The same again changes nothing, so no version is used up.
    let same = admin.patch(&path, MERGE, &label).await.unwrap().ok().unwrap();
    assert_eq!(same, new);
    let stale = admin.put(&path, &old).await.unwrap();
    assert_eq!((stale.code, &stale.body["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on pods \"one\": the object has been modified; please apply \
         your changes to the latest version and try again"
    );
    let stale =
        json!({"metadata": {"resourceVersion": rv(&old).to_string(), "labels": {"c": "d"}}});
    assert_eq!(admin.patch(&path, MERGE, &stale).await.unwrap().code, 409);
    let moved = json!({"spec": {"nodeName": "node-b"}});
    assert_eq!(admin.patch(&path, STRATEGIC, &moved).await.unwrap().code, 422);
    let again = admin.post(PODS, &pod("one", "node-a")).await.unwrap();
    assert_eq!((again.code, again.message()), (409, "pods \"one\" already exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_waits_for_grace_and_finalizers() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let admin = admin(&server);
    let path = format!("{PODS}/held");
    let mut held = pod("held", "node-a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = admin.upsert(&held).await.unwrap();
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(admin.delete(&path, &wrong).await.unwrap().code, 409);
    let first = admin.delete(&path, &Value::Null).await.unwrap().ok().unwrap();
    assert_eq!(first["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(
        first["metadata"]["generation"],
        made["metadata"]["generation"].as_i64().unwrap() + 1
    );
    let longer = json!({"gracePeriodSeconds": 60});
    let second = admin.delete(&path, &longer).await.unwrap().ok().unwrap();
    assert_eq!(second, first, "a delete under way is not put off");
    let zero = admin.delete(&format!("{path}?gracePeriodSeconds=0"), &Value::Null).await.unwrap();
    assert_eq!(zero.ok().unwrap()["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(admin.get(&path).await.unwrap().code, 200);
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, MERGE, &free).await.unwrap().ok().unwrap();
    assert_eq!(admin.get(&path).await.unwrap().code, 404);
    // Nothing runs a pod that is bound nowhere: it goes at once.
    let mut unbound = pod("unbound", "x");
    unbound["spec"]["nodeName"].take();
    admin.upsert(&unbound).await.unwrap();
    admin.delete(&format!("{PODS}/unbound"), &Value::Null).await.unwrap().ok().unwrap();
    assert_eq!(admin.get(&format!("{PODS}/unbound")).await.unwrap().code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_keeps_the_budgets() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    for n in 0..3 {
        let mut pod = pod(&format!("p{n}"), "node-a");
        pod["metadata"]["labels"] = json!({"app": "web"});
        admin.upsert(&pod).await.unwrap();
    }
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "prod"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    admin.upsert(&budget).await.unwrap();
    assert_eq!(evict(&agent, "p0").await.code, 201);
    let second = evict(&agent, "p1").await;
    assert_eq!((second.code, second.retry_after), (429, None));
    assert_eq!(
        second.body["details"]["causes"][0]["message"],
        "The disruption budget web needs 2 healthy pods and has 2 currently"
    );
    // A delete asks no budget.
    let deleted =
        agent.delete(&format!("{PODS}/p1"), &json!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(deleted.code, 200);
    let path = "/apis/policy/v1/namespaces/prod/poddisruptionbudgets/web";
    let status = admin.get(path).await.unwrap().ok().unwrap()["status"].clone();
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_can_migrate_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let mut vm = pod("virt-launcher-vm-1", "node-a");
    vm["metadata"]["labels"] = json!({"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "vm"});
    vm["metadata"]["annotations"] = json!({"test.wasp/live-migratable": "true"});
    admin.upsert(&vm).await.unwrap();
    let denied = evict(&agent, "virt-launcher-vm-1").await;
    assert_eq!((denied.code, denied.retry_after), (429, None));
    assert_eq!(
        denied.message(),
        "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the request: \
         Eviction triggered evacuation of VMI \"prod/vm\""
    );
    let still = agent.get(&format!("{PODS}/virt-launcher-vm-1")).await.unwrap().ok().unwrap();
    assert!(still["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn create_fills_in_what_the_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let admin = admin(&server);
    let mut critical = pod("critical", "node-a");
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    critical["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    let made = admin.upsert(&critical).await.unwrap();
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    assert_eq!(made["spec"]["containers"][0]["resources"]["requests"]["memory"], "1Gi");
    let mut unknown = pod("unknown", "node-a");
    unknown["spec"]["priorityClassName"] = json!("none");
    let refused = admin.post(PODS, &unknown).await.unwrap();
    let why = "pods \"unknown\" is forbidden: no PriorityClass with name none was found";
    assert_eq!((refused.code, refused.message()), (403, why));
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                       "metadata": {"name": "none"}, "value": 7});
    admin.upsert(&class).await.unwrap();
    assert_eq!(admin.upsert(&unknown).await.unwrap()["spec"]["priority"], 7);
    let empty = json!({"metadata": {"name": "empty"}, "spec": {"containers": []}});
    assert_eq!(admin.post(PODS, &empty).await.unwrap().code, 422);
}
