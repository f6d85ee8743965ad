use super::*;
use crate::config::settings::Settings;

const GIB: u64 = 1 << 30;

fn settings() -> EvictionSettings {
    EvictionSettings { confirm_with_pressure: false, ..Settings::defaults().eviction }
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

/// A node of 16 GiB and 8 GiB of swap, at rest.
pub(in crate::decide::evict) fn idle(seconds: u64) -> Sample {
    Sample {
        at: at(seconds),
        swapped_in_pages: 0,
        swapped_out_pages: 0,
        ram_bytes: 16 * GIB,
        swap_bytes: 8 * GIB,
        swap_used_bytes: 0,
        working_set_bytes: 8 * GIB,
        node: None,
        pods: None,
    }
}

/// Reads a sample each second, and returns when the signal was active.
fn active(
    settings: &EvictionSettings,
    seconds: std::ops::Range<u64>,
    signal: Signal,
    sample: impl Fn(u64) -> Sample,
) -> Vec<u64> {
    let mut signals = Signals::default();
    seconds
        .filter(|second| {
            let readings = signals.read(settings, sample(*second));
            readings.iter().any(|reading| reading.signal == signal && reading.active)
        })
        .collect()
}

fn traffic(second: u64, per_second_in: u64, per_second_out: u64) -> Sample {
    Sample {
        swapped_in_pages: second * per_second_in,
        swapped_out_pages: second * per_second_out,
        ..idle(second)
    }
}

#[test]
fn traffic_counts_when_both_ways_are_above_for_five_seconds() {
    let settings = settings();
    let seen = |came, went| {
        active(&settings, 0..20, Signal::Traffic, |second| traffic(second, came, went))
    };
    assert_eq!(seen(1001, 1001), (5..20).collect::<Vec<_>>());
    assert_eq!(seen(1000, 5000), [0; 0], "above, not at");
    assert_eq!(seen(100_000, 10), [0; 0], "a VM that is read back");
    assert_eq!(seen(10, 100_000), [0; 0]);
}

#[test]
fn traffic_is_an_average_over_the_window_with_a_release_below_its_threshold() {
    // 3,000 a second for 20 seconds, then silence.
    let sample = |second: u64| traffic(second.min(20), 3000, 3000);
    let sample = |second| Sample { at: at(second), ..sample(second) };
    let seen = active(&settings(), 0..80, Signal::Traffic, sample);
    assert_eq!(seen.first(), Some(&5));
    // The window of 30 s holds 800 pages/s or more until second 42.
    assert_eq!(seen.last(), Some(&41));
    assert_eq!(seen.len(), 37, "without a pause");
}

#[test]
fn traffic_alone_counts_only_while_somebody_waits() {
    let mut settings = settings();
    settings.confirm_with_pressure = true;
    let waiting = |some_per_second: u64| {
        active(&settings, 0..20, Signal::Traffic, |second| {
            let stalled = Stalled { some_micros: second * some_per_second, full_micros: 0 };
            Sample { pods: Some(stalled), ..traffic(second, 5000, 5000) }
        })
    };
    assert_eq!(waiting(99_000), [0; 0]);
    assert_eq!(waiting(101_000).first(), Some(&5));
    let unknown = active(&settings, 0..20, Signal::Traffic, |s| traffic(s, 5000, 5000));
    assert_eq!(unknown.first(), Some(&5), "a kernel that does not count waiting");
}

#[test]
fn utilization_is_what_is_used_of_ram_and_the_usable_swap() {
    let seen = |used_tenths: u64| {
        active(&settings(), 0..30, Signal::Utilization, |second| {
            let bytes = used_tenths * GIB / 10;
            Sample { working_set_bytes: bytes, ..idle(second) }
        })
    };
    // RAM + 0.8 × swap is 22.4 GiB.
    assert_eq!(seen(223), [0; 0]);
    assert_eq!(seen(225).first(), Some(&10), "sustained");
    let no_swap = active(&settings(), 0..30, Signal::Utilization, |second| Sample {
        swap_bytes: 0,
        working_set_bytes: 17 * GIB,
        ..idle(second)
    });
    assert_eq!(no_swap, [0; 0]);
}

#[test]
fn overcommit_is_off_unless_enabled() {
    let mut settings = settings();
    let sample = |second| Sample { swap_used_bytes: 20 * GIB, ..idle(second) };
    assert_eq!(active(&settings, 0..60, Signal::Overcommit, sample), [0; 0]);
    settings.overcommit.enabled = true;
    assert_eq!(active(&settings, 0..60, Signal::Overcommit, sample).first(), Some(&30));
}

#[test]
fn pressure_is_the_worse_of_node_and_pods() {
    let seen = |node: u64, pods: u64| {
        active(&settings(), 0..40, Signal::Pressure, |second| {
            let full = |percent| {
                Some(Stalled {
                    some_micros: second * percent * 10_000,
                    full_micros: second * percent * 10_000,
                })
            };
            Sample { node: full(node), pods: full(pods), ..idle(second) }
        })
    };
    assert_eq!(seen(19, 20), [0; 0]);
    assert_eq!(seen(0, 21).first(), Some(&15), "5 s to measure, 10 s to sustain");
    assert_eq!(seen(50, 0).first(), Some(&15));
    assert_eq!(active(&settings(), 0..40, Signal::Pressure, idle), [0; 0]);
}

#[test]
fn what_does_not_follow_begins_the_window_anew() {
    let settings = settings();
    let quiet_after = |odd: Sample| {
        let mut signals = Signals::default();
        for second in 0..20 {
            signals.read(&settings, traffic(second, 5000, 5000));
        }
        let readings = signals.read(&settings, odd);
        assert!(readings.iter().all(|reading| !reading.active), "{readings:?}");
    };
    quiet_after(traffic(60, 5000, 5000)); // a gap
    quiet_after(traffic(19, 5000, 5000)); // the clock has not moved
    quiet_after(traffic(3, 5000, 5000)); // the clock has gone back
    quiet_after(traffic(20, 10, 5000)); // a counter has
    quiet_after(Sample { node: Some(Stalled::default()), ..traffic(20, 5000, 5000) });
}

#[test]
fn a_signal_far_above_is_critical() {
    let mut signals = Signals::default();
    let mut critical = |second, rate| {
        signals.read(&settings(), traffic(second, rate, rate)).iter().any(|r| r.critical)
    };
    assert!((0..10).all(|second| !critical(second, 1900)));
    signals.clear();
    let mut critical = |second, rate| {
        signals.read(&settings(), traffic(second, rate, rate)).iter().any(|r| r.critical)
    };
    assert!((0..10).any(|second| critical(second, 2100)));
}
