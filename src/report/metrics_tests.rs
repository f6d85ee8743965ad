use super::*;
use crate::model::published;

/// A publication with one of everything.
pub(crate) fn example() -> Published {
    let text = include_str!("../../tests/golden/metrics/status.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_exposition_is_as_it_was() {
    for (name, text) in [
        ("open-metrics.txt", open_metrics(&example()).unwrap()),
        ("prometheus.txt", prometheus(&example()).unwrap()),
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/metrics")
            .join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap(), "BLESS=1 fixes it");
    }
}

#[test]
fn what_was_not_measured_is_left_out() {
    let text = open_metrics(&Published::default()).unwrap();
    assert!(!text.contains("swap_used_bytes 0\n# HELP wasp_agent_node"), "{text}");
    for name in ["node_working_set", "certificate_expiry", "swap_pressure", "signal_", "stalled"] {
        assert!(!text.contains(&format!("wasp_agent_{name}")), "{name} in {text}");
    }
    assert!(text.contains("wasp_agent_evictions_total{outcome=\"refused\"} 0\n"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_label_s_value_ends_at_its_quote() {
    let protection = published::ProtectionStatus {
        wanted: vec!["a\\x2db\"} 1\n.slice".to_owned()],
        protected: vec![],
    };
    let text = open_metrics(&Published { protection, ..Published::default() }).unwrap();
    assert!(text.contains(r#"{slice="a\\x2db\"} 1\n.slice"} 0"#), "{text}");
}

#[test]
fn passes_are_counted_by_how_long_they_took() {
    let mut counters = published::Counters::default();
    for seconds in [0.0001, 0.001, 0.5, 60.0] {
        counters.passed(seconds);
    }
    assert_eq!(counters.pass_buckets, [2, 0, 0, 1, 0, 1]);
    let text = open_metrics(&Published { counters, ..Published::default() }).unwrap();
    assert!(text.contains("wasp_agent_pass_duration_seconds_bucket{le=\"1.0\"} 3\n"), "{text}");
    assert!(text.contains("wasp_agent_pass_duration_seconds_bucket{le=\"+Inf\"} 4\n"), "{text}");
}
