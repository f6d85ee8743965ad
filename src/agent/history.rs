//! Keeps the node's history: a record each minute, and events as they come.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{Agent, eviction::since_boot};
use crate::{
    act::Actuator,
    decide::{decision::Cause, history::rates},
    history,
    model::trouble::Trouble,
    model::{
        history::{Event, Minute, What},
        host::Monotonic,
        pressure::Sample,
        swap::SwapMax,
    },
    observe::pressure,
};

const MINUTE: Duration = Duration::from_secs(60);
/// So many kinds of repairs are told apart in a minute; the others are summed up.
const TOLD_APART: usize = 20;
/// A limit that another writer keeps changing is repaired so often.
const CONTENDED: Duration = Duration::from_secs(1);

/// What has happened since the last record.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// `None` in a dry run.
    keeper: Option<history::Keeper>,
    /// What reclaim has learned, until it is handed to the keeper.
    pub(super) working_sets: Option<history::Learned>,
    next: Monotonic,
    before: Option<Sample>,
    events: Vec<Event>,
    /// By pod, level and what was found.
    repairs: BTreeMap<(String, String, String), u64>,
    verified: u32,
    written: [u16; 4],
    worst: Duration,
    api_lost: bool,
    troubles: BTreeSet<&'static str>,
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Recorder {
    pub(super) fn tell(&mut self, what: What) {
        self.events.push(Event { at: epoch(), what });
    }

    /// So many limits were compared.
    pub(super) fn verified(&mut self, limits: usize) {
        self.verified = self.verified.saturating_add(u32::try_from(limits).unwrap_or(u32::MAX));
    }

    /// A limit was written; `took` is the time since the agent began to look at it.
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

    /// When to write the next record.
    pub(super) fn next(&self) -> Monotonic {
        self.next
    }
}

impl<A: Actuator> Agent<A> {
    /// A dry run leaves no file: it has no keeper.
    pub(super) fn history_begins(&mut self, acts: bool) {
        if !acts {
            return;
        }
        match history::Keeper::start(self.roots.clone()) {
            Ok(keeper) => self.recorder.keeper = Some(keeper),
            Err(error) => {
                let text = format!("no thread to write the node's history: {error}");
                self.problem(Trouble::History, Some(text));
                return;
            }
        }
        let boot = std::fs::read_to_string(self.roots.proc("sys/kernel/random/boot_id"));
        let boot = boot.unwrap_or_default().trim().to_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.recorder.tell(What::Started { version, boot });
    }

    /// Notes what begins and ends, and the minute when it is over.
    pub(super) fn remember(&mut self) {
        if self.recorder.keeper.is_none() {
            self.recorder.next = self.now() + MINUTE * 60;
            self.recorder.events.clear();
            return;
        }
        self.see_what_changed();
        let due = self.now() >= self.recorder.next;
        let minute = if due { self.minute() } else { None };
        self.keep(minute);
    }

    pub(super) fn history_ends(&mut self) {
        if self.recorder.keeper.is_some() {
            let minute = self.minute();
            self.recorder.tell(What::Stopped);
            self.keep(minute);
        }
        if let Some(keeper) = self.recorder.keeper.take() {
            keeper.end();
        }
    }

    fn keep(&mut self, minute: Option<Minute>) {
        let Some(keeper) = &self.recorder.keeper else { return };
        let working_sets = self.recorder.working_sets.take();
        if minute.is_none() && self.recorder.events.is_empty() && working_sets.is_none() {
            return;
        }
        let events = std::mem::take(&mut self.recorder.events);
        let problem = match keeper.keep(history::News { minute, events, working_sets }) {
            true => keeper.failure(),
            false => Some(format!("{} is not written: the disk does not answer", history::MINUTES)),
        };
        self.problem(Trouble::History, problem);
    }

    fn see_what_changed(&mut self) {
        let lost = self.api.failure.clone();
        match (&lost, self.recorder.api_lost) {
            (Some(why), false) => self.recorder.tell(What::ApiLost { why: why.text.clone() }),
            (None, true) => self.recorder.tell(What::ApiBack),
            _ => {}
        }
        self.recorder.api_lost = lost.is_some();
        let troubles = self.health.now();
        let now: BTreeSet<&'static str> =
            troubles.keys().copied().filter(|about| *about != Trouble::History.word()).collect();
        for about in now.difference(&self.recorder.troubles.clone()) {
            let why = troubles.get(about).cloned().unwrap_or_default();
            self.recorder.tell(What::Trouble { about: (*about).to_owned(), why });
        }
        for about in self.recorder.troubles.clone().difference(&now) {
            self.recorder.tell(What::TroubleOver { about: (*about).to_owned() });
        }
        self.recorder.troubles = now;
    }

    /// What happened since the last; `None` where the node cannot be read, which is reported elsewhere.
    fn minute(&mut self) -> Option<Minute> {
        self.recorder.next = self.now() + MINUTE;
        let slices = &self.settings.protection.slices;
        let working_set = self.eviction.working_set();
        let sample = pressure::sample(&self.roots, since_boot(), slices, working_set).ok()?;
        let recorder = &mut self.recorder;
        let [drifts, found, grant_changed, stepped_down] = std::mem::take(&mut recorder.written);
        let worst = std::mem::take(&mut recorder.worst).as_millis();
        for ((pod, level, found), count) in std::mem::take(&mut recorder.repairs) {
            recorder.tell(What::Repaired { pod, level, found, count });
        }
        let containers = self.state.containers().count();
        let minute = Minute {
            at: epoch(),
            ram_bytes: sample.ram_bytes,
            swap_bytes: sample.swap_bytes,
            swap_used_bytes: sample.swap_used_bytes,
            working_set_bytes: sample.working_set_bytes,
            api_reachable: self.api.synced && self.api.failure.is_none(),
            bus_trouble: self.health.has(Trouble::Systemd),
            signal_active: self.eviction.a_signal_is_active(),
            rates: recorder.before.and_then(|before| rates(&before, &sample)),
            verified: std::mem::take(&mut recorder.verified),
            drifts,
            found,
            grant_changed,
            stepped_down,
            worst_millis: u16::try_from(worst).unwrap_or(u16::MAX),
            containers: u16::try_from(containers).unwrap_or(u16::MAX),
        };
        recorder.before = Some(sample);
        Some(minute)
    }
}
