//! The swap limits of suspended pods. `suspend.reserve` lends them swap beyond their grants. If
//! free swap has no room for all memory of a pod that is being suspended, its containers' limits
//! prevent the kernel from taking more: the kernel moves up to five times as much to swap as one
//! write to `memory.reclaim` requests.

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

/// Returns true if the agent sets limits of suspended pods. In kubelet mode the agent repairs them
/// anyway.
pub fn sets_limits(settings: &Settings) -> bool {
    match settings.grants {
        Grants::Agent => true,
        Grants::Kubelet => settings.limits.repair,
        Grants::Auto => false,
    }
}

/// Returns true if a container may get swap beyond its grant: it has its whole share, and no
/// annotation lowers it.
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
    pub(super) fn grant_of(
        &self,
        id: &ContainerId,
        pod: Option<&Pod>,
        grant: &Grant,
    ) -> Option<Grant> {
        let of = |suspended: &Suspended| {
            let sleeper = suspended.containers.iter().find(|sleeper| sleeper.id == *id)?;
            let borrows = pod.is_some_and(|pod| may_borrow(pod, &sleeper.name, grant));
            Some(limit(suspended.stage, sleeper, borrows, grant.swap_max))
        };
        let swap_max = self.iter().find_map(of)?;
        let reason = Reason::Suspended;
        (swap_max != grant.swap_max).then_some(Grant { swap_max, reason })
    }

    /// Returns the limit of a pod's own cgroup, which is `granted` without a loan. `borrows`: the
    /// container may have its loan still.
    pub(super) fn of_pod(
        &self,
        uid: &PodUid,
        granted: SwapMax,
        borrows: impl Fn(&str) -> bool,
    ) -> SwapMax {
        let containers = self.get(uid).into_iter().flat_map(|pod| &pod.containers);
        let lent = containers.filter(|sleeper| borrows(&sleeper.name));
        let lent = lent.map(|sleeper| sleeper.lent_bytes).fold(0, u64::saturating_add);
        if granted == SwapMax::ZERO { granted } else { plus(granted, SwapMax::Bytes(lent)) }
    }
}

/// A loan ends when an annotation lowers the grant, or when the policy grants no share any longer.
fn limit(stage: SuspendStage, sleeper: &Sleeper, borrows: bool, granted: SwapMax) -> SwapMax {
    // A pod that no longer gets swap gets no loan either.
    if granted == SwapMax::ZERO {
        return granted;
    }
    let lent_bytes = if borrows { sleeper.lent_bytes } else { 0 };
    let with_loan = plus(granted, SwapMax::Bytes(lent_bytes));
    match (stage, sleeper.bound_bytes) {
        (SuspendStage::Falling, Some(bound)) => with_loan.min(SwapMax::Bytes(bound)),
        _ => with_loan,
    }
}
