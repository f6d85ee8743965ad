//! Code that the tests share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use serde_json::{Value, json};
use test_apiserver::client::{Answer, Client, Events};
use test_apiserver::envtest::Cluster;
use test_apiserver::{ApiServer, Handle, Options};

/// Runs `body` against each server in turn.
#[allow(unused_macros, reason = "each test file uses a part")]
macro_rules! on_each_server {
    ($name:ident, $body:path) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            for cluster in
                test_apiserver::envtest::clusters(dir.path(), &["node-a", "node-b"]).unwrap()
            {
                $body(&cluster).await;
            }
        }
    };
}

pub(crate) const PODS: &str = "/api/v1/namespaces/prod/pods";

pub(crate) fn options(dir: &tempfile::TempDir) -> Options {
    let mut options = Options::new(dir.path());
    options.nodes = vec!["node-a".to_owned(), "node-b".to_owned()];
    options.bookmark_interval = Duration::from_millis(200);
    options
}

pub(crate) fn start(dir: &tempfile::TempDir) -> Handle {
    ApiServer::start(options(dir)).unwrap()
}

pub(crate) fn admin(server: &Handle) -> Client {
    Client::admin(server.address(), server.pki())
}

pub(crate) fn node(server: &Handle, name: &str) -> Client {
    Client::node(server.address(), server.pki(), name)
}

/// A pod in namespace prod.
pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "prod", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "example.com/x:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub(crate) fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction",
           "metadata": {"name": name, "namespace": "prod"}})
}

pub(crate) async fn evict(client: &Client, name: &str) -> Answer {
    client.post(&format!("{PODS}/{name}/eviction"), &eviction(name)).await.unwrap()
}

/// Returns the next event, which must arrive soon.
pub(crate) async fn next(events: &mut Events) -> Option<Value> {
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, events.next()).await.expect("no event in time").unwrap()
}

/// Returns the next event other than a bookmark, as "TYPE name", and its object.
pub(crate) async fn change(events: &mut Events) -> (String, Value) {
    loop {
        let mut event = next(events).await.expect("the watch ended");
        if event["type"] != "BOOKMARK" {
            let kind = event["type"].as_str().unwrap().to_owned();
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-").to_owned();
            return (format!("{kind} {name}"), event["object"].take());
        }
    }
}

pub(crate) fn rv(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[track_caller]
pub(crate) fn expect(answer: &Answer, code: u16, fragment: &str) {
    let body = String::from_utf8_lossy(&answer.raw);
    assert_eq!(answer.code, code, "{body}");
    if code >= 400 {
        assert_eq!(answer.body["kind"], "Status", "{body}");
        assert_eq!(answer.body["code"], code, "{body}");
        assert!(answer.message().contains(fragment), "{fragment:?} is not in {body}");
    }
}

/// Adds a pod and waits for the authorizer, whose graph lags behind in the real server.
pub(crate) async fn add_pod(cluster: &Cluster, pod: &Value) {
    cluster.admin().upsert(pod).await.unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let node = cluster.node(pod["spec"]["nodeName"].as_str().unwrap());
    for _ in 0..200 {
        if node.get(&format!("{PODS}/{name}")).await.unwrap().code == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is not readable by its node");
}
