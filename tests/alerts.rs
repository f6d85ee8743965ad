//! The alerts: promtool takes them, each fires when it is to, and has its page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path};

use serde_json::Value;
use wasp_agent::report::metrics;

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
