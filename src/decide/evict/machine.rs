//! When a pod is evicted: one at a time, not again too soon, and never on doubtful data.
//!
//! ```text
//! watching ──signal, candidate──► asked ──201──► leaving ──gone──► watching (window anew, cooldown)
//!    ▲                             │ │ └─429, migration─► migrating ──gone or deadline──┘
//!    │                             │ └─429, budget─► that pod backs off, the next is asked
//!    └──────refused, unreachable───┘
//!
//! Without an answer a pod stays asked for a minute; it leaves where it is seen being deleted.
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    select::{Ranked, rank},
    signals::{Reading, Signals},
};
use crate::{
    config::settings::{EvictionMode, EvictionSettings},
    model::{
        host::Monotonic,
        pod::{PodUid, Pods},
        pressure::{PodUsage, Sample},
    },
};

const HOUR: Duration = Duration::from_secs(3600);
/// No answer to a request is one after so long.
const ANSWER: Duration = Duration::from_secs(60);
/// What a pod is given beyond its grace period: stopping containers, unmounting volumes.
const LEAVES_WITHIN: Duration = Duration::from_secs(60);
/// Grace beyond this is not waited for: its author sets it, and the next is evicted only then.
const LONGEST_GRACE: Duration = HOUR;
const MIGRATES_WITHIN: Duration = Duration::from_secs(600);
const BACKOFF: Duration = Duration::from_secs(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// What the API server answered to an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 201: the pod will stop.
    Accepted,
    /// 429 by KubeVirt's webhook: the VM migrates, its pod ends then.
    Migrating,
    /// 429 by a PodDisruptionBudget, and when to ask again, if the server said so.
    Budget { retry_after: Option<Duration> },
    /// 404, or 403 as a node is told of a pod that is gone.
    Gone,
    /// Anything else, in words.
    Refused(String),
    /// Nothing was asked, since nobody could be.
    Unreachable(String),
    /// It was asked, and what came of it is not known.
    Unknown(String),
}

impl Answer {
    /// One word, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Migrating => "migrating",
            Self::Budget { .. } => "budget",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A pod on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub uid: PodUid,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    pub stage: Stage,
    pub since: Monotonic,
    pub deadline: Monotonic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Asked,
    Leaving,
    Migrating,
}

/// When a pod that could not be evicted may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Backoff {
    until: Monotonic,
    pause: Duration,
    /// By a budget, or by a migration that did not end: it was heard, and may not leave.
    #[serde(default)]
    refused: bool,
}

/// What outlives a restart of the agent. Times are since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evictions {
    in_flight: Vec<InFlight>,
    backoff: BTreeMap<PodUid, Backoff>,
    /// The evictions of the last hour.
    history: VecDeque<Monotonic>,
    cooldown_until: Monotonic,
    #[serde(default)]
    critical_since: Option<Monotonic>,
}

impl Evictions {
    pub fn in_flight(&self) -> &[InFlight] {
        &self.in_flight
    }

    pub fn in_the_last_hour(&self) -> usize {
        self.history.len()
    }

    /// What was remembered cannot be read: somebody may be on its way, by a migration even.
    pub fn lost(now: Monotonic) -> Self {
        Self { cooldown_until: now + MIGRATES_WITHIN, ..Self::default() }
    }

    /// Asks nobody after all, since an agent that started anew would not know of it.
    pub fn take_back(&mut self, verdict: &mut Verdict) {
        if let Some(victim) = verdict.evict.take() {
            self.in_flight.retain(|pod| pod.uid != victim.ranked.uid);
            verdict.held_back = Some("what is asked for cannot be written down".to_owned());
        }
    }
}

/// All that a decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub sample: Sample,
    pub pods: &'a Pods,
    pub usage: &'a [PodUsage],
    /// The list of pods is the API server's, and was confirmed not long ago.
    pub pods_are_fresh: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub readings: Vec<Reading>,
    pub evict: Option<Victim>,
    /// Why nobody is evicted though a signal is active.
    pub held_back: Option<String>,
    /// A pod that did not leave in time.
    pub overdue: Vec<InFlight>,
}

/// The pod to evict, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Victim {
    pub ranked: Ranked,
    pub why: String,
    /// Its eviction has been refused for long enough: it is deleted.
    pub last_resort: bool,
}

/// One step. `usage` may be empty while no signal is active.
pub fn decide(
    settings: &EvictionSettings,
    inputs: Inputs<'_>,
    signals: &mut Signals,
    evictions: &mut Evictions,
) -> Verdict {
    let now = inputs.sample.at;
    let readings = signals.read(settings, inputs.sample);
    evictions.see_who_leaves(inputs.pods, now);
    if !inputs.pods_are_fresh {
        evictions.wait_for_news(now);
    }
    let overdue = evictions.pass_time(now);
    let mut verdict = Verdict { readings, evict: None, held_back: None, overdue };
    let active: Vec<&Reading> = verdict.readings.iter().filter(|r| r.active).collect();
    let critical = active.iter().any(|reading| reading.critical);
    evictions.critical_since = critical.then(|| evictions.critical_since.unwrap_or(now));
    if active.is_empty() || settings.mode == EvictionMode::Off {
        return verdict;
    }
    match evictions.obstacle(settings, &inputs, critical) {
        Some(obstacle) => verdict.held_back = Some(obstacle),
        None => {
            let ranked = rank(settings, inputs.pods, inputs.usage);
            match evictions.choose(settings, ranked, now) {
                Some((ranked, last_resort)) => {
                    let why: Vec<String> =
                        active.iter().map(|r| format!("{}: {}", r.signal, r.text)).collect();
                    let why = why.join("; ");
                    if settings.mode == EvictionMode::Enforce {
                        evictions.ask(&ranked, now);
                    } else {
                        // Nobody leaves; it is said again when the next would be evicted.
                        evictions.cooldown_until = now + settings.cooldown;
                    }
                    verdict.evict = Some(Victim { ranked, why, last_resort });
                }
                None => verdict.held_back = Some("no pod may be evicted now".to_owned()),
            }
        }
    }
    verdict
}

impl Evictions {
    /// Why nobody may be evicted now.
    fn obstacle(
        &self,
        settings: &EvictionSettings,
        inputs: &Inputs<'_>,
        critical: bool,
    ) -> Option<String> {
        let now = inputs.sample.at;
        let busy = self.in_flight.iter().find(|pod| {
            // Only a migration, which takes minutes, may be overtaken, and only when it burns.
            !(critical && pod.stage == Stage::Migrating)
        });
        if let Some(InFlight { namespace, name, stage, .. }) = busy {
            let what = match stage {
                Stage::Asked => "the API server has not answered yet for",
                Stage::Leaving => "waiting for the end of",
                Stage::Migrating => "waiting for the migration of",
            };
            return Some(format!("{what} pod {namespace}/{name}"));
        }
        if !inputs.pods_are_fresh {
            return Some("the list of pods is not fresh: the API server is away".to_owned());
        }
        if now < self.cooldown_until {
            let left = self.cooldown_until.since(now).as_secs();
            return Some(format!("cooling down for {left} s"));
        }
        (self.history.len() >= settings.max_per_hour)
            .then(|| format!("{} evictions in an hour are enough", settings.max_per_hour))
    }

    /// The first that may be asked; where there is none, the first that has refused, if it is time
    /// for the last resort.
    fn choose(
        &self,
        settings: &EvictionSettings,
        ranked: Vec<Ranked>,
        now: Monotonic,
    ) -> Option<(Ranked, bool)> {
        let on_its_way = |uid: &PodUid| self.in_flight.iter().any(|pod| pod.uid == *uid);
        let (free, refused): (Vec<_>, Vec<_>) = ranked
            .into_iter()
            .filter(|pod| !on_its_way(&pod.uid))
            .partition(|pod| self.backoff.get(&pod.uid).is_none_or(|b| now >= b.until));
        if let Some(pod) = free.into_iter().next() {
            return Some((pod, false));
        }
        let (after, since) = (settings.last_resort?, self.critical_since?);
        let was_heard = |pod: &Ranked| self.backoff.get(&pod.uid).is_some_and(|b| b.refused);
        let pod = refused.into_iter().find(was_heard)?;
        (now.since(since) >= after).then_some((pod, true))
    }

    fn ask(&mut self, Ranked { uid, namespace, name, .. }: &Ranked, now: Monotonic) {
        self.in_flight.push(InFlight {
            uid: uid.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            stage: Stage::Asked,
            since: now,
            deadline: now + ANSWER,
        });
    }

    /// Who was asked for and is being deleted leaves, though no answer said so: it was lost, or came
    /// to an agent that is gone.
    fn see_who_leaves(&mut self, pods: &Pods, now: Monotonic) {
        for pod in self.in_flight.iter_mut().filter(|pod| pod.stage == Stage::Asked) {
            if let Some(found) = pods.get(&pod.uid)
                && found.terminating
            {
                let grace = Duration::from_secs(found.grace_seconds).min(LONGEST_GRACE);
                (pod.stage, pod.deadline) = (Stage::Leaving, now + grace + LEAVES_WITHIN);
                self.history.push_back(now);
            }
        }
    }

    /// While the API server is away nobody tells whether who was asked for leaves: its time does not
    /// pass.
    fn wait_for_news(&mut self, now: Monotonic) {
        for pod in self.in_flight.iter_mut().filter(|pod| pod.stage == Stage::Asked) {
            pod.deadline = pod.deadline.max(now + ANSWER);
        }
    }

    /// Forgets what is over; returns what should have ended.
    fn pass_time(&mut self, now: Monotonic) -> Vec<InFlight> {
        while self.history.front().is_some_and(|at| now.since(*at) >= HOUR) {
            self.history.pop_front();
        }
        self.backoff.retain(|_, backoff| now < backoff.until || now.since(backoff.until) < HOUR);
        let (overdue, on_time) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|pod| now >= pod.deadline);
        self.in_flight = on_time;
        let overdue: Vec<InFlight> = overdue;
        for pod in &overdue {
            self.back_off(pod.uid.clone(), None, pod.stage == Stage::Migrating, now);
        }
        overdue
    }

    fn back_off(&mut self, uid: PodUid, asked: Option<Duration>, refused: bool, now: Monotonic) {
        let before = self.backoff.get(&uid);
        let refused = refused || before.is_some_and(|before| before.refused);
        let pause = before.map_or(BACKOFF, |before| before.pause.saturating_mul(2));
        let pause = pause.min(LONGEST_BACKOFF).max(asked.unwrap_or_default());
        self.backoff.insert(uid, Backoff { until: now + pause, pause, refused });
    }

    /// Takes the API server's answer for `uid`; `grace` is the pod's termination grace period.
    pub fn answered(
        &mut self,
        settings: &EvictionSettings,
        uid: &PodUid,
        answer: &Answer,
        grace: Duration,
        now: Monotonic,
    ) {
        let Some(pod) = self.in_flight.iter_mut().find(|pod| pod.uid == *uid) else { return };
        match answer {
            Answer::Accepted if pod.stage == Stage::Leaving => {}
            Answer::Accepted => {
                (pod.stage, pod.deadline) =
                    (Stage::Leaving, now + grace.min(LONGEST_GRACE) + LEAVES_WITHIN);
                self.history.push_back(now);
            }
            Answer::Migrating => {
                (pod.stage, pod.deadline) = (Stage::Migrating, now + MIGRATES_WITHIN);
                self.history.push_back(now);
            }
            Answer::Gone => drop(self.left(settings, uid, now)),
            Answer::Budget { retry_after } => {
                self.in_flight.retain(|pod| pod.uid != *uid);
                self.back_off(uid.clone(), *retry_after, true, now);
            }
            // It may leave: no other is asked before its time is over.
            Answer::Unknown(_) => {}
            Answer::Refused(_) | Answer::Unreachable(_) => {
                self.in_flight.retain(|pod| pod.uid != *uid);
                self.back_off(uid.clone(), None, false, now);
            }
        }
    }

    /// The last of the pod's containers is gone. Whether it was on its way: then what was measured
    /// before says nothing any more, and the signals are to begin anew.
    pub fn left(&mut self, settings: &EvictionSettings, uid: &PodUid, now: Monotonic) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|pod| pod.uid != *uid);
        self.backoff.remove(uid);
        let was_on_its_way = self.in_flight.len() < before;
        if was_on_its_way {
            self.cooldown_until = now + settings.cooldown;
        }
        was_on_its_way
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "trace_tests.rs"]
mod trace_tests;
