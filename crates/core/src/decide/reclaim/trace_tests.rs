//! Runs the control loop and Senpai's form on the same recorded accesses.

use super::{
    ReclaimPace,
    senpai::senpai,
    sim::{TracedPod, calm, trace, uid},
};
use crate::config::settings::{ReclaimMode, ReclaimSettings, Settings};

const MIB: u64 = 1 << 20;
/// Seconds until the kernel knows which memory is used; the agent leaves new pods alone for longer.
const WARM_UP: u64 = 60;

fn traces() -> [(&'static str, &'static str); 6] {
    macro_rules! recorded {
        ($($name:literal)*) => {
            [$(($name, include_str!(concat!("../../../../../tests/traces/accesses-", $name, ".txt")))),*]
        };
    }
    recorded!("idle" "half-idle" "bursty" "periodic" "growing" "scanning")
}

pub(super) fn settings() -> ReclaimSettings {
    ReclaimSettings { mode: ReclaimMode::On, floor_bytes: 4 * MIB, ..Settings::defaults().reclaim }
}

/// The result of `minutes` of a trace.
#[derive(Debug)]
struct Outcome {
    /// Memory in swap, on average and at the end.
    average_mib: u64,
    last_mib: u64,
    size_mib: u64,
    /// Waiting, in percent of time.
    waits_percent: f64,
    written_mib: u64,
}

#[expect(clippy::cast_precision_loss)]
fn outcome(pod: &TracedPod, seconds: u64) -> Outcome {
    let memory = &pod.memory;
    Outcome {
        average_mib: pod.offloaded_bytes / seconds / MIB,
        last_mib: memory.swap_bytes / MIB,
        size_mib: (memory.swap_bytes + memory.current_bytes) / MIB,
        waits_percent: pod.waited_micros as f64 / (seconds as f64 * 10_000.0),
        written_mib: pod.written_bytes / MIB,
    }
}

fn by_senpai(text: &str, minutes: u64) -> Outcome {
    let mut pod = TracedPod::new(trace(text), 7);
    for second in 0..minutes * 60 {
        pod.tick();
        if second < WARM_UP {
            continue;
        }
        let bytes = senpai(second, &pod.memory, settings().floor_bytes);
        if bytes > 0 {
            let _ = pod.reclaim(bytes);
        }
    }
    outcome(&pod, minutes * 60)
}

fn by_the_agent(text: &str, minutes: u64) -> Outcome {
    let mut pod = TracedPod::new(trace(text), 7);
    let (mut reclaim, uid) = (ReclaimPace::default(), uid("a"));
    for second in 0..minutes * 60 {
        pod.tick();
        if second < WARM_UP || second % 6 != 0 {
            continue;
        }
        let verdict = reclaim.decide(&settings(), &calm(second), &[pod.look(&uid)]);
        for step in verdict.steps {
            let done = pod.reclaim(step.bytes);
            reclaim.reclaimed(&uid, calm(second).at, done);
        }
    }
    outcome(&pod, minutes * 60)
}

#[test]
fn an_idle_pod_gives_back_most_of_its_memory_within_ten_minutes() {
    let idle = by_the_agent(traces()[0].1, 11);
    println!("{idle:?}");
    assert!(idle.last_mib * 100 >= idle.size_mib * 80, "{idle:?}");
    assert!(idle.waits_percent <= 0.1, "{idle:?}");
}

/// The agent reclaims at least as much cold memory as Senpai's form. It leaves memory that is used
/// again within a minute or two, where Senpai's form keeps trying.
#[test]
fn as_much_leaves_as_by_senpais_form_and_pods_wait_a_fraction_of_the_time() {
    for (name, text) in traces() {
        let (ours, senpai) = (by_the_agent(text, 60), by_senpai(text, 60));
        println!("{name:<10} agent {ours:?}\n{:<10} senpai {senpai:?}", "");
        assert!(ours.waits_percent <= senpai.waits_percent / 5.0, "{name}: {ours:?} {senpai:?}");
        assert!(ours.waits_percent <= 0.01, "{name}: {ours:?}");
        assert!(ours.written_mib <= senpai.written_mib, "{name}: {ours:?} {senpai:?}");
        if ["idle", "half-idle", "growing"].contains(&name) {
            assert!(ours.average_mib >= senpai.average_mib, "{name}: {ours:?} {senpai:?}");
            assert!(ours.last_mib >= senpai.last_mib, "{name}: {ours:?} {senpai:?}");
        }
    }
}
