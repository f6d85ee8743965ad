//! Scenarios of the simulated node: see sim.rs.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decide::evict::{
    answer::EvictionAnswer,
    flight::LONGEST_GRACE,
    sim::{Sim, SimPod, Takes, enforcing},
    spared::spared,
};

const QUICKLY: Takes = Takes::Leaves { after: 2 };

/// 1,600 MiB in use on 1,000 MiB of RAM.
fn thrashing(api: Takes) -> Sim {
    Sim::new(vec![
        SimPod::new("quiet", "- - 400Mi -", 380, 0, QUICKLY),
        SimPod::new("greedy", "- - 100Mi -", 500, 320, api),
        SimPod::new("second", "- - 100Mi -", 200, 200, QUICKLY),
    ])
}

#[test]
fn a_leak_is_answered_by_the_one_pod_that_matters() {
    let mut sim = thrashing(QUICKLY);
    sim.run(3600);
    assert_eq!(sim.names(), ["greedy"], "its going is enough");
    let (second, _) = sim.asked[0];
    assert_eq!(second, 6, "five seconds of samples, no more");
}

#[test]
fn a_short_spike_evicts_nobody() {
    let mut sim = thrashing(QUICKLY);
    for second in 0..600 {
        let spike = if (40..44).contains(&(second % 60)) { 7000 } else { 0 };
        let _ = sim.step_with(spike, spike * 10);
    }
    assert_eq!(sim.names(), [""; 0]);
}

#[test]
fn traffic_that_hurts_nobody_evicts_nobody() {
    let mut sim = thrashing(QUICKLY);
    (0..600).for_each(|_| drop(sim.step_with(50_000, 0)));
    assert_eq!(sim.names(), [""; 0]);
}

#[test]
fn flapping_around_the_threshold_is_bounded() {
    let mut sim = Sim::new(
        (0..40).map(|i| SimPod::new(&format!("p{i}"), "- - 1Mi -", 30, 30, QUICKLY)).collect(),
    );
    for second in 0..3600 {
        let rate = if second % 20 < 12 { 3000 } else { 0 };
        let _ = sim.step_with(rate, rate * 100);
    }
    assert_eq!(sim.asked.len(), 10, "eviction.max-per-hour");
    for pair in sim.asked.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 32, "a cooldown lies between: {:?}", sim.asked);
    }
}

#[test]
fn a_budget_is_honoured_and_the_next_takes_its_place() {
    let mut sim = thrashing(Takes::Budget);
    sim.run(400);
    assert_eq!(sim.names()[..2], ["greedy", "second"]);
    assert!(sim.pods.iter().any(|pod| &*pod.pod.name == "greedy"), "it is still there");
    let again: Vec<u64> =
        sim.asked.iter().filter(|(_, name)| name == "greedy").map(|(second, _)| *second).collect();
    assert!(again.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{again:?}");
    assert!(again.len() <= 4, "each pause is twice the last: {again:?}");
}

#[test]
fn the_last_resort_is_for_a_pod_that_was_refused_while_it_burns_for_long() {
    let mut sim = thrashing(Takes::Budget);
    for pod in &mut sim.pods {
        pod.takes = Takes::Budget;
    }
    let deleted = |sim: &mut Sim, rate: u64, seconds: u64| {
        let verdicts = (0..seconds).map(|_| sim.step_with(rate, 900_000));
        let last = verdicts.filter_map(|v| v.evict).filter(|v| v.last_resort);
        last.map(|v| v.ranked.name).collect::<Vec<_>>()
    };
    assert_eq!(deleted(&mut sim, 5000, 900), [""; 0], "off unless configured");
    sim.settings.last_resort = Some(Duration::from_secs(300));
    let mut sim = Sim { evictions: Evictions::default(), signals: Signals::default(), ..sim };
    sim.settings.critical_factor = 100.0;
    assert_eq!(deleted(&mut sim, 1500, 900), [""; 0], "not critical");
    sim.settings.critical_factor = 2.0;
    assert_eq!(deleted(&mut sim, 5000, 299), [""; 0], "not for long enough");
    assert_eq!(deleted(&mut sim, 5000, 30)[..1], ["greedy"]);

    for unheard in [Takes::Refuses, Takes::Silent] {
        let mut sim = thrashing(unheard);
        sim.pods.iter_mut().for_each(|pod| pod.takes = unheard);
        sim.settings.last_resort = Some(Duration::from_secs(300));
        assert_eq!(deleted(&mut sim, 5000, 900), [""; 0], "no budget was asked: {unheard:?}");
    }
}

#[test]
fn a_migration_is_waited_for_unless_it_burns() {
    let mut sim = thrashing(Takes::Migrates { after: 200 });
    for _ in 0..190 {
        let _ = sim.step_with(1500, 150_000);
    }
    assert_eq!(sim.names(), ["greedy"]);
    assert!(sim.held_back.iter().any(|why| why.contains("waiting for the migration of pod")));

    // While the signal is critical, one more pod may go every few minutes, and no sooner.
    let mut sim = thrashing(Takes::Migrates { after: 4000 });
    sim.pods.push(SimPod::new("third", "- - 100Mi -", 150, 150, Takes::Leaves { after: 4000 }));
    for pod in &mut sim.pods {
        if &*pod.pod.name == "second" {
            pod.takes = Takes::Leaves { after: 4000 };
            pod.change().grace_seconds = 3000;
        }
    }
    for _ in 0..600 {
        let _ = sim.step_with(5000, 900_000);
    }
    let seconds: Vec<u64> = sim.asked.iter().map(|(second, _)| *second).collect();
    assert_eq!(sim.names()[..3], ["greedy", "second", "third"]);
    assert_eq!(seconds[..3], [6, 186, 366]);
}

#[test]
fn without_a_fresh_list_nobody_is_evicted() {
    let mut sim = thrashing(QUICKLY);
    sim.fresh = false;
    sim.run(600);
    assert_eq!(sim.names(), [""; 0]);
    assert!(sim.held_back[0].contains("the API server is unreachable"));
    sim.fresh = true;
    sim.run(1);
    assert_eq!(sim.names(), ["greedy"]);
}

#[test]
fn all_protected_is_nobody_evicted() {
    let mut sim = thrashing(QUICKLY);
    for pod in &mut sim.pods {
        Arc::make_mut(&mut pod.pod).namespace = "openshift-cnv".into();
    }
    sim.run(600);
    assert_eq!(sim.names(), [""; 0]);
    assert_eq!(sim.held_back[0], "no pod may be evicted");
}

#[test]
fn errors_and_silence_go_on_to_the_next() {
    let mut sim = thrashing(Takes::Refuses);
    sim.run(120);
    assert_eq!(sim.names()[..2], ["greedy", "second"]);
    // An unanswered request is not the pod's fault: the agent asks again, then tries other pods
    // too.
    let mut sim = thrashing(Takes::Silent);
    sim.run(900);
    assert_eq!(sim.names()[..6], ["greedy"; 6]);
    assert_eq!(sim.names()[6], "second");
}

#[test]
fn a_pod_that_does_not_leave_is_reported_and_the_next_is_asked() {
    let mut sim = thrashing(Takes::Leaves { after: 100_000 });
    let overdue: Vec<u64> = (1..300).filter(|_| !sim.step().overdue.is_empty()).collect();
    // Asked at 6 s; 30 s of grace, and the same time again before it may be overtaken.
    assert_eq!(overdue, [216]);
    assert_eq!(sim.names()[..2], ["greedy", "second"]);
}

#[test]
fn observing_says_and_does_not_do() {
    let mut sim = thrashing(QUICKLY);
    sim.settings.mode = EvictionMode::Observe;
    sim.run(100);
    assert_eq!(sim.names(), ["greedy"; 4], "said again after each cooldown");
    assert_eq!(sim.pods.len(), 3);
    sim.settings.mode = EvictionMode::Off;
    let before = sim.asked.len();
    sim.run(100);
    assert_eq!(sim.asked.len(), before);
}

#[test]
fn a_restart_of_the_agent_evicts_nobody_twice() {
    let mut sim = thrashing(Takes::Leaves { after: 60 });
    sim.run(10);
    assert_eq!(sim.names(), ["greedy"]);
    let saved = serde_json::to_string(&sim.evictions).unwrap();
    sim.evictions = serde_json::from_str(&saved).unwrap();
    sim.signals = Signals::default();
    sim.run(50);
    assert_eq!(sim.names(), ["greedy"], "it is on its way");
}

#[test]
fn what_is_taken_back_was_not_asked_for() {
    let mut sim = thrashing(QUICKLY);
    let mut verdict = (0..10).map(|_| sim.step()).find(|v| v.evict.is_some()).unwrap();
    assert_eq!(sim.evictions.in_flight().len(), 1);
    sim.evictions.take_back(&mut verdict);
    assert!(verdict.evict.is_none() && verdict.held_back.is_some());
    assert_eq!(sim.evictions.in_flight(), []);
}

#[test]
fn an_answer_that_is_lost_lets_nobody_else_leave_meanwhile() {
    let mut sim = thrashing(Takes::Lost { after: 85 });
    sim.run(150);
    assert_eq!(sim.names(), ["greedy"]);
    assert_eq!(sim.evictions.in_the_last_hour(), 1);
}

#[test]
fn an_answer_that_is_lost_with_the_api_server_is_waited_for_until_it_is_back() {
    let mut sim = thrashing(Takes::Lost { after: 150 });
    sim.run(6);
    assert_eq!(sim.names(), ["greedy"]);
    sim.fresh = false;
    sim.run(120);
    sim.fresh = true;
    sim.run(40);
    assert_eq!(sim.names(), ["greedy"], "it was leaving all the time");
}

#[test]
fn a_grace_period_without_end_is_shortened_or_not_waited_for() {
    let asked = |longest: Option<u64>| {
        let mut sim = thrashing(Takes::Leaves { after: 100_000 });
        sim.settings.longest_grace = longest.map(Duration::from_secs);
        for pod in &mut sim.pods {
            pod.change().grace_seconds = 31_536_000;
        }
        let victim = (0..10).find_map(|_| sim.step().evict).unwrap();
        let leaves = &sim.evictions.in_flight()[0];
        (victim.ranked.grace_seconds, leaves.deadline.since(leaves.since))
    };
    assert_eq!(asked(Some(600)), (Some(600), Duration::from_secs(600 + 180)));
    assert_eq!(asked(None), (None, LONGEST_GRACE + Duration::from_secs(180)));
}

#[test]
fn a_pod_that_dies_slowly_is_evicted_with_a_shorter_grace_period() {
    let mut sim = thrashing(QUICKLY);
    for pod in &mut sim.pods {
        let far = UnixTime(1_790_000_000 + 31_536_000);
        pod.change().deletion_deadline = (&*pod.pod.name == "greedy").then_some(far);
    }
    let victim = (0..10).find_map(|_| sim.step().evict).unwrap();
    assert_eq!((victim.ranked.name.as_str(), victim.ranked.grace_seconds), ("greedy", Some(3600)));
    sim.settings.longest_grace = None;
    let mut sim = Sim { evictions: Evictions::default(), signals: Signals::default(), ..sim };
    sim.pods.iter_mut().for_each(|pod| pod.leaves_at = None);
    let victim = (0..10).find_map(|_| sim.step().evict).unwrap();
    assert_eq!(victim.ranked.name, "second", "an eviction would change nothing");
}

#[test]
fn nobody_leaves_for_next_to_nothing() {
    // The pod that thrashes may not leave; the others do not free enough.
    let mut sim = Sim::new(vec![
        SimPod::new("thrashes", "- - 100Mi -", 700, 600, Takes::Budget),
        SimPod::new("bystander", "- - - -", 0, 0, QUICKLY),
        SimPod::new("guaranteed", "1 1 100Mi 100Mi", 60, 0, QUICKLY),
    ]);
    sim.pods[1].usage.containers[0].working_set_bytes = 184 << 10;
    sim.run(600);
    assert!(sim.names().iter().all(|name| *name == "thrashes"), "{:?}", sim.asked);
    let why = sim.held_back.last().unwrap();
    assert!(
        why.contains("default/thrashes was refused") || why.contains("would free only"),
        "{why}"
    );
    assert!(sim.held_back.iter().any(|why| why.contains("more are spared")), "{why}");
    sim.settings.min_relief_percent = 0;
    sim.run(60);
    assert!(sim.names().contains(&"bystander"), "as configured");
}

/// Regression: a pod that was deleted by force while no agent watched, and whose containers still
/// ran, was asked again after each cooldown, and no other pod at all.
#[test]
fn a_pod_that_only_the_node_still_has_does_not_hold_up_the_next() {
    let mut sim = thrashing(Takes::IsGone);
    sim.run(120);
    assert_eq!(sim.names()[..2], ["greedy", "second"]);
}

#[test]
fn the_pressure_that_is_over_evicts_nobody() {
    let mut sim = thrashing(QUICKLY);
    let victim = (0..10).find_map(|_| sim.step().evict).unwrap();
    let (settings, uid) = (sim.settings.clone(), victim.ranked.uid);
    let mut evictions = Evictions::default();
    evictions.in_flight.push(sim.evictions.in_flight()[0].clone());
    evictions.in_flight[0].stage = FlightStage::Asked;
    evictions.answered(
        &settings,
        &uid,
        &EvictionAnswer::Withdrawn { text: "over".into() },
        sim.now(),
    );
    assert_eq!(evictions, Evictions::default(), "nothing is counted, nobody backs off");
}

#[test]
fn the_descheduler_goes_first_for_a_while() {
    let mut signals = Signals::default();
    let sim = thrashing(QUICKLY);
    let (mut efforts, mut evictions) = (Efforts::default(), Evictions::default());
    let pods: Pods = sim.pods.iter().map(|p| (p.pod.uid.clone(), p.pod.clone())).collect();
    let usage: Vec<_> = sim.pods.iter().map(|pod| pod.usage.clone()).collect();
    let mut decide_at = |second: u64, pages: u64, others_relieve: bool| {
        let stalled = Some(crate::model::pressure::Stalled {
            some_micros: second * 300_000,
            full_micros: second * 300_000,
        });
        let sample = Sample {
            at: SinceBoot(Duration::from_secs(second)),
            swapped_in_pages: second * pages,
            swapped_out_pages: second * pages,
            pods: stalled,
            ..sim.sample
        };
        let inputs = Inputs {
            sample,
            wall_clock: UnixTime::default(),
            pods: &pods,
            usage: &usage,
            pods_are_fresh: true,
            others_relieve,
        };
        let settings = enforcing();
        decide(&settings, inputs, &mut signals, &mut efforts, &mut evictions)
    };
    let held: Vec<_> =
        (1..125).filter_map(|second| decide_at(second, 1500, true).held_back).collect();
    assert!(
        held.iter().all(|why| why.starts_with("the descheduler relieves this node")),
        "{held:?}"
    );
    assert!(held.len() > 100);
    let asked = (125..200).find(|second| decide_at(*second, 1500, true).evict.is_some());
    assert_eq!(asked, Some(126), "two minutes after the signal began");
}

fn api() -> impl Strategy<Value = Takes> {
    prop_oneof![
        (1_u64..200).prop_map(|after| Takes::Leaves { after }),
        (1_u64..900).prop_map(|after| Takes::Migrates { after }),
        Just(Takes::Budget),
        Just(Takes::Refuses),
        Just(Takes::Silent),
        (1_u64..80).prop_map(|after| Takes::Lost { after }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_invariants_hold_on_any_trace(
        pods in prop::collection::vec((0_u64..400, 0_u64..300, 0_u8..4, api()), 1..12),
        trace in prop::collection::vec((0_u64..6000, 0_u64..1_000_000, any::<bool>(), 1_u64..40), 1..40),
    ) {
        let pods = pods.into_iter().enumerate().map(|(i, (memory, swap, kind, api))| {
            let mut sim = SimPod::new(&format!("p{i}"), "- - 100Mi 300Mi", memory, swap, api);
            let pod = sim.change();
            match kind {
                0 => pod.namespace = "openshift-x".into(),
                1 => pod.priority = Some(2_000_000_000),
                _ => {}
            }
            sim
        }).collect();
        let mut sim = Sim::new(pods);
        for (pages, full, fresh, seconds) in trace {
            sim.fresh = fresh;
            for _ in 0..seconds {
                let chosen_from: Vec<_> =
                    sim.pods.iter().map(|p| (p.pod.clone(), p.usage.clone())).collect();
                let before = sim.evictions.in_flight().len();
                let verdict = sim.step_with(pages, full);
                if let Some(victim) = &verdict.evict {
                    prop_assert!(verdict.readings.iter().any(|r| r.active), "no signal");
                    prop_assert!(sim.fresh, "stale");
                    let (pod, usage) =
                        chosen_from.iter().find(|(pod, _)| pod.uid == victim.ranked.uid).unwrap();
                    let now = UnixTime(1_790_000_000);
                    let spared = spared(&sim.settings, &sim.told, pod, Some(usage), now);
                    prop_assert_eq!(spared, None);
                }
                let waiting = sim.evictions.in_flight().len();
                prop_assert!(waiting <= 1 || sim.critical || before > 1, "two on their way");
                prop_assert!(sim.evictions.in_the_last_hour() <= sim.settings.max_per_hour);
            }
        }
    }
}

/// KubeVirt's webhook has failed while it was called: each request may have begun a migration.
#[test]
fn a_vm_in_doubt_holds_up_the_others_only_until_pressure_is_critical_for_long() {
    let fails = |critical_factor: f64| {
        let mut sim = Sim::new(vec![
            SimPod::vm("vm", 500, 320, Takes::Fails),
            SimPod::new("second", "- - 100Mi -", 300, 200, QUICKLY),
            SimPod::new("third", "- - 100Mi -", 300, 200, QUICKLY),
        ]);
        sim.settings.critical_factor = critical_factor;
        sim.run(900);
        sim
    };
    let patient = fails(1e9);
    assert!(patient.names().iter().all(|name| *name == "vm"), "{:?}", patient.asked);
    let critical = fails(2.0);
    let others = critical.names().iter().filter(|name| **name != "vm").count();
    assert!(others >= 1, "{:?}", critical.asked);
}

/// A doubt ends when a migration would have ended, however often the agent asks.
#[test]
fn a_doubt_is_not_prolonged_by_further_requests() {
    let mut sim = Sim::new(vec![
        SimPod::vm("vm", 500, 320, Takes::Fails),
        SimPod::new("second", "- - 100Mi -", 600, 200, QUICKLY),
    ]);
    sim.settings.critical_factor = 1e9;
    sim.run(3 * 3600);
    assert!(sim.names().contains(&"second"), "{:?}", sim.asked);
}
