//! Certificates that rotate, expire, are revoked or foreign; faults; the counts of requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{PODS, admin, change, next, node, pod, start};
use serde_json::{Value, json};
use test_apiserver::faults::{Fault, Garbage};
use test_apiserver::pki::Validity;

const OWN: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_judged_with_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let agent = node(&server, "node-a");
    let link = server.pki().node_path("node-a");
    let old = std::fs::canonicalize(&link).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 200);

    let issued =
        server.rotate("node-a", Validity::for_the_next(Duration::from_secs(3600))).unwrap();
    assert_eq!(std::fs::canonicalize(&link).unwrap(), std::fs::canonicalize(&issued.path).unwrap());
    assert_ne!(std::fs::canonicalize(&link).unwrap(), old);
    server.revoke_before("node-a", issued.serial).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 200, "the new certificate");
    let refused = agent.with_identity(&old).get(OWN).await.unwrap();
    assert_eq!((refused.code, refused.message()), (401, "Unauthorized"));
    assert_eq!(refused.body["reason"], "Unauthorized");

    server.rotate("node-a", Validity::expired()).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 401);
    server.pki().rotate_from_wrong_ca("node-a", Validity::expired()).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 401);
    let valid = Validity::for_the_next(Duration::from_secs(3600));
    server.pki().rotate_from_wrong_ca("node-a", valid).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 401);
    server.rotate("node-a", valid).unwrap();
    assert_eq!(agent.get(OWN).await.unwrap().code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_whom_they_are_meant_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let fault = json!({"verb": "list", "resource": "pods", "user": "system:node:node-a",
                       "times": 2, "skip": 1, "code": 429, "retryAfter": 7});
    admin.post("/_test/faults", &fault).await.unwrap().ok().unwrap();
    assert_eq!(agent.post("/_test/faults", &fault).await.unwrap().code, 403);
    let mut codes = Vec::new();
    for _ in 0..4 {
        let answer = agent.get(OWN).await.unwrap();
        codes.push((answer.code, answer.retry_after));
    }
    assert_eq!(codes, [(200, None), (429, Some(7)), (429, Some(7)), (200, None)]);
    assert_eq!(admin.get(OWN).await.unwrap().code, 200);
    for code in [401, 403, 409, 410, 500, 503] {
        let fault = Fault { times: Some(1), code: Some(code), ..Fault::default() };
        server.fault(fault).unwrap();
        let answer = agent.get(OWN).await.unwrap();
        assert_eq!((answer.code, &answer.body["code"]), (code, &json!(code)));
    }
    for (garbage, whole) in [(Garbage::Invalid, b"<html>"), (Garbage::Truncated, b"{\"apiV")] {
        let fault = Fault { times: Some(1), garbage: Some(garbage), ..Fault::default() };
        server.fault(fault).unwrap();
        let answer = agent.get(OWN).await.unwrap();
        assert_eq!((answer.code, &answer.body), (200, &Value::Null));
        assert!(answer.raw.starts_with(whole), "{:?}", answer.raw);
    }
    let bad = admin.post("/_test/faults", &json!({"cods": 1})).await.unwrap();
    assert_eq!(bad.code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let agent = node(&server, "node-a");
    server.fault(Fault { hang: true, times: Some(1), ..Fault::default() }).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(500), agent.get(OWN)).await;
    assert!(waited.is_err(), "it answered");
    server.fault(Fault { reset: true, times: Some(1), ..Fault::default() }).unwrap();
    assert!(agent.get(OWN).await.is_err(), "the connection is closed");
    server.fault(Fault { delay_ms: 300, times: Some(1), ..Fault::default() }).unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(agent.get(OWN).await.unwrap().code, 200);
    assert!(begin.elapsed() >= Duration::from_millis(300));

    let mut events = agent.watch(&format!("{OWN}&watch=1")).await.unwrap();
    server.fault(Fault { close_listener_ms: Some(1000), ..Fault::default() }).unwrap();
    assert!(!matches!(events.next().await, Ok(Some(_))), "the connection is cut");
    assert!(agent.get(OWN).await.is_err(), "nobody listens");
    let back = async {
        while agent.get(OWN).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_break() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    admin.upsert(&pod("one", "node-a")).await.unwrap();
    admin.upsert(&pod("two", "node-a")).await.unwrap();
    let cut = Fault {
        verb: "watch".to_owned(),
        times: Some(1),
        cut_after_events: Some(1),
        ..Fault::default()
    };
    server.fault(cut).unwrap();
    let path = format!("{OWN}&watch=1");
    let mut events = agent.watch(&path).await.unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED one");
    assert!(events.next().await.is_err(), "a broken connection, not a clean end");
    let mut events = agent.watch(&path).await.unwrap();
    assert_eq!(change(&mut events).await.0, "ADDED one");
    assert_eq!(change(&mut events).await.0, "ADDED two");
    server.drop_watches().unwrap();
    assert!(next(&mut events).await.is_none(), "a clean end");
    let garbage = Fault {
        verb: "watch".to_owned(),
        times: Some(1),
        garbage: Some(Garbage::Truncated),
        ..Fault::default()
    };
    server.fault(garbage).unwrap();
    let mut events = agent.watch(&path).await.unwrap();
    assert!(events.next().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir);
    let (admin, agent) = (admin(&server), node(&server, "node-a"));
    let mut size = 0;
    for _ in 0..2 {
        size += agent.get(OWN).await.unwrap().raw.len();
    }
    agent.get(PODS).await.unwrap();
    let report = admin.get("/_test/requests").await.unwrap().ok().unwrap();
    let rows = report["requests"].as_array().unwrap();
    let row = rows.iter().find(|r| r["selector"] == "fieldSelector=spec.nodeName=node-a").unwrap();
    assert_eq!(
        *row,
        json!({"user": "system:node:node-a", "verb": "list", "resource": "pods",
               "namespaced": false, "selector": "fieldSelector=spec.nodeName=node-a",
               "count": 2, "bytes": size, "codes": {"200": 2}})
    );
    assert!(rows.iter().any(|r| r["codes"] == json!({"403": 1}) && r["namespaced"] == true));
}
