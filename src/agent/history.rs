//! Records the node's history: a record each minute, and events as they happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{Agent, effects::Effects, health::Health};
use crate::{
    decide::{decision::Cause, history::rates},
    history,
    model::trouble::Trouble,
    model::{
        clock::SinceStart,
        failure::Failure,
        history::{HistoryEvent, Minute, What},
        pressure::Sample,
        swap::SwapMax,
    },
    observe::{clock::since_boot, pressure},
    roots::Roots,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Number of kinds of repairs that a minute distinguishes; others are summed up.
const TOLD_APART: usize = 20;
/// Number of times that the beginning of a problem is recorded within this period; after that, only
/// a problem that lasts is recorded.
const BEGINS: u32 = 12;
const BEGINS_IN: Duration = Duration::from_secs(3600);
/// Interval of repairs of a limit that another program keeps changing.
const CONTENDED: Duration = Duration::from_secs(1);

/// Events since the last record.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// Working sets that reclaim has measured and the keeper does not have yet.
    pub(super) working_sets: Option<history::LearnedWorkingSets>,
    next: SinceStart,
    before: Option<Sample>,
    events: Vec<HistoryEvent>,
    /// Repairs by pod, level and the value found.
    repairs: BTreeMap<(String, String, String), u64>,
    verified: u32,
    written: [u16; 4],
    worst: Duration,
    api_lost: bool,
    troubles: BTreeSet<&'static str>,
    /// For each problem, the start of the period and the number of its beginnings in it.
    begun: BTreeMap<&'static str, (SinceStart, u32)>,
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Recorder {
    pub(super) fn tell(&mut self, what: What) {
        self.events.push(HistoryEvent { at: epoch(), what });
    }

    /// Counts limits that were compared.
    pub(super) fn verified(&mut self, limits: usize) {
        self.verified = self.verified.saturating_add(u32::try_from(limits).unwrap_or(u32::MAX));
    }

    /// Counts a written limit; `took` is the time since the agent began to look at it.
    pub(super) fn written(
        &mut self,
        cause: Cause,
        (pod, level, found): (&str, &str, SwapMax),
        took: Duration,
        contended: bool,
    ) {
        let place = match cause {
            Cause::Drift => 0,
            Cause::Found => 1,
            Cause::GrantChanged => 2,
            Cause::StepDown => 3,
        };
        self.written[place] = self.written[place].saturating_add(1);
        if cause != Cause::Drift {
            return;
        }
        self.worst = self.worst.max(if contended { CONTENDED } else { took });
        let mut key = (pod.to_owned(), level.to_owned(), found.to_string());
        if self.repairs.len() >= TOLD_APART && !self.repairs.contains_key(&key) {
            key = ("others".to_owned(), "several".to_owned(), "several".to_owned());
        }
        *self.repairs.entry(key).or_default() += 1;
    }

    pub(super) fn begins(&mut self, roots: &Roots) {
        let boot = std::fs::read_to_string(roots.proc("sys/kernel/random/boot_id"));
        let boot = boot.unwrap_or_default().trim().to_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.tell(What::Started { version, boot });
    }

    fn keep(&mut self, effects: &mut impl Effects, health: &mut Health, minute: Option<Minute>) {
        let working_sets = self.working_sets.take();
        if minute.is_none() && self.events.is_empty() && working_sets.is_none() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let problem = effects.keep(history::HistoryUpdate { minute, events, working_sets });
        health.problem(Trouble::History, problem);
    }

    fn see_what_changed(&mut self, lost: Option<&Failure>, health: &Health, now_is: SinceStart) {
        match (lost, self.api_lost) {
            (Some(why), false) if self.may_begin(Trouble::Api.word(), now_is) => {
                self.tell(What::ApiLost { why: why.text.clone() });
                self.api_lost = true;
            }
            (None, true) => {
                self.tell(What::ApiBack);
                self.api_lost = false;
            }
            _ => {}
        }
        let troubles = health.current();
        let now: BTreeSet<&'static str> =
            troubles.keys().copied().filter(|about| *about != Trouble::History.word()).collect();
        for about in now.difference(&self.troubles.clone()) {
            if self.may_begin(about, now_is) {
                let why = troubles.get(about).cloned().unwrap_or_default();
                self.tell(What::Problem { kind: (*about).to_owned(), why });
                self.troubles.insert(about);
            }
        }
        for about in self.troubles.clone().difference(&now) {
            self.tell(What::ProblemOver { kind: (*about).to_owned() });
            self.troubles.remove(about);
        }
    }

    fn may_begin(&mut self, about: &'static str, now: SinceStart) -> bool {
        let (since, count) = self.begun.entry(about).or_insert((now, 0));
        if now.since(*since) >= BEGINS_IN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= BEGINS
    }

    /// Returns the time of the next record.
    pub(super) fn next(&self) -> SinceStart {
        self.next
    }
}

impl<E: Effects> Agent<E> {
    /// Records events that begin and end, and each minute when it has ended.
    pub(super) fn remember(&mut self) {
        let (lost, now) = (self.api.failure.as_ref(), self.clock.now());
        self.recorder.see_what_changed(lost, &self.health, now);
        let due = now >= self.recorder.next;
        let minute = if due { self.minute() } else { None };
        self.recorder.keep(&mut self.effects, &mut self.health, minute);
    }

    pub(super) fn history_ends(&mut self) {
        let minute = self.minute();
        self.recorder.tell(What::Stopped);
        self.recorder.keep(&mut self.effects, &mut self.health, minute);
    }

    /// Returns the record since the last one; `None` if the node cannot be read, which is reported
    /// elsewhere.
    fn minute(&mut self) -> Option<Minute> {
        self.recorder.next = self.now() + MINUTE;
        let slices = &self.settings.protection.slices;
        let working_set = self.eviction.working_set();
        let sample = pressure::sample(&self.roots, since_boot(), slices, working_set).ok()?;
        self.read_suspended();
        let suspended_bytes = self.suspend.swap_bytes();
        let recorder = &mut self.recorder;
        let [drifts, found, grant_changed, stepped_down] = std::mem::take(&mut recorder.written);
        let worst = std::mem::take(&mut recorder.worst).as_millis();
        for ((pod, level, found), count) in std::mem::take(&mut recorder.repairs) {
            recorder.tell(What::Repaired { pod, level, found, count });
        }
        let containers = self.limits.state.containers().count();
        let minute = Minute {
            at: epoch(),
            ram_bytes: sample.ram_bytes,
            swap_bytes: sample.swap_bytes,
            swap_used_bytes: sample.swap_used_bytes,
            working_set_bytes: sample.working_set_bytes,
            api_reachable: self.api.synced && self.api.failure.is_none(),
            bus_problem: self.health.has(Trouble::Systemd),
            signal_active: self.eviction.a_signal_is_active(),
            rates: recorder.before.and_then(|before| rates(&before, &sample)),
            verified: std::mem::take(&mut recorder.verified),
            drifts,
            found,
            grant_changed,
            stepped_down,
            worst_millis: u16::try_from(worst).unwrap_or(u16::MAX),
            containers: u16::try_from(containers).unwrap_or(u16::MAX),
            suspended_bytes,
        };
        recorder.before = Some(sample);
        Some(minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_flaps_is_recorded_a_dozen_times_an_hour() {
        let mut recorder = Recorder::default();
        let at = |second| SinceStart(Duration::from_secs(second));
        let begun = (0..3600).filter(|second| recorder.may_begin("records", at(*second))).count();
        assert_eq!(begun, 12);
        assert!(recorder.may_begin("api", at(3599)), "another one");
        assert!(recorder.may_begin("records", at(3600)), "an hour later");
    }
}
