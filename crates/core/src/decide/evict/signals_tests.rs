use super::*;
use crate::config::settings::Settings;

const GIB: u64 = 1 << 30;

fn settings() -> EvictionSettings {
    let mut settings = Settings::defaults().eviction;
    settings.thresholds.confirm_with_pressure = false;
    settings
}

fn at(seconds: u64) -> SinceBoot {
    SinceBoot(Duration::from_secs(seconds))
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
        direct_reclaims: 0,
        system: None,
        pods: None,
    }
}

/// Reads a sample each second, and returns the seconds in which the signal was active.
fn active(
    settings: &EvictionSettings,
    seconds: std::ops::Range<u64>,
    signal: Signal,
    sample: impl Fn(u64) -> Sample,
) -> Vec<u64> {
    let mut signals = Signals::default();
    seconds
        .filter(|second| {
            let readings = signals.read(settings, sample(*second), None);
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
    // 3,000 pages a second for 20 seconds, then none.
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
    settings.thresholds.confirm_with_pressure = true;
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
fn waiting_that_varies_around_its_threshold_does_not_end_and_begin_traffic() {
    let mut settings = settings();
    settings.thresholds.confirm_with_pressure = true;
    // 11 % for 20 seconds, then `later` %: in the last 10 seconds from second 30 on.
    let seen = |later: u64| {
        active(&settings, 0..60, Signal::Traffic, |second| {
            let waited = second.min(20) * 110_000 + second.saturating_sub(20) * later * 10_000;
            let stalled = Stalled { some_micros: waited, full_micros: 0 };
            Sample { pods: Some(stalled), ..traffic(second, 5000, 5000) }
        })
    };
    assert_eq!(seen(9), (5..60).collect::<Vec<_>>(), "above the release, 0.8 × 10 %");
    assert_eq!(seen(7), (5..28).collect::<Vec<_>>());
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
    settings.signals[Signal::Overcommit].enabled = true;
    assert_eq!(active(&settings, 0..60, Signal::Overcommit, sample).first(), Some(&30));
}

#[test]
fn pressure_is_the_worse_of_the_protected_slices_and_the_pods() {
    let seen = |system: u64, pods: u64| {
        active(&settings(), 0..40, Signal::Pressure, |second| {
            let full = |percent| {
                Some(Stalled {
                    some_micros: second * percent * 10_000,
                    full_micros: second * percent * 10_000,
                })
            };
            Sample { system: full(system), pods: full(pods), ..idle(second) }
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
            signals.read(&settings, traffic(second, 5000, 5000), None);
        }
        let readings = signals.read(&settings, odd, None);
        assert!(readings.iter().all(|reading| !reading.active), "{readings:?}");
    };
    quiet_after(traffic(60, 5000, 5000)); // a gap
    quiet_after(traffic(19, 5000, 5000)); // the clock has not moved
    quiet_after(traffic(3, 5000, 5000)); // the clock has gone back
    quiet_after(traffic(20, 10, 5000)); // a counter has gone back
    quiet_after(Sample { system: Some(Stalled::default()), ..traffic(20, 5000, 5000) });
}

#[test]
fn a_signal_far_above_is_critical() {
    let mut signals = Signals::default();
    let mut critical = |second, rate| {
        signals.read(&settings(), traffic(second, rate, rate), None).iter().any(|r| r.critical)
    };
    assert!((0..10).all(|second| !critical(second, 1900)));
    signals.clear();
    let mut critical = |second, rate| {
        signals.read(&settings(), traffic(second, rate, rate), None).iter().any(|r| r.critical)
    };
    assert!((0..10).any(|second| critical(second, 2100)));
}

/// Returns the seconds in which `signal` was active while kubepods waits for 50 % of the time, and
/// the pods that are not at their own limit for `others` %.
fn active_with_others(settings: &EvictionSettings, signal: Signal, others: u64) -> Vec<u64> {
    let mut signals = Signals::default();
    let waited = |second: u64, percent: u64| Stalled {
        some_micros: second * percent * 10_000,
        full_micros: second * percent * 10_000,
    };
    (0..40)
        .filter(|second| {
            let pods = Some(waited(*second, 50));
            let sample = Sample { pods, ..traffic(*second, 3000, 3000) };
            let readings = signals.read(settings, sample, Some(waited(*second, others)));
            readings.iter().any(|reading| reading.signal == signal && reading.active)
        })
        .collect()
}

#[test]
fn pods_that_wait_at_their_own_limit_are_no_pressure_of_the_node() {
    let settings = Settings::defaults().eviction;
    assert_eq!(active_with_others(&settings, Signal::Pressure, 5), [0; 0]);
    assert_eq!(active_with_others(&settings, Signal::Pressure, 30).first(), Some(&15));
    assert_eq!(active_with_others(&settings, Signal::Pressure, 500).first(), Some(&15), "a sum");
    // The traffic exists whatever causes it; which pod is evicted for it is a separate decision.
    assert_eq!(active_with_others(&settings, Signal::Traffic, 0).first(), Some(&5));
}

#[test]
fn how_much_is_missing_is_estimated_by_what_comes_back_or_is_above() {
    let mut signals = Signals::default();
    let read = |signals: &mut Signals, second: u64, rate: u64| {
        let sample = Sample { swap_used_bytes: 4 * GIB, ..traffic(second, rate, rate) };
        let readings = signals.read(&settings(), sample, None);
        readings.into_iter().find(|reading| reading.signal == Signal::Traffic)
    };
    let last = (0..20).filter_map(|second| read(&mut signals, second, 100_000)).last().unwrap();
    assert_eq!(last.missing_bytes, 100_000 * 10 * 4096);
    signals.clear();
    let last = (0..20).filter_map(|second| read(&mut signals, second, 1100)).last().unwrap();
    assert_eq!(last.missing_bytes, 16 * GIB / 100, "no less than a hundredth of RAM");
}

#[test]
fn traffic_above_its_threshold_that_does_not_count_says_why() {
    let settings = Settings::defaults().eviction;
    let mut signals = Signals::default();
    let read = |signals: &mut Signals, second| {
        let sample = Sample { pods: Some(Stalled::default()), ..traffic(second, 2320, 1765) };
        signals.read(&settings, sample, None)
    };
    let readings = (0..20).map(|second| read(&mut signals, second)).last().unwrap();
    let reading = readings.iter().find(|reading| reading.signal == Signal::Traffic).unwrap();
    assert!(!reading.active);
    assert_eq!(
        reading.text,
        "2320 pages/s in, 1765 out over 19 s (thresholds 1000 and 1000; hardly any process waits for memory)"
    );
}
