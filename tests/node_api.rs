//! The agent's requests with the node's credentials, against the test API server and, with
//! `KUBEBUILDER_ASSETS`, a real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};
use test_apiserver::envtest::{Cluster, clusters};
use wasp_agent::{
    act::{
        events::{EventSubject, Note, Notes, PodReference},
        evict::evict,
        node::{self, NodeApi},
    },
    config::settings::{Settings, TaintEffect},
    decide::{
        evict::{
            answer::EvictionAnswer,
            condition::{ConditionValue, SwapCondition},
            efforts::Efforts,
            select::{Circumstances, Ranked, rank},
            verdict::Victim,
        },
        guard::{GuardStep, cordon},
    },
    model::{
        clock::UnixTime,
        event::EventReason,
        pod::{PodUid, Pods},
        pressure::{ContainerUsage, PodUsage},
    },
    observe::kube::{credentials, decode},
    roots::Roots,
};

const NODE: &str = "node-a";

/// The agent's settings, with credentials of `cluster`.
struct Host {
    _folder: tempfile::TempDir,
    settings: Settings,
    roots: Roots,
}

impl Host {
    fn of(kubeconfig: &std::path::Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("etc/wasp-agent/wasp-agent.toml");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, "[node]\nkubeconfig = \"/kubeconfig\"\nname = \"node-a\"\n").unwrap();
        fs::copy(kubeconfig, folder.path().join("kubeconfig")).unwrap();
        let roots = Roots::at(folder.path());
        let settings = wasp_agent::observe::settings::load(&roots, |_| None).unwrap().0;
        Self { _folder: folder, settings, roots }
    }

    async fn client(&self) -> kube::Client {
        credentials::load(&self.roots, &self.settings).await.unwrap().client
    }
}

fn each_cluster(test: impl AsyncFn(&Cluster)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let data = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        for cluster in clusters(data.path(), &[NODE, "node-b"]).unwrap() {
            test(&cluster).await;
        }
    });
}

async fn node_of(cluster: &Cluster) -> Value {
    cluster.admin().get(&format!("/api/v1/nodes/{NODE}")).await.unwrap().body
}

fn swap_pressure(node: &Value) -> Option<Value> {
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "SwapPressure").cloned()
}

#[test]
fn the_condition_stands_beside_the_kubelets_and_goes_again() {
    each_cluster(async |cluster| {
        let host = Host::of(&cluster.node_kubeconfig(NODE).unwrap());
        let api = NodeApi::new(host.client().await, NODE);
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let path = format!("/api/v1/nodes/{NODE}/status");
        cluster
            .node(NODE)
            .patch(&path, "application/strategic-merge-patch+json", &ready)
            .await
            .unwrap();
        let others = |node: &Value| {
            let all = node["status"]["conditions"].as_array().unwrap().iter();
            all.filter(|c| c["type"] != "SwapPressure").cloned().collect::<Vec<_>>()
        };
        let before = others(&node_of(cluster).await);
        assert!(!before.is_empty());

        let since: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let message = "swap traffic: 1200 pages/s in".to_owned();
        let hot =
            SwapCondition { status: ConditionValue::True, reason: "SwapTrafficHigh", message };
        api.set_condition(Some(&hot), since).await.unwrap();
        let found = node_of(cluster).await;
        let condition = swap_pressure(&found).unwrap();
        assert_eq!(condition["status"], "True");
        assert_eq!(condition["reason"], "SwapTrafficHigh");
        assert_eq!(condition["message"], "swap traffic: 1200 pages/s in");
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!(others(&found), before);
        let read = api.get().await.unwrap();
        assert_eq!(
            node::condition(&read),
            Some((ConditionValue::True, since)),
            "read by the next agent"
        );

        api.set_condition(None, since).await.unwrap();
        let found = node_of(cluster).await;
        assert_eq!(swap_pressure(&found), None);
        assert_eq!(others(&found), before);
        api.set_condition(None, since).await.unwrap();
    });
}

#[test]
fn a_cordon_is_ours_to_undo_only_where_it_is_ours() {
    each_cluster(async |cluster| {
        let host = Host::of(&cluster.node_kubeconfig(NODE).unwrap());
        let api = NodeApi::new(host.client().await, NODE);
        let facts = async || {
            node::facts(&api.get().await.unwrap(), "waspEvictionTaint", TaintEffect::NoSchedule)
        };
        let path = format!("/api/v1/nodes/{NODE}");
        let by_hand = async |value: Value| {
            let patch = json!({"spec": {"unschedulable": value}});
            let admin = cluster.admin();
            admin.patch(&path, "application/merge-patch+json", &patch).await.unwrap();
        };
        let before = node_of(cluster).await["spec"].clone();
        assert_eq!(cordon(true, false, &facts().await), GuardStep::Set);
        api.cordon(&api.get().await.unwrap()).await.unwrap();
        let ours = facts().await;
        assert!(ours.unschedulable && ours.ours);
        assert_eq!(cordon(false, true, &ours), GuardStep::Unset);
        let read = api.get().await.unwrap();
        api.uncordon(&read).await.unwrap();
        assert_eq!(node_of(cluster).await["spec"], before, "and nothing else");
        let stale = api.uncordon(&read).await.unwrap_err();
        assert!(matches!(stale, kube::Error::Api(status) if status.code == 409));
        let undone = facts().await;
        assert!(!undone.unschedulable && !undone.ours);

        // Set by an administrator, after the agent has read the node.
        let read = api.get().await.unwrap();
        by_hand(json!(true)).await;
        let late = api.cordon(&read).await.unwrap_err();
        assert!(matches!(late, kube::Error::Api(status) if status.code == 409));
        let theirs = facts().await;
        assert!(theirs.unschedulable && !theirs.ours);
        assert_eq!(cordon(false, false, &theirs), GuardStep::Nothing);
        by_hand(Value::Null).await;

        // Set by the agent, until an administrator makes the node schedulable.
        api.cordon(&api.get().await.unwrap()).await.unwrap();
        by_hand(Value::Null).await;
        let freed = facts().await;
        assert!(!freed.unschedulable && !freed.ours);
        assert!(matches!(cordon(true, true, &freed), GuardStep::Leave(_)));
    });
}

#[test]
fn the_taint_needs_other_credentials() {
    each_cluster(async |cluster| {
        let node = Host::of(&cluster.node_kubeconfig(NODE).unwrap());
        let api = NodeApi::new(node.client().await, NODE);
        let read = api.get().await.unwrap();
        let refused =
            api.taint(&read, "waspEvictionTaint", Some(TaintEffect::NoSchedule)).await.unwrap_err();
        assert!(refused.to_string().contains("not allowed to modify taints"), "{refused}");

        let admin = Host::of(&cluster.admin_kubeconfig());
        let by = NodeApi::new(admin.client().await, NODE);
        let tainted = async || {
            node::facts(&api.get().await.unwrap(), "waspEvictionTaint", TaintEffect::NoSchedule)
                .tainted
        };
        by.taint(&read, "waspEvictionTaint", Some(TaintEffect::NoSchedule)).await.unwrap();
        assert!(tainted().await);
        let stale = by.taint(&read, "waspEvictionTaint", None).await.unwrap_err();
        assert!(matches!(stale, kube::Error::Api(status) if status.code == 409));
        let read = api.get().await.unwrap();
        by.taint(&read, "waspEvictionTaint", None).await.unwrap();
        assert!(!tainted().await);
    });
}

#[test]
fn events_are_of_the_pod_and_the_node_and_repeats_are_counted() {
    each_cluster(async |cluster| {
        let host = Host::of(&cluster.node_kubeconfig(NODE).unwrap());
        let mut notes = Notes::new(host.client().await, NODE);
        let uid = "0a1b2c3d-0000-4000-8000-000000000001".to_owned();
        let reference = |name: &str| PodReference {
            namespace: "prod".into(),
            name: name.into(),
            uid: uid.clone(),
        };
        let about = EventSubject::Pod(reference("vm"));
        let of_pod = Note {
            about,
            warning: true,
            reason: EventReason::SwapEviction,
            text: "evicting prod/vm".into(),
        };
        let text = "é".repeat(2000);
        let of_node = Note {
            about: EventSubject::Node,
            warning: false,
            reason: EventReason::NoSwapPressure,
            text,
        };
        cluster
            .admin()
            .upsert(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "prod"}}))
            .await
            .unwrap();
        let again = Note { text: "evicting prod/vm again".into(), ..of_pod.clone() };
        for note in [&of_pod, &again, &of_node] {
            notes.publish(note).await.unwrap();
        }
        let list = async |namespace: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/events");
            let answer = cluster.admin().get(&path).await.unwrap();
            let all = answer.body["items"].as_array().unwrap().clone();
            all.into_iter().filter(|e| e["reportingComponent"] == "wasp-agent").collect::<Vec<_>>()
        };
        let events = list("prod").await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["involvedObject"]["uid"], uid);
        assert_eq!(events[0]["message"], "evicting prod/vm again");
        assert_eq!(events[0]["type"], "Warning");
        assert_eq!(events[0]["count"], 2);
        assert_eq!(events[0]["source"], json!({"component": "wasp-agent", "host": NODE}));
        let events = list("default").await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["involvedObject"]["name"], NODE);
        assert!(events[0]["message"].as_str().unwrap().len() <= 1024);
    });
}

#[test]
fn a_pod_is_read_again_before_it_is_evicted() {
    each_cluster(async |cluster| {
        let host = Host::of(&cluster.node_kubeconfig(NODE).unwrap());
        let pod = |name: &str, priority: i64| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "nodeName": NODE, "priority": priority, "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "main", "image": "example.com/x:1"}],
                },
                "status": {"phase": "Running"},
            })
        };
        let uid_of = async |name: &str| {
            let path = format!("/api/v1/namespaces/default/pods/{name}");
            for _ in 0..200 {
                let answer = cluster.node(NODE).get(&path).await.unwrap();
                if answer.code == 200 {
                    return PodUid::new(answer.body["metadata"]["uid"].as_str().unwrap()).unwrap();
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("{name} is not readable by its node");
        };
        let terminating = async |name: &str| {
            let path = format!("/api/v1/namespaces/default/pods/{name}");
            let found = cluster.admin().get(&path).await.unwrap().body;
            !found["metadata"]["deletionTimestamp"].is_null()
        };
        // The rank that the agent gives the pod that its node can read.
        let ranked_as = async |name: &str| {
            let path = format!("/api/v1/namespaces/default/pods/{name}");
            let _ = uid_of(name).await;
            let found = cluster.node(NODE).get(&path).await.unwrap().body;
            let pod = Arc::new(decode::pod(found.to_string().as_bytes(), &[]).unwrap());
            let containers = vec![ContainerUsage {
                name: Some("main".into()),
                working_set_bytes: 1 << 20,
                swap_bytes: 1 << 20,
            }];
            let usage = PodUsage { uid: pod.uid.clone(), containers, slice: None, effort: None };
            let pods = Pods::from([(pod.uid.clone(), pod)]);
            let at = Circumstances {
                now: UnixTime::default(),
                ram_bytes: 1 << 30,
                efforts: &Efforts::default(),
            };
            rank(&host.settings.eviction, &pods, &[usage], at).remove(0)
        };
        let (wants, wanted) = tokio::sync::watch::channel(true);
        let ask = async |ranked: &Ranked, last_resort: bool| {
            let victim = Victim { ranked: ranked.clone(), why: String::new(), last_resort };
            evict(&host.roots, &host.settings, &victim, &wanted).await
        };
        for name in ["leaves", "deleted", "stays"] {
            cluster.admin().upsert(&pod(name, 0)).await.unwrap();
        }
        let leaves = ranked_as("leaves").await;
        wants.send_replace(false);
        let answer = ask(&leaves, false).await;
        assert!(
            matches!(answer, EvictionAnswer::Withdrawn { .. }),
            "the pressure is over: {answer:?}"
        );
        assert!(!terminating("leaves").await);
        wants.send_replace(true);
        assert_eq!(ask(&leaves, false).await, EvictionAnswer::Accepted);
        assert!(terminating("leaves").await);
        assert_eq!(ask(&leaves, false).await, EvictionAnswer::Gone, "it ends already");
        assert_eq!(ask(&ranked_as("deleted").await, true).await, EvictionAnswer::Accepted);
        assert!(terminating("deleted").await);
        let stays = ranked_as("stays").await;
        let other = Ranked { uid: leaves.uid.clone(), ..stays.clone() };
        assert_eq!(ask(&other, false).await, EvictionAnswer::Gone, "another pod has its name");
        assert!(!terminating("stays").await);
        // The watch has not seen yet that the namespace is protected.
        let mut settings = host.settings.clone();
        settings.eviction.protected_namespaces = vec!["default".into()];
        let victim = Victim { ranked: stays, why: String::new(), last_resort: false };
        let answer = evict(&host.roots, &settings, &victim, &wanted).await;
        assert!(
            matches!(&answer, EvictionAnswer::Refused { text } if text.contains("protected-namespaces")),
            "{answer:?}"
        );
        assert!(!terminating("stays").await);
    });
}
