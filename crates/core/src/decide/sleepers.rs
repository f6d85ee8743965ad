//! The swap limits of suspended pods. `suspend.reserve` lends them swap beyond their grants. While
//! a pod falls asleep and free swap has no room for all of its memory, its containers' limits keep
//! the kernel from taking more: the kernel moves up to five times as much to swap as one write to
//! `memory.reclaim` asks for.

use super::{
    grant::{Grant, Reason},
    pod_limit::plus,
    state::LimitStates,
    suspend::Suspensions,
    wish,
};
use crate::{
    config::settings::{Grants, Settings, Share},
    model::{
        pod::{ContainerId, Pod, PodUid},
        suspend::{Sleeper, SuspendStage, Suspended},
        swap::SwapMax,
    },
};

/// Returns true if the agent sets limits of suspended pods. Where the kubelet grants, the agent
/// repairs them anyway.
pub fn sets_limits(settings: &Settings) -> bool {
    match settings.grants {
        Grants::Agent => true,
        Grants::Kubelet => settings.limits.repair,
        Grants::Auto => false,
    }
}

/// Returns true if a container may get swap beyond its grant: it has its whole share, and its owner
/// has not asked for less.
pub fn may_borrow(pod: &Pod, container: &str, grant: &Grant) -> bool {
    let asked = wish::of(|key| pod.annotation(key), container).map(|wish| wish.share);
    matches!(grant.reason, Reason::Limited { .. })
        && asked.is_none_or(|share| share == Some(Share::Percent(100)))
}

/// Returns the bytes that the reserve may still lend. Memory that containers hold beyond their
/// grants counts, because it may come from an earlier loan to a pod that has been resumed.
pub fn lendable(
    settings: &Settings,
    suspensions: &Suspensions,
    state: &LimitStates,
    swap_bytes: u64,
) -> u64 {
    if !sets_limits(settings) {
        return 0;
    }
    let lent = suspensions.iter().map(Suspended::lent_bytes).fold(0, u64::saturating_add);
    let reserve = settings.suspend.reserve.of(swap_bytes);
    reserve.saturating_sub(lent).saturating_sub(state.excess_of_containers())
}

impl Suspended {
    pub fn lent_bytes(&self) -> u64 {
        self.containers.iter().map(|sleeper| sleeper.lent_bytes).fold(0, u64::saturating_add)
    }
}

impl Suspensions {
    /// Returns a container's limit while its pod is suspended, if it differs from its `grant`.
    pub(super) fn grant_of(&self, id: &ContainerId, grant: &Grant) -> Option<Grant> {
        let of = |pod: &Suspended| {
            let sleeper = pod.containers.iter().find(|sleeper| sleeper.id == *id)?;
            Some(limit(pod.stage, sleeper, grant.swap_max))
        };
        let swap_max = self.iter().find_map(of)?;
        let reason = Reason::Suspended;
        (swap_max != grant.swap_max).then_some(Grant { swap_max, reason })
    }

    /// Returns the limit of a pod's own cgroup, which is `granted` without a loan.
    pub(super) fn of_pod(&self, uid: &PodUid, granted: SwapMax) -> SwapMax {
        let lent = self.get(uid).map_or(0, Suspended::lent_bytes);
        if granted == SwapMax::ZERO { granted } else { plus(granted, SwapMax::Bytes(lent)) }
    }
}

fn limit(stage: SuspendStage, sleeper: &Sleeper, granted: SwapMax) -> SwapMax {
    // A pod that no longer gets swap gets no loan either.
    if granted == SwapMax::ZERO {
        return granted;
    }
    let with_loan = plus(granted, SwapMax::Bytes(sleeper.lent_bytes));
    match (stage, sleeper.bound_bytes) {
        (SuspendStage::Falling, Some(bound)) => with_loan.min(SwapMax::Bytes(bound)),
        _ => with_loan,
    }
}
