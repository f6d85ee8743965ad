//! Tests the alerts: promtool accepts them, each fires under its condition, and has its page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path};

use serde_json::Value;
use wasp_agent::{
    manifests::dashboards,
    model::trouble::{Severity, Trouble},
    report::metrics,
};

const RULES: &str = "packaging/alerts/wasp-agent.rules.yaml";
const TESTS: &str = "tests/alerts/wasp-agent.test.yaml";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> Vec<Value> {
    let text = fs::read_to_string(top().join(RULES)).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn promtool_takes_them_and_sees_them_fire() {
    for (what, file) in [("check", RULES), ("test", TESTS)] {
        let Some(mut promtool) = support::promtool() else { return };
        let output = promtool.args([what, "rules", file]).current_dir(top()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn problems_that_pass_without_action_raise_no_alert() {
    let notes = Trouble::ALL.iter().filter(|trouble| trouble.severity() == Severity::Note);
    let notes: Vec<&str> = notes.map(|trouble| trouble.word()).collect();
    let expected = format!("wasp_agent_problem{{kind!~\"{}\"}} == 1", notes.join("|"));
    let rules = rules();
    let rule = rules.iter().find(|rule| rule["alert"] == "WaspAgentProblem").unwrap();
    assert_eq!(rule["expr"].as_str().unwrap(), expected);
}

#[test]
fn every_alert_has_its_page_and_a_test_and_is_of_metrics_that_there_are() {
    let (rules, metrics) = (rules(), metrics::reference());
    let tests = fs::read_to_string(top().join(TESTS)).unwrap();
    assert!(rules.len() >= 8, "{rules:?}");
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let page = format!("docs/runbooks/{name}.md");
        let text = fs::read_to_string(top().join(&page)).unwrap_or_default();
        assert!(text.starts_with(&format!("# {name}\n")), "{page} is missing");
        let url = "file:///usr/share/doc/wasp-agent/";
        assert_eq!(rule["annotations"]["runbook_url"], format!("{url}{page}"));
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is not tested");
        let expression = rule["expr"].as_str().unwrap();
        for rest in expression.split("wasp_agent_").skip(1) {
            let metric = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap();
            assert!(metrics.contains(&format!("`wasp_agent_{metric}`")), "{name}: {metric}");
        }
    }
}

/// The agent's metrics, as a scrape of a node adds labels, as promtool's input. `value` returns the
/// values of a series of this name, which the golden has with this value.
fn series(value: impl Fn(&str, &str) -> String) -> String {
    let text = fs::read_to_string(top().join("tests/golden/metrics/prometheus.txt")).unwrap();
    let mut series = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (full, now) = line.rsplit_once(' ').unwrap();
        let (name, labels) = full.trim_end_matches('}').split_once('{').unwrap_or((full, ""));
        let full = format!("{name}{{instance=\"n1\",{labels}}}");
        let values = value(name, now);
        series += &format!("      - series: '{full}'\n        values: '{values}'\n");
    }
    series
}

/// A node on which something happens all the time: each value increases, and problems stay.
fn busy(name: &str, value: &str) -> String {
    match name {
        "wasp_agent_problem" => "1x120".to_owned(),
        _ => format!("{value}+1x120"),
    }
}

/// A node on which nothing happens.
fn quiet(name: &str, value: &str) -> String {
    match name {
        "wasp_agent_problem" => "0x120".to_owned(),
        _ => format!("{value}x120"),
    }
}

fn tested(series: &str, expressions: impl Iterator<Item = (String, String)>) -> String {
    let mut text = format!("  - interval: 1m\n    input_series:\n{series}    promql_expr_test:\n");
    for (expression, labels) in expressions {
        let expression = expression.replace("$instance", ".*");
        text += &format!(
            "      - expr: '{expression}'\n        eval_time: 90m\n        exp_samples:\n          \
             - labels: '{{{labels}}}'\n            value: 1\n"
        );
    }
    text
}

/// Each query of the dashboards finds some of the agent's metrics on a busy node, with the labels
/// that its legend names. No panel is empty on a quiet node.
#[test]
fn every_panel_of_the_dashboards_shows_the_agents_metrics() {
    let Some(mut promtool) = support::promtool() else { return };
    let panels = dashboards::panels();
    assert!(panels.len() >= 10, "{panels:?}");
    let found = |query: &String| (format!("count({query}) > bool 0"), String::new());
    let queries = || panels.iter().flat_map(|(_, queries)| queries);
    let labels = queries().flat_map(|(query, legend)| {
        let names = legend.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0);
        names.map(move |name| {
            let marked = format!("label_replace({query}, \"found\", \"yes\", \"{name}\", \".+\")");
            (format!("count by (found) ({marked}) > bool 0"), "found=\"yes\"".to_owned())
        })
    });
    let shown = panels.iter().map(|(_, queries)| {
        let all: Vec<String> = queries.iter().map(|(query, _)| format!("({query})")).collect();
        found(&all.join(" or "))
    });
    let head = "evaluation_interval: 1m\ntests:\n";
    let busy = tested(&series(busy), queries().map(|(query, _)| found(query)).chain(labels));
    let quiet = tested(&series(quiet), shown);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboards.test.yaml");
    fs::write(&file, format!("{head}{busy}{quiet}")).unwrap();
    let output = promtool.args(["test", "rules"]).arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
