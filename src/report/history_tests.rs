use super::*;
use crate::{
    decide::history::{summary, sustained},
    model::history::{HistoryEvent, Rates, Waited, What},
    report::plot,
};

const GIB: u64 = 1 << 30;

/// A night: swap fills up from 22:00 on, pods wait at four, one is evicted.
fn minutes() -> Vec<Minute> {
    let begin = 1_767_304_800;
    (0..600)
        .map(|index| Minute {
            at: begin + index * 60,
            ram_bytes: 64 * GIB,
            swap_bytes: 32 * GIB,
            swap_used_bytes: index * GIB / 50,
            working_set_bytes: 50 * GIB + index % 7 * GIB / 4,
            api_reachable: true,
            signal_active: (360..380).contains(&index),
            rates: Some(Rates {
                pages_in: if (340..390).contains(&index) { 2000 } else { 20 },
                pages_out: if (340..390).contains(&index) { 2000 } else { 30 },
                system: Some(Waited::default()),
                pods: Some(Waited {
                    some: if (350..385).contains(&index) { 2500 } else { 40 },
                    full: if (350..385).contains(&index) { 400 } else { 5 },
                }),
            }),
            verified: 900,
            drifts: u16::from(index == 100) * 3,
            worst_millis: if index == 100 { 41 } else { 0 },
            ..Minute::default()
        })
        // No agent ran for twenty minutes.
        .filter(|minute| !(200..220).contains(&((minute.at - begin) / 60)))
        .collect()
}

fn events() -> Vec<HistoryEvent> {
    let event = |minute: u64, what| HistoryEvent { at: 1_767_304_800 + minute * 60, what };
    let started = || What::Started { version: "0.1.0".into(), boot: "b".into() };
    let why = "swap traffic: 2100 pages/s in, 2000 out over 30 s (thresholds 1000 and 1000)";
    let repaired = What::Repaired {
        pod: "vms/virt-launcher-db-x7k2p".into(),
        level: "container cgroup".into(),
        found: "max".into(),
        count: 3,
    };
    vec![
        event(0, started()),
        event(101, repaired),
        event(220, started()),
        event(300, What::ApiLost { why: "connection refused".into() }),
        event(304, What::ApiBack),
        event(361, What::eviction("vms/virt-launcher-db-x7k2p", "migrating", why, "")),
        event(370, What::Left { pod: "vms/virt-launcher-db-x7k2p".into() }),
        event(580, What::Problem { kind: "hook".into(), why: "no directory for hooks".into() }),
    ]
}

fn night() -> Summary {
    summary(&minutes(), &events(), 1_767_304_800, 1_767_304_800 + 600 * 60)
}

fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: BLESS=1 cargo test writes it anew");
}

#[test]
fn the_report_of_a_night() {
    golden("report/night.txt", &report(&night(), &[]));
}

#[test]
fn the_report_of_a_node_without_history() {
    let notes = ["/var/lib/wasp-agent/history/minutes has no data yet".to_owned()];
    golden("report/nothing.txt", &report(&summary(&[], &[], 0, 3600), &notes));
}

#[test]
fn the_advice() {
    golden("report/advice.txt", &advice(&sustained(&minutes())));
    let nothing = advice(&sustained(&[]));
    assert!(nothing.starts_with("No minute is recorded yet"), "{nothing}");
}

#[test]
fn the_json_has_every_minute_and_the_summary() {
    let text = json(&night(), &minutes(), &[]).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["minutes"].as_array().unwrap().len(), 580);
    assert_eq!(report["summary"]["limits"]["drifts"], 3);
    assert_eq!(report["minutes"][0]["rates"]["pods"]["some"], 40);
}

/// Returns the number of points of each line in the picture.
fn polylines(svg: &str) -> Vec<usize> {
    svg.split("<polyline")
        .skip(1)
        .map(|line| {
            let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            points.split_whitespace().count()
        })
        .collect()
}

#[test]
fn the_picture_shows_the_pause_the_lines_and_the_evictions() {
    let svg = plot::svg(&night(), &minutes()).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in ["Memory, GiB", "working set", "swap in use", "pods, all", "01-02 0"] {
        assert!(svg.contains(text), "{text}");
    }
    // Eight lines in two pieces each, because no agent ran in between. No line connects the pieces.
    let long: Vec<usize> = polylines(&svg).into_iter().filter(|points| *points > 100).collect();
    assert_eq!(long.iter().filter(|points| **points == 200).count(), 8, "{long:?}");
    assert_eq!(long.iter().filter(|points| **points == 380).count(), 8, "{long:?}");
    let empty = plot::svg(&summary(&[], &[], 0, 0), &[]).unwrap();
    assert!(empty.contains("</svg>"));
}

#[test]
fn a_page_shows_names_as_text() {
    let page = plot::html("vms/<script>&\u{1b}[2J\n", "<svg></svg>");
    assert!(page.contains("vms/&lt;script&gt;&amp;") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("\n<svg></svg>\n"));
}
