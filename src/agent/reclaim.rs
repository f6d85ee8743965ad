//! Proactive reclaim: samples the pods that take part, and makes the kernel reclaim the decided
//! amounts.

use std::time::Duration;

use super::{Agent, effects::Effects, health::Health, history::Recorder, lookup::Lookup};
use crate::{
    act::reclaim::{Answer, Request},
    config::settings::{EvictionMode, ReclaimMode, ReclaimSettings},
    decide::reclaim::{
        INTERVAL, News, ReclaimPace as Control, ReclaimStep, history::Needs, pods, zswap,
    },
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
        reclaim::{has_file, is_supported, pod_memory, queued_millis, swap_disks},
        tree::Tree,
    },
    roots::Roots,
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
    /// Settings that this kernel cannot carry out.
    unsupported: Option<String>,
}

impl Reclaim {
    /// The time of the next look, on the agent's clock.
    pub(super) fn next(&self) -> SinceStart {
        self.next
    }

    /// Schedules a sample immediately, because the settings have changed.
    pub(super) fn look_now(&mut self) {
        self.next = SinceStart::default();
    }

    /// Returns the average number of requests in the queue of the swap's disks since the last look.
    #[expect(clippy::cast_precision_loss, reason = "a length of a queue")]
    fn queue(&mut self, roots: &Roots, at: SinceBoot) -> Option<f64> {
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

/// The inputs of a step of reclaim, and the effects that carry it out.
struct ReclaimContext<'a, E> {
    roots: &'a Roots,
    settings: &'a ReclaimSettings,
    tree: &'a Tree,
    effects: &'a mut E,
    health: &'a mut Health,
    page_bytes: u64,
}

impl Reclaim {
    /// Saves each pod's working set, for `wasp-agent advise` on a later day. The history's thread
    /// writes it.
    fn remember_working_sets(
        &mut self,
        recorder: &mut Recorder,
        known: Lookup<'_>,
        looks: &[Look],
        at: SinceBoot,
    ) {
        if self.history_written.is_some_and(|then| at.since(then) < HISTORY) {
            return;
        }
        let learned = looks.iter().filter_map(|look| {
            let working_set_bytes = self.control.working_set(&look.uid)?;
            let memory = look.memory.as_ref()?;
            let whole_bytes = memory.current_bytes.saturating_add(memory.swap_bytes);
            let (namespace, name) = known.names_of(&look.uid);
            Some((format!("{namespace}/{name}"), Needs { working_set_bytes, whole_bytes }))
        });
        let pods: Vec<(String, Needs)> = learned.collect();
        // At first, reclaim has taken no memory from any pod.
        if pods.is_empty() {
            return;
        }
        self.history_written = Some(at);
        let at = unix_time();
        recorder.working_sets = Some(LearnedWorkingSets { at, pods });
    }

    fn stop(&mut self, effects: &mut impl Effects, health: &mut Health) {
        effects.stop_reclaim();
        self.control = Control::default();
        self.queued = None;
        health.problem(Trouble::Reclaim, None);
    }

    fn take_step(
        &mut self,
        on: &mut ReclaimContext<'_, impl Effects>,
        step: ReclaimStep,
        looks: &[Look],
        at: SinceBoot,
    ) {
        let ReclaimStep { uid, bytes, swappiness } = step;
        if on.settings.mode != ReclaimMode::On {
            self.counters.observed_bytes += bytes;
            self.control.observed(&uid, at, bytes);
            return;
        }
        let memory =
            looks.iter().find(|look| look.uid == uid).and_then(|look| look.memory.as_ref());
        let protected = memory.map_or(0, |memory| memory.protected_bytes);
        let folder = on.tree.folder_of(&uid).map(|folder| on.roots.cgroup().join(folder));
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
            self.control.reclaimed(&uid, at, gone);
            return;
        };
        let floor_bytes = on.settings.floor_bytes.max(protected);
        let swap_max = memory.and_then(|memory| memory.swap_max_bytes);
        let mut zswap = zswap::wanted_files(on.settings, swap_max, on.page_bytes);
        zswap.retain(|(file, _)| has_file(on.roots, file));
        let uid_of_request = uid.clone();
        let request =
            Request { uid: uid_of_request, folder, inode, bytes, floor_bytes, swappiness, zswap };
        match on.effects.reclaim(request) {
            Ok(true) => {}
            Ok(false) => self.control.reclaimed(&uid, at, gone),
            Err(error) => {
                self.control.reclaimed(&uid, at, gone);
                let text = format!("cannot start the thread that reclaims: {error}");
                on.health.problem(Trouble::Reclaim, Some(text));
            }
        }
    }

    /// Handles the result of a request to the kernel.
    pub(super) fn done(&mut self, health: &mut Health, (uid, done): Answer) {
        let problem = match done {
            Ok(done) => {
                self.counters.freed_bytes += done.freed_bytes;
                self.counters.swapped_bytes += done.swapped_bytes;
                self.counters.duration_micros += done.micros;
                self.control.reclaimed(&uid, since_boot(), done);
                None
            }
            Err(text) => {
                self.control.reclaimed(&uid, since_boot(), Default::default());
                Some(format!("the kernel refuses to reclaim: {text}"))
            }
        };
        health.problem(Trouble::Reclaim, problem.or_else(|| self.unsupported.clone()));
    }

    pub(super) fn published(
        &self,
        known: Lookup<'_>,
        mode: ReclaimMode,
    ) -> published::ReclaimStatus {
        let pod = |(uid, learned): (&PodUid, crate::decide::reclaim::Learned)| {
            let (namespace, name) = known.names_of(uid);
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
            mode: mode.word().to_owned(),
            paused: self.control.paused().map(|held| held.to_string()),
            pods: self.control.learned().map(pod).collect(),
            counters: self.counters.clone(),
        }
    }
}

/// Logs news of reclaim.
fn tell_news(known: Lookup<'_>, settings: &ReclaimSettings, news: News) {
    match news {
        News::Began(uid) => {
            let (namespace, name) = known.names_of(&uid);
            let observed = only_observed(settings);
            messages::ReclaimBegan { pod_namespace: &namespace, pod_name: &name, pod_uid: &uid }
                .emit(format_args!("reclaiming cold memory of {namespace}/{name}{observed}"));
        }
        News::BackedOff { uid, why, pause } => {
            let (namespace, name) = known.names_of(&uid);
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

/// Names the settings that this kernel cannot carry out.
fn unsupported_zswap(roots: &Roots, settings: &ReclaimSettings) -> Option<String> {
    let unsupported = zswap::unsupported(settings, |file| has_file(roots, file));
    let texts: Vec<String> = unsupported.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn only_observed(settings: &ReclaimSettings) -> &'static str {
    match settings.mode == ReclaimMode::On {
        true => "",
        false => " (only observed)",
    }
}

impl<E: Effects> Agent<E> {
    /// Looks at the pods and reclaims memory, if it is time to.
    pub(super) fn reclaim_cold(&mut self) {
        let now = self.now();
        if now < self.reclaim.next {
            return;
        }
        let signals_are_off = self.settings.eviction.mode == EvictionMode::Off;
        if self.settings.reclaim.mode == ReclaimMode::Off || signals_are_off {
            // No timer is needed: reloaded settings take effect immediately.
            self.reclaim.next = SinceStart(Duration::MAX);
            self.reclaim.stop(&mut self.effects, &mut self.health);
            if self.settings.reclaim.mode != ReclaimMode::Off {
                const WHY: &str = "reclaim.mode has no effect: it needs the signals, which the \
                    agent does not measure with eviction.mode = \"off\" (\"observe\" measures them)";
                self.health.problem(Trouble::Reclaim, Some(WHY.to_owned()));
            }
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
            self.health.problem(Trouble::Reclaim, Some(text.to_owned()));
            self.reclaim.control = Control::default();
            return;
        }
        self.reclaim.unsupported = unsupported_zswap(&self.roots, &self.settings.reclaim);
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
            tell_news(self.lookup(), &self.settings.reclaim, news);
        }
        let known = Lookup { pods: &self.pods, tree: &self.tree };
        self.reclaim.remember_working_sets(&mut self.recorder, known, &looks, at);
        let page_bytes = self.node.page_bytes;
        let Self { roots, settings, tree, effects, health, .. } = self;
        let settings = &settings.reclaim;
        let mut context = ReclaimContext { roots, settings, tree, effects, health, page_bytes };
        for step in verdict.steps {
            self.reclaim.take_step(&mut context, step, &looks, at);
        }
        self.publisher.mark_stale();
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
}
