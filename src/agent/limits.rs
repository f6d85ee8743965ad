//! The part of the agent that owns the swap limits: their state, the holders to look at, the pods'
//! records on disk, and the limits that could not be read or set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{lookup::Lookup, timers::Schedule};
use crate::{
    act::records::Records,
    decide::{health::named, state::LimitStates},
    model::{
        clock::SinceStart,
        counted::counted,
        host::Holder,
        pod::{ContainerId, PodUid},
        published,
        suspend::Suspended,
        swap::SwapMax,
        trouble::{Problem, Trouble},
    },
    observe::tree::Tree,
};

#[derive(Debug)]
pub(super) struct Limits {
    pub(super) state: LimitStates,
    /// Holders to compare with their grant.
    pub(super) dirty: BTreeSet<Holder>,
    pub(super) records: Records,
    /// Start of the current pass, or of the last one.
    pub(super) pass_began: SinceStart,
    /// Holders whose limit could not be read or set.
    pub(super) failures: HashMap<Holder, LimitFailure>,
    /// Containers without a `memory.swap.max` at the last look.
    pub(super) without_limit: BTreeSet<ContainerId>,
    /// Running pods without a cgroup, and since when.
    pub(super) lost: BTreeMap<PodUid, SinceStart>,
    /// When to look at a holder again.
    pub(super) again: Schedule,
    /// When to watch a holder's limits again.
    pub(super) deaf: Schedule,
}

/// A limit that could not be read or set.
#[derive(Debug)]
pub(super) struct LimitFailure {
    /// The text that was logged.
    pub(super) text: String,
    pub(super) times: u64,
    /// `None` if the limit could not be read.
    pub(super) to: Option<SwapMax>,
}

impl Limits {
    pub(super) fn new(records: Records, dirty: BTreeSet<Holder>) -> Self {
        Self {
            state: LimitStates::default(),
            dirty,
            records,
            pass_began: SinceStart::default(),
            failures: HashMap::new(),
            without_limit: BTreeSet::new(),
            lost: BTreeMap::new(),
            again: Schedule::default(),
            deaf: Schedule::default(),
        }
    }

    /// Forgets a holder whose cgroup is gone.
    pub(super) fn forget(&mut self, holder: &Holder) {
        self.dirty.remove(holder);
        self.state.forget(holder);
        self.failures.remove(holder);
        self.again.forget(holder);
        self.deaf.forget(holder);
    }

    /// Marks the limits of a suspended pod: they depend on the stage of the suspension.
    pub(super) fn look_at_pod_of(&mut self, tree: &Tree, suspended: &Suspended) {
        let ids = suspended.containers.iter().map(|sleeper| sleeper.id.clone());
        self.dirty.extend(ids.filter(|id| tree.pod_of(id).is_some()).map(Holder::Container));
    }

    /// Counts a failure. Returns true if it is new.
    pub(super) fn failed(&mut self, holder: &Holder, to: Option<SwapMax>, text: &str) -> bool {
        let times = self.failures.get(holder).map_or(0, |failure| failure.times) + 1;
        let failure = LimitFailure { text: text.to_owned(), times, to };
        let before = self.failures.insert(holder.clone(), failure);
        before.is_none_or(|before| before.text != text)
    }

    /// Ends the failures of `holder`. Returns their number, if there were any.
    pub(super) fn works(&mut self, holder: &Holder) -> Option<u64> {
        self.failures.remove(holder).map(|failure| failure.times)
    }

    /// Returns true if the limit of `holder` could not be read at the last look.
    pub(super) fn is_unread(&self, holder: &Holder) -> bool {
        self.failures.get(holder).is_some_and(|failure| failure.to.is_none())
    }

    /// Describes limits that could not be read or set; each is logged separately.
    pub(super) fn problem(&self, known: Lookup<'_>) -> Option<Problem> {
        let failure = self.failures.values().map(|failure| &failure.text).min()?;
        let mut pods: Vec<String> = self
            .failures
            .keys()
            .filter_map(|holder| known.pod_of(holder))
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect();
        pods.sort();
        pods.dedup();
        let count = self.failures.len();
        let limits = counted(count, "limit", "limits");
        let text = format!("{limits} cannot be read or set{}: {failure}", named(&pods));
        Some(Problem { pods, ..Problem::new(Trouble::Limits, text) })
    }

    pub(super) fn is_contended(&self, holder: &Holder) -> bool {
        self.state.get(holder).is_some_and(|state| state.contended)
    }

    /// Returns the totals of all containers and pods.
    pub(super) fn totals(&self) -> published::Containers {
        let mut sum = published::Containers::default();
        for (_, container) in self.state.containers() {
            sum.count += 1;
            match container.grant.swap_max {
                SwapMax::ZERO => {}
                SwapMax::Bytes(bytes) => {
                    sum.granted += 1;
                    sum.granted_bytes += bytes;
                }
                SwapMax::Max => sum.unlimited += 1,
            }
            sum.used_bytes += container.used_bytes;
            sum.above_grant += usize::from(container.above);
        }
        // Memory outside of containers counts too.
        let of_pods = self.state.pods().map(|(_, pod)| pod.used_bytes).sum();
        sum.used_bytes = sum.used_bytes.max(of_pods);
        sum
    }

    /// Returns the time of the next look if there is no event.
    pub(super) fn next(&self) -> Option<SinceStart> {
        [self.again.next(), self.deaf.next()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::Roots;

    #[test]
    fn a_failure_is_news_once_and_its_end_tells_how_many_there_were() {
        let records = Records::new(&Roots::at(std::path::Path::new("/nonexistent")));
        let holder = Holder::from(ContainerId::new(&"a".repeat(64)).unwrap());
        let mut limits = Limits::new(records, BTreeSet::new());
        assert!(limits.failed(&holder, None, "busy"));
        assert!(!limits.failed(&holder, None, "busy"));
        assert!(limits.is_unread(&holder));
        assert!(limits.failed(&holder, Some(SwapMax::ZERO), "refused"));
        assert!(!limits.is_unread(&holder));
        assert_eq!(limits.works(&holder), Some(3));
        assert_eq!(limits.works(&holder), None);
    }
}
