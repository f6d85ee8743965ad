//! What is remembered of the containers between passes.

use std::{collections::BTreeMap, time::Duration};

use super::{budget::Budget, grant::Grant};
use crate::model::{host::Monotonic, pod::ContainerId, swap::SwapMax};

/// How long systemd is left alone after it refused a property or could not be reached.
const SYSTEMD_RETRY: Duration = Duration::from_secs(5);

/// By container.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) containers: BTreeMap<ContainerId, ContainerState>,
}

#[derive(Clone, Debug)]
pub struct ContainerState {
    pub grant: Grant,
    /// What we last aimed for; above the grant while the container's use is.
    pub target: SwapMax,
    pub used_bytes: u64,
    pub told: Told,
    pub above: bool,
    pub contended: bool,
    pub differs: bool,
    /// Inodes of the cgroups that have had their limit from us.
    pub(super) seen: Vec<u64>,
    pub(super) since: Monotonic,
    /// Found by a thorough pass, so that it may have been there for long.
    pub(super) was_there: bool,
    pub(super) budget: Budget,
}

/// What systemd knows of a scope's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// No scope of systemd's, or not ours to tell.
    Nothing,
    Asked(SwapMax),
    Holds(SwapMax),
    Failed {
        retry_at: Monotonic,
    },
}

impl State {
    pub fn containers(&self) -> impl Iterator<Item = (&ContainerId, &ContainerState)> {
        self.containers.iter()
    }

    pub fn get(&self, id: &ContainerId) -> Option<&ContainerState> {
        self.containers.get(id)
    }

    /// What was last aimed for; 0 for a container never seen.
    pub(super) fn target_of(&self, id: &ContainerId) -> SwapMax {
        self.containers.get(id).map_or(SwapMax::ZERO, |state| state.target)
    }

    pub fn forget(&mut self, id: &ContainerId) {
        self.containers.remove(id);
    }

    /// systemd's answer to [`super::decision::Action::TellSystemd`]. A late answer to an older request is ignored.
    pub fn systemd_answered(
        &mut self,
        id: &ContainerId,
        asked: SwapMax,
        held: bool,
        now: Monotonic,
    ) {
        if let Some(state) = self.containers.get_mut(id)
            && state.told == Told::Asked(asked)
        {
            state.told = if held {
                Told::Holds(asked)
            } else {
                Told::Failed { retry_at: now + SYSTEMD_RETRY }
            };
        }
    }

    /// Bytes that containers above their grant hold beyond it, and the sum of all targets.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.containers.values().fold((0, 0), |(excess, total), state| {
            match (state.target, state.grant.swap_max) {
                (SwapMax::Bytes(target), SwapMax::Bytes(grant)) => (
                    u64::saturating_add(excess, target.saturating_sub(grant)),
                    u64::saturating_add(total, target),
                ),
                _ => (excess, total),
            }
        })
    }
}

impl ContainerState {
    pub(super) fn new(grant: Grant, target: SwapMax, now: Monotonic) -> Self {
        Self {
            seen: Vec::new(),
            since: now,
            was_there: false,
            grant,
            target,
            used_bytes: 0,
            told: Told::Nothing,
            above: false,
            contended: false,
            differs: false,
            budget: Budget::default(),
        }
    }
}
