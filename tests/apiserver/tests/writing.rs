//! Writes: conflicts, deletion with grace and finalizers, budgets that the server keeps itself, the
//! webhook's stand-in, create's rules.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{PODS, admin, evict, node, pod, rv, start};
use serde_json::{Value, json};
use test_apiserver::client::{Client, JSON_PATCH, MERGE, STRATEGIC};

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

fn resources(requests: (&str, &str), limits: (&str, &str)) -> Value {
    let amounts = |(cpu, memory): (&str, &str)| json!({"cpu": cpu, "memory": memory});
    json!({"requests": amounts(requests), "limits": amounts(limits)})
}

/// A burstable pod that runs, with an init container.
async fn resizable(admin: &Client, name: &str) -> Value {
    let mut pod = pod(name, "node-a");
    pod["spec"]["containers"][0]["resources"] = resources(("1", "64Mi"), ("2", "128Mi"));
    pod["spec"]["initContainers"] = json!([{"name": "init", "image": "example.com/x:1",
        "resources": resources(("1", "64Mi"), ("2", "128Mi"))}]);
    pod["status"]["containerStatuses"] = json!([{"name": "main", "ready": true, "restartCount": 0,
        "image": "", "imageID": "", "state": {"running": {}},
        "resources": resources(("1", "64Mi"), ("2", "128Mi"))}]);
    admin.upsert(&pod).await.unwrap()
}

/// A change of the container's resources.
fn change(resources: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "main", "resources": resources}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_changes_resources_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let admin = admin(&server);
    let made = resizable(&admin, "one").await;
    let path = format!("{PODS}/one/resize");
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64().unwrap();
    let mut patch = change(&json!({"limits": {"memory": "256Mi"}}));
    patch["metadata"] = json!({"labels": {"app": "other"}});
    patch["spec"]["containers"][0]["image"] = json!("example.com/other:1");
    patch["spec"]["activeDeadlineSeconds"] = json!(7);
    patch["status"] = json!({"phase": "Failed"});
    let mut want = made.clone();
    want["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("256Mi");
    want["metadata"]["generation"] = json!(generation(&made) + 1);
    let mut got = admin.patch(&path, STRATEGIC, &patch).await.unwrap().ok().unwrap();
    assert_eq!(rv(&got), rv(&made) + 1);
    assert_eq!(admin.get(&path).await.unwrap().ok().unwrap(), got);
    want["metadata"]["resourceVersion"] = got["metadata"]["resourceVersion"].take();
    got["metadata"]["resourceVersion"] = want["metadata"]["resourceVersion"].clone();
    assert_eq!(got, want);
    let same = change(&json!({"limits": {"cpu": "2000m"}}));
    assert_eq!(admin.patch(&path, STRATEGIC, &same).await.unwrap().ok().unwrap(), got);
    let pointer = "/spec/initContainers/0/resources/limits/cpu";
    let json_patch = json!([{"op": "replace", "path": pointer, "value": "3"}]);
    let got = admin.patch(&path, JSON_PATCH, &json_patch).await.unwrap().ok().unwrap();
    assert_eq!(got.pointer(pointer).unwrap(), "3");
    let mut put = got.clone();
    put["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!("32Mi");
    let put = admin.put(&path, &put).await.unwrap().ok().unwrap();
    assert_eq!(generation(&put), generation(&made) + 3);
    let mut merge = json!({"spec": {"containers": put["spec"]["containers"]}});
    merge["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("4");
    let merged = admin.patch(&path, MERGE, &merge).await.unwrap().ok().unwrap();
    assert_eq!(merged["spec"]["containers"][0]["resources"]["limits"]["cpu"], "4");
    // What is a resize is no update.
    let plain = admin.patch(&format!("{PODS}/one"), STRATEGIC, &same).await.unwrap();
    assert_eq!(plain.code, 422);
    assert!(plain.message().contains("pod updates may not change fields other than"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let made = resizable(&admin, "one").await;
    let path = format!("{PODS}/one/resize");
    let all = |main: Value| json!({"spec": {"containers": [main]}});
    let main = |resources: Value| {
        all(json!({"name": "main", "image": "example.com/x:1", "resources": resources}))
    };
    for (patch, why) in [
        (
            main(json!({"limits": {"memory": "128Mi"}, "requests": {"memory": "64Mi"}})),
            "[spec.containers[0].resources.requests: Forbidden: resource requests cannot be \
             removed, spec.containers[0].resources.limits: Forbidden: resource limits cannot be \
             removed]",
        ),
        (
            main(json!({"requests": {"cpu": "1", "memory": "64Mi", "ephemeral-storage": "1Gi"},
                        "limits": {"cpu": "2", "memory": "128Mi"}})),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            main(resources(("3", "64Mi"), ("2", "128Mi"))),
            "spec.containers[0].resources.requests: Invalid value: \"3\": must be less than or \
             equal to cpu limit of 2",
        ),
        (
            all(json!({"name": "other", "image": "example.com/x:1"})),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on \
             resize",
        ),
    ] {
        let refused = admin.patch(&path, MERGE, &patch).await.unwrap();
        assert_eq!(refused.code, 422, "{why}");
        assert!(refused.message().contains(why), "{}", refused.message());
    }
    let mut guaranteed = pod("guaranteed", "node-a");
    guaranteed["spec"]["containers"][0]["resources"] = resources(("1", "1Gi"), ("1", "1Gi"));
    admin.upsert(&guaranteed).await.unwrap();
    let qos = change(&json!({"requests": {"memory": "512Mi"}}));
    let refused = admin.patch(&format!("{PODS}/guaranteed/resize"), STRATEGIC, &qos).await.unwrap();
    assert_eq!(
        (refused.code, refused.message()),
        (
            422,
            "Pod \"guaranteed\" is invalid: spec: Invalid value: \"Guaranteed\": Pod QOS Class may \
             not change as a result of resizing"
        )
    );
    let more = change(&json!({"limits": {"memory": "256Mi"}}));
    let refused = agent.patch(&path, STRATEGIC, &more).await.unwrap();
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "pods \"one\" is forbidden: User \"system:node:node-a\" cannot patch resource \
             \"pods/resize\" in API group \"\" in the namespace \"prod\""
        )
    );
    let old_kubelet =
        json!({"status": {"containerStatuses": [{"name": "main", "state": {"running": {}}}]}});
    admin.patch(&format!("{PODS}/one/status"), STRATEGIC, &old_kubelet).await.unwrap();
    let refused = admin.patch(&path, STRATEGIC, &more).await.unwrap();
    let why = "spec: Forbidden: Pod running on node without support for resize";
    assert!(refused.code == 422 && refused.message().contains(why), "{}", refused.message());
    assert_eq!(
        admin.get(&format!("{PODS}/one")).await.unwrap().body["spec"],
        made["spec"],
        "nothing of it has changed the pod"
    );
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
