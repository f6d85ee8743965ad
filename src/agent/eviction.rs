//! Samples the node, decides if a pod must leave, and handles its eviction.

mod news;

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use super::{
    Agent,
    announce::{AnnouncerReport, NodeSeen},
    effects::Effects,
    health::Health,
    lookup::Lookup,
};
use crate::{
    config::settings::{EvictionMode, Signal},
    decide::{
        evict::{
            answer::EvictionAnswer,
            condition::{Pressed, SwapCondition, no_swap, unknown},
            efforts::Efforts,
            evictions::Evictions,
            flight::InFlight,
            machine::{Inputs, decide},
            signals::{Reading, Signals},
            verdict::Victim,
        },
        guard::is_drained,
    },
    messages,
    model::{
        clock::{SinceBoot, SinceStart},
        pod::{Migration, Pod, PodUid, Pods},
        trouble::{Problem, Trouble},
    },
    observe::{
        clock::{since_boot, unix_time},
        pressure::{WorkingSet, sample},
        trigger::StallTrigger,
    },
    roots::Roots,
};

/// Interval while a signal is near, a pod is leaving, or the kernel does not report stalls.
const CLOSELY: Duration = Duration::from_secs(1);
const IN_BETWEEN: Duration = Duration::from_secs(5);
/// Interval while nothing is swapped and the kernel reports stalls.
const SELDOM: Duration = Duration::from_secs(10);
/// A signal above this part of its threshold is near.
const NEAR: f64 = 0.5;
/// Time for which the agent looks closely after the kernel has reported stalls.
const ALERT: Duration = Duration::from_secs(15);

/// A cordon stays for this long after another program's eviction was last in progress, because a
/// drain goes from pod to pod.
const DRAINED_RECENTLY: Duration = Duration::from_secs(300);

/// The live migration of a large VM takes this long. A pod that leaves for longer hangs.
const LEAVING_AT_MOST: Duration = Duration::from_secs(3600);

/// The answer to an eviction.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) victim: Victim,
    pub(super) answer: EvictionAnswer,
}

/// The agent's state of evictions.
#[derive(Debug)]
pub(super) struct Eviction {
    pub(super) signals: Signals,
    pub(super) efforts: Efforts,
    pub(super) evictions: Evictions,
    /// True if a pod should leave now; the task that sends a request checks this last.
    pub(super) wanted: watch::Sender<bool>,
    /// Facts from the Node object.
    pub(super) node: NodeSeen,
    /// The time at which another program was last seen evicting a pod of this node.
    drained: Option<SinceBoot>,
    /// A drain would find nothing to evict.
    emptied: bool,
    /// Pods that were seen leaving, including ours.
    seen_leaving: BTreeMap<PodUid, SinceBoot>,
    /// The last readings were near their thresholds, so the pods are read too.
    near: bool,
    /// The state is saved, so that the next agent knows it.
    written: bool,
    active: Vec<Signal>,
    pub(super) next: SinceStart,
    /// The kernel has reported stalls: the agent looks closely until this time.
    alert_until: SinceStart,
    trigger: StallTrigger,
    pressed: Pressed,
    /// The eviction, or what holds evictions back.
    pub(super) status: Option<Problem>,
    /// The condition announced last.
    condition: Option<SwapCondition>,
}

impl Eviction {
    pub(super) fn new(roots: &Roots) -> Self {
        let (evictions, written) = match remembered(roots) {
            Some(evictions) => (evictions, true),
            None => (Evictions::lost(since_boot()), false),
        };
        Self {
            signals: Signals::default(),
            efforts: Efforts::default(),
            evictions,
            wanted: watch::Sender::new(false),
            node: NodeSeen::default(),
            drained: None,
            emptied: false,
            seen_leaving: BTreeMap::new(),
            near: false,
            written,
            active: Vec::new(),
            next: SinceStart::default(),
            alert_until: SinceStart::default(),
            trigger: StallTrigger::default(),
            pressed: Pressed::default(),
            status: None,
            condition: None,
        }
    }

    /// Returns when the kernel reports that processes begin to wait for memory.
    pub(super) async fn stalled(&self) -> std::io::Result<()> {
        self.trigger.fired().await
    }

    pub(super) fn working_set(&self) -> WorkingSet {
        WorkingSet::of_kubelet(self.node.kubelet_minor)
    }

    /// Returns the time of the next look.
    fn pause(&self, now: SinceStart, swapped: bool, readings: &[Reading]) -> Duration {
        let near = readings.iter().any(|reading| reading.active || reading.ratio > NEAR);
        let busy = near || !self.evictions.in_flight().is_empty() || now < self.alert_until;
        match (busy, swapped, self.trigger.is_armed()) {
            (true, ..) | (_, true, false) => CLOSELY,
            (_, false, true) => SELDOM,
            _ => IN_BETWEEN,
        }
    }

    /// Schedules a sample immediately, because an input has changed.
    pub(super) fn look_now(&mut self) {
        self.next = SinceStart::default();
    }

    /// Withdraws an eviction that is not requested yet: it follows settings that no longer apply.
    pub(super) fn withdraw(&mut self) {
        self.wanted.send_replace(false);
        // A later signal must not revive it.
        self.wanted = watch::Sender::new(false);
    }

    pub(super) fn in_flight(&self) -> &[InFlight] {
        self.evictions.in_flight()
    }

    pub(super) fn in_the_last_hour(&self) -> usize {
        self.evictions.in_the_last_hour()
    }

    pub(super) fn a_signal_is_active(&self) -> bool {
        !self.active.is_empty()
    }

    pub(super) fn condition(&self) -> Option<&SwapCondition> {
        self.condition.as_ref()
    }

    pub(super) fn is_evicting(&self, uid: &PodUid) -> bool {
        self.in_flight().iter().any(|pod| pod.uid == *uid)
    }

    /// The kernel has reported stalls.
    pub(super) fn stalls_begin(&mut self, now: SinceStart) {
        self.alert_until = now + ALERT;
        self.look_now();
    }

    pub(super) fn arm(&mut self, roots: &Roots) {
        self.trigger.arm(roots);
    }

    /// Detects evictions by other programs, such as `kubectl drain`. Each pod counts for a limited
    /// time after the agent first sees it leave. So a pod that hangs, or whose author sets the
    /// annotations, does not look like an endless drain.
    fn see_drain(&mut self, pods: &Pods, at: SinceBoot) {
        let leaves = |pod: &Pod| {
            let evicted = pod.evicted_by_api && pod.is_terminating();
            (evicted || pod.migration == Some(Migration::Leaving)) && !pod.finished
        };
        let Eviction { evictions, seen_leaving, drained, .. } = self;
        seen_leaving.retain(|uid, _| pods.contains_key(uid));
        for (uid, _) in pods.iter().filter(|(_, pod)| leaves(pod)) {
            let first = *seen_leaving.entry(uid.clone()).or_insert(at);
            if at.since(first) < LEAVING_AT_MOST && !evictions.has_asked_for(uid) {
                *drained = Some(at);
            }
        }
    }

    /// Saves the evictions for a restarted agent. Returns true if that worked.
    pub(super) fn remember(
        &mut self,
        effects: &impl Effects,
        roots: &Roots,
        health: &mut Health,
    ) -> bool {
        let saved = crate::act::save(effects, roots, &self.evictions);
        let failed = saved.err().map(|error| {
            Problem::new(Trouble::Evictions, error.to_string()).with_remedy(error.remedy_of_write())
        });
        self.written = failed.is_none();
        health.problem_is(Trouble::Evictions, failed);
        self.written
    }

    /// The time of the next look, on the agent's clock.
    pub(super) fn next(&self) -> SinceStart {
        self.next
    }
}

/// Returns the evictions of an earlier agent; `None` if they cannot be read.
fn remembered(roots: &Roots) -> Option<Evictions> {
    let file = crate::state::StateFile::new(roots);
    match file.load() {
        Ok(found) => Some(found.unwrap_or_default()),
        Err(error) => {
            messages::EvictionsLost { path: &file.path().display() }.emit(format_args!(
                "{error}. A pod may be leaving; the agent evicts no pod before it would have left"
            ));
            None
        }
    }
}

impl<E: Effects> Agent<E> {
    /// Looks at the node, if it is time to.
    pub(super) fn watch_pressure(&mut self) {
        let now = self.now();
        if now < self.eviction.next {
            return;
        }
        let is_off = self.settings.eviction.mode == EvictionMode::Off;
        let often = self.eviction.evictions.evicted_often(since_boot()).filter(|_| !is_off);
        self.health.problem(Trouble::EvictedOften, often);
        if is_off {
            // Only eviction needs them.
            self.health.problem(Trouble::Signals, None);
            self.eviction.next = now + self.settings.limits.resync;
            self.eviction.status = None;
            self.eviction.wanted.send_replace(false);
            self.eviction.announce(&self.effects, &self.settings.eviction, None);
            return;
        }
        if self.node.swap_bytes == 0 {
            self.eviction.next = now + self.settings.limits.resync;
            self.eviction.status = None;
            self.eviction.wanted.send_replace(false);
            self.eviction.announce(&self.effects, &self.settings.eviction, Some(no_swap()));
            return;
        }
        // The first pod creates the cgroup that the trigger needs.
        if !self.eviction.trigger.is_armed() {
            self.eviction.arm(&self.roots);
        }
        let working_set = self.eviction.working_set();
        match sample(&self.roots, since_boot(), &self.settings.protection.slices, working_set) {
            Ok(sample) => {
                self.health.problem(Trouble::Signals, None);
                self.see_who_left(sample.at);
                self.eviction.see_drain(&self.pods, sample.at);
                self.eviction.emptied =
                    self.api.is_fresh() && is_drained(&self.pods, &self.api.deleted);
                // The pods' figures are read only while they matter.
                let usage = if self.eviction.near { self.usage() } else { Vec::new() };
                let inputs = Inputs {
                    sample,
                    wall_clock: unix_time(),
                    pods: &self.pods,
                    usage: &usage,
                    pods_are_fresh: self.api.is_fresh(),
                    others_relieve: self.eviction.node.relieved_by_others,
                };
                let settings = &self.settings.eviction;
                let Eviction { signals, efforts, evictions, .. } = &mut self.eviction;
                let before = evictions.clone();
                let mut verdict = decide(settings, inputs, signals, efforts, evictions);
                // Save before asking: the next agent must know every request of this one.
                let changed = *evictions != before || !self.eviction.written;
                let enforced = settings.mode == EvictionMode::Enforce;
                let transition = settings.transition;
                if changed && !self.save_evictions() && enforced {
                    self.eviction.evictions.take_back(&mut verdict);
                }
                let near = |reading: &Reading| reading.active || reading.ratio > NEAR;
                self.eviction.near = verdict.readings.iter().any(near);
                let hurts = verdict.readings.iter().any(|reading| reading.active);
                self.eviction.wanted.send_replace(hurts && enforced && self.api.is_fresh());
                let Eviction { pressed, .. } = &mut self.eviction;
                let condition = pressed.condition(&verdict.readings, transition, sample.at);
                self.eviction.announce(&self.effects, &self.settings.eviction, Some(condition));
                let swapped = sample.swap_used_bytes > 0;
                self.eviction.next = now + self.eviction.pause(now, swapped, &verdict.readings);
                let held_back = verdict.held_back.clone();
                self.publisher.sampled(sample, verdict.readings.clone(), held_back);
                let known = Lookup { pods: &self.pods, tree: &self.tree };
                self.eviction.see_verdict(&self.effects, known, &verdict, self.clock.now());
                if let Some(victim) = verdict.evict {
                    self.evict(victim);
                }
            }
            Err(error) => {
                self.eviction.next = now + IN_BETWEEN;
                self.eviction.signals.clear();
                self.eviction.wanted.send_replace(false);
                let text = format!("{error}; no eviction");
                self.eviction.announce(
                    &self.effects,
                    &self.settings.eviction,
                    Some(unknown(&text)),
                );
                self.health.problem(Trouble::Signals, Some(text));
            }
        }
    }

    pub(super) fn save_evictions(&mut self) -> bool {
        self.eviction.remember(&self.effects, &self.roots, &mut self.health)
    }

    /// Handles a report of the announcer.
    pub(super) fn announcer_told(&mut self, told: AnnouncerReport) {
        self.health.problem(Trouble::Announce, told.problem);
        if let Some(seen) = told.node {
            let of_version = std::mem::replace(&mut self.eviction.node, seen).kubelet_minor;
            if of_version != seen.kubelet_minor {
                self.check_kubelet();
            }
            self.granting.kubelet_swap.node_tells(seen.kubelet_swap_bytes, self.now());
            self.check_kubelet_swap();
        }
    }
}

#[cfg(test)]
mod tests {
    use wasp_core::fixtures;

    use super::*;

    /// Regression: a reload to mode = "observe" came while the task read the pod, and it was evicted.
    #[test]
    fn a_withdrawn_eviction_is_not_revived_by_a_later_signal() {
        let folder = tempfile::tempdir().unwrap();
        let mut eviction = Eviction::new(&Roots::at(folder.path()));
        let before = eviction.wanted.subscribe();
        eviction.wanted.send_replace(true);
        eviction.withdraw();
        let after = eviction.wanted.subscribe();
        eviction.wanted.send_replace(true);
        assert_eq!((*before.borrow(), *after.borrow()), (false, true));
    }
    /// Regression: a migration of more than five minutes ended the cordon in the middle of a drain.
    #[test]
    fn a_drain_lasts_as_long_as_its_pods_leave_but_not_forever() {
        let folder = tempfile::tempdir().unwrap();
        let mut eviction = Eviction::new(&Roots::at(folder.path()));
        let leaving = Pod { migration: Some(Migration::Leaving), ..fixtures::pod("vm", &[]) };
        let pods: Pods = [(leaving.uid.clone(), std::sync::Arc::new(leaving))].into();
        let at = |seconds| SinceBoot(Duration::from_secs(seconds));
        let last_seen = |eviction: &mut Eviction, pods: &Pods, seconds| {
            eviction.see_drain(pods, at(seconds));
            eviction.drained
        };
        assert_eq!(last_seen(&mut eviction, &Pods::new(), 90), None);
        assert_eq!(last_seen(&mut eviction, &pods, 100), Some(at(100)));
        assert_eq!(last_seen(&mut eviction, &pods, 3699), Some(at(3699)));
        assert_eq!(last_seen(&mut eviction, &pods, 9000), Some(at(3699)), "it hangs");
    }
}
