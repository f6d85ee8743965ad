//! The state of containers and pods between passes.

use std::{collections::BTreeMap, time::Duration};

use super::{
    budget::{Budget, SlowFight},
    grant::Grant,
};
use crate::model::{
    clock::SinceStart,
    host::Holder,
    pod::{ContainerId, PodUid},
    swap::SwapMax,
};

/// Pause after systemd has rejected a property or could not be reached.
const SYSTEMD_RETRY: Duration = Duration::from_secs(5);

/// The limits by container, and by pod for the pods' own cgroups. Boxed, because a third of each node of
/// the maps is empty.
#[derive(Clone, Debug, Default)]
pub struct LimitStates {
    containers: BTreeMap<ContainerId, Box<LimitState>>,
    pods: BTreeMap<PodUid, Box<LimitState>>,
}

/// The limit of a container or of a pod's cgroup.
#[derive(Clone, Debug)]
pub struct LimitState {
    /// For a pod's cgroup: includes the memory that its containers hold beyond their own grants.
    pub grant: Grant,
    /// The limit set last; above the grant while the container uses more than that.
    pub target: SwapMax,
    pub used_bytes: u64,
    pub told: ToldLimit,
    pub above: bool,
    pub contended: bool,
    /// In kubelet mode: its limit is wrong, and the agent has not repaired it.
    pub differs: bool,
    /// In kubelet mode: the time since which the limit is wrong.
    pub(super) wrong_since: Option<SinceStart>,
    /// The pod of a container.
    pub(super) pod: Option<PodUid>,
    /// Inodes of the cgroups whose limit the agent has set.
    pub(super) seen: Vec<u64>,
    /// The agent has changed the limit, and not only found it right.
    pub(super) changed: bool,
    pub(super) since: SinceStart,
    /// A thorough pass found it, so it may have been there for long.
    pub(super) was_there: bool,
    pub(super) budget: Budget,
    pub(super) fight: SlowFight,
}

/// The limit that the agent has set in systemd for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldLimit {
    /// No systemd unit manages the cgroup, or the agent must not set its properties.
    Nothing,
    Asked(SwapMax),
    Holds(SwapMax),
    Failed {
        retry_at: SinceStart,
    },
}

impl LimitStates {
    pub fn containers(&self) -> impl Iterator<Item = (&ContainerId, &LimitState)> {
        self.containers.iter().map(|(id, state)| (id, &**state))
    }

    pub fn pods(&self) -> impl Iterator<Item = (&PodUid, &LimitState)> {
        self.pods.iter().map(|(uid, state)| (uid, &**state))
    }

    pub fn get(&self, owner: &Holder) -> Option<&LimitState> {
        match owner {
            Holder::Container(id) => self.containers.get(id).map(Box::as_ref),
            Holder::Pod(uid) => self.pods.get(uid).map(Box::as_ref),
        }
    }

    fn get_mut(&mut self, owner: &Holder) -> Option<&mut LimitState> {
        match owner {
            Holder::Container(id) => self.containers.get_mut(id).map(Box::as_mut),
            Holder::Pod(uid) => self.pods.get_mut(uid).map(Box::as_mut),
        }
    }

    pub(super) fn insert(&mut self, owner: &Holder, state: LimitState) {
        let state = Box::new(state);
        match owner {
            Holder::Container(id) => self.containers.insert(id.clone(), state),
            Holder::Pod(uid) => self.pods.insert(uid.clone(), state),
        };
    }

    /// Returns the limit set last; 0 for a container that was never seen.
    pub(super) fn target_of(&self, id: &ContainerId) -> SwapMax {
        self.containers.get(id).map_or(SwapMax::ZERO, |state| state.target)
    }

    /// Removes and returns the state of `owner`.
    pub fn forget(&mut self, owner: &Holder) -> Option<LimitState> {
        let state = match owner {
            Holder::Container(id) => self.containers.remove(id),
            Holder::Pod(uid) => self.pods.remove(uid),
        };
        state.map(|state| *state)
    }

    /// Records systemd's answer to [`super::decision::Action::TellSystemd`]. Ignores a late answer
    /// to an older request.
    pub fn systemd_answered(
        &mut self,
        owner: &Holder,
        asked: SwapMax,
        held: bool,
        now: SinceStart,
    ) {
        if let Some(state) = self.get_mut(owner)
            && state.told == ToldLimit::Asked(asked)
        {
            state.told = if held {
                ToldLimit::Holds(asked)
            } else {
                ToldLimit::Failed { retry_at: now + SYSTEMD_RETRY }
            };
        }
    }

    /// Returns the bytes that containers, and pods in addition to their containers, hold beyond
    /// their grants; and the containers' targets plus the bytes beyond pods' grants. `outside` is
    /// the pods' latest figures.
    pub(super) fn totals(&self, outside: &BTreeMap<&PodUid, u64>) -> (u64, u64) {
        let excess = |states: &mut dyn Iterator<Item = &LimitState>| {
            states.map(LimitState::excess).fold(0, u64::saturating_add)
        };
        let unseen = self.pods.iter().filter(|(uid, _)| !outside.contains_key(uid));
        let seen = outside.values().copied().fold(0, u64::saturating_add);
        let outside = excess(&mut unseen.map(|(_, state)| &**state)).saturating_add(seen);
        let targets = self.containers.values().fold(0, |sum: u64, state| match state.target {
            SwapMax::Bytes(target) => sum.saturating_add(target),
            SwapMax::Max => sum,
        });
        let of_containers = excess(&mut self.containers.values().map(Box::as_ref));
        (of_containers.saturating_add(outside), targets.saturating_add(outside))
    }

    /// Returns the bytes that the containers hold beyond their grants.
    pub(super) fn excess_of_containers(&self) -> u64 {
        self.containers.values().map(|state| state.excess()).fold(0, u64::saturating_add)
    }

    /// Returns the bytes that the containers of each pod hold beyond their grants.
    pub(super) fn excess_of_pods(&self) -> BTreeMap<&PodUid, u64> {
        let mut of_pods = BTreeMap::new();
        for state in self.containers.values().filter(|state| state.excess() > 0) {
            let Some(pod) = &state.pod else { continue };
            let sum: &mut u64 = of_pods.entry(pod).or_default();
            *sum = sum.saturating_add(state.excess());
        }
        of_pods
    }
}

impl LimitState {
    /// Returns the bytes by which the target exceeds the grant, because the use did.
    fn excess(&self) -> u64 {
        match (self.target, self.grant.swap_max) {
            (SwapMax::Bytes(target), SwapMax::Bytes(grant)) => target.saturating_sub(grant),
            _ => 0,
        }
    }

    /// Refills the budget of repairs, and removes a conflict that has ended.
    pub(super) fn recover(&mut self, now: SinceStart) {
        self.budget.refill(now);
        if self.budget.is_full() && self.fight.is_over(now) {
            self.contended = false;
        }
    }

    pub(super) fn new(grant: Grant, target: SwapMax, now: SinceStart) -> Self {
        Self {
            seen: Vec::new(),
            changed: false,
            since: now,
            was_there: false,
            grant,
            target,
            used_bytes: 0,
            told: ToldLimit::Nothing,
            above: false,
            contended: false,
            differs: false,
            wrong_since: None,
            pod: None,
            budget: Budget::default(),
            fight: SlowFight::default(),
        }
    }
}
