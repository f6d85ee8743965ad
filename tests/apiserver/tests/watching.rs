//! Lists and watches: bookmarks, old resourceVersions, selectors, streaming lists, restarts, paging.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use common::{PODS, admin, change, next, node, options, pod, rv, start};
use serde_json::{Value, json};
use test_apiserver::ApiServer;
use test_apiserver::client::{MERGE, STRATEGIC};
use test_apiserver::envtest::Cluster;

const OWN: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a";

async fn continuing(cluster: &Cluster) {
    let (admin, agent) = (cluster.admin(), cluster.node("node-a"));
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    admin.upsert(&pod("foreign", "node-b")).await.unwrap();
    let list = agent.get(OWN).await.unwrap().ok().unwrap();
    let (kind, items) = (&list["kind"], list["items"].as_array().unwrap());
    assert_eq!((kind, items.len()), (&json!("PodList"), 1));
    assert!(items[0]["kind"].is_null(), "items of a typed list carry no kind");
    assert_eq!(items[0]["status"]["qosClass"], "BestEffort");
    assert_eq!(items[0]["spec"]["priority"], 0);

    let mut events =
        agent.watch(&format!("{OWN}&watch=1&resourceVersion={}", rv(&list))).await.unwrap();
    admin.upsert(&pod("foreign-2", "node-b")).await.unwrap();
    admin.upsert(&pod("two", "node-a")).await.unwrap();
    let (what, object) = change(&mut events).await;
    assert_eq!((what.as_str(), &object["kind"]), ("ADDED two", &json!("Pod")));
    assert_eq!(object["status"]["phase"], "Pending");
    let (what, object) = change(&mut events).await;
    assert_eq!((what.as_str(), &object["status"]["phase"]), ("MODIFIED two", &json!("Running")));
    let now = json!({"gracePeriodSeconds": 0});
    let newest = rv(&object);
    admin.delete(&format!("{PODS}/one"), &now).await.unwrap().ok().unwrap();
    // A pod gets the deletion mark even if it disappears immediately.
    let (what, object) = change(&mut events).await;
    assert_eq!(what, "MODIFIED one");
    assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(object["metadata"]["generation"], 2);
    let (what, object) = change(&mut events).await;
    assert_eq!(what, "DELETED one");
    assert!(rv(&object) > newest);
}
on_each_server!(a_watch_goes_on_where_the_list_ended, continuing);

async fn leaving(cluster: &Cluster) {
    let (admin, agent) = (cluster.admin(), cluster.node("node-a"));
    let path = format!("{OWN},status.phase%3DRunning&watch=1");
    let mut events = agent.watch(&path).await.unwrap();
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    let (what, object) = change(&mut events).await;
    assert_eq!((what.as_str(), &object["status"]["phase"]), ("ADDED one", &json!("Running")));
    let failed = json!({"status": {"phase": "Failed"}});
    let status = format!("{PODS}/one/status");
    let after = agent.patch(&status, STRATEGIC, &failed).await.unwrap().ok().unwrap();
    let (what, object) = change(&mut events).await;
    // The last matching state, at the resourceVersion of the change.
    assert_eq!((what.as_str(), &object["status"]["phase"]), ("DELETED one", &json!("Running")));
    assert_eq!(rv(&object), rv(&after));
    let mut events =
        admin.watch(&format!("{PODS}?watch=1&labelSelector=app%3Done,x%3Dy")).await.unwrap();
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    admin.patch(&format!("{PODS}/one"), MERGE, &label).await.unwrap().ok().unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED one");
    let unlabel = json!({"metadata": {"labels": {"x": null}}});
    admin.patch(&format!("{PODS}/one"), MERGE, &unlabel).await.unwrap().ok().unwrap();
    assert_eq!(change(&mut events).await.0, "DELETED one");
}
on_each_server!(an_object_that_stops_matching_is_deleted_for_the_watch, leaving);

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_come_and_tell_the_newest_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let path = format!("{OWN}&watch=1&allowWatchBookmarks=true&timeoutSeconds=2");
    let mut events = agent.watch(&path).await.unwrap();
    admin.upsert(&pod("foreign", "node-b")).await.unwrap();
    let current = server.resource_version().unwrap();
    let mut seen = 0;
    while let Some(event) = next(&mut events).await {
        assert_eq!(event["type"], "BOOKMARK");
        assert_eq!(event["object"]["kind"], "Pod");
        seen = rv(&event["object"]);
    }
    assert_eq!(seen, current, "a bookmark moves on without events of one's own");
    // Without a request for them, there are none.
    let mut events = agent.watch(&format!("{OWN}&watch=1&timeoutSeconds=1")).await.unwrap();
    assert!(next(&mut events).await.is_none());
}

async fn streaming(cluster: &Cluster) {
    let (admin, agent) = (cluster.admin(), cluster.node("node-a"));
    for name in ["one", "two"] {
        admin.upsert(&pod(name, "node-a")).await.unwrap();
    }
    let path = format!("{OWN}&watch=1&sendInitialEvents=true&allowWatchBookmarks=true");
    let refused = agent.watch(&path).await.unwrap_err().to_string();
    assert!(refused.contains("422") && refused.contains("NotOlderThan"), "{refused}");
    let path = format!("{path}&resourceVersionMatch=NotOlderThan");
    let mut events = agent.watch(&path).await.unwrap();
    for name in ["one", "two"] {
        let event = next(&mut events).await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!(name))
        );
    }
    let end = next(&mut events).await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let list = agent.get(OWN).await.unwrap().ok().unwrap();
    assert!(rv(&end["object"]) >= rv(&list["items"][1]));
    admin.upsert(&pod("three", "node-a")).await.unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED three");
}
on_each_server!(a_streaming_list_ends_with_its_bookmark, streaming);

#[tokio::test(flavor = "multi_thread")]
async fn too_old_is_told_by_an_error_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut few = options(&dir);
    few.history = 3;
    let server = ApiServer::start(few).unwrap();
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let old = server.resource_version().unwrap();
    let mut open = agent.watch(&format!("{OWN}&watch=1&resourceVersion={old}")).await.unwrap();
    for n in 0..3 {
        admin.upsert(&pod(&format!("p{n}"), "node-a")).await.unwrap();
    }
    // An open watch continues; a new one fails.
    assert_eq!(change(&mut open).await.0, "ADDED p0");
    let mut events = agent.watch(&format!("{OWN}&watch=1&resourceVersion={old}")).await.unwrap();
    let event = next(&mut events).await.unwrap();
    let status = &event["object"];
    assert_eq!(
        (&event["type"], &status["code"], &status["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("too old resource version: {old} (")), "{message}");
    assert!(next(&mut events).await.is_none());

    let newest = server.resource_version().unwrap();
    server.compact().unwrap();
    let mut events =
        agent.watch(&format!("{OWN}&watch=1&resourceVersion={}", newest - 1)).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap()["object"]["code"], 410);
    let mut events = agent.watch(&format!("{OWN}&watch=1&resourceVersion={newest}")).await.unwrap();
    admin.upsert(&pod("later", "node-a")).await.unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED later");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_through_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    for n in 0..5 {
        admin.upsert(&pod(&format!("p{n}"), "node-a")).await.unwrap();
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let get = async |query: &str| agent.get(&format!("{OWN}{query}")).await.unwrap();
    let first = get("&limit=2").await.ok().unwrap();
    assert_eq!(names(&first), ["p0", "p1"]);
    let token =
        first["metadata"]["continue"].as_str().unwrap().replace('=', "%3D").replace('+', "%2B");
    // Changes in between are not visible.
    admin.delete(&format!("{PODS}/p2"), &json!({"gracePeriodSeconds": 0})).await.unwrap();
    let rest = get(&format!("&limit=9&continue={token}")).await.ok().unwrap();
    assert_eq!(names(&rest), ["p2", "p3", "p4"]);
    assert_eq!(rv(&rest), rv(&first));
    assert!(rest["metadata"]["continue"].is_null());
    let exact = format!("&resourceVersion={}&resourceVersionMatch=Exact", rv(&first));
    assert_eq!(names(&get(&exact).await.ok().unwrap()).len(), 5);
    assert_eq!(names(&get("&limit=2&resourceVersion=0").await.ok().unwrap()).len(), 4);
    server.compact().unwrap();
    for query in [format!("&limit=2&continue={token}"), exact] {
        let gone = get(&query).await;
        assert_eq!((gone.code, &gone.body["reason"]), (410, &json!("Expired")), "{query}");
    }
    let bad = get(",spec.foo%3Dbar").await;
    assert_eq!(bad.code, 400);
    assert!(bad.message().contains("field label not supported: spec.foo"), "{}", bad.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_objects_versions_and_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir);
    admin(&server).upsert(&pod("one", "node-a")).await.unwrap();
    let agent = node(&server, "node-a");
    let before = agent.get(OWN).await.unwrap().ok().unwrap();
    let mut events = agent.watch(&format!("{OWN}&watch=1")).await.unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED one");
    server.stop().unwrap();
    assert!(events.next().await.is_err() || events.next().await.unwrap().is_none());
    assert!(agent.get(OWN).await.is_err());
    server.start().unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().ok().unwrap(), before);
    let mut events =
        agent.watch(&format!("{OWN}&watch=1&resourceVersion={}", rv(&before))).await.unwrap();
    admin(&server).upsert(&pod("two", "node-a")).await.unwrap();
    let (what, object) = change(&mut events).await;
    assert_eq!((what.as_str(), rv(&object)), ("ADDED two", rv(&before) + 1));
}

#[test]
fn a_state_left_by_a_kill_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir);
    server.apply(&pod("one", "node-a")).unwrap();
    let state = std::fs::read(dir.path().join("state.json")).unwrap();
    let mut log = std::fs::read(dir.path().join("state.log")).unwrap();
    let rv = server.resource_version().unwrap();
    server.stop().unwrap();
    // As SIGKILL in the middle of a write leaves it.
    log.extend_from_slice(b"{\"rv\": 99, \"key\": [\"po");
    std::fs::write(dir.path().join("state.json"), state).unwrap();
    std::fs::write(dir.path().join("state.log"), log).unwrap();
    server.start().unwrap();
    assert_eq!(server.resource_version().unwrap(), rv);
}
