//! The swap limits of suspended pods. While a pod falls asleep and free swap has no room for all of
//! its memory, its containers' limits keep the kernel from taking more: the kernel moves up to five
//! times as much to swap as one write to `memory.reclaim` asks for.

use super::{
    grant::{Grant, Reason},
    suspend::Suspensions,
};
use crate::{
    config::settings::{Grants, Settings},
    model::{
        pod::ContainerId,
        suspend::{Sleeper, Stage, Suspended},
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
}

fn limit(stage: Stage, sleeper: &Sleeper, granted: SwapMax) -> SwapMax {
    match (stage, sleeper.bound_bytes) {
        (Stage::Falling, Some(bound)) => granted.min(SwapMax::Bytes(bound)),
        _ => granted,
    }
}
