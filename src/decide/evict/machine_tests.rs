//! A simulated node and API server around the decision code: second by second, deterministic.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    config::settings::Settings,
    decide::{evict::select::spared, grant::tests::pod},
    model::{
        pod::Pod,
        pressure::{ContainerUsage, Stalled},
    },
};

const MIB: u64 = 1 << 20;

fn enforcing() -> EvictionSettings {
    EvictionSettings { mode: EvictionMode::Enforce, ..Settings::defaults().eviction }
}

/// What the API server says of a pod's eviction, and how long it takes to leave.
#[derive(Clone, Copy, Debug)]
enum Api {
    Leaves {
        after: u64,
    },
    Migrates {
        after: u64,
    },
    Budget,
    Refuses,
    Silent,
    /// It leaves, and the answer that says so is lost.
    Lost {
        after: u64,
    },
}

struct SimPod {
    pod: Arc<Pod>,
    usage: PodUsage,
    api: Api,
    leaves_at: Option<u64>,
}

/// The node: its pods thrash while they use more than its RAM.
struct Sim {
    settings: EvictionSettings,
    pods: Vec<SimPod>,
    ram_mib: u64,
    signals: Signals,
    evictions: Evictions,
    second: u64,
    sample: Sample,
    fresh: bool,
    /// As the API server has told last.
    told: Pods,
    /// Second and name of each eviction that was asked for.
    asked: Vec<(u64, String)>,
    held_back: Vec<String>,
}

fn sim_pod(name: &str, resources: &str, memory_mib: u64, swap_mib: u64, api: Api) -> SimPod {
    let pod = Arc::new(pod(name, &[resources]));
    let usage = PodUsage {
        uid: pod.uid.clone(),
        containers: vec![ContainerUsage {
            name: Some("c0".into()),
            working_set_bytes: memory_mib * MIB,
            swap_bytes: swap_mib * MIB,
        }],
        slice: None,
    };
    SimPod { pod, usage, api, leaves_at: None }
}

impl Sim {
    fn new(pods: Vec<SimPod>) -> Self {
        Self {
            settings: enforcing(),
            pods,
            ram_mib: 1000,
            signals: Signals::default(),
            evictions: Evictions::default(),
            second: 0,
            sample: Sample {
                at: Monotonic::default(),
                swapped_in_pages: 0,
                swapped_out_pages: 0,
                ram_bytes: 1000 * MIB,
                swap_bytes: 1000 * MIB,
                swap_used_bytes: 0,
                working_set_bytes: 0,
                node: None,
                pods: Some(Stalled::default()),
            },
            fresh: true,
            told: Pods::new(),
            asked: Vec::new(),
            held_back: Vec::new(),
        }
    }

    fn used_mib(&self) -> u64 {
        self.pods.iter().map(|pod| pod.usage.bytes() / MIB).sum()
    }

    fn step(&mut self) -> Verdict {
        let over = self.used_mib().saturating_sub(self.ram_mib);
        self.step_with(over * 20, if over > 0 { 300_000 } else { 0 })
    }

    /// A second of so many pages each way and so many microseconds of waiting.
    fn step_with(&mut self, pages: u64, full_micros: u64) -> Verdict {
        self.second += 1;
        let now = Monotonic(Duration::from_secs(self.second));
        let second = self.second;
        let left: Vec<PodUid> = self
            .pods
            .iter()
            .filter(|pod| pod.leaves_at.is_some_and(|at| at <= second))
            .map(|pod| pod.pod.uid.clone())
            .collect();
        self.pods.retain(|pod| !left.contains(&pod.pod.uid));
        for uid in left {
            if self.evictions.left(&self.settings, &uid, now) {
                self.signals.clear();
            }
        }
        let sample = &mut self.sample;
        sample.at = now;
        sample.swapped_in_pages += pages;
        sample.swapped_out_pages += pages;
        sample.swap_used_bytes = self.pods.iter().map(|pod| pod.usage.swap_bytes()).sum();
        sample.working_set_bytes =
            self.pods.iter().map(|pod| pod.usage.bytes() - pod.usage.swap_bytes()).sum();
        if let Some(stalled) = &mut sample.pods {
            stalled.some_micros += full_micros;
            stalled.full_micros += full_micros;
        }
        if self.fresh {
            self.told = self.pods.iter().map(|p| (p.pod.uid.clone(), p.pod.clone())).collect();
        }
        let usage: Vec<_> = self.pods.iter().map(|pod| pod.usage.clone()).collect();
        let inputs = Inputs {
            sample: self.sample,
            pods: &self.told,
            usage: &usage,
            pods_are_fresh: self.fresh,
        };
        let verdict = decide(&self.settings, inputs, &mut self.signals, &mut self.evictions);
        self.held_back.extend(verdict.held_back.clone());
        if let Some(victim) = &verdict.evict {
            self.asked.push((second, victim.ranked.name.clone()));
            self.answer(&victim.ranked.uid.clone(), now);
        }
        verdict
    }

    fn answer(&mut self, uid: &PodUid, now: Monotonic) {
        if self.settings.mode == EvictionMode::Observe {
            return;
        }
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.pod.uid == *uid) else { panic!() };
        let answer = match pod.api {
            Api::Leaves { after } => {
                pod.leaves_at = Some(self.second + after);
                Answer::Accepted
            }
            Api::Migrates { after } => {
                pod.leaves_at = Some(self.second + after);
                Answer::Migrating
            }
            Api::Budget => Answer::Budget { retry_after: None },
            Api::Refuses => Answer::Refused("500".into()),
            Api::Silent => return,
            Api::Lost { after } => {
                pod.leaves_at = Some(self.second + after);
                Arc::make_mut(&mut pod.pod).terminating = true;
                Answer::Unknown("cut".into())
            }
        };
        let grace = Duration::from_secs(30);
        self.evictions.answered(&self.settings, uid, &answer, grace, now);
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let _ = self.step();
        }
    }

    fn names(&self) -> Vec<&str> {
        self.asked.iter().map(|(_, name)| name.as_str()).collect()
    }
}

const QUICKLY: Api = Api::Leaves { after: 2 };

/// 1,600 MiB in use on 1,000 MiB of RAM.
fn thrashing(api: Api) -> Sim {
    Sim::new(vec![
        sim_pod("quiet", "- - 400Mi -", 380, 0, QUICKLY),
        sim_pod("greedy", "- - 100Mi -", 500, 320, api),
        sim_pod("second", "- - 100Mi -", 200, 200, QUICKLY),
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
        (0..40).map(|i| sim_pod(&format!("p{i}"), "- - 1Mi -", 30, 30, QUICKLY)).collect(),
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
    let mut sim = thrashing(Api::Budget);
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
    let mut sim = thrashing(Api::Budget);
    for pod in &mut sim.pods {
        pod.api = Api::Budget;
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

    for unheard in [Api::Refuses, Api::Silent] {
        let mut sim = thrashing(unheard);
        sim.pods.iter_mut().for_each(|pod| pod.api = unheard);
        sim.settings.last_resort = Some(Duration::from_secs(300));
        assert_eq!(deleted(&mut sim, 5000, 900), [""; 0], "no budget was asked: {unheard:?}");
    }
}

#[test]
fn a_migration_is_waited_for_unless_it_burns() {
    let mut sim = thrashing(Api::Migrates { after: 200 });
    for _ in 0..190 {
        let _ = sim.step_with(1500, 150_000);
    }
    assert_eq!(sim.names(), ["greedy"]);
    assert!(sim.held_back.iter().any(|why| why.contains("waiting for the migration of pod")));

    let mut sim = thrashing(Api::Migrates { after: 200 });
    for _ in 0..190 {
        let _ = sim.step_with(5000, 900_000);
    }
    assert_eq!(sim.names()[..2], ["greedy", "second"], "critical");
}

#[test]
fn without_a_fresh_list_nobody_is_evicted() {
    let mut sim = thrashing(QUICKLY);
    sim.fresh = false;
    sim.run(600);
    assert_eq!(sim.names(), [""; 0]);
    assert!(sim.held_back[0].contains("the API server is away"));
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
    assert_eq!(sim.held_back[0], "no pod may be evicted now");
}

#[test]
fn errors_and_silence_go_on_to_the_next() {
    for api in [Api::Refuses, Api::Silent] {
        let mut sim = thrashing(api);
        sim.run(120);
        assert_eq!(sim.names()[..2], ["greedy", "second"], "{api:?}");
    }
}

#[test]
fn a_pod_that_does_not_leave_is_reported_and_the_next_is_asked() {
    let mut sim = thrashing(Api::Leaves { after: 100_000 });
    let overdue: Vec<u64> = (1..200).filter(|_| !sim.step().overdue.is_empty()).collect();
    // Asked at 6; 30 s of grace and 60 more.
    assert_eq!(overdue, [96]);
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
    let mut sim = thrashing(Api::Leaves { after: 60 });
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
    let mut sim = thrashing(Api::Lost { after: 85 });
    sim.run(150);
    assert_eq!(sim.names(), ["greedy"]);
    assert_eq!(sim.evictions.in_the_last_hour(), 1);
}

#[test]
fn an_answer_that_is_lost_with_the_api_server_is_waited_for_until_it_is_back() {
    let mut sim = thrashing(Api::Lost { after: 150 });
    sim.run(6);
    assert_eq!(sim.names(), ["greedy"]);
    sim.fresh = false;
    sim.run(120);
    sim.fresh = true;
    sim.run(40);
    assert_eq!(sim.names(), ["greedy"], "it was leaving all the time");
}

fn api() -> impl Strategy<Value = Api> {
    prop_oneof![
        (1_u64..200).prop_map(|after| Api::Leaves { after }),
        (1_u64..900).prop_map(|after| Api::Migrates { after }),
        Just(Api::Budget),
        Just(Api::Refuses),
        Just(Api::Silent),
        (1_u64..80).prop_map(|after| Api::Lost { after }),
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
            let mut sim = sim_pod(&format!("p{i}"), "- - 100Mi 300Mi", memory, swap, api);
            let pod = Arc::make_mut(&mut sim.pod);
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
                let verdict = sim.step_with(pages, full);
                if let Some(victim) = &verdict.evict {
                    prop_assert!(verdict.readings.iter().any(|r| r.active), "no signal");
                    prop_assert!(sim.fresh, "stale");
                    let (pod, usage) =
                        chosen_from.iter().find(|(pod, _)| pod.uid == victim.ranked.uid).unwrap();
                    prop_assert_eq!(spared(&sim.settings, pod, Some(usage)), None);
                }
                let waiting =
                    sim.evictions.in_flight().iter().filter(|p| p.stage != Stage::Migrating);
                prop_assert!(waiting.count() <= 1, "more than one on its way");
                prop_assert!(sim.evictions.in_the_last_hour() <= sim.settings.max_per_hour);
            }
        }
    }
}

#[test]
fn a_grace_period_without_end_is_not_waited_for() {
    let (settings, mut evictions, now) = (enforcing(), Evictions::default(), Monotonic::default());
    let SimPod { pod, usage, .. } = sim_pod("a", "- - 100Mi -", 200, 0, QUICKLY);
    let uid = pod.uid.clone();
    let ranked = rank(&settings, &Pods::from_iter([(uid.clone(), pod)]), &[usage]);
    evictions.ask(&ranked[0], now);
    evictions.answered(&settings, &uid, &Answer::Accepted, Duration::MAX, now);
    assert_eq!(evictions.in_flight()[0].deadline, now + LONGEST_GRACE + LEAVES_WITHIN);
}
