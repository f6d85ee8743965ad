//! KubeVirt by version, as a node sees it; controllers that replace pods.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{PODS, admin, change, evict, eviction, node, pod, start};
use serde_json::{Value, json};
use test_apiserver::client::Client;
use test_apiserver::kubevirt::{IN_PROGRESS, JOB, MIGRATABLE, NODE, STRATEGY, TARGET_READY, World};
use test_apiserver::{Controllers, Handle};

const WEBHOOK: &str = "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the \
                       request: ";
const TRIGGERED: &str = "Eviction triggered evacuation of VMI \"prod/vm\"";

fn launcher(migratable: bool) -> Value {
    let mut launcher = pod("virt-launcher-vm-x7k2p", "node-a");
    let meta = &mut launcher["metadata"];
    meta["labels"] = json!({"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "vm",
                            "kubevirt.io/created-by": "b0d5", NODE: "node-a"});
    meta["annotations"] = json!({"kubevirt.io/domain": "vm", MIGRATABLE: migratable.to_string()});
    meta["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "name": "vm", "uid": "b0d5",
                                      "kind": "VirtualMachineInstance", "controller": true}]);
    launcher
}

const VM: &str = "virt-launcher-vm-x7k2p";

fn kubevirt(server: &Handle, version: &str) {
    let world = World { version: version.to_owned(), ..World::default() };
    server.set_kubevirt(world).unwrap();
}

async fn get(client: &Client, name: &str) -> Value {
    client.get(&format!("{PODS}/{name}")).await.unwrap().ok().unwrap()
}

async fn step(client: &Client, step: &str) {
    let vm = json!({"namespace": "prod", "vm": "vm"});
    client.post(&format!("/_test/kubevirt/{step}"), &vm).await.unwrap().ok().unwrap();
}

/// Returns the target pod of the VM's migration.
async fn target(client: &Client) -> Value {
    let pods = client.get(&format!("{PODS}?labelSelector={JOB}")).await.unwrap().ok().unwrap();
    pods["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_answers_in_its_way() {
    for (version, first, second) in [
        ("1.1", "", ""),
        ("1.2", "", ""),
        ("1.3", TRIGGERED, ""),
        ("1.4", TRIGGERED, ""),
        ("1.5", TRIGGERED, "Evacuation in progress"),
        ("1.9", TRIGGERED, "Evacuation in progress"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = start(&dir);
        let (admin, agent) = (admin(&server), node(&server, "node-a"));
        kubevirt(&server, version);
        admin.upsert(&launcher(true)).await.unwrap();
        for (n, wanted) in [first, second].into_iter().enumerate() {
            let answer = evict(&agent, VM).await;
            assert_eq!(answer.code, 429, "{version}, {n}: {}", answer.message());
            let causes = &answer.body["details"]["causes"];
            if wanted.is_empty() {
                assert_eq!(causes[0]["reason"], "DisruptionBudget", "{version}");
                let said = causes[0]["message"].as_str().unwrap();
                assert!(said.contains("disruption budget kubevirt-disruption-budget-"), "{said}");
            } else {
                assert!(causes.is_null() && answer.body["reason"].is_null(), "{version}");
                assert!(answer.message().starts_with(WEBHOOK), "{}", answer.message());
                assert!(answer.message().contains(wanted), "{}", answer.message());
            }
            assert!(get(&admin, VM).await["metadata"]["deletionTimestamp"].is_null());
        }
        // The VM is migrating after any answer.
        let target = target(&admin).await;
        assert_eq!(target["spec"]["nodeName"], "node-kubevirt", "{version}");
        assert_eq!(target["metadata"]["labels"][NODE], "node-a", "{version}: still the source's");
        let mark = get(&admin, VM).await["metadata"]["annotations"][IN_PROGRESS].clone();
        let wanted = match version {
            "1.1" | "1.2" => Value::Null,
            "1.9" => json!("true"),
            _ => json!("kubevirt"),
        };
        assert_eq!(mark, wanted, "{version}");
        step(&admin, "succeed").await;
        let target = get(&admin, target["metadata"]["name"].as_str().unwrap()).await;
        assert_eq!(target["metadata"]["labels"][NODE], "node-kubevirt", "{version}: arrived");
        assert!(target["metadata"]["labels"][JOB].is_string(), "kept for ever");
        assert!(target["metadata"]["annotations"][TARGET_READY].is_string());
        assert_eq!(get(&admin, VM).await["status"]["phase"], "Succeeded", "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_move() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    for version in ["1.1", "1.5"] {
        kubevirt(&server, version);
        admin.upsert(&launcher(false)).await.unwrap();
        let answer = evict(&agent, VM).await;
        assert_eq!(
            answer.message(),
            format!(
                "{WEBHOOK}VMI vm is configured with an eviction strategy but is not live-migratable"
            )
        );
    }
    kubevirt(&server, "1.6");
    let mut lax = launcher(false);
    lax["metadata"]["annotations"][STRATEGY] = json!("LiveMigrateIfPossible");
    admin.upsert(&lax).await.unwrap();
    assert_eq!(evict(&agent, VM).await.code, 201, "a VM without a way out is shut down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_known_and_protected() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    kubevirt(&server, "1.5");
    let mut elsewhere = launcher(true);
    elsewhere["spec"]["nodeName"] = json!("node-b");
    elsewhere["metadata"]["labels"][NODE] = json!("node-b");
    admin.upsert(&elsewhere).await.unwrap();
    let body = json!({"namespace": "prod", "vm": "vm", "to": "node-a"});
    admin.post("/_test/kubevirt/start", &body).await.unwrap().ok().unwrap();
    let incoming = target(&admin).await;
    assert_eq!(incoming["spec"]["nodeName"], "node-a");
    assert_eq!(incoming["metadata"]["labels"][NODE], "node-b");
    let source = get(&admin, VM).await;
    assert!(source["metadata"]["annotations"][IN_PROGRESS].is_null(), "nobody evicted it");
    let name = incoming["metadata"]["name"].as_str().unwrap();
    let answer = evict(&agent, name).await;
    assert_eq!(answer.message(), format!("{WEBHOOK}Eviction request for target Pod"));
    step(&admin, "succeed").await;
    assert!(evict(&agent, name).await.message().ends_with(TRIGGERED), "now it is the VM's pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_fail_are_called_off_and_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    for (version, kept) in [("1.4", false), ("1.7", true)] {
        kubevirt(&server, version);
        admin.upsert(&launcher(true)).await.unwrap();
        evict(&agent, VM).await;
        step(&admin, "fail").await;
        let mark = &get(&admin, VM).await["metadata"]["annotations"][IN_PROGRESS];
        assert_eq!(!mark.is_null(), kept, "{version}");
        step(&admin, "cancel").await;
        assert!(get(&admin, VM).await["metadata"]["annotations"][IN_PROGRESS].is_null());
    }
    let world = json!({"version": "1.8", "migrationMs": 50});
    admin.post("/_test/kubevirt", &world).await.unwrap().ok().unwrap();
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a&watch=1";
    let mut events = agent.watch(path).await.unwrap();
    evict(&agent, VM).await;
    loop {
        let (_, pod) = change(&mut events).await;
        if pod["status"]["phase"] == "Succeeded" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reaches_the_webhook_by_version() {
    for (version, marked) in [("1.3", true), ("1.4", false)] {
        let dir = tempfile::tempdir().unwrap();
        let server = start(&dir);
        let (admin, agent) = (admin(&server), node(&server, "node-a"));
        kubevirt(&server, version);
        admin.upsert(&launcher(true)).await.unwrap();
        let mut body = eviction(VM);
        body["deleteOptions"] = json!({"dryRun": ["All"]});
        agent.post(&format!("{PODS}/{VM}/eviction"), &body).await.unwrap();
        assert_eq!(target(&admin).await.is_object(), marked, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hotplug_pods_are_protected_since_1_6_1() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    admin.upsert(&launcher(true)).await.unwrap();
    let mut disk = pod("hp-volume-abcde", "node-a");
    disk["metadata"]["labels"] = json!({"kubevirt.io": "hotplug-disk"});
    disk["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": VM,
                                                  "uid": "x", "controller": true}]);
    admin.upsert(&disk).await.unwrap();
    kubevirt(&server, "1.6.1");
    assert_eq!(
        evict(&agent, "hp-volume-abcde").await.message(),
        "admission webhook \"hotplug-pod-eviction-interceptor.kubevirt.io\" denied the request: \
         cannot evict hotplug pod: hp-volume-abcde associated with running vmi: vm in namespace prod"
    );
    kubevirt(&server, "1.6.0");
    assert_eq!(evict(&agent, "hp-volume-abcde").await.code, 201);
}

fn owned(name: &str, kind: &str) -> Value {
    let mut pod = pod(name, "node-a");
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind,
        "name": "web", "uid": "c0ffee", "controller": true}]);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_bring_pods_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let at_once = json!({"gracePeriodSeconds": 0});
    for (kind, delay_ms) in [("DaemonSet", 0), ("ReplicaSet", 0), ("ReplicaSet", 50)] {
        server.set_controllers(Controllers {
            on: true,
            running: true,
            delay_ms,
            ..Default::default()
        });
        admin.upsert(&owned("web-1", kind)).await.unwrap();
        let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a&watch=1";
        let mut events = agent.watch(path).await.unwrap();
        assert_eq!(change(&mut events).await.0, "ADDED web-1");
        assert_eq!(evict(&agent, "web-1").await.code, 201);
        if kind == "DaemonSet" {
            let seen = async {
                loop {
                    if change(&mut events).await.0.starts_with("ADDED") {
                        break;
                    }
                }
            };
            let early = tokio::time::timeout(Duration::from_millis(200), seen).await;
            assert!(early.is_err(), "a DaemonSet waits until the old pod is gone");
            agent.delete(&format!("{PODS}/web-1"), &at_once).await.unwrap();
        }
        let back = loop {
            let (what, pod) = change(&mut events).await;
            if what.starts_with("ADDED") {
                break pod;
            }
        };
        assert_eq!(back["spec"]["nodeName"], "node-a", "{kind}");
        assert_eq!(back["status"]["phase"], "Running", "{kind}");
        assert_eq!(back["metadata"]["ownerReferences"][0]["uid"], "c0ffee", "{kind}");
        assert!(back["metadata"]["deletionTimestamp"].is_null());
        assert_ne!(back["metadata"]["name"], "web-1");
        server.set_controllers(Controllers::default());
        let pods = admin.get(PODS).await.unwrap().ok().unwrap();
        for pod in pods["items"].as_array().unwrap() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            admin.delete(&format!("{PODS}/{name}"), &at_once).await.unwrap();
        }
    }
}
