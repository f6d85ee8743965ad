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
use wasp_agent::{manifests::dashboards, report::metrics};

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

/// The agent's metrics as on a node: each series increases, so that rates are above 0.
fn series() -> String {
    let text = fs::read_to_string(top().join("tests/golden/metrics/prometheus.txt")).unwrap();
    let mut series = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = match name.split_once('{') {
            Some((name, labels)) => format!("{name}{{instance=\"n1\",{labels}"),
            None => format!("{name}{{instance=\"n1\"}}"),
        };
        // Gauges too: the agent restarts, the API server is unreachable, the hook is gone.
        let value = match line.split(['{', ' ']).next().unwrap() {
            "wasp_agent_api_reachable" | "wasp_agent_hook_installed" => "0",
            _ => value,
        };
        series += &format!("      - series: '{name}'\n        values: '{value}+1x120'\n");
    }
    // Gauges of 0 and 1 do not increase.
    let fixed = ["wasp_agent_api_reachable", "wasp_agent_hook_installed", "wasp_agent_problem"];
    let mut lines: Vec<String> = series.lines().map(str::to_owned).collect();
    for index in 1..lines.len() {
        if fixed.iter().any(|name| lines[index - 1].contains(name)) {
            lines[index] = lines[index].replace("+1x120", "x120");
        }
    }
    lines.join("\n") + "\n"
}

/// Each query of the dashboards matches some of the agent's metrics.
#[test]
fn every_query_of_the_dashboards_finds_the_agents_metrics() {
    let Some(mut promtool) = support::promtool() else { return };
    let mut text = format!(
        "evaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{}    promql_expr_test:\n",
        series()
    );
    let queries = dashboards::queries();
    assert!(queries.len() > 15, "{queries:?}");
    for query in queries {
        let query = query.replace("$instance", ".*");
        text += &format!(
            "      - expr: 'count({query}) > bool 0'\n        eval_time: 90m\n        exp_samples:\n          \
             - labels: '{{}}'\n            value: 1\n"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboards.test.yaml");
    fs::write(&file, text).unwrap();
    let output = promtool.args(["test", "rules"]).arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
