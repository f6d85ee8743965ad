//! Decides when to evict a pod: one at a time, not again too soon, and never on doubtful data.
//!
//! ```text
//! watching ──signal, candidate──► asked ──201──► leaving ──gone──► watching (new window, cooldown)
//!    ▲                             │││ └──429, migration──► migrating ──gone or deadline──┘
//!    │                             ││└──429, budget──► that pod backs off, the next is asked
//!    │                             │└──no answer──► in doubt: it leaves, or it is asked again
//!    └──overload, error────────────┘ no pod is at fault; asked again when the server recovers
//! ```

use crate::model::counted::counted;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    answer::EvictionAnswer,
    efforts::Efforts,
    fit::{Need, Unfitness},
    flight::{ANSWER, FlightStage, InFlight},
    select::{Circumstances, Ranked, rank},
    signals::{Reading, Signal, Signals},
    workload::{Returned, Workloads},
};
use crate::{
    config::settings::{EvictionMode, EvictionSettings},
    model::{
        host::Monotonic,
        pod::{Migration, PodUid, Pods},
        pressure::{PodUsage, Sample},
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// After KubeVirt or the server has refused to move a pod, the agent leaves it alone for this long.
const UNWILLING: Duration = HOUR;
/// While the server has problems, the agent waits this long before it asks again, and doubles the
/// pause each time.
const SERVER_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_SERVER_PAUSE: Duration = Duration::from_secs(30);
/// Upper bound for the pause that a server asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);
/// After this many requests that failed through no fault of the pod, the agent also tries other
/// pods.
const TRIES: u32 = 6;
/// Evictions of one pod within this time count as one.
const ONE_MOVE: Duration = Duration::from_secs(600);
/// An unanswered request shows its effect within this time; otherwise the agent asks again.
const IN_DOUBT: Duration = Duration::from_secs(30);
/// A migration begun by another program that is shown again within this time is the same one.
const SAME_SIGN: Duration = Duration::from_secs(6 * 3600);
/// For traffic and pressure, the agent first watches which pods cause them, but at most for this
/// long.
const WATCHED_FIRST: Duration = Duration::from_secs(10);
/// After a signal has been active for this long, the agent also accepts pods that free less.
const WORTH_IN_THE_END: Duration = Duration::from_secs(600);
/// If the saved state cannot be read, the agent waits this long, because a migration may be
/// running.
const LOST: Duration = Duration::from_secs(600);

/// The time at which a pod that could not be evicted may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Backoff {
    until: Monotonic,
    pause: Duration,
    /// A PodDisruptionBudget refused: the request arrived, and the pod may not leave.
    #[serde(default)]
    refused: bool,
}

/// A pod that the agent has set moving, or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    at: Monotonic,
    uid: PodUid,
}

/// A VM whose migration may or may not have begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    /// A migration would have ended by this time.
    until: Monotonic,
    /// The time of the next request; the pause doubles each time, because each request may begin a
    /// migration.
    #[serde(default)]
    again_at: Monotonic,
    #[serde(default)]
    pause: Duration,
    /// `namespace/name`.
    name: String,
}

/// The API server cannot carry out requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ServerTrouble {
    until: Monotonic,
    pause: Duration,
    text: String,
}

/// The state that survives a restart of the agent. Times are since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evictions {
    in_flight: Vec<InFlight>,
    backoff: BTreeMap<PodUid, Backoff>,
    /// Moves of the last hour.
    #[serde(default)]
    moves: VecDeque<Move>,
    cooldown_until: Monotonic,
    #[serde(default)]
    critical_since: Option<Monotonic>,
    #[serde(default)]
    active_since: Option<Monotonic>,
    #[serde(default)]
    server: Option<ServerTrouble>,
    /// Number of requests per pod that failed through no fault of the pod.
    #[serde(default)]
    tries: BTreeMap<PodUid, u32>,
    #[serde(default)]
    workloads: Workloads,
    /// Launchers with an unanswered request, and its time: KubeVirt up to 1.2 shows nothing of a
    /// migration, so that only a later answer reveals it.
    #[serde(default)]
    doubtful: BTreeMap<PodUid, Doubt>,
    /// Launchers that show a migration begun by another program, and since when.
    #[serde(default)]
    moved_by_others: BTreeMap<PodUid, Monotonic>,
}

impl Evictions {
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
    pub fn lost(now: Monotonic) -> Self {
        Self { cooldown_until: now + LOST, ..Self::default() }
    }

    /// Withdraws the decision, because it could not be saved and a restarted agent would repeat it.
    pub fn take_back(&mut self, verdict: &mut MachineVerdict) {
        if let Some(victim) = verdict.evict.take() {
            self.in_flight.retain(|pod| pod.uid != victim.ranked.uid);
            verdict.held_back = Some("the agent cannot save the request first".to_owned());
        }
    }
}

/// All inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub sample: Sample,
    /// Seconds since the epoch.
    pub epoch: i64,
    pub pods: &'a Pods,
    pub usage: &'a [PodUsage],
    /// The list of pods comes from the API server, which confirmed it recently.
    pub pods_are_fresh: bool,
    /// The descheduler has marked this node and relieves it.
    pub others_relieve: bool,
}

/// The result of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineVerdict {
    pub readings: Vec<Reading>,
    pub evict: Option<Victim>,
    /// The reason for not evicting any pod although a signal is active.
    pub held_back: Option<String>,
    /// Pods that did not leave in time.
    pub overdue: Vec<InFlight>,
    /// Workloads that returned to the node after an eviction.
    pub returned: Vec<Returned>,
}

/// The pod to evict, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Victim {
    pub ranked: Ranked,
    pub why: String,
    /// The pod's eviction has been refused for long enough, so the agent deletes the pod.
    pub last_resort: bool,
}

/// Makes one step. `usage` may be empty while no signal is near its threshold.
pub fn decide(
    settings: &EvictionSettings,
    inputs: Inputs<'_>,
    signals: &mut Signals,
    efforts: &mut Efforts,
    evictions: &mut Evictions,
) -> MachineVerdict {
    let now = inputs.sample.at;
    let others = efforts.look(&inputs.sample, inputs.usage);
    let readings = signals.read(settings, inputs.sample, others);
    evictions.see_pods(inputs.pods, settings.overtake_after, now);
    if !inputs.pods_are_fresh {
        evictions.wait_for_news(now);
    }
    let overdue = evictions.pass_time(now);
    let returned = match inputs.pods_are_fresh {
        true => evictions.workloads.see(inputs.pods, now),
        false => Vec::new(),
    };
    let mut verdict = MachineVerdict { readings, evict: None, held_back: None, overdue, returned };
    let active: Vec<&Reading> = verdict.readings.iter().filter(|r| r.active).collect();
    let critical = active.iter().any(|reading| reading.critical);
    evictions.critical_since = critical.then(|| evictions.critical_since.unwrap_or(now));
    evictions.active_since = (!active.is_empty()).then(|| evictions.active_since.unwrap_or(now));
    if active.is_empty() || settings.mode == EvictionMode::Off {
        return verdict;
    }
    if let Some(obstacle) = evictions.obstacle(settings, &inputs, critical) {
        verdict.held_back = Some(obstacle);
        return verdict;
    }
    let told = |pod: &PodUsage| pod.effort.is_some_and(|effort| effort.stalled.is_some());
    let moves = active.iter().all(|r| matches!(r.signal, Signal::Traffic | Signal::Pressure));
    let active_for = evictions.active_since.map_or(Duration::ZERO, |since| now.since(since));
    if moves
        && active_for < WATCHED_FIRST
        && inputs.usage.iter().any(told)
        && !signals.knows_others()
    {
        verdict.held_back = Some("finding the pods that cause it".to_owned());
        return verdict;
    }
    let at = Circumstances { epoch: inputs.epoch, ram_bytes: inputs.sample.ram_bytes, efforts };
    let ranked = rank(settings, inputs.pods, inputs.usage, at);
    let lasting = active_for >= WORTH_IN_THE_END;
    let need = Need::of(settings, &active, signals.only_own_limits());
    let need = if lasting { need.in_the_end(inputs.sample.ram_bytes) } else { need };
    match evictions.choose(settings, &inputs, ranked, &need, efforts) {
        Ok((ranked, last_resort)) => {
            let why: Vec<String> =
                active.iter().map(|r| format!("{}: {}", r.signal, r.text)).collect();
            let mut why = why.join("; ");
            if let Some(slow) = evictions.in_flight.last() {
                let seconds = now.since(slow.since).as_secs();
                let InFlight { namespace, name, .. } = slow;
                why += &format!("; {namespace}/{name} has not left after {seconds} s");
            }
            if settings.mode == EvictionMode::Enforce {
                evictions.in_flight.push(InFlight::asked(&ranked, inputs.pods, now));
            } else {
                // No pod leaves in this mode; the next report follows when the next pod would be
                // evicted.
                evictions.cooldown_until = now + settings.cooldown;
            }
            verdict.evict = Some(Victim { ranked, why, last_resort });
        }
        Err(why) => verdict.held_back = Some(why.to_string()),
    }
    verdict
}

/// The reason why no pod is asked to leave.
#[derive(Debug, thiserror::Error)]
enum NoneChosen {
    #[error("the agent does not know whether {pod} migrates")]
    InDoubt { pod: String },
    #[error("no pod may be evicted")]
    NoPod,
    #[error("no pod may be evicted now: {first}")]
    Spared { first: String },
    #[error("no pod may be evicted now: {first}; {}", counted(*more, "more is spared", "more are spared"))]
    AllSpared { first: String, more: usize },
}

impl Evictions {
    /// Returns the reason why no pod may be evicted now.
    fn obstacle(
        &self,
        settings: &EvictionSettings,
        inputs: &Inputs<'_>,
        critical: bool,
    ) -> Option<String> {
        let now = inputs.sample.at;
        // The newest eviction blocks the next; each gets its own few minutes.
        if let Some(InFlight { namespace, name, stage, since, .. }) = self.in_flight.last() {
            let moves = matches!(stage, FlightStage::Leaving | FlightStage::Migrating);
            let slow = now.since(*since) >= settings.overtake_after;
            if !(critical && moves && slow) {
                return Some(format!("{} pod {namespace}/{name}", stage.waits_for()));
            }
        }
        if !inputs.pods_are_fresh {
            return Some(
                "the list of pods is not current: the API server is unreachable".to_owned(),
            );
        }
        if let Some(server) = self.server.as_ref().filter(|server| now < server.until) {
            let left = server.until.since(now).as_secs().max(1);
            return Some(format!(
                "the API server has a problem, next try in {left} s: {}",
                server.text
            ));
        }
        if now < self.cooldown_until {
            let left = self.cooldown_until.since(now).as_secs();
            return Some(format!("cooling down for {left} s"));
        }
        if self.moves.len() >= settings.max_per_hour {
            return Some(format!(
                "the limit of {} in an hour is reached",
                counted(settings.max_per_hour, "eviction", "evictions")
            ));
        }
        let active_for = self.active_since.map_or(Duration::ZERO, |since| now.since(since));
        let waits = inputs.others_relieve && !critical && active_for < settings.wait_for_others;
        waits.then(|| {
            let left = (settings.wait_for_others - active_for).as_secs();
            format!("the descheduler relieves this node; the agent waits for it for {left} s more")
        })
    }

    /// Returns the first pod that may be asked; if there is none, the first pod that a budget has
    /// refused, if it is time for the last resort.
    fn choose(
        &self,
        settings: &EvictionSettings,
        inputs: &Inputs<'_>,
        ranked: Vec<Ranked>,
        need: &Need,
        efforts: &Efforts,
    ) -> Result<(Ranked, bool), NoneChosen> {
        let now = inputs.sample.at;
        let mut why = Vec::new();
        let (mut free, mut refused) = (Vec::new(), Vec::new());
        for pod in ranked {
            let name = || format!("{}/{}", pod.namespace, pod.name);
            if self.in_flight.iter().any(|other| other.uid == pod.uid) {
                continue;
            }
            if let Err(unfit) = need.is_met_by(&pod, efforts) {
                let unfit: Unfitness = unfit;
                why.push(format!("{} {unfit}", name()));
            } else if self.is_moved_by_others(&pod, inputs.pods, now) {
                why.push(format!("{} is already migrating", name()));
            } else if let Some(spared) = pod
                .workload
                .as_ref()
                .filter(|_| !self.doubtful.contains_key(&pod.uid))
                .and_then(|workload| self.workloads.spared(workload, now))
            {
                why.push(spared);
            } else if self.backoff.get(&pod.uid).is_some_and(|backoff| now < backoff.until) {
                why.push(format!("{} was refused; the agent asks again later", name()));
                refused.push(pod);
            } else {
                free.push(pod);
            }
        }
        // Pods that were asked too often without effect come after the others.
        let rounds = |pod: &Ranked| self.tries.get(&pod.uid).map_or(0, |tries| tries / TRIES);
        free.sort_by_key(rounds);
        // Ask again first for a pod that may be leaving already.
        let again = |pod: &Ranked| {
            self.doubtful.contains_key(&pod.uid)
                || self.tries.get(&pod.uid).is_some_and(|tries| *tries > 0 && tries % TRIES != 0)
        };
        let first = free.iter().position(again).unwrap_or(0);
        if let Some(doubt) = self.doubtful.values().find(|doubt| now < doubt.again_at) {
            return Err(NoneChosen::InDoubt { pod: doubt.name.clone() });
        }
        if let Some(doubt) = self.doubtful.values().next()
            && !free.get(first).is_some_and(|pod| self.doubtful.contains_key(&pod.uid))
        {
            return Err(NoneChosen::InDoubt { pod: doubt.name.clone() });
        }
        if first < free.len() {
            return Ok((free.swap_remove(first), false));
        }
        if let (Some(after), Some(since)) = (settings.last_resort, self.critical_since)
            && now.since(since) >= after
        {
            let by_budget = |pod: &Ranked| self.backoff.get(&pod.uid).is_some_and(|b| b.refused);
            if let Some(pod) = refused.into_iter().find(by_budget) {
                return Ok((pod, true));
            }
        }
        let more = why.len().saturating_sub(1);
        Err(match why.into_iter().next() {
            None => NoneChosen::NoPod,
            Some(first) if more == 0 => NoneChosen::Spared { first },
            Some(first) => NoneChosen::AllSpared { first, more },
        })
    }

    /// Returns true if the pod's VM shows a migration begun by another program. Its author can set
    /// the same field, so it counts for at most as long as a migration may take.
    fn is_moved_by_others(&self, pod: &Ranked, pods: &Pods, now: Monotonic) -> bool {
        let shows = pods.get(&pod.uid).and_then(|pod| pod.migration);
        let longest = Duration::from_secs(pod.migrates_within_seconds).saturating_mul(2);
        let since = self.moved_by_others.get(&pod.uid);
        shows == Some(Migration::Leaving) && since.is_none_or(|since| now.since(*since) < longest)
    }

    /// Detects pods that leave although no answer announced it, and migrations that launchers show.
    fn see_pods(&mut self, pods: &Pods, overtake_after: Duration, now: Monotonic) {
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
    fn count(&mut self, uid: &PodUid, now: Monotonic) {
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
    fn wait_for_news(&mut self, now: Monotonic) {
        let waits =
            |pod: &&mut InFlight| matches!(pod.stage, FlightStage::Asked | FlightStage::InDoubt);
        for pod in self.in_flight.iter_mut().filter(waits) {
            pod.deadline = pod.deadline.max(now + ANSWER);
        }
    }

    /// Drops expired state; returns the pods that should have ended.
    fn pass_time(&mut self, now: Monotonic) -> Vec<InFlight> {
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
            self.in_vain(&pod.uid, None, "no answer", now);
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
    fn in_vain(&mut self, uid: &PodUid, retry_after: Option<Duration>, text: &str, now: Monotonic) {
        *self.tries.entry(uid.clone()).or_default() += 1;
        let before = self.server.as_ref().map(|server| server.pause);
        let pause = before.map_or(SERVER_PAUSE, |pause| pause.saturating_mul(2));
        let pause = pause.min(LONGEST_SERVER_PAUSE);
        let wait =
            retry_after.map_or(pause, |asked| asked.clamp(SERVER_PAUSE, LONGEST_RETRY_AFTER));
        self.server = Some(ServerTrouble { until: now + wait, pause, text: text.to_owned() });
    }

    fn back_off(&mut self, uid: PodUid, at_least: Duration, refused: bool, now: Monotonic) {
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
        now: Monotonic,
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
            // The pod may leave: ask no other before that is known.
            EvictionAnswer::Unknown { .. } => {
                if pod.stage == FlightStage::Asked {
                    (pod.stage, pod.since) = (FlightStage::InDoubt, now);
                    pod.deadline = now + IN_DOUBT;
                    if pod.launcher {
                        let name = format!("{}/{}", pod.namespace, pod.name);
                        let until = now + pod.migrates_within;
                        let before = self.doubtful.get(uid).map_or(IN_DOUBT, |doubt| doubt.pause);
                        let pause = before.saturating_mul(2).min(ONE_MOVE);
                        let again_at = now + before;
                        self.doubtful.insert(uid.clone(), Doubt { until, again_at, pause, name });
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
    pub fn left(&mut self, settings: &EvictionSettings, uid: &PodUid, now: Monotonic) -> bool {
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

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "world_tests.rs"]
mod world_tests;

#[cfg(test)]
#[path = "trace_tests.rs"]
mod trace_tests;
