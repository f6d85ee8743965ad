//! The state of evictions: leaving pods, refusals, unanswered requests and failures of the server,
//! and how answers, changes of pods and time change it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    answer::EvictionAnswer,
    flight::{ANSWER, FlightStage, InFlight},
    verdict::MachineVerdict,
    workload::Workloads,
};
use crate::{
    config::settings::EvictionSettings,
    model::{
        clock::SinceBoot,
        counted::counted,
        pod::{Migration, PodUid, Pods},
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// After KubeVirt or the server has refused to move a pod, the agent does not try it again for this
/// long.
const UNWILLING: Duration = HOUR;
/// While the server has problems, the agent waits this long before it asks again, and doubles the
/// pause each time.
const SERVER_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_SERVER_PAUSE: Duration = Duration::from_secs(30);
/// Upper bound for the pause that a server asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Evictions of one pod within this time count as one.
const ONE_MOVE: Duration = Duration::from_secs(600);
/// An unanswered request shows its effect within this time; otherwise the agent asks again.
const IN_DOUBT: Duration = Duration::from_secs(30);
/// A migration begun by another program that is shown again within this time is the same one.
const SAME_SIGN: Duration = Duration::from_secs(6 * 3600);
/// If the saved state cannot be read, the agent waits this long, because a migration may be
/// running.
const LOST: Duration = Duration::from_secs(600);
/// After this many requests that failed through no fault of the pod, the agent also tries other
/// pods.
pub(super) const TRIES: u32 = 6;

/// The time at which the agent may try again to evict a pod that could not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backoff {
    pub(super) until: SinceBoot,
    pub(super) pause: Duration,
    /// A PodDisruptionBudget refused: the request arrived, and the pod may not leave.
    #[serde(default)]
    pub(super) refused: bool,
}

/// A pod that the agent has set moving, or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    at: SinceBoot,
    uid: PodUid,
}

/// A VM whose migration may or may not have begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doubt {
    /// The time of the first request.
    #[serde(default)]
    pub(super) since: SinceBoot,
    /// A migration would have ended by this time.
    pub(super) until: SinceBoot,
    /// The time of the next request; the pause doubles each time, because each request may begin a
    /// migration.
    #[serde(default)]
    pub(super) again_at: SinceBoot,
    #[serde(default)]
    pub(super) pause: Duration,
    /// `namespace/name`.
    pub(super) name: String,
}

/// The API server cannot carry out requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerTrouble {
    pub(super) until: SinceBoot,
    pub(super) pause: Duration,
    pub(super) text: String,
}

/// The state that survives a restart of the agent. Times are since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evictions {
    pub(super) in_flight: Vec<InFlight>,
    pub(super) backoff: BTreeMap<PodUid, Backoff>,
    /// Moves of the last hour.
    #[serde(default)]
    pub(super) moves: VecDeque<Move>,
    pub(super) cooldown_until: SinceBoot,
    #[serde(default)]
    pub(super) critical_since: Option<SinceBoot>,
    #[serde(default)]
    pub(super) active_since: Option<SinceBoot>,
    #[serde(default)]
    pub(super) server: Option<ServerTrouble>,
    /// Number of requests per pod that failed through no fault of the pod.
    #[serde(default)]
    pub(super) tries: BTreeMap<PodUid, u32>,
    #[serde(default)]
    pub(super) workloads: Workloads,
    /// Launchers with an unanswered request, and its time: KubeVirt up to 1.2 shows nothing of a
    /// migration, so that only a later answer reveals it.
    #[serde(default)]
    pub(super) doubtful: BTreeMap<PodUid, Doubt>,
    /// Launchers that show a migration begun by another program, and since when.
    #[serde(default)]
    pub(super) moved_by_others: BTreeMap<PodUid, SinceBoot>,
}

impl Evictions {
    /// Describes the workloads that are evicted again and again; `None` if there are none.
    pub fn evicted_often(&self, now: SinceBoot) -> Option<String> {
        let often = self.workloads.often(now);
        let shown: Vec<String> =
            often.iter().take(3).map(|(name, count)| format!("{name} ({count})")).collect();
        let more = match often.len().saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(", and {}", counted(more, "other workload", "other workloads")),
        };
        (!shown.is_empty()).then(|| {
            format!("pods were evicted from this node within 24 h: {}{more}", shown.join(", "))
        })
    }

    pub fn in_flight(&self) -> &[InFlight] {
        &self.in_flight
    }

    pub fn in_the_last_hour(&self) -> usize {
        self.moves.len()
    }

    /// Returns true if the agent has asked to evict the pod within the last hour.
    pub fn has_asked_for(&self, uid: &PodUid) -> bool {
        self.in_flight.iter().any(|pod| pod.uid == *uid)
            || self.moves.iter().any(|one| one.uid == *uid)
    }

    /// The state after the saved one could not be read: a pod may be leaving, even by a migration.
    pub fn lost(now: SinceBoot) -> Self {
        Self { cooldown_until: now + LOST, ..Self::default() }
    }

    /// Withdraws the decision, because it could not be saved and a restarted agent would repeat it.
    pub fn take_back(&mut self, verdict: &mut MachineVerdict) {
        if let Some(victim) = verdict.evict.take() {
            self.in_flight.retain(|pod| pod.uid != victim.ranked.uid);
            verdict.held_back = Some("the agent cannot save the request first".to_owned());
        }
    }

    /// Detects pods that leave although no answer announced it, and migrations that launchers show.
    pub(super) fn see_pods(&mut self, pods: &Pods, overtake_after: Duration, now: SinceBoot) {
        let mut moved = Vec::new();
        for pod in &mut self.in_flight {
            let Some(found) = pods.get(&pod.uid) else { continue };
            let deleted = found.is_terminating() && found.deletion_deadline != pod.deadline_before;
            if matches!(pod.stage, FlightStage::Asked | FlightStage::InDoubt) && deleted {
                // The answer was lost, or arrived at an earlier agent process.
                pod.leaves(overtake_after, now);
                moved.push(pod.uid.clone());
            }
            pod.see_migration(found.migration, now);
        }
        for uid in moved {
            self.count(&uid, now);
        }
        let leaving = |uid: &PodUid| {
            pods.get(uid).is_some_and(|pod| pod.migration == Some(Migration::Leaving))
        };
        // A sign that disappears and returns is the same sign: any author can set it.
        self.moved_by_others.retain(|uid, since| {
            leaving(uid) || (pods.contains_key(uid) && now.since(*since) < SAME_SIGN)
        });
        for uid in pods.keys().filter(|uid| leaving(uid)) {
            if !self.moved_by_others.contains_key(uid) {
                self.moved_by_others.insert(uid.clone(), now);
            }
        }
        self.tries.retain(|uid, _| pods.contains_key(uid));
        self.doubtful.retain(|uid, doubt| pods.contains_key(uid) && now < doubt.until);
    }

    /// Counts the pod as moving, or possibly moving.
    fn count(&mut self, uid: &PodUid, now: SinceBoot) {
        let counted = |one: &Move| one.uid == *uid && now.since(one.at) < ONE_MOVE;
        if !self.moves.iter().any(counted) {
            self.moves.push_back(Move { at: now, uid: uid.clone() });
            let pod = self.in_flight.iter().find(|pod| pod.uid == *uid);
            if let Some(InFlight { workload: Some(workload), siblings, .. }) = pod {
                self.workloads.moves(workload, siblings.clone(), now);
            }
        }
    }

    /// Without the API server the agent cannot see if a pod leaves, so its deadline does not
    /// advance.
    pub(super) fn wait_for_news(&mut self, now: SinceBoot) {
        let waits =
            |pod: &&mut InFlight| matches!(pod.stage, FlightStage::Asked | FlightStage::InDoubt);
        for pod in self.in_flight.iter_mut().filter(waits) {
            pod.deadline = pod.deadline.max(now + ANSWER);
        }
    }

    /// Drops expired state; returns the pods that should have ended.
    pub(super) fn pass_time(&mut self, now: SinceBoot) -> Vec<InFlight> {
        while self.moves.front().is_some_and(|one| now.since(one.at) >= HOUR) {
            self.moves.pop_front();
        }
        self.backoff.retain(|_, backoff| now < backoff.until || now.since(backoff.until) < HOUR);
        // The server may have carried out a request that it never answered.
        let is_late = |pod: &&InFlight| pod.stage == FlightStage::Asked && now >= pod.deadline;
        let lost = self.in_flight.iter().filter(is_late).map(|pod| pod.uid.clone());
        for uid in lost.collect::<Vec<_>>() {
            self.count(&uid, now);
        }
        let (late, on_time): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|pod| now >= pod.deadline);
        self.in_flight = on_time;
        // If the pod is still there although the request was sent, the request most likely never
        // took effect.
        let (silent, overdue): (Vec<_>, Vec<_>) = late
            .into_iter()
            .partition(|pod| matches!(pod.stage, FlightStage::Asked | FlightStage::InDoubt));
        for pod in silent {
            let text = match pod.stage {
                FlightStage::InDoubt => "a request has no clear answer, and the pod is still there",
                _ => "no answer",
            };
            self.in_vain(&pod.uid, None, text, now);
        }
        for pod in &overdue {
            self.back_off(pod.uid.clone(), BACKOFF, false, now);
            // The pod had its turn: others come first.
            *self.tries.entry(pod.uid.clone()).or_default() += TRIES;
            if let Some(workload) = &pod.workload {
                self.workloads.left(workload, now);
            }
        }
        overdue
    }

    /// Records that the server did not carry out the request, through no fault of the pod.
    fn in_vain(&mut self, uid: &PodUid, retry_after: Option<Duration>, text: &str, now: SinceBoot) {
        *self.tries.entry(uid.clone()).or_default() += 1;
        let before = self.server.as_ref().map(|server| server.pause);
        let pause = before.map_or(SERVER_PAUSE, |pause| pause.saturating_mul(2));
        let pause = pause.min(LONGEST_SERVER_PAUSE);
        let wait =
            retry_after.map_or(pause, |asked| asked.clamp(SERVER_PAUSE, LONGEST_RETRY_AFTER));
        self.server = Some(ServerTrouble { until: now + wait, pause, text: text.to_owned() });
    }

    fn back_off(&mut self, uid: PodUid, at_least: Duration, refused: bool, now: SinceBoot) {
        let before = self.backoff.get(&uid);
        let pause = before.map_or(BACKOFF, |before| before.pause.saturating_mul(2));
        let pause = pause.min(LONGEST_BACKOFF);
        self.backoff.insert(uid, Backoff { until: now + pause.max(at_least), pause, refused });
    }

    /// Records the answer for `uid`.
    pub fn answered(
        &mut self,
        settings: &EvictionSettings,
        uid: &PodUid,
        answer: &EvictionAnswer,
        now: SinceBoot,
    ) {
        let Some(pod) = self.in_flight.iter_mut().find(|pod| pod.uid == *uid) else { return };
        match answer {
            EvictionAnswer::Accepted if pod.stage == FlightStage::Leaving => {}
            EvictionAnswer::Accepted => {
                pod.leaves(settings.overtake_after, now);
                self.count(uid, now);
            }
            EvictionAnswer::Migrating { .. } => {
                pod.migrates(now);
                self.count(uid, now);
            }
            // The pod may be leaving: evict no other pod until this is known.
            EvictionAnswer::Unknown { .. } => {
                if pod.stage == FlightStage::Asked {
                    (pod.stage, pod.since) = (FlightStage::InDoubt, now);
                    pod.deadline = now + IN_DOUBT;
                    if pod.launcher {
                        let name = format!("{}/{}", pod.namespace, pod.name);
                        let before = self.doubtful.get(uid);
                        // Further requests do not prolong it, or the agent might wait forever.
                        let until = before.map_or(now + pod.migrates_within, |doubt| doubt.until);
                        let since = before.map_or(now, |doubt| doubt.since);
                        let waited = before.map_or(IN_DOUBT, |doubt| doubt.pause);
                        let pause = waited.saturating_mul(2).min(ONE_MOVE);
                        let again_at = now + waited;
                        let doubt = Doubt { since, until, again_at, pause, name };
                        self.doubtful.insert(uid.clone(), doubt);
                    }
                    // Each request may have begun another migration, so only the newest move
                    // counts.
                    let is_counted = |one: &Move| one.uid == *uid && now.since(one.at) < ONE_MOVE;
                    if self.moves.iter().any(is_counted) {
                        self.moves.push_back(Move { at: now, uid: uid.clone() });
                    } else {
                        self.count(uid, now);
                    }
                }
                return;
            }
            EvictionAnswer::Gone => drop(self.left(settings, uid, now)),
            EvictionAnswer::Budget { .. }
            | EvictionAnswer::Unwilling { .. }
            | EvictionAnswer::Refused { .. }
            | EvictionAnswer::Busy { .. }
            | EvictionAnswer::Unreachable { .. }
            | EvictionAnswer::Withdrawn { .. } => self.in_flight.retain(|pod| pod.uid != *uid),
        }
        match answer {
            EvictionAnswer::Budget { retry_after, .. } => {
                let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                self.back_off(uid.clone(), asked, true, now);
            }
            // Its containers may still run: without a pause it would be chosen again and again.
            EvictionAnswer::Gone => self.back_off(uid.clone(), Duration::ZERO, false, now),
            EvictionAnswer::Unwilling { .. } => self.back_off(uid.clone(), UNWILLING, false, now),
            EvictionAnswer::Refused { .. } => {
                self.back_off(uid.clone(), Duration::ZERO, false, now)
            }
            EvictionAnswer::Busy { retry_after, text } => {
                self.in_vain(uid, *retry_after, text, now)
            }
            EvictionAnswer::Unreachable { text } => self.in_vain(uid, None, text, now),
            _ => {}
        }
        if !matches!(answer, EvictionAnswer::Busy { .. } | EvictionAnswer::Unreachable { .. }) {
            // The server works.
            self.server = None;
            self.tries.remove(uid);
            self.doubtful.remove(uid);
        }
    }

    /// Records that the last of the pod's containers has ended. Returns true if the agent had
    /// evicted the pod: earlier measurements are then void, and the signals start over.
    pub fn left(&mut self, settings: &EvictionSettings, uid: &PodUid, now: SinceBoot) -> bool {
        let place = self.in_flight.iter().position(|pod| pod.uid == *uid);
        let pod = place.map(|place| self.in_flight.remove(place));
        self.backoff.remove(uid);
        self.tries.remove(uid);
        if let Some(workload) = pod.as_ref().and_then(|pod| pod.workload.as_ref()) {
            self.workloads.left(workload, now);
        }
        if pod.is_some() {
            self.cooldown_until = now + settings.cooldown;
        }
        pod.is_some()
    }
}
