//! Writes: conflicts, deletion with grace and finalizers, budgets that the server maintains, the
//! replaced webhook, the rules of create.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use common::{PODS, admin, evict, expect, node, pod, rv, start};
use serde_json::{Value, json};
use test_apiserver::client::{Client, JSON_PATCH, MERGE, STRATEGIC};
use test_apiserver::envtest::Cluster;

async fn conflicting(cluster: &Cluster) {
    let admin = cluster.admin();
    let old = admin.upsert(&pod("one", "node-a")).await.unwrap();
    let path = format!("{PODS}/one");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let new = admin.patch(&path, MERGE, &label).await.unwrap().ok().unwrap();
    assert!(rv(&new) > rv(&old));
    // A repeated write changes nothing, so it uses up no version.
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
on_each_server!(a_stale_update_conflicts, conflicting);

async fn deleting(cluster: &Cluster) {
    let admin = cluster.admin();
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
    let sooner = json!({"gracePeriodSeconds": 20});
    let third = admin.delete(&path, &sooner).await.unwrap().ok().unwrap();
    assert_eq!(third["metadata"]["deletionGracePeriodSeconds"], 20);
    assert_eq!(third["metadata"]["generation"], first["metadata"]["generation"]);
    let again = admin.delete(&path, &Value::Null).await.unwrap().ok().unwrap();
    assert_eq!(again, third);
    let zero = admin.delete(&format!("{path}?gracePeriodSeconds=0"), &Value::Null).await.unwrap();
    assert_eq!(zero.ok().unwrap()["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(admin.get(&path).await.unwrap().code, 200);
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, MERGE, &free).await.unwrap().ok().unwrap();
    assert_eq!(admin.get(&path).await.unwrap().code, 404);
    // No kubelet runs an unbound pod: it disappears immediately.
    let mut unbound = pod("unbound", "x");
    unbound["spec"]["nodeName"].take();
    admin.upsert(&unbound).await.unwrap();
    admin.delete(&format!("{PODS}/unbound"), &Value::Null).await.unwrap().ok().unwrap();
    assert_eq!(admin.get(&format!("{PODS}/unbound")).await.unwrap().code, 404);
}
on_each_server!(deletion_waits_for_grace_and_finalizers, deleting);

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
    // A delete ignores budgets.
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

/// A running burstable pod with an init container.
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

/// Returns the object without the fields that every write changes.
fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"].take();
    object["metadata"]["managedFields"].take();
    object
}

/// Builds a change of the container's resources.
fn change(resources: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "main", "resources": resources}]}})
}

async fn resizing(cluster: &Cluster) {
    let admin = cluster.admin();
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
    let got = admin.patch(&path, STRATEGIC, &patch).await.unwrap().ok().unwrap();
    assert!(rv(&got) > rv(&made));
    assert_eq!(admin.get(&path).await.unwrap().ok().unwrap(), got);
    assert_eq!(without_bookkeeping(&got), without_bookkeeping(&want));
    let same = change(&json!({"limits": {"cpu": "2000m"}}));
    let again = admin.patch(&path, STRATEGIC, &same).await.unwrap().ok().unwrap();
    assert_eq!(without_bookkeeping(&again), without_bookkeeping(&got));
    let pointer = "/spec/containers/0/resources/limits/cpu";
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
    // A resize is not allowed as a plain update.
    let plain = admin.patch(&format!("{PODS}/one"), STRATEGIC, &same).await.unwrap();
    assert_eq!(plain.code, 422);
    assert!(plain.message().contains("pod updates may not change fields other than"));
}
on_each_server!(a_resize_changes_resources_alone, resizing);

/// Init containers can be resized only on nodes that declare support.
async fn resizing_init(cluster: &Cluster) {
    const FEATURE: &str = "InPlacePodVerticalScalingInitContainers";
    let admin = cluster.admin();
    resizable(&admin, "one").await;
    let path = format!("{PODS}/one/resize");
    let pointer = "/spec/initContainers/0/resources/limits/cpu";
    let patch = json!([{"op": "replace", "path": pointer, "value": "3"}]);
    let refused = admin.patch(&path, JSON_PATCH, &patch).await.unwrap();
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "pods \"one\" is forbidden: pod update requires features \
             InPlacePodVerticalScalingInitContainers which are not available on node \"node-a\""
        )
    );
    let declared = json!({"status": {"declaredFeatures": [FEATURE]}});
    admin.patch("/api/v1/nodes/node-a/status", MERGE, &declared).await.unwrap().ok().unwrap();
    // The real server learns it from a watch.
    for _ in 0..200 {
        let answer = admin.patch(&path, JSON_PATCH, &patch).await.unwrap();
        if answer.code == 200 {
            assert_eq!(answer.body.pointer(pointer).unwrap(), "3");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the node's features are not seen");
}
on_each_server!(init_containers_are_resized_where_the_node_can, resizing_init);

/// Patches and objects that are rejected before their meaning matters.
async fn misshaping(cluster: &Cluster) {
    let admin = cluster.admin();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let path = format!("{PODS}/one");
    let quantity = "quantities must match the regular expression";
    for (kind, patch, code, why) in [
        (
            STRATEGIC,
            json!({"spec": {"containers": [{"image": "x"}]}}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (STRATEGIC, change(&json!({"requests": {"cpu": "x"}})), 422, quantity),
        (JSON_PATCH, json!({}), 400, "error decoding patch: "),
        (MERGE, json!([]), 400, "error decoding patch: json: cannot unmarshal array"),
        (
            MERGE,
            json!({"spec": {"containers": []}}),
            422,
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (JSON_PATCH, json!([{"op": "remove", "path": "/none"}]), 422, "the server rejected"),
        (MERGE, json!({"metadata": {"name": "two"}}), 400, "does not match the name on the URL"),
        (
            MERGE,
            json!({"metadata": {"uid": "x"}}),
            422,
            "Pod \"one\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable",
        ),
    ] {
        expect(&admin.patch(&path, kind, &patch).await.unwrap(), code, why);
    }
    let mut greedy = pod("greedy", "node-a");
    greedy["spec"]["containers"][0]["resources"] = resources(("3", "64Mi"), ("2", "128Mi"));
    expect(
        &admin.post(PODS, &greedy).await.unwrap(),
        422,
        "spec.containers[0].resources.requests: Invalid value: \"3\": must be less than or equal to \
         cpu limit of 2",
    );
    // A page ends at the limit, whatever follows it.
    admin.upsert(&pod("two", "node-a")).await.unwrap();
    let page = admin.get("/api/v1/pods?limit=1&labelSelector=app%3Done").await.unwrap();
    let page = page.ok().unwrap();
    let more = page["metadata"]["continue"].as_str().unwrap().to_owned();
    assert!(page["metadata"]["remainingItemCount"].is_null());
    let rest = format!("/api/v1/pods?limit=1&labelSelector=app%3Done&continue={more}");
    let rest = admin.get(&rest).await.unwrap().ok().unwrap();
    assert_eq!((&rest["items"], &rest["metadata"]["continue"]), (&json!([]), &Value::Null));
    let text = admin.raw("POST", PODS, "text/plain", "{}").await.unwrap();
    expect(&text, 415, "the body of the request was in an unknown format");
    expect(&admin.get("/api/v1/nothings").await.unwrap(), 404, "could not find the requested");
    let wrong = json!({"preconditions": {"uid": "x"}});
    expect(
        &admin.delete(&path, &wrong).await.unwrap(),
        409,
        "Operation cannot be fulfilled on Pod \"one\": the UID in the precondition (x) does not \
         match",
    );
    let dry = admin.delete(&format!("{path}?dryRun=All"), &Value::Null).await.unwrap();
    assert_eq!(dry.ok().unwrap()["metadata"]["deletionGracePeriodSeconds"], 30);
    let kept = admin.get(&path).await.unwrap().ok().unwrap();
    assert!(kept["metadata"]["deletionTimestamp"].is_null());
    // A strategic merge patch adds new items at the start of a list.
    let container = json!({"status": {"conditions": [{"type": "New", "status": "True"}]}});
    let patched = admin.patch(&format!("{path}/status"), STRATEGIC, &container).await.unwrap();
    let patched = patched.ok().unwrap();
    let kinds: Vec<&Value> =
        patched["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(kinds, ["New", "Ready"]);
}
on_each_server!(what_is_misshapen_is_refused, misshaping);

async fn misresizing(cluster: &Cluster) {
    let (admin, agent) = (cluster.admin(), cluster.node("node-a"));
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
on_each_server!(a_resize_is_refused, misresizing);

async fn creating(cluster: &Cluster) {
    let admin = cluster.admin();
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
on_each_server!(create_fills_in_what_the_server_does, creating);
