//! Decides when to evict a pod: one at a time, with a pause after each, and never on data that may
//! be out of date.
//!
//! ```text
//! watching ──signal, candidate──► asked ──201──► leaving ──gone──► watching (new window, cooldown)
//!    ▲                             │││ └──429, migration──► migrating ──gone or deadline──┘
//!    │                             ││└──429, budget──► that pod backs off, the next is asked
//!    │                             │└──no answer──► in doubt: it leaves, or it is asked again
//!    └──overload, error────────────┘ no pod is at fault; asked again when the server recovers
//! ```

use crate::model::counted::counted;
use std::time::Duration;

use super::{
    efforts::Efforts,
    evictions::{Doubt, Evictions, TRIES},
    fit::{Need, Unfitness},
    flight::{FlightStage, InFlight},
    held::{CONNECTION, NoneChosen, Obstacle, RANKS, REPORT, explain, kept_by_budget},
    select::{Circumstances, Ranked, rank},
    signals::{Reading, Signals},
    verdict::{MachineVerdict, Victim},
};
use crate::{
    config::settings::{EvictionMode, EvictionSettings},
    model::{
        clock::{SinceBoot, UnixTime},
        pod::{Migration, Pods},
        pressure::{PodUsage, Sample},
        shell::quoted,
    },
};

/// For traffic and pressure, the agent first watches which pods cause them, but at most for this
/// long.
const WATCHED_FIRST: Duration = Duration::from_secs(10);
/// After a signal has been active for this long, the agent also accepts pods that free less.
const WORTH_IN_THE_END: Duration = Duration::from_secs(600);

/// All inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub sample: Sample,
    pub wall_clock: UnixTime,
    pub pods: &'a Pods,
    pub usage: &'a [PodUsage],
    /// The list of pods comes from the API server, which confirmed it recently.
    pub pods_are_fresh: bool,
    /// The descheduler has marked this node and relieves it.
    pub others_relieve: bool,
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
    let mut verdict = MachineVerdict {
        readings,
        evict: None,
        held_back: None,
        look: Vec::new(),
        overdue,
        returned,
    };
    let active: Vec<&Reading> = verdict.readings.iter().filter(|r| r.active).collect();
    let critical = active.iter().any(|reading| reading.critical);
    evictions.critical_since = critical.then(|| evictions.critical_since.unwrap_or(now));
    evictions.active_since = (!active.is_empty()).then(|| evictions.active_since.unwrap_or(now));
    if active.is_empty() || settings.mode == EvictionMode::Off {
        return verdict;
    }
    if let Some(Obstacle { text, look }) = evictions.obstacle(settings, &inputs, critical) {
        (verdict.held_back, verdict.look) = (Some(text), look);
        return verdict;
    }
    let told = |pod: &PodUsage| pod.effort.is_some_and(|effort| effort.stalled.is_some());
    let moves = active.iter().all(|reading| reading.signal.is_of_movement());
    let active_for = evictions.active_since.map_or(Duration::ZERO, |since| now.since(since));
    if moves
        && active_for < WATCHED_FIRST
        && inputs.usage.iter().any(told)
        && !signals.knows_others()
    {
        verdict.held_back = Some("finding the pods that cause it".to_owned());
        return verdict;
    }
    let at = Circumstances { now: inputs.wall_clock, ram_bytes: inputs.sample.ram_bytes, efforts };
    let ranked = rank(settings, inputs.pods, inputs.usage, at);
    let lasting = active_for >= WORTH_IN_THE_END;
    let need = Need::of(settings, &active, signals.only_own_limits(settings));
    let need = if lasting { need.in_the_end(inputs.sample.ram_bytes) } else { need };
    match evictions.choose(settings, &inputs, ranked, &need, efforts, critical) {
        Ok((ranked, last_resort)) => {
            let why: Vec<String> =
                active.iter().map(|r| format!("{}: {}", r.signal, r.text)).collect();
            let mut why = why.join("; ");
            if let Some(slow) = evictions.in_flight.last() {
                // Without its name: the pod may be another tenant's, and an event of the victim has
                // this text.
                let seconds = now.since(slow.since).as_secs();
                why += &format!("; the pod evicted before has not left after {seconds} s");
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
        Err(why) => {
            (verdict.held_back, verdict.look) = (Some(why.to_string()), why.look());
        }
    }
    verdict
}

impl Evictions {
    /// Returns the reason why no pod may be evicted now.
    fn obstacle(
        &self,
        settings: &EvictionSettings,
        inputs: &Inputs<'_>,
        critical: bool,
    ) -> Option<Obstacle> {
        let obstacle = |text: String, look: &[String]| Some(Obstacle { text, look: look.to_vec() });
        let now = inputs.sample.at;
        // The newest eviction blocks the next; each gets its own few minutes.
        if let Some(InFlight { namespace, name, stage, since, .. }) = self.in_flight.last() {
            let moves = matches!(stage, FlightStage::Leaving | FlightStage::Migrating);
            let slow = now.since(*since) >= settings.overtake_after;
            if !(critical && moves && slow) {
                let look = match stage {
                    FlightStage::Migrating => {
                        format!("oc get virtualmachineinstancemigration -n {}", quoted(namespace))
                    }
                    _ => format!("oc get pod -n {} {} -o wide", quoted(namespace), quoted(name)),
                };
                let text = format!("{} pod {namespace}/{name}", stage.waits_for());
                return obstacle(text, &[explain(namespace, name), look]);
            }
        }
        if !inputs.pods_are_fresh {
            let text = "the list of pods is not current: the API server is unreachable".to_owned();
            return obstacle(text, &[CONNECTION.to_owned()]);
        }
        if let Some(server) = self.server.as_ref().filter(|server| now < server.until) {
            let left = server.until.since(now).as_secs().max(1);
            let text =
                format!("the API server has a problem, next try in {left} s: {}", server.text);
            return obstacle(text, &["wasp-agent check".to_owned(), CONNECTION.to_owned()]);
        }
        if now < self.cooldown_until {
            let left = self.cooldown_until.since(now).as_secs();
            return obstacle(format!("cooling down for {left} s"), &[REPORT.to_owned()]);
        }
        if self.moves.len() >= settings.max_per_hour {
            let limit = counted(settings.max_per_hour, "eviction", "evictions");
            let text = format!("the limit of {limit} in an hour is reached");
            let then = "# then move VMs to other nodes, or raise eviction.max-per-hour";
            return obstacle(text, &[REPORT.to_owned(), then.to_owned()]);
        }
        let active_for = self.active_since.map_or(Duration::ZERO, |since| now.since(since));
        let waits = inputs.others_relieve && !critical && active_for < settings.wait_for_others;
        let left = settings.wait_for_others.saturating_sub(active_for).as_secs();
        let text =
            format!("the descheduler relieves this node; the agent waits for it for {left} s more");
        waits.then(|| Obstacle { text, look: vec![RANKS.to_owned()] })
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
        critical: bool,
    ) -> Result<(Ranked, bool), NoneChosen> {
        let now = inputs.sample.at;
        let mut why = Vec::new();
        let (mut free, mut refused) = (Vec::new(), Vec::new());
        for pod in ranked {
            let name = || format!("{}/{}", pod.namespace, pod.name);
            let explained =
                |text: String| Obstacle { text, look: vec![explain(&pod.namespace, &pod.name)] };
            if self.in_flight.iter().any(|other| other.uid == pod.uid) {
                continue;
            }
            if let Err(unfit) = need.is_met_by(&pod, efforts) {
                let unfit: Unfitness = unfit;
                why.push(explained(format!("{} {unfit}", name())));
            } else if self.is_moved_by_others(&pod, inputs.pods, now) {
                why.push(explained(format!("{} is already migrating", name())));
            } else if let Some(spared) = pod
                .workload
                .as_ref()
                .filter(|_| !self.doubtful.contains_key(&pod.uid))
                .and_then(|workload| self.workloads.spared(workload, now))
            {
                why.push(explained(spared));
            } else if let Some(backoff) = self.backoff.get(&pod.uid).filter(|b| now < b.until) {
                let text = format!("{} was refused; the agent asks again later", name());
                why.push(match backoff.refused {
                    true => Obstacle { text, look: kept_by_budget(&pod.namespace, &pod.name) },
                    false => explained(text),
                });
                refused.push(pod);
            } else {
                free.push(pod);
            }
        }
        // Pods that the agent tried too often without effect come after the others.
        let rounds = |pod: &Ranked| self.tries.get(&pod.uid).map_or(0, |tries| tries / TRIES);
        free.sort_by_key(rounds);
        // Ask again first for a pod that may be leaving already.
        let doubt = |pod: &Ranked| self.doubtful.get(&pod.uid);
        // Under critical pressure the next pod goes, as with a pod that does not leave in time.
        let overtaken =
            |doubt: &Doubt| critical && now.since(doubt.since) >= settings.overtake_after;
        free.retain(|pod| doubt(pod).is_none_or(|it| !overtaken(it) || now >= it.again_at));
        let again = |pod: &Ranked| {
            doubt(pod).is_some_and(|it| !overtaken(it))
                || self.tries.get(&pod.uid).is_some_and(|tries| *tries > 0 && tries % TRIES != 0)
        };
        let first = free.iter().position(again).unwrap_or(0);
        let mut awaited = self.doubtful.values().filter(|doubt| !overtaken(doubt));
        if let Some(doubt) = awaited.clone().find(|doubt| now < doubt.again_at) {
            return Err(NoneChosen::InDoubt { pod: doubt.name.clone() });
        }
        if let Some(doubt) = awaited.next()
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
    fn is_moved_by_others(&self, pod: &Ranked, pods: &Pods, now: SinceBoot) -> bool {
        let shows = pods.get(&pod.uid).and_then(|pod| pod.migration);
        let longest = Duration::from_secs(pod.migrates_within_seconds).saturating_mul(2);
        let since = self.moved_by_others.get(&pod.uid);
        shows == Some(Migration::Leaving) && since.is_none_or(|since| now.since(*since) < longest)
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
