//! The agent's reports to the cluster about its node while requests fail and settings change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{NODE, PATIENCE, api_server};
use test_apiserver::Handle;
use tokio::sync::{mpsc, watch};
use wasp_agent::{
    agent::announce::{AnnounceWanted, Announcer, AnnouncerReport as Report},
    config::settings::{SchedulingGuard, Settings},
    decide::evict::condition::{ConditionValue, SwapCondition},
    roots::Roots,
};

struct Told {
    server: Handle,
    settings: watch::Sender<Settings>,
    announcer: Announcer,
    problems: mpsc::UnboundedReceiver<Report>,
    roots: Roots,
    _folders: [tempfile::TempDir; 2],
}

impl Told {
    /// Starts another agent, as after a crash.
    fn again(&mut self) {
        (self.announcer, self.problems) =
            Announcer::start(self.roots.clone(), self.settings.subscribe());
    }

    fn new(guard: SchedulingGuard, guard_kubeconfig: &str) -> Self {
        let (data, server) = api_server();
        let folder = tempfile::tempdir().unwrap();
        fs::copy(server.node_kubeconfig(NODE).unwrap(), folder.path().join("node")).unwrap();
        fs::copy(server.admin_kubeconfig(), folder.path().join("admin")).unwrap();
        let roots = Roots::at(folder.path());
        let mut settings = wasp_agent::observe::settings::load(&roots, |_| None).unwrap().0;
        settings.kubeconfig = Some("/node".into());
        settings.eviction.guard = guard;
        settings.eviction.guard_kubeconfig = Some(guard_kubeconfig.into());
        let settings = watch::Sender::new(settings);
        let (announcer, problems) = Announcer::start(roots.clone(), settings.subscribe());
        Self { server, settings, announcer, problems, roots, _folders: [data, folder] }
    }

    fn pressure(&self, status: ConditionValue) {
        let condition = SwapCondition { status, reason: "Reason", message: "why".to_owned() };
        let keep_away = status == ConditionValue::True;
        self.announcer.want(AnnounceWanted {
            condition: Some(condition),
            keep_away,
            ..AnnounceWanted::default()
        });
    }

    async fn node_is(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let node = self.server.get(&format!("/api/v1/nodes/{NODE}")).unwrap();
            if is(&node) {
                return;
            }
            assert!(Instant::now() < deadline, "not {what}: {node:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn pressed(node: &Value) -> Option<&str> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "SwapPressure")?["status"].as_str()
}

fn tainted(node: &Value) -> bool {
    node["spec"]["taints"]
        .as_array()
        .is_some_and(|taints| taints.iter().any(|taint| taint["key"] == "waspEvictionTaint"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_fails_keeps_nobody_from_hearing_of_the_pressure() {
    let mut told = Told::new(SchedulingGuard::Taint, "/nowhere");
    told.pressure(ConditionValue::True);
    told.node_is("under pressure", |node| pressed(node) == Some("True")).await;
    let problem = told.problems.recv().await.unwrap().problem.unwrap();
    assert!(problem.contains("guard-kubeconfig"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_is_taken_back_though_the_first_try_fails() {
    let told = Told::new(SchedulingGuard::Taint, "/admin");
    told.pressure(ConditionValue::True);
    told.node_is("tainted", tainted).await;
    let fault = json!({"verb": "patch", "resource": "nodes", "times": 2, "code": 409});
    told.server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    told.pressure(ConditionValue::False);
    told.node_is("calm", |node| pressed(node) == Some("False")).await;
    told.node_is("free", |node| !tainted(node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_that_is_no_longer_configured_is_taken_back() {
    let mut told = Told::new(SchedulingGuard::Taint, "/admin");
    told.pressure(ConditionValue::True);
    told.node_is("tainted", tainted).await;
    assert_eq!(told.problems.recv().await.unwrap().problem, None);
    told.settings.send_modify(|settings| {
        settings.eviction.guard = SchedulingGuard::Condition;
        settings.eviction.guard_kubeconfig = None;
    });
    assert_eq!(told.problems.recv().await.unwrap().problem, None);
    told.node_is("free", |node| !tainted(node)).await;
    told.node_is("under pressure all the same", |node| pressed(node) == Some("True")).await;
}

/// `kubectl drain` on a node that the agent has cordoned leaves no trace of its own.
#[tokio::test]
async fn the_cordon_of_a_drained_node_outlives_the_agent() {
    let mut told = Told::new(SchedulingGuard::Cordon, "/nowhere");
    let cordoned = |node: &Value| node["spec"]["unschedulable"] == true;
    let left = |node: &Value| {
        node["metadata"]["annotations"]["wasp-agent.kubevirt.io/cordon-left"] == "drained"
    };
    told.pressure(ConditionValue::True);
    told.node_is("cordoned", cordoned).await;
    assert_eq!(told.problems.recv().await.unwrap().problem, None);
    // Only the drain holds the cordon; then its last pod is gone.
    let draining = AnnounceWanted { others_leave: true, ..AnnounceWanted::default() };
    told.announcer.want(draining.clone());
    assert_eq!(told.problems.recv().await.unwrap().problem, None);
    told.announcer.want(AnnounceWanted { drained: true, ..draining });
    told.node_is("left to the drain", |node| cordoned(node) && left(node)).await;
    told.again();
    told.pressure(ConditionValue::False);
    told.node_is("calm", |node| pressed(node) == Some("False")).await;
    assert_eq!(told.problems.recv().await.unwrap().problem, None);
    told.node_is("cordoned still", |node| cordoned(node) && left(node)).await;
    let mut node = told.server.get(&format!("/api/v1/nodes/{NODE}")).unwrap();
    node["metadata"] =
        json!({"name": NODE, "annotations": node["metadata"]["annotations"].clone()});
    node["spec"]["unschedulable"] = Value::Null;
    told.server.apply(&node).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    told.settings.send_modify(|_| {});
    told.node_is("as before", |node| !cordoned(node) && !left(node)).await;
}

#[tokio::test]
async fn without_a_condition_the_node_is_read_again_after_five_minutes() {
    let mut told = Told::new(SchedulingGuard::None, "/nowhere");
    told.announcer.want(AnnounceWanted::default());
    let seen = told.problems.recv().await.unwrap().node.unwrap();
    assert!(!seen.relieved_by_others);
    let mut node = told.server.get(&format!("/api/v1/nodes/{NODE}")).unwrap();
    let key = "nodeutilization.descheduler.openshift.io/overutilized";
    node["metadata"] = json!({"name": NODE});
    node["spec"]["taints"] = json!([{"key": key, "effect": "PreferNoSchedule"}]);
    told.server.apply(&node).unwrap();
    told.settings.send_modify(|_| {});
    assert_eq!(told.problems.recv().await.unwrap().node, None, "too early");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    told.settings.send_modify(|_| {});
    let seen = told.problems.recv().await.unwrap().node.unwrap();
    assert!(seen.relieved_by_others, "{seen:?}");
}
