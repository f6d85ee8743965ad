use std::{fs, path::PathBuf};

use super::*;
use crate::{
    model::published::{
        ApiStatus, ConditionStatus, Containers, Evicted, EvictionStatus, Hook, InFlightStatus,
        NodeStatus, ProblemStatus, ProtectionStatus,
    },
    report::{
        explain::explain,
        overview::{AgentState, ContainerRow, Device, VERSION},
    },
};

const GIB: u64 = 1 << 30;

/// Compares with the file in tests/golden, or writes it with BLESS=1.
fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: BLESS=1 cargo test writes it anew");
}

/// Formats without colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn pod(name: &str, swap: u64, order: Option<usize>, reason: &str) -> OverviewPodRow {
    OverviewPodRow {
        namespace: "vms".into(),
        pod: name.into(),
        uid: format!("0a1b2c3d-0000-4000-8000-00000000000{}", name.len() % 10),
        qos_class: "Burstable".into(),
        swap_bytes: swap,
        swap_outside_containers_bytes: if order == Some(1) { swap / 2 } else { 0 },
        swap_grant: "1073741824".into(),
        swap_max_in_force: Some("1073741824".into()),
        working_set_bytes: 3 * GIB,
        swap_in_pages_per_second: Some(12.4),
        stalled_percent: None,
        eviction_order: order,
        eviction_reason: reason.into(),
        eviction_cost: None,
        containers: vec![ContainerRow {
            name: "compute".into(),
            id: "6506db16ea97".into(),
            memory_request: Some("2Gi".into()),
            memory_limit: Some("4Gi".into()),
            swap_grant: "1073741824".into(),
            swap_max_in_force: "1073741824".into(),
            bound_by: None,
            swap_limit_hits: Some(0),
            oom_kills: Some(0),
            swap_bytes: swap,
            why: "requests 2.0 GiB of 64.0 GiB RAM, so that share of 32.0 GiB swap".into(),
        }],
    }
}

pub(crate) fn healthy() -> Overview {
    let signal = |name: &str, ratio, text: &str| SignalStatus {
        name: name.into(),
        ratio,
        text: text.into(),
        active: false,
        critical: false,
    };
    let published = Published {
        agent: "0.1.0".into(),
        pid: 812,
        started: "2026-01-02T03:04:05.678Z".into(),
        written: "2026-01-02T09:10:11.1Z".into(),
        status: "Swap 32.0 GiB: 2 of 2 containers in 2 pods may swap up to 2.0 GiB; 1.3 GiB used."
            .into(),
        node: NodeStatus {
            ram_bytes: 64 * GIB,
            swap_bytes: 32 * GIB,
            swap_used_bytes: 2 * GIB,
            working_set_bytes: 50 * GIB,
            ..NodeStatus::default()
        },
        condition: Some(ConditionStatus {
            status: "False".into(),
            reason: "NoSwapPressure".into(),
            message: "no signal".into(),
        }),
        signals: vec![
            signal("traffic", 0.08, "120 pages/s in, 80 out over 30 s (thresholds 1000 and 1000)"),
            signal(
                "utilization",
                0.58,
                "working set and swap in use 52.0 GiB (threshold 89.6 GiB)",
            ),
        ],
        eviction: EvictionStatus { mode: "enforce".into(), ..EvictionStatus::default() },
        protection: ProtectionStatus {
            wanted: vec!["system.slice".into()],
            protected: vec!["system.slice".into()],
        },
        hook: Hook { file: Some("/run/containers/oci/hooks.d/99-wasp-agent.json".into()) },
        api: ApiStatus {
            server: Some("https://api-int.example.com:6443/".into()),
            reachable: true,
            failure: None,
            certificate_expires: Some("2026-02-01T00:00:00Z".into()),
            pods: 2,
            unreadable_pods: 0,
        },
        containers: Containers::default(),
        ..Published::default()
    };
    Overview {
        unknown_containers: 0,
        version: VERSION,
        at: "2026-01-02T09:10:12Z".into(),
        agent: AgentState { running: true, warning: None, unreadable: false },
        published: Some(published),
        swap_for_pods_bytes: 32 * GIB,
        swap_devices: vec![Device {
            path: "/var/lib/wasp-agent/swapfile".into(),
            kind: "file".into(),
            size_bytes: 32 * GIB,
            used_bytes: 2 * GIB,
            priority: 10,
        }],
        pods: vec![
            pod(
                "virt-launcher-db-x7k2p",
                GIB,
                Some(1),
                "1.0 GiB above its request, priority 0, 1.0 GiB in swap",
            ),
            pod(
                "virt-launcher-web-9s8dz",
                GIB / 3,
                None,
                "its namespace is in eviction.protected-namespaces",
            ),
        ],
        vms_without_overcommit: Vec::new(),
        notes: Vec::new(),
    }
}

fn problems(texts: impl IntoIterator<Item = impl Into<String>>) -> Vec<ProblemStatus> {
    let problem = |text: String| ProblemStatus { text, ..ProblemStatus::default() };
    texts.into_iter().map(Into::into).map(problem).collect()
}

fn pressed() -> Overview {
    let mut overview = healthy();
    overview.vms_without_overcommit = vec!["vms/virt-launcher-db-x7k2p".into()];
    let published = overview.published.as_mut().unwrap();
    let traffic = &mut published.signals[0];
    traffic.text = "4200 pages/s in, 3900 out over 30 s (thresholds 1000 and 1000)".into();
    (traffic.ratio, traffic.active, traffic.critical) = (3.9, true, true);
    published.condition = Some(ConditionStatus {
        status: "True".into(),
        reason: "SwapTrafficHigh".into(),
        message: traffic.text.clone(),
    });
    published.problems =
        problems(["swap pressure: 4200 pages/s in, 3900 out over 30 s (thresholds 1000 and \
                               1000) (waiting for the migration of pod x)"]);
    published.eviction = EvictionStatus {
        mode: "enforce".into(),
        held_back: Some("waiting for the migration of pod x".into()),
        in_flight: vec![InFlightStatus {
            uid: "x".into(),
            pod: "vms/virt-launcher-db-x7k2p".into(),
            stage: "migrating".into(),
        }],
        recent: vec![Evicted {
            answer: String::new(),
            at: "2026-01-02T09:09:00Z".into(),
            pod: "vms/virt-launcher-db-x7k2p".into(),
            outcome: "migrating".into(),
            why: "swap traffic: 2100 pages/s in, 2000 out over 30 s (thresholds 1000 and 1000)"
                .into(),
        }],
        in_the_last_hour: 1,
    };
    overview
}

fn broken() -> Overview {
    let mut overview = healthy();
    overview.agent = AgentState {
        running: false,
        warning: Some(
            "not running: the data is from 2026-01-02T09:10:11Z (systemctl status wasp-agent)"
                .into(),
        ),
        unreadable: false,
    };
    overview.swap_devices.clear();
    let published = overview.published.as_mut().unwrap();
    published.protection.protected.clear();
    published.hook.file = None;
    published.api.failure = Some("not reachable: connection refused".into());
    published.problems = problems([
        "API server not reachable, using its last list of pods (connection refused)",
        "the node has no swap",
    ]);
    overview
}

#[test]
fn screens_are_as_recorded() {
    for (name, overview) in [("healthy", healthy()), ("pressed", pressed()), ("broken", broken())] {
        for width in [80, 200] {
            let text = plain(&screen(&overview, width, false));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{name}");
            golden(&format!("tests/golden/status/{name}-{width}.txt"), &text);
        }
    }
    let nothing = Overview {
        published: None,
        agent: AgentState {
            running: false,
            warning: Some("not running: nothing published".into()),
            unreadable: false,
        },
        ..healthy()
    };
    golden("tests/golden/status/never-ran-200.txt", &plain(&screen(&nothing, 200, false)));
}

/// A bad night: more of everything than fits.
fn crowded() -> Overview {
    let mut overview = pressed();
    let published = overview.published.as_mut().unwrap();
    let texts = (1..=7).map(|index| format!("problem {index} of many, {}", "x".repeat(90)));
    published.problems = problems(texts);
    published.signals = vec![published.signals[0].clone(); 4];
    published.eviction.in_flight = vec![published.eviction.in_flight[0].clone(); 4];
    published.eviction.recent = vec![published.eviction.recent[0].clone(); 9];
    overview.pods = (0..60)
        .map(|index| {
            pod(
                &format!("virt-launcher-a-rather-long-name-{index:05}"),
                GIB,
                Some(index),
                "1.0 GiB above its request, priority 0",
            )
        })
        .collect();
    overview
}

#[test]
fn what_matters_most_stays_in_a_small_terminal() {
    for (name, overview) in [("crowded", crowded()), ("healthy", healthy()), ("broken", broken())] {
        for (width, height) in [(80, 24), (200, 50)] {
            let text = plain(&fitted(&overview, width, height));
            assert!(text.lines().count() < height, "{name}: no line for the cursor\n{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{name}: {line}");
            }
            golden(&format!("tests/golden/status/{name}-{width}x{height}.txt"), &text);
        }
    }
    let text = plain(&fitted(&crowded(), 80, 24));
    for part in ["problem 1", "4 more", "traffic", "SwapPressure True", "is migrating", "more pods"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(text.matches(" migrating: ").count(), 2, "{text}");
    let low = plain(&fitted(&crowded(), 60, 12));
    assert!(low.starts_with("Time ") && low.lines().count() == 11, "{low}");
    let mut long = healthy();
    long.pods[0].pod = "x".repeat(120);
    long.pods[0].eviction_reason = "y".repeat(90);
    let long = plain(&fitted(&long, 200, 50));
    assert!(long.contains("xxx…xxx") && long.contains(&"y".repeat(70)), "{long}");
    // Both ends of a name are there.
    assert!(text.contains("vms/virt-") && text.contains("-00000\n"), "{text}");
}

#[test]
fn names_are_cut_in_the_middle() {
    for (width, cut) in [(9, "vms/a-pod"), (8, "vms…-pod"), (3, "v…d"), (1, "…"), (0, "…")]
    {
        assert_eq!(cut_middle("vms/a-pod", width), cut);
    }
}

#[test]
fn a_pod_is_explained_step_by_step() {
    let overview = healthy();
    let texts: Vec<String> = overview.pods.iter().map(|pod| explain(&overview, pod)).collect();
    golden("tests/golden/status/explain.txt", &texts.join("\n"));
}

#[test]
fn colours_do_not_count_and_do_not_run_on() {
    assert_eq!(cut("\u{1b}[31mred\u{1b}[0m and more", 5), "\u{1b}[31mred\u{1b}[0m a");
    assert_eq!(cut("\u{1b}[31mlong red\u{1b}[0m", 4), "\u{1b}[31mlong\u{1b}[0m");
    let red = screen(&pressed(), 80, false);
    assert!(red.contains(&format!("{BAD}traffic")), "{red}");
    assert!(!screen(&healthy(), 80, false).contains(&BAD.to_string()));
}

#[test]
fn only_the_first_pods_are_shown_unless_all_are_asked_for() {
    let many = Overview { pods: vec![pod("p", GIB, None, ""); 50], ..healthy() };
    assert!(plain(&screen(&many, 80, false)).ends_with("30 more pods: --all\n"));
    assert_eq!(screen(&many, 80, true).matches("vms/p").count(), 50);
}

#[test]
fn the_schema_in_the_documents_is_that_of_the_code() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Overview)).unwrap();
    golden("docs/status.schema.json", &(schema + "\n"));
    let json = serde_json::to_value(pressed()).unwrap();
    assert_eq!(serde_json::from_value::<Overview>(json).unwrap(), pressed());
}
