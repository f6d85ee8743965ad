//! Invariants that hold for any behaviour of the pods.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    News, Phase, ReclaimPace,
    budget::SAVED,
    sim::{Chance, calm, uid},
    trace_tests::settings,
};
use crate::model::reclaim::{HeldBack, Look, PodMemory, Reclaimed, Some as Stalls};

const MIB: u64 = 1 << 20;

/// Pods that wait, grow, shrink and read back at random; the kernel reclaims what it is asked for,
/// more, or less.
struct World {
    chance: Chance,
    pods: Vec<PodMemory>,
}

impl World {
    fn new(seed: u64, pods: u64) -> Self {
        let mut chance = Chance(seed.max(1));
        let pods = (0..pods).map(|_| PodMemory {
            current_bytes: chance.below(2048) * MIB,
            swap_max_bytes: (chance.below(4) > 0).then_some(chance.below(1024) * MIB),
            protected_bytes: chance.below(3) * chance.below(200) * MIB,
            io: Some(Stalls::default()),
            ..PodMemory::default()
        });
        let pods = pods.collect();
        Self { chance, pods }
    }

    fn live(&mut self) {
        for pod in &mut self.pods {
            if self.chance.below(20) == 0 {
                pod.memory.total_micros += self.chance.below(1_000_000);
            }
            if self.chance.below(30) == 0 {
                pod.refaults_anon_pages += self.chance.below(1000);
            }
            if self.chance.below(10) == 0 {
                pod.current_bytes += self.chance.below(50) * MIB;
            }
            pod.anon_bytes = pod.current_bytes / 2;
            pod.file_bytes = pod.current_bytes / 3;
        }
    }

    fn looks(&self) -> Vec<Look> {
        let look = |(nth, memory): (usize, &PodMemory)| Look {
            uid: uid(&format!("pod-{nth}")),
            memory: Some(memory.clone()),
            left_alone: None,
        };
        self.pods.iter().enumerate().map(look).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn floors_budget_signals_and_answers_are_respected(seed: u64, pods in 1_u64..6) {
        let settings = settings();
        let mut world = World::new(seed, pods);
        let mut reclaim = ReclaimPace::default();
        let (mut asked, mut before) = (0, world.pods.clone());
        for look in 0..200_u64 {
            world.live();
            let mut node = calm(look * 6);
            let odds = world.chance.below(12);
            match odds {
                0 => node.nearest_signal = Some(0.9),
                1 => node.disk_queue = Some(9.0),
                2 => node.pods_are_fresh = false,
                3 => node.swap_used_bytes = node.swap_bytes,
                _ => {}
            }
            let looks = world.looks();
            let verdict = reclaim.decide(&settings, &node, &looks);
            prop_assert_eq!(verdict.steps.len() + verdict.held.len(), looks.len());
            prop_assert!(odds > 3 || verdict.steps.is_empty(), "never while the node holds back");
            for step in verdict.steps {
                let nth = looks.iter().position(|look| look.uid == step.uid).unwrap();
                let pod = &mut world.pods[nth];
                let floor = settings.floor_bytes.max(pod.protected_bytes);
                prop_assert!(pod.current_bytes - step.bytes >= floor, "never below the floor");
                if let Some(limit) = pod.swap_max_bytes {
                    prop_assert!(pod.swap_bytes + step.bytes <= limit * 8 / 10, "never above its share");
                }
                let waited = pod.memory.total_micros - before[nth].memory.total_micros;
                prop_assert!(waited < 6_000, "never right after the pod has waited: {waited}");
                asked += step.bytes;
                let part = world.chance.below(3);
                let swapped_bytes = step.bytes * part / 2;
                pod.swap_bytes += swapped_bytes;
                pod.current_bytes -= step.bytes;
                asked -= step.bytes - swapped_bytes;
                reclaim.reclaimed(&step.uid, node.at, Reclaimed {
                    asked_bytes: step.bytes,
                    swapped_bytes,
                    freed_bytes: step.bytes,
                    ..Reclaimed::default()
                });
            }
            let most = settings.write_bytes_per_second * (look * 6 + SAVED.as_secs());
            prop_assert!(asked <= most, "never above the budget: {asked} of {most}");
            before.clone_from(&world.pods);
        }
    }

    /// The pause begins within one sample of the wait and lasts minutes, even after a short wait.
    #[test]
    fn a_pod_that_waited_is_left_alone_for_minutes(seed: u64, micros in 6_000_u64..1_000_000) {
        let settings = settings();
        let mut chance = Chance(seed.max(1));
        let uid = uid("a");
        let mut pod = PodMemory { current_bytes: 512 * MIB, anon_bytes: 500 * MIB, ..PodMemory::default() };
        let mut reclaim = ReclaimPace::default();
        let trouble = 5 + chance.below(20);
        for look in 0..trouble + 20 {
            if look == trouble {
                pod.memory.total_micros += micros;
            }
            let looks = [Look { uid: uid.clone(), memory: Some(pod.clone()), left_alone: None }];
            let verdict = reclaim.decide(&settings, &calm(look * 6), &looks);
            match look {
                0 => prop_assert_eq!(verdict.held[&uid], HeldBack::FirstLook),
                look if look < trouble => {
                    prop_assert_eq!(verdict.held.get(&uid), None);
                    prop_assert_eq!(reclaim.working_set(&uid), None, "it could give more");
                }
                look if look == trouble => {
                    prop_assert_eq!(verdict.held[&uid], HeldBack::MemoryPressure);
                    let pause = Duration::from_secs(120);
                    let news = News::BackedOff { uid: uid.clone(), why: HeldBack::MemoryPressure, pause };
                    prop_assert_eq!(verdict.news, vec![news]);
                }
                _ => prop_assert_eq!(verdict.held[&uid], HeldBack::BackingOff),
            }
            for step in verdict.steps {
                pod.current_bytes -= step.bytes;
                pod.anon_bytes -= step.bytes;
                pod.swap_bytes += step.bytes;
                let done = Reclaimed { asked_bytes: step.bytes, swapped_bytes: step.bytes, freed_bytes: step.bytes, ..Reclaimed::default() };
                reclaim.reclaimed(&uid, calm(look * 6).at, done);
            }
        }
        let (_, learned) = reclaim.learned().next().unwrap();
        prop_assert_eq!(learned.phase, Phase::BackingOff);
        prop_assert_eq!(learned.working_set_bytes, Some(pod.current_bytes));
        prop_assert_eq!(reclaim.working_set(&uid), Some(pod.current_bytes));
    }
}

#[test]
fn what_holds_everybody_back_is_reported_once_and_answers_still_count() {
    let (settings, uid) = (settings(), uid("a"));
    let mut reclaim = ReclaimPace::default();
    let pod = PodMemory { current_bytes: 512 * MIB, anon_bytes: 500 * MIB, ..PodMemory::default() };
    let look = |second, near, reclaim: &mut ReclaimPace| {
        let mut node = calm(second);
        node.nearest_signal = Some(near);
        let looks = [Look { uid: uid.clone(), memory: Some(pod.clone()), left_alone: None }];
        reclaim.decide(&settings, &node, &looks).news
    };
    assert_eq!(look(0, 0.9, &mut reclaim), [News::Paused(HeldBack::Signal)]);
    assert_eq!(look(6, 1.2, &mut reclaim), []);
    assert_eq!(look(12, 0.1, &mut reclaim), [News::Resumed, News::Began(uid.clone())]);
    assert_eq!(look(18, 0.1, &mut reclaim), [], "the step is in progress");
    let stale = {
        let mut node = calm(100);
        node.sampled = calm(60).at;
        node
    };
    assert_eq!(reclaim.decide(&settings, &stale, &[]).news, [News::Paused(HeldBack::Stale)]);
}

#[test]
fn a_pod_that_cannot_be_read_or_was_not_seen_for_long_begins_anew() {
    let (settings, uid) = (settings(), uid("a"));
    let mut reclaim = ReclaimPace::default();
    let pod = PodMemory { current_bytes: 512 * MIB, anon_bytes: 500 * MIB, ..PodMemory::default() };
    let mut held = |second, memory: Option<PodMemory>, left_alone| {
        let looks = [Look { uid: uid.clone(), memory, left_alone }];
        reclaim.decide(&settings, &calm(second), &looks).held.get(&uid).copied()
    };
    assert_eq!(held(0, Some(pod.clone()), None), Some(HeldBack::FirstLook));
    assert_eq!(held(6, Some(pod.clone()), Some(HeldBack::Migrating)), Some(HeldBack::Migrating));
    assert_eq!(held(12, Some(pod.clone()), None), None);
    assert_eq!(held(18, None, None), Some(HeldBack::Unreadable));
    assert_eq!(held(24, Some(pod.clone()), None), Some(HeldBack::FirstLook));
    assert_eq!(held(90, Some(pod), None), Some(HeldBack::FirstLook), "too long ago");
}

#[test]
fn a_pod_of_which_the_kernel_finds_little_is_left_alone_for_minutes() {
    for (freed_share, seconds, pause) in [(0, 0, 120), (0, 2, 204), (0, 100, 1800), (1, 2, 6)] {
        let mut reclaim = ReclaimPace::default();
        let memory = PodMemory {
            current_bytes: 512 * MIB,
            anon_bytes: 500 * MIB,
            swap_max_bytes: Some(1024 * MIB),
            ..PodMemory::default()
        };
        let look = [Look { uid: uid("a"), memory: Some(memory), left_alone: None }];
        let mut steps = Vec::new();
        for second in (0..2400).step_by(6) {
            for step in reclaim.decide(&settings(), &calm(second), &look).steps {
                let (asked_bytes, freed_bytes) = (step.bytes, step.bytes * freed_share);
                let exhausted = freed_share == 0;
                let micros = seconds * 1_000_000;
                let (swapped_bytes, gone) = (freed_bytes, false);
                let done =
                    Reclaimed { asked_bytes, swapped_bytes, freed_bytes, micros, exhausted, gone };
                reclaim.reclaimed(&step.uid, calm(second).at, done);
                steps.push(second);
            }
        }
        assert_eq!(steps[1] - steps[0], pause, "{steps:?}");
    }
}

#[test]
fn what_a_pause_has_answered_for_does_not_begin_the_next() {
    let mut reclaim = ReclaimPace::default();
    let mut memory = PodMemory {
        current_bytes: 512 * MIB,
        anon_bytes: 500 * MIB,
        swap_max_bytes: Some(1024 * MIB),
        ..PodMemory::default()
    };
    let mut pauses = Vec::new();
    for second in (0..600).step_by(6) {
        // Much returns once, and then a page now and then.
        memory.refaults_anon_pages += if second == 60 { 2560 } else { 1 };
        let look = [Look { uid: uid("a"), memory: Some(memory.clone()), left_alone: None }];
        let verdict = reclaim.decide(&settings(), &calm(second), &look);
        pauses.extend(verdict.news.iter().filter_map(|news| match news {
            News::BackedOff { why, pause, .. } => Some((second, *why, pause.as_secs())),
            _ => None,
        }));
        for step in verdict.steps {
            let (asked_bytes, freed_bytes) = (step.bytes, step.bytes);
            let done = Reclaimed { asked_bytes, freed_bytes, ..Reclaimed::default() };
            reclaim.reclaimed(&step.uid, calm(second).at, done);
        }
    }
    assert_eq!(pauses, [(60, HeldBack::Refaults, 120)]);
}
