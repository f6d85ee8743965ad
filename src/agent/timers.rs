//! Schedules of the next looks.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use tokio::sync::Notify;

use crate::model::{clock::SinceStart, host::Holder};

/// The clock of the loop and of its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartClock(Instant);

impl Default for StartClock {
    /// Starts now.
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl StartClock {
    pub(super) fn now(self) -> SinceStart {
        SinceStart(self.0.elapsed())
    }

    pub(super) fn instant(self, at: SinceStart) -> Instant {
        self.0 + at.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    pub(super) resync: SinceStart,
    /// Tells the slices' guard to compare everything too.
    pub(super) resynced: Arc<Notify>,
    pub(super) status: Option<SinceStart>,
}

impl Timers {
    pub(super) fn next(&self) -> SinceStart {
        self.status.map_or(self.resync, |status| status.min(self.resync))
    }
}

/// One time for each holder: the earliest of the requested ones.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    of: HashMap<Holder, SinceStart>,
    order: BTreeSet<(SinceStart, Holder)>,
}

impl Schedule {
    pub(super) fn at(&mut self, at: SinceStart, id: Holder) {
        if self.of.get(&id).is_some_and(|before| *before <= at) {
            return;
        }
        self.forget(&id);
        self.of.insert(id.clone(), at);
        self.order.insert((at, id));
    }

    pub(super) fn forget(&mut self, id: &Holder) {
        if let Some(at) = self.of.remove(id) {
            self.order.remove(&(at, id.clone()));
        }
    }

    /// Takes all that are due.
    pub(super) fn due(&mut self, now: SinceStart) -> Vec<Holder> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.order.pop_first() else { break };
            self.of.remove(&id);
            due.push(id);
        }
        due
    }

    pub(super) fn next(&self) -> Option<SinceStart> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::pod::ContainerId;

    #[test]
    fn a_container_is_due_once_at_the_earliest_time() {
        let at = |seconds| SinceStart(Duration::from_secs(seconds));
        let id = |letter: &str| Holder::from(ContainerId::new(&letter.repeat(64)).unwrap());
        let mut schedule = Schedule::default();
        for seconds in [9, 5, 7, 5] {
            schedule.at(at(seconds), id("a"));
        }
        schedule.at(at(6), id("b"));
        schedule.at(at(6), id("c"));
        schedule.forget(&id("c"));
        assert_eq!((schedule.next(), schedule.of.len(), schedule.order.len()), (Some(at(5)), 2, 2));
        assert_eq!(schedule.due(at(4)), []);
        assert_eq!(schedule.due(at(8)), [id("a"), id("b")]);
        assert_eq!((schedule.next(), schedule.of.len()), (None, 0));
        schedule.at(at(9), id("a"));
        assert_eq!(schedule.due(at(9)), [id("a")]);
    }
}
