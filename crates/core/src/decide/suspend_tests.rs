use std::sync::Arc;

use super::*;
use crate::{
    config::settings::{Settings, Share},
    fixtures::{pod, resources},
    model::{
        clock::{SinceBoot, UnixTime},
        pod::{ContainerId, Migration},
    },
};

const MIB: u64 = 1 << 20;

fn settings() -> SuspendSettings {
    SuspendSettings { keep_free: Share::Percent(10), ..Settings::defaults().suspend }
}

fn id(digit: char) -> ContainerId {
    ContainerId::new(&String::from(digit).repeat(64)).unwrap()
}

/// A container of 60 MiB, 10 of them file cache.
fn candidate(index: usize, swap_max: SwapMax) -> Candidate {
    let usage = Usage { memory_bytes: 60 * MIB, swap_bytes: 0, file_bytes: 10 * MIB };
    Candidate {
        name: format!("c{index}").into(),
        id: id(char::from_digit(u32::try_from(index).unwrap(), 10).unwrap()),
        unit: None,
        path: "kubepods/x".into(),
        inode: 7,
        starting: false,
        swap_max,
        may_borrow: true,
        pending: BTreeMap::new(),
        usage,
    }
}

fn room() -> Room {
    Room {
        pod_swap_max: SwapMax::Max,
        pod_swap_bytes: 0,
        free_swap_bytes: 1000 * MIB,
        swap_bytes: 1000 * MIB,
        lendable_bytes: 0,
    }
}

fn burstable() -> Pod {
    let mut pod = pod("p", &["- - 100Mi -", "- - 100Mi -"]);
    pod.containers[0].id = Some(id('0'));
    pod.containers[1].id = Some(id('1'));
    pod
}

fn budgets(candidates: &[SwapMax], room: Room) -> Vec<u64> {
    let candidates = candidates.iter().enumerate();
    let candidates = candidates.map(|(index, max)| candidate(index, *max)).collect();
    let suspended = plan(&settings(), &burstable(), candidates, room, SinceBoot::default());
    suspended.containers.iter().map(|sleeper| sleeper.budget_bytes / MIB).collect()
}

#[test]
fn what_may_go_to_swap_is_bounded_by_grant_pod_and_free_swap() {
    let all = [SwapMax::Max, SwapMax::Max];
    assert_eq!(budgets(&all, room()), [50, 50], "files are dropped, not swapped");
    assert_eq!(budgets(&[SwapMax::ZERO, SwapMax::Bytes(20 * MIB)], room()), [0, 20]);
    let pod = Room { pod_swap_max: SwapMax::Bytes(70 * MIB), pod_swap_bytes: 10 * MIB, ..room() };
    assert_eq!(budgets(&all, pod), [50, 10]);
    let nearly_full = Room { free_swap_bytes: 130 * MIB, ..room() };
    assert_eq!(budgets(&all, nearly_full), [30, 0], "a tenth of the swap stays free");
    assert_eq!(budgets(&all, Room { free_swap_bytes: 90 * MIB, ..room() }), [0, 0]);
}

/// Regression: each of several pods took all of the room.
#[test]
fn pods_that_fall_asleep_at_the_same_time_share_the_room() {
    let mut suspensions = Suspensions::default();
    let mut pod = asleep();
    pod.containers[1].before.swap_bytes = 10 * MIB;
    suspensions.begin(pod);
    assert_eq!(suspensions.claimed_bytes(|sleeper| sleeper.before.swap_bytes), 100 * MIB);
    assert_eq!(suspensions.claimed_bytes(|_| 45 * MIB), 20 * MIB, "what is in swap is not free");
    assert_eq!(suspensions.claimed_bytes(|_| 70 * MIB), 0);
    suspensions.slept(&burstable().uid, &[]);
    assert_eq!(suspensions.claimed_bytes(|_| 0), 0, "it takes no more");
}

/// Returns `(budget, lent)` in MiB.
fn lent(candidates: &[(SwapMax, bool)], room: Room) -> Vec<(u64, u64)> {
    let candidates = candidates.iter().enumerate().map(|(index, (max, may_borrow))| Candidate {
        may_borrow: *may_borrow,
        ..candidate(index, *max)
    });
    let suspended =
        plan(&settings(), &burstable(), candidates.collect(), room, SinceBoot::default());
    let of = |sleeper: &Sleeper| (sleeper.budget_bytes / MIB, sleeper.lent_bytes / MIB);
    suspended.containers.iter().map(of).collect()
}

#[test]
fn the_reserve_lends_what_the_grant_lacks_within_free_swap() {
    let small = (SwapMax::Bytes(20 * MIB), true);
    let reserve = Room { lendable_bytes: 40 * MIB, ..room() };
    assert_eq!(lent(&[small, small], reserve), [(50, 30), (30, 10)]);
    assert_eq!(lent(&[small, small], room()), [(20, 0), (20, 0)], "there is none");
    assert_eq!(lent(&[(SwapMax::Max, true), small], reserve), [(50, 0), (50, 30)]);
    let asked_for_less = (SwapMax::Bytes(20 * MIB), false);
    assert_eq!(lent(&[asked_for_less, small], reserve), [(20, 0), (50, 30)]);
    let nearly_full = Room { free_swap_bytes: 135 * MIB, ..reserve };
    assert_eq!(lent(&[small, small], nearly_full), [(35, 15), (0, 0)], "a tenth stays free");
    let pod = Room { pod_swap_max: SwapMax::Bytes(30 * MIB), ..reserve };
    assert_eq!(lent(&[small, small], pod), [(50, 30), (20, 10)], "the pod's limit is raised too");
}

#[test]
fn a_signal_is_near_as_it_is_for_reclaim() {
    assert!(!is_near(None) && !is_near(Some(0.8)) && is_near(Some(0.81)) && is_near(Some(2.0)));
}

fn refused(change: impl Fn(&mut Pod), force: bool) -> Option<String> {
    let mut pod = burstable();
    change(&mut pod);
    let candidates = [candidate(0, SwapMax::Max)];
    refuse(&Suspensions::default(), &pod, &candidates, false, force)
}

#[test]
fn pods_that_would_suffer_are_refused() {
    assert_eq!(refused(|_| {}, false), None);
    let probed = |pod: &mut Pod| pod.containers[1].probed = true;
    assert!(refused(probed, false).unwrap().contains("c1"));
    assert_eq!(refused(probed, true), None);
    let running_vm = |pod: &mut Pod| pod.virt_launcher = true;
    for force in [false, true] {
        assert!(refused(running_vm, force).unwrap().contains("virtctl pause"), "never by force");
        assert!(refused(|pod| pod.priority = Some(2_000_000_000), force).is_some());
        assert!(refused(|pod| pod.mirror = true, force).is_some());
        assert!(refused(|pod| pod.deletion_deadline = Some(UnixTime(1)), force).is_some());
        assert!(refused(|pod| pod.finished = true, force).is_some());
        assert!(refused(|pod| pod.disrupted = true, force).unwrap().contains("about to end"));
        assert!(refused(|pod| pod.migration = Some(Migration::Leaving), force).is_some());
    }
    let paused = |pod: &mut Pod| {
        (pod.virt_launcher, pod.vm_paused) = (true, true);
        pod.containers[0].probed = true;
    };
    assert_eq!(refused(paused, false), None, "a launcher is not frozen");
    let none = refuse(&Suspensions::default(), &burstable(), &[], false, true);
    assert!(none.unwrap().contains("no running container"));
    let starting = Candidate { starting: true, ..candidate(0, SwapMax::Max) };
    assert!(refuse(&Suspensions::default(), &burstable(), &[starting], false, true).is_some());
    let mut suspensions = Suspensions::default();
    suspensions.begin(asleep());
    let again = refuse(&suspensions, &burstable(), &[candidate(0, SwapMax::Max)], false, true);
    assert!(again.unwrap().contains("already"));
}

fn asleep() -> Suspended {
    let candidates = vec![candidate(0, SwapMax::Max), candidate(1, SwapMax::Max)];
    plan(&settings(), &burstable(), candidates, room(), SinceBoot::default())
}

fn woken(change: impl Fn(&mut Pod), lost: u64) -> Option<Wake> {
    let mut pod = burstable();
    change(&mut pod);
    let lost = Duration::from_secs(lost);
    wake(&settings(), &asleep(), Some(&pod), false, lost)
}

#[test]
fn a_suspended_pod_sleeps_until_something_needs_it() {
    assert_eq!(woken(|_| {}, 0), None);
    assert_eq!(woken(|_| {}, 62), None, "a bookmark comes about every minute");
    assert_eq!(woken(|_| {}, 91), Some(Wake::WatchLost(Duration::from_secs(91))));
    assert_eq!(woken(|pod| pod.deletion_deadline = Some(UnixTime(9)), 0), Some(Wake::Terminating));
    assert_eq!(woken(|pod| pod.finished = true, 0), Some(Wake::Finished));
    assert_eq!(woken(|pod| pod.evicted_by_api = true, 0), Some(Wake::Evicted));
    assert_eq!(woken(|pod| pod.disrupted = true, 0), Some(Wake::Evicted), "by the kubelet, say");
    assert_eq!(woken(|pod| pod.containers[1].id = Some(id('5')), 0), Some(Wake::ContainersChanged));
    assert_eq!(woken(|pod| pod.containers[1].id = None, 0), None, "a status that lags behind");
    let resized = |pod: &mut Pod| pod.containers[0].spec = resources("- - 200Mi -");
    assert_eq!(woken(resized, 0), Some(Wake::Resized));
    let deferred = |pod: &mut Pod| {
        pod.containers[0].actual = Some(pod.containers[0].spec);
        pod.containers[0].spec = resources("- - 200Mi -");
    };
    assert_eq!(woken(deferred, 0), Some(Wake::Resized), "though it has not happened yet");
    let as_a_whole = |pod: &mut Pod| pod.resources = Some(resources("- - 200Mi -"));
    assert_eq!(woken(as_a_whole, 0), Some(Wake::Resized), "pod-level resources");
    assert_eq!(wake(&settings(), &asleep(), None, false, Duration::ZERO), Some(Wake::Gone));
    assert_eq!(
        wake(&settings(), &asleep(), Some(&burstable()), true, Duration::ZERO),
        Some(Wake::Evicted)
    );
}

#[test]
fn a_vm_is_woken_when_kubevirt_runs_it() {
    let mut pod = burstable();
    (pod.virt_launcher, pod.vm_paused) = (true, true);
    let candidates = vec![candidate(0, SwapMax::Max)];
    let vm = plan(&settings(), &pod, candidates, room(), SinceBoot::default());
    assert_eq!(wake(&settings(), &vm, Some(&pod), false, Duration::ZERO), None);
    pod.vm_paused = false;
    assert_eq!(wake(&settings(), &vm, Some(&pod), false, Duration::ZERO), Some(Wake::VmRuns));
}

fn look(processes: &[u32], pending: &[(u32, u32)]) -> Option<ProcessesSeen> {
    let pending = pending.iter().map(|(process, signal)| (*process, 1 << (signal - 1)));
    let processes = processes.iter().copied().collect();
    Some(ProcessesSeen { freezing: true, frozen: true, processes, pending: pending.collect() })
}

/// Regression: the kubelet evicts a pod without a sign in the API, so that a frozen one was killed
/// without a SIGTERM.
#[test]
fn what_is_done_to_frozen_processes_wakes_the_pod() {
    const TERM: u32 = 15;
    let uid = burstable().uid;
    let mut pod = asleep();
    pod.containers[0].pending.insert(7, 1 << (TERM - 1));
    let mut suspensions = Suspensions::default();
    suspensions.begin(pod.clone());
    let thawed = Some(ProcessesSeen { freezing: false, frozen: false, ..look(&[7], &[]).unwrap() });
    let ends = |suspensions: &mut Suspensions, second| suspensions.looked(&uid, &[None, second]);
    assert_eq!(ends(&mut suspensions, thawed.clone()), None, "it is not frozen yet");
    suspensions.slept(&uid, &[None, None]);
    assert_eq!(suspensions.looked(&uid, &[look(&[7], &[(7, TERM)]), None]), None, "as before");
    assert_eq!(ends(&mut suspensions, look(&[9], &[])), None);
    for (signal, expected) in [(TERM, true), (3, true), (28, true), (37, true), (14, false)]
        .into_iter()
        .chain([17, 23, 26, 27, 29, 32, 33, 34, 64].map(|signal| (signal, false)))
    {
        let woken = ends(&mut suspensions, look(&[9], &[(9, signal)]));
        assert_eq!(woken, expected.then_some(Wake::Signalled), "{signal}");
    }
    let both = ends(&mut suspensions, look(&[9, 10], &[(9, 14), (10, TERM)]));
    assert_eq!(both, Some(Wake::Signalled));
    assert_eq!(ends(&mut suspensions, look(&[], &[])), None, "one was killed");
    assert_eq!(ends(&mut suspensions, look(&[9, 10], &[])), Some(Wake::Entered), "an exec");
    assert_eq!(ends(&mut suspensions, thawed), Some(Wake::Thawed));
    assert_eq!(ends(&mut suspensions, None), None, "its cgroup shows what happened");
    // The kubelet's probes enter a pod that was suspended by force.
    pod.containers[1].probed = true;
    suspensions.begin(pod);
    suspensions.slept(&uid, &[None, None]);
    assert_eq!(ends(&mut suspensions, look(&[9], &[])), None);
    assert_eq!(ends(&mut suspensions, look(&[9, 10], &[])), None);
}

#[test]
fn what_is_remembered_is_read_again() {
    let mut suspensions = Suspensions::default();
    suspensions.begin(asleep());
    let after = Usage { memory_bytes: MIB, swap_bytes: 50 * MIB, file_bytes: 0 };
    suspensions.slept(&burstable().uid, &[Some(after), None]).unwrap();
    let text = serde_json::to_string(&suspensions).unwrap();
    let again: Suspensions = serde_json::from_str(&text).unwrap();
    assert_eq!(again, suspensions);
    let pod = again.named("default", "p").unwrap();
    assert_eq!((pod.stage, pod.sums()), (SuspendStage::Asleep, (120 * MIB, 11 * MIB, 100 * MIB)));
    let pods = Pods::from([(burstable().uid, Arc::new(burstable()))]);
    let none = BTreeSet::new();
    assert_eq!(again.to_wake(&settings(), &pods, &none, |_| false, Duration::ZERO), []);
    let deleted = BTreeSet::from([burstable().uid]);
    let gone = again.to_wake(&settings(), &pods, &deleted, |_| false, Duration::ZERO);
    assert_eq!(gone[0].1, Wake::Gone, "only its cgroups are left");
    assert_eq!(again.to_wake(&settings(), &pods, &none, |_| true, Duration::ZERO).len(), 1);
    assert_eq!(
        again.to_wake(&settings(), &Pods::new(), &none, |_| false, Duration::ZERO)[0].1,
        Wake::Gone
    );
}
