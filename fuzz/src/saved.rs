//! Fuzzes the files that the agent writes for itself, its hook and its commands.

use std::{sync::Arc, time::Duration};

use wasp_agent::{
    act::records::Records,
    act::{
        slices::{SlicesBefore, undoing},
        tunables::restore,
    },
    config::settings::{EvictionMode, EvictionSettings, Settings},
    decide::evict::{
        answer::EvictionAnswer,
        efforts::Efforts,
        evictions::Evictions,
        machine::{Inputs, decide},
        signals::Signals,
    },
    model::{
        clock::{SinceBoot, UnixTime},
        pod::{Pod, Pods},
        pressure::{ContainerUsage, PodUsage, Sample},
        published::Published,
    },
    observe::{kube::wire, records::granted},
    report::{
        for_terminal, metrics,
        overview::{AgentState, Overview},
        screen::screen,
    },
    state::{self, StateFile},
};

use super::{
    files::{files, kind},
    pods::holds,
};

/// Any bytes as a file of ours below `/run/wasp-agent`.
pub fn saved_state(bytes: &[u8]) {
    let Some((kind, text)) = kind(bytes, 5) else { return };
    let files = files();
    let roots = &files.roots;
    match kind {
        'a' => {
            let path = "/run/wasp-agent/pods/9192cfa8-679c-444e-9bb8-9701e3620c02.json";
            files.put(path, text);
            for (uid, pod) in Records::new(roots).load() {
                assert_eq!(uid, pod.uid);
                holds(&pod);
                if let Err(error) = granted(roots, &uid) {
                    let error = error.to_string();
                    assert!(error.contains("/run/wasp-agent/pods/"), "{error}");
                }
            }
            files.remove(path);
        }
        'b' => {
            let text = String::from_utf8_lossy(text);
            let saved = state::parse::<Evictions>(&text).unwrap_or_default();
            let (without, with) = (evicted(Evictions::default()), evicted(saved));
            assert!(with <= without, "{with} evictions, {without} without what was saved");
        }
        'c' => {
            files.put("/run/wasp-agent/protection.json", text);
            let before = StateFile::<SlicesBefore>::new(roots).load().ok().flatten();
            for (slice, properties) in &before.unwrap_or_default().slices {
                assert!(undoing(properties, properties).is_none(), "{slice}");
            }
            files.remove("/run/wasp-agent/protection.json");
        }
        'd' => {
            files.put("/run/wasp-agent/tunables.json", text);
            files.put("/proc/sys/vm/swappiness", b"60\n");
            files.put("/etc/passwd", b"root\n");
            let restored = restore(roots).unwrap_or_default();
            assert!(restored.iter().all(|(path, _)| path == "/proc/sys/vm/swappiness"));
            assert_eq!(std::fs::read(roots.path("/etc/passwd")).unwrap(), b"root\n");
        }
        _ => {
            let text = String::from_utf8_lossy(text);
            let Ok(published) = state::parse::<Published>(&text) else { return };
            let exposition = metrics::open_metrics(&published).unwrap();
            for line in exposition.lines() {
                assert!(line.starts_with("wasp_agent_") || line.starts_with("# "), "{line}");
            }
            let overview = Overview {
                unknown_containers: 0,
                version: 1,
                at: String::new(),
                agent: AgentState { running: true, warning: None, unreadable: false },
                published: Some(published),
                swap_for_pods_bytes: 0,
                swap_devices: vec![],
                vms_without_overcommit: vec![],
                pods: vec![],
                notes: vec![],
            };
            let shown = screen(&overview, 80, true);
            assert_eq!(for_terminal(&shown), shown);
        }
    }
}

/// Returns the number of pods that a node evicts while it thrashes for two hours.
fn evicted(mut evictions: Evictions) -> usize {
    let settings =
        EvictionSettings { mode: EvictionMode::Enforce, ..Settings::defaults().eviction };
    let pods: Pods = [pod("0a", ""), pod("0b", ""), pod("0c", "critical")].into();
    let usage: Vec<PodUsage> = pods
        .keys()
        .map(|uid| PodUsage {
            uid: uid.clone(),
            containers: vec![ContainerUsage {
                name: Some("c".into()),
                working_set_bytes: 2 << 30,
                swap_bytes: 1 << 30,
            }],
            slice: None,
            effort: None,
        })
        .collect();
    let (mut signals, mut efforts) = (Signals::default(), Efforts::default());
    let mut victims = 0;
    for step in 0..720 {
        let at = SinceBoot(Duration::from_secs(100_000 + step * 10));
        let sample = Sample {
            at,
            swapped_in_pages: step * 1_000_000,
            swapped_out_pages: step * 1_000_000,
            ram_bytes: 4 << 30,
            swap_bytes: 4 << 30,
            swap_used_bytes: 4 << 30,
            working_set_bytes: 4 << 30,
            direct_reclaims: 0,
            system: None,
            pods: None,
        };
        let inputs = Inputs {
            sample,
            wall_clock: UnixTime::default(),
            pods: &pods,
            usage: &usage,
            pods_are_fresh: true,
            others_relieve: false,
        };
        let verdict = decide(&settings, inputs, &mut signals, &mut efforts, &mut evictions);
        assert!(evictions.in_the_last_hour() <= settings.max_per_hour || victims == 0);
        let Some(victim) = verdict.evict else { continue };
        let uid = victim.ranked.uid;
        assert!(uid.as_str().starts_with("0a") || uid.as_str().starts_with("0b"), "{uid}");
        assert!(!victim.last_resort);
        evictions.answered(&settings, &uid, &EvictionAnswer::Accepted, at);
        evictions.left(&settings, &uid, at);
        victims += 1;
    }
    victims
}

fn pod(uid: &str, priority: &str) -> (wasp_agent::model::pod::PodUid, Arc<Pod>) {
    let priority = if priority.is_empty() { 0 } else { 2_000_000_000 };
    let json = format!(
        r#"{{"metadata": {{"name": "p", "namespace": "vms", "uid": "{uid}000000-0000-4000-8000-000000000000"}},
             "spec": {{"priority": {priority}, "containers": [{{"name": "c", "resources": {{"requests": {{"memory": "1Gi"}}}}}}]}}}}"#
    );
    let pod = wire::pod(serde_json::from_str(&json).unwrap(), &[]).unwrap();
    (pod.uid.clone(), Arc::new(pod))
}
