//! Uses the `kube` crate as the client, like the agent itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use std::time::Duration;

use common::pod;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use test_apiserver::envtest::Cluster;

async fn client(server: &Cluster) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(server.node_kubeconfig("node-a").unwrap()).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// Collects names until the expected one appears.
async fn watch_until(config: watcher::Config, server: &Cluster) -> Vec<String> {
    let pods: Api<Pod> = Api::all(client(server).await);
    let events = watcher::watcher(pods, config.fields("spec.nodeName=node-a"));
    futures::pin_mut!(events);
    let mut seen = Vec::new();
    let name = |p: Pod| p.metadata.name.unwrap_or_default();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), events.try_next());
        // An error is passed on once; the watcher then retries by itself.
        match event.await.expect("no event in time") {
            Ok(Some(Event::Init)) => seen.push("init".to_owned()),
            Ok(Some(Event::InitApply(pod))) => seen.push(format!("={}", name(pod))),
            Ok(Some(Event::InitDone)) => {
                seen.push("done".to_owned());
                server.admin().upsert(&pod("late", "node-a")).await.unwrap();
            }
            Ok(Some(Event::Apply(pod))) => {
                let name = name(pod);
                seen.push(format!("+{name}"));
                if name == "late" {
                    return seen;
                }
            }
            Ok(Some(Event::Delete(pod))) => seen.push(format!("-{}", name(pod))),
            Ok(None) => panic!("the watcher ended"),
            Err(_) => seen.push("error".to_owned()),
        }
    }
}

async fn watching(server: &Cluster) {
    server.admin().upsert(&pod("one", "node-a")).await.unwrap();
    let seen = watch_until(watcher::Config::default(), server).await;
    assert_eq!(seen, ["init", "=one", "done", "+late"]);
}
on_each_server!(its_watcher_lists_and_watches, watching);

async fn streaming(server: &Cluster) {
    server.admin().upsert(&pod("one", "node-a")).await.unwrap();
    let seen = watch_until(watcher::Config::default().streaming_lists(), server).await;
    assert_eq!(seen, ["init", "=one", "done", "+late"]);
}
on_each_server!(its_watcher_takes_a_streaming_list, streaming);

async fn calling(server: &Cluster) {
    server.admin().upsert(&pod("one", "node-a")).await.unwrap();
    let client = client(server).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "prod");
    let refused = pods.list(&ListParams::default()).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    let nodes: Api<Node> = Api::all(client);
    let condition = json!({"status": {"conditions": [{"type": "SwapPressure", "status": "True"}]}});
    let params = PatchParams::default();
    let node = nodes.patch_status("node-a", &params, &Patch::Strategic(&condition)).await.unwrap();
    assert_eq!(node.status.unwrap().conditions.unwrap().len(), 5);
    // kube 5.0.0 misspells deleteOptions, which a real server ignores together with its content.
    // When this fails, kube is fixed.
    if !server.is_real() {
        let refused = pods.evict("one", &EvictParams::default()).await.unwrap_err();
        assert!(refused.to_string().contains("unknown field \"delete_options\""), "{refused}");
    }
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"},
                      "deleteOptions": {"gracePeriodSeconds": 7}});
    let params = PostParams::default();
    let answer: kube::core::Status =
        pods.create_subresource("eviction", "one", &params, &body).await.unwrap();
    assert!(answer.is_success());
    let evicted = pods.get("one").await.unwrap();
    assert_eq!(evicted.metadata.deletion_grace_period_seconds, Some(7));
}
on_each_server!(its_calls_and_errors, calling);
