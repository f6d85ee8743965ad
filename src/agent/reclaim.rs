//! Proactive reclaim: looks at the pods that take part, and has the kernel reclaim the decided
//! amounts.

use std::time::Duration;

use super::{Agent, effects::Effects};
use crate::{
    act::reclaim::{Answer, Request},
    config::settings::ReclaimMode,
    decide::reclaim::{INTERVAL, News, ReclaimPace as Control, ReclaimStep, history::Needs, pods},
    history::LearnedWorkingSets,
    messages,
    model::trouble::Trouble,
    model::{
        clock::{SinceBoot, SinceStart},
        pod::PodUid,
        protection::Disks,
        published::{self, ReclaimedPod},
        reclaim::{Look, NodeLook},
    },
    observe::{
        cgroup::Cgroup,
        clock::{since_boot, unix_time},
        reclaim::{is_supported, pod_memory, queued_millis, swap_disks},
    },
};

/// Interval for finding the swap's disks.
const DISKS: Duration = Duration::from_secs(60);
/// Interval for saving the learned working sets.
const HISTORY: Duration = Duration::from_secs(600);

/// The agent's state of reclaim.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    control: Control,
    next: SinceStart,
    disks: Disks,
    disks_read: Option<SinceBoot>,
    queued: Option<(SinceBoot, u64)>,
    counters: published::ReclaimCounters,
    history_written: Option<SinceBoot>,
}

impl Reclaim {
    /// The time of the next look, on the agent's clock.
    pub(super) fn next(&self) -> SinceStart {
        self.next
    }

    /// Schedules a look at once, because the settings have changed.
    pub(super) fn look_now(&mut self) {
        self.next = SinceStart::default();
    }

    /// Returns the average number of requests in the queue of the swap's disks since the last look.
    #[expect(clippy::cast_precision_loss, reason = "a length of a queue")]
    fn queue(&mut self, roots: &crate::roots::Roots, at: SinceBoot) -> Option<f64> {
        if self.disks_read.is_none_or(|read| at.since(read) > DISKS) {
            self.disks = swap_disks(roots);
            self.disks_read = Some(at);
        }
        let millis = queued_millis(roots, &self.disks).ok()?;
        let (before, then) = self.queued.replace((at, millis))?;
        let span = at.since(before).as_millis().max(1);
        Some(millis.saturating_sub(then) as f64 / span as f64)
    }
}

impl<E: Effects> Agent<E> {
    /// Looks at the pods and reclaims memory, if it is time to.
    pub(super) fn reclaim_cold(&mut self) {
        let now = self.now();
        if now < self.reclaim.next {
            return;
        }
        if self.settings.reclaim.mode == ReclaimMode::Off {
            // No timer is needed: reloaded settings take effect at once.
            self.reclaim.next = SinceStart(Duration::MAX);
            self.stop_reclaim();
            return;
        }
        self.reclaim.next = now + INTERVAL;
        let supported = match is_supported(&self.roots) {
            Some(supported) => supported,
            // There is no pod yet.
            None => return,
        };
        if !supported {
            let text = "reclaim.mode is set, but this kernel has no memory.reclaim (RHEL has it \
                since 9.2): the agent reclaims nothing";
            self.problem(Trouble::Reclaim, Some(text.to_owned()));
            self.reclaim.control = Control::default();
            return;
        }
        let at = since_boot();
        let looks = self.looks();
        let Some(sample) = self.publisher.sample() else { return };
        let node = NodeLook {
            at,
            swap_bytes: sample.swap_bytes,
            swap_used_bytes: sample.swap_used_bytes,
            page_bytes: self.node.page_bytes,
            nearest_signal: self.publisher.nearest_signal(),
            disk_queue: self.reclaim.queue(&self.roots, at),
            sampled: sample.at,
            pods_are_fresh: self.api.is_fresh(),
        };
        let verdict = self.reclaim.control.decide(&self.settings.reclaim, &node, &looks);
        for news in verdict.news {
            self.reclaim_news(news);
        }
        self.remember_working_sets(&looks, at);
        for step in verdict.steps {
            self.reclaim_step(step, &looks, at);
        }
        self.published_is_stale();
    }

    /// Saves each pod's working set, for `wasp-agent advise` on a later day. The history's thread
    /// writes it.
    fn remember_working_sets(&mut self, looks: &[Look], at: SinceBoot) {
        if self.reclaim.history_written.is_some_and(|then| at.since(then) < HISTORY) {
            return;
        }
        let known = looks.iter().filter_map(|look| {
            let working_set_bytes = self.reclaim.control.working_set(&look.uid)?;
            let memory = look.memory.as_ref()?;
            let whole_bytes = memory.current_bytes.saturating_add(memory.swap_bytes);
            let (namespace, name) = self.names_of(&look.uid);
            Some((format!("{namespace}/{name}"), Needs { working_set_bytes, whole_bytes }))
        });
        let pods: Vec<(String, Needs)> = known.collect();
        // At first reclaim has asked no pod for memory.
        if pods.is_empty() {
            return;
        }
        self.reclaim.history_written = Some(at);
        let at = unix_time();
        self.recorder.working_sets = Some(LearnedWorkingSets { at, pods });
    }

    fn stop_reclaim(&mut self) {
        self.effects.stop_reclaim();
        self.reclaim.control = Control::default();
        self.reclaim.queued = None;
        self.problem(Trouble::Reclaim, None);
    }

    /// Reads the current state of the pods that take part.
    fn looks(&self) -> Vec<Look> {
        let (settings, eviction) = (&self.settings.reclaim, &self.settings.eviction);
        let now = unix_time();
        let takes_part = |pod: &crate::model::pod::Pod| pods::takes_part(settings, eviction, pod);
        let pods = self.pods.iter().filter(|(_, pod)| takes_part(pod));
        let look = |(uid, pod): (&PodUid, &std::sync::Arc<crate::model::pod::Pod>)| {
            let folder = self.roots.cgroup().join(self.tree.folder_of(uid)?);
            let leaving = self.is_leaving(uid);
            let suspended = self.suspend.has(uid);
            Some(Look {
                uid: uid.clone(),
                memory: pod_memory(&folder),
                left_alone: pods::left_alone(settings, pod, now, leaving, suspended),
            })
        };
        pods.filter_map(look).collect()
    }

    fn reclaim_step(&mut self, step: ReclaimStep, looks: &[Look], at: SinceBoot) {
        let ReclaimStep { uid, bytes, swappiness } = step;
        let on = self.settings.reclaim.mode == ReclaimMode::On;
        if !on {
            self.reclaim.counters.observed_bytes += bytes;
            self.reclaim.control.observed(&uid, at, bytes);
            return;
        }
        let memory =
            looks.iter().find(|look| look.uid == uid).and_then(|look| look.memory.as_ref());
        let protected = memory.map_or(0, |memory| memory.protected_bytes);
        let folder = self.tree.folder_of(&uid).map(|folder| self.roots.cgroup().join(folder));
        let cgroup = folder.and_then(|folder| {
            let cgroup = Cgroup::open(&folder).ok()??;
            Some((folder, cgroup.inode().ok()?))
        });
        let gone = crate::model::reclaim::Reclaimed {
            asked_bytes: bytes,
            gone: true,
            ..Default::default()
        };
        let Some((folder, inode)) = cgroup else {
            self.reclaim.control.reclaimed(&uid, at, gone);
            return;
        };
        let floor_bytes = self.settings.reclaim.floor_bytes.max(protected);
        let request = Request { uid: uid.clone(), folder, inode, bytes, floor_bytes, swappiness };
        match self.effects.reclaim(request) {
            Ok(true) => {}
            Ok(false) => self.reclaim.control.reclaimed(&uid, at, gone),
            Err(error) => {
                self.reclaim.control.reclaimed(&uid, at, gone);
                let text = format!("cannot start the thread that reclaims: {error}");
                self.problem(Trouble::Reclaim, Some(text));
            }
        }
    }

    /// Handles the result of a request to the kernel.
    pub(super) fn reclaim_done(&mut self, (uid, done): Answer) {
        let problem = match done {
            Ok(done) => {
                self.reclaim.counters.freed_bytes += done.freed_bytes;
                self.reclaim.counters.swapped_bytes += done.swapped_bytes;
                self.reclaim.counters.duration_micros += done.micros;
                self.reclaim.control.reclaimed(&uid, since_boot(), done);
                None
            }
            Err(text) => {
                self.reclaim.control.reclaimed(&uid, since_boot(), Default::default());
                Some(format!("the kernel refuses to reclaim: {text}"))
            }
        };
        self.problem(Trouble::Reclaim, problem);
    }

    fn reclaim_news(&mut self, news: News) {
        match news {
            News::Began(uid) => {
                let (namespace, name) = self.names_of(&uid);
                let observed = self.only_observed();
                messages::ReclaimBegan {
                    pod_namespace: &namespace,
                    pod_name: &name,
                    pod_uid: &uid,
                }
                .emit(format_args!("reclaiming cold memory of {namespace}/{name}{observed}"));
            }
            News::BackedOff { uid, why, pause } => {
                let (namespace, name) = self.names_of(&uid);
                let seconds = pause.as_secs();
                messages::ReclaimBackedOff {
                    pod_namespace: &namespace,
                    pod_name: &name,
                    pod_uid: &uid,
                    reason: &why.word(),
                }
                .emit(format_args!(
                    "the agent reclaims no memory of {namespace}/{name} for {seconds} s: {why}"
                ));
            }
            News::Paused(why) => messages::ReclaimPaused { reason: &why.word() }
                .emit(format_args!("the agent reclaims memory from no pod: {why}")),
            News::Resumed => messages::ReclaimResumed.emit(format_args!(
                "the agent may reclaim memory of pods \
                    again"
            )),
        }
    }

    fn only_observed(&self) -> &'static str {
        match self.settings.reclaim.mode == ReclaimMode::On {
            true => "",
            false => " (only observed)",
        }
    }

    pub(super) fn reclaim_published(&self) -> published::ReclaimStatus {
        let pod = |(uid, learned): (&PodUid, crate::decide::reclaim::Learned)| {
            let (namespace, name) = self.names_of(uid);
            ReclaimedPod {
                uid: uid.to_string(),
                pod: format!("{namespace}/{name}"),
                phase: learned.phase.word().to_owned(),
                held_back: learned.held.map(|held| held.word().to_owned()),
                why: learned.held.map(|held| held.to_string()),
                offloaded_bytes: learned.offloaded_bytes,
                reclaimed_bytes: learned.asked_bytes,
                refaults_per_minute: learned.refaults_per_minute,
                pressure_percent: learned.pressure_percent,
                working_set_bytes: learned.working_set_bytes,
            }
        };
        published::ReclaimStatus {
            mode: self.settings.reclaim.mode.word().to_owned(),
            paused: self.reclaim.control.paused().map(|held| held.to_string()),
            pods: self.reclaim.control.learned().map(pod).collect(),
            counters: self.reclaim.counters.clone(),
        }
    }
}
