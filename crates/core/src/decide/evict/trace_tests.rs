//! Replays recordings of a real node (tests/traces) through the decision code.

use std::sync::Arc;

use super::*;
use crate::{
    config::settings::{Settings, Signal},
    decide::evict::answer::EvictionAnswer,
    fixtures::pod,
    model::pressure::{ContainerUsage, Stalled},
};

const THRASH: &str = include_str!("../../../../../tests/traces/thrash.txt");

fn samples(trace: &str) -> Vec<Sample> {
    let lines = trace.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (at, rest) = line.split_once(' ').unwrap();
        let n: Vec<u64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
        let kb = |index: usize| n[index] * 1024;
        Sample {
            at: SinceBoot(Duration::from_secs_f64(at.parse().unwrap())),
            swapped_in_pages: n[0],
            swapped_out_pages: n[1],
            ram_bytes: kb(2),
            working_set_bytes: kb(2) - kb(3) - kb(4),
            swap_bytes: kb(5),
            swap_used_bytes: kb(5) - kb(6),
            direct_reclaims: 0,
            // The trace has the stalls of the whole node, which include the kernel's kswapd.
            system: None,
            pods: Some(Stalled { some_micros: n[9], full_micros: n[10] }),
        }
    };
    lines.map(sample).collect()
}

/// Returns the seconds after the first swapped page at which the agent asked for a pod, with the
/// pod's name, and at which a signal was last active.
fn replay(
    settings: &EvictionSettings,
    answer: &EvictionAnswer,
) -> (Vec<(f64, String)>, Option<f64>) {
    let pods: Pods = ["calm", "greedy"]
        .map(|name| Arc::new(pod(name, &["- - 80Mi 100Mi"])))
        .map(|pod| (pod.uid.clone(), pod))
        .into();
    let usage: Vec<PodUsage> = pods
        .iter()
        .map(|(uid, pod)| PodUsage {
            uid: uid.clone(),
            containers: vec![ContainerUsage {
                name: Some("c0".into()),
                working_set_bytes: if &*pod.name == "greedy" { 100 << 20 } else { 1 << 20 },
                swap_bytes: if &*pod.name == "greedy" { 40 << 20 } else { 0 },
            }],
            slice: None,
            effort: None,
        })
        .collect();
    let (mut signals, mut evictions) = (Signals::default(), Evictions::default());
    let mut efforts = Efforts::default();
    let (mut asked, mut last) = (Vec::new(), None);
    let samples = samples(THRASH);
    let first = samples.iter().find(|sample| sample.swapped_out_pages > 0).unwrap().at;
    for sample in samples {
        let second = sample.at.since(first).as_secs_f64();
        let inputs = Inputs {
            sample,
            wall_clock: UnixTime::default(),
            pods: &pods,
            usage: &usage,
            pods_are_fresh: true,
            others_relieve: false,
        };
        let verdict = decide(settings, inputs, &mut signals, &mut efforts, &mut evictions);
        if verdict.readings.iter().any(|reading| reading.active) {
            last = Some(second);
        }
        if let Some(victim) = verdict.evict {
            assert!(sample.at >= first, "evicted before anything was swapped");
            evictions.answered(settings, &victim.ranked.uid, answer, sample.at);
            asked.push((second, victim.ranked.name));
        }
    }
    (asked, last)
}

fn settings(pages: u64) -> EvictionSettings {
    let mut settings =
        EvictionSettings { mode: EvictionMode::Enforce, ..Settings::defaults().eviction };
    settings.thresholds.max_swap_in_pages_per_second = pages;
    settings.thresholds.max_swap_out_pages_per_second = pages;
    settings
}

#[test]
fn a_real_thrash_is_answered_by_one_eviction() {
    let (asked, last) = replay(&settings(200), &EvictionAnswer::Accepted);
    let [(second, name)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(name, "greedy");
    assert!((5.0..20.0).contains(second), "{second}");
    // The load stopped 100 s after its first page; the window of 30 s then runs out.
    assert!(last.unwrap() < 135.0, "{last:?}");
}

#[test]
fn below_its_thresholds_a_real_thrash_evicts_nobody() {
    let mut settings = settings(5000);
    settings.signals[Signal::Pressure].enabled = false;
    assert_eq!(replay(&settings, &EvictionAnswer::Accepted), (Vec::new(), None));
}

#[test]
fn stalls_alone_are_enough() {
    let mut settings = settings(5000);
    settings.signals[Signal::Traffic].enabled = false;
    // In emulation the processor was slower than the disk: all of kubepods waited for 11 % of the
    // time.
    assert_eq!(replay(&settings, &EvictionAnswer::Accepted).0.len(), 0);
    settings.thresholds.max_full_percent = 5.0;
    let (asked, _) = replay(&settings, &EvictionAnswer::Accepted);
    assert_eq!(asked.len(), 1, "{asked:?}");
}
