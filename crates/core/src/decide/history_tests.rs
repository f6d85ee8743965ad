use std::time::Duration;

use super::*;
use crate::model::clock::SinceBoot;

const GIB: u64 = 1 << 30;

fn minute(at: u64, held_percent: u64, full: u16) -> Minute {
    Minute {
        at: at * 60,
        ram_bytes: 100 * GIB,
        working_set_bytes: held_percent.min(90) * GIB,
        swap_used_bytes: held_percent.saturating_sub(90) * GIB,
        rates: Some(Rates { pods: Some(Waited { some: full * 2, full }), ..Rates::default() }),
        verified: 100,
        ..Minute::default()
    }
}

fn event(minute: u64, what: What) -> HistoryEvent {
    HistoryEvent { at: minute * 60, what }
}

fn started(boot: &str) -> What {
    What::Started { version: "0.1.0".into(), boot: boot.into() }
}

#[test]
fn rates_are_those_of_the_time_between() {
    let at = |seconds, pages, some_micros| Sample {
        at: SinceBoot(Duration::from_secs(seconds)),
        swapped_in_pages: pages,
        swapped_out_pages: 0,
        ram_bytes: GIB,
        swap_bytes: GIB,
        swap_used_bytes: 0,
        working_set_bytes: 0,
        direct_reclaims: 0,
        system: None,
        pods: Some(Stalled { some_micros, full_micros: 0 }),
    };
    let found = rates(&at(100, 1000, 0), &at(160, 7000, 600_000)).unwrap();
    assert_eq!((found.pages_in, found.system), (100, None));
    assert_eq!(found.pods, Some(Waited { some: 100, full: 0 }), "0.6 s of 60 s are 1 %");
    // pswpin restarts with a boot, and so does the cgroup's counter when the cgroup is created
    // again.
    assert_eq!(rates(&at(160, 7000, 0), &at(220, 100, 0)), None);
    assert_eq!(rates(&at(160, 0, 600), &at(220, 60, 100)).unwrap().pods, None);
    assert_eq!(rates(&at(160, 0, 0), &at(160, 0, 0)), None);
}

#[test]
fn percentiles_are_by_nearest_rank() {
    assert_eq!(Spread::of([]), None);
    assert_eq!(Spread::of([7]), Some(Spread { median: 7, p95: 7, max: 7 }));
    let hundred = Spread::of((1..=100).rev()).unwrap();
    assert_eq!(hundred, Spread { median: 50, p95: 95, max: 100 });
}

#[test]
fn a_night_is_summed_up() {
    let minutes: Vec<Minute> =
        (1..=60).map(|at| Minute { drifts: u16::from(at == 7), ..minute(at, 50, 0) }).collect();
    let repaired = |pod: &str, count| What::Repaired {
        pod: pod.into(),
        level: "container".into(),
        found: "max".into(),
        count,
    };
    let events = [
        event(0, started("b1")),
        event(2, repaired("before/it", 50)),
        event(12, What::eviction("vms/a", "accepted", "swap traffic", "")),
        event(14, What::Left { pod: "vms/a".into() }),
        event(20, repaired("vms/b", 1)),
        event(21, repaired("vms/c", 3)),
        event(30, What::ApiLost { why: "connection refused".into() }),
        event(33, What::ApiBack),
        event(50, What::Problem { kind: "systemd".into(), why: "no bus".into() }),
    ];
    let summary = summary(&minutes, &events, 10 * 60, 60 * 60);
    assert_eq!((summary.minutes, summary.limits.verified, summary.limits.drifts), (51, 5100, 0));
    let eviction = &summary.evictions[..];
    assert!(matches!(eviction, [line] if line.left == Some(14 * 60)), "{eviction:?}");
    let pods = vec![("vms/c".to_owned(), 3), ("vms/b".to_owned(), 1)];
    let (found, level) = ("max".to_owned(), "container".to_owned());
    assert_eq!(summary.repairs, [RepairLine { found, level, count: 4, pods }]);
    let outages: Vec<_> = summary.outages.iter().map(|o| (&*o.of, o.from / 60, o.to)).collect();
    assert_eq!(outages, [("api", 30, Some(33 * 60)), ("systemd", 50, None)]);
}

#[test]
fn an_agent_that_was_killed_stopped_or_booted_with_its_node_was_away() {
    let minutes: Vec<Minute> = (1..=100)
        .filter(|at| !(20..30).contains(at) && !(50..55).contains(at) && !(70..79).contains(at))
        .map(|at| minute(at, 50, 0))
        .collect();
    let events = [
        event(0, started("b1")),
        event(30, started("b1")),
        event(50, What::Stopped),
        event(55, started("b1")),
        event(79, started("b2")),
    ];
    let summary = summary(&minutes, &events, 60, 6100);
    let outages: Vec<_> =
        summary.outages.iter().map(|o| (o.from / 60, o.to.map(|to| to / 60), &*o.why)).collect();
    assert_eq!(
        outages,
        [
            (19, Some(30), "killed, or ended by an error"),
            (50, Some(55), "stopped"),
            (69, Some(79), "the node booted"),
        ]
    );
    // An agent that has gone silent is still away.
    let later = super::summary(&minutes, &events, 60, 100 * 60 + 600);
    let last = later.outages.last().unwrap();
    assert_eq!((last.from, last.to, &*last.why), (6000, None, "no records"));
}

#[test]
fn records_of_other_times_do_not_count() {
    let now = 100 * 86_400;
    let times = [now - 14 * 86_400 - 1, now - 14 * 86_400, now, now + 60, now + 61, now + 86_400];
    let all = times.map(|at| Minute { at, ..Minute::default() });
    let kept: Vec<u64> = recent(&all, now).iter().map(|minute| minute.at).collect();
    assert_eq!(kept, times[1..4]);
    assert_eq!(recent(&all, 0), []);
}

#[test]
fn nothing_is_said_beyond_what_was_seen() {
    assert_eq!(sustained(&[]), Sustained::default());
    let mut minutes: Vec<Minute> = (0..200).map(|at| minute(at, 80 + at % 25, 10)).collect();
    let found = sustained(&minutes);
    assert_eq!(found.up_to_percent, Some(104), "the level goes to 110, no minute did");
    // Waits at 100 percent and above: the level below is sustained, whatever happens above it.
    for minute in minutes.iter_mut().filter(|minute| minute.held_percent() >= 100) {
        minute.rates =
            Some(Rates { pods: Some(Waited { some: 3000, full: 900 }), ..Rates::default() });
    }
    assert_eq!(sustained(&minutes).up_to_percent, Some(100));
    // A few minutes are not enough.
    assert_eq!(sustained(&minutes[..10]).up_to_percent, None);
    // Nor are waits that the kernel does not count.
    minutes.iter_mut().for_each(|minute| minute.rates = None);
    assert_eq!(sustained(&minutes).up_to_percent, None);
}
