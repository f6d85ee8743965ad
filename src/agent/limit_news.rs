//! Logs what happens to swap limits: each failure once, each change unless it repeats.

use super::{limits::Limits, lookup::Lookup};
use crate::{
    decide::decision::{Cause, Notice},
    messages,
    model::{
        counted::counted,
        host::{CgroupLevel, Holder},
        pod::Pod,
        swap::SwapMax,
    },
};

impl Limits {
    /// Logs a failure once, and counts it from then on.
    pub(super) fn limit_failed(
        &mut self,
        known: Lookup<'_>,
        owner: &Holder,
        to: Option<SwapMax>,
        text: &str,
    ) {
        if !self.failed(owner, to, text) {
            return;
        }
        let pod = known.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        messages::LimitFailed {
            pod_namespace: &namespace,
            pod_name: &name,
            pod_uid: messages::optional(&known.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
            swap_max: messages::optional(&to),
        }
        .emit(format_args!("{text}"));
    }

    pub(super) fn limit_works(&mut self, known: Lookup<'_>, owner: &Holder) {
        let Some(failures) = self.works(owner) else { return };
        let pod = known.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        let whose = match owner {
            Holder::Container(_) => "a container of",
            Holder::Pod(_) => "pod",
        };
        messages::LimitWorks {
            pod_namespace: &namespace,
            pod_name: &name,
            failures: &failures,
            pod_uid: messages::optional(&known.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
        }
        .emit(format_args!(
            "the limit of {whose} {namespace}/{name} can be read and set again, after {}",
            counted(failures, "failure", "failures")
        ));
    }

    /// Logs a written limit.
    pub(super) fn tell_written(
        &self,
        known: Lookup<'_>,
        owner: &Holder,
        level: CgroupLevel,
        (from, to): (SwapMax, SwapMax),
        cause: Cause,
    ) {
        let pod = known.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        let state = self.state.get(owner);
        if cause == Cause::Drift && state.is_some_and(|state| state.contended) {
            tracing::debug!(?owner, swap_max = %to, "repaired again");
            return;
        }
        // Every pod's cgroup begins without a limit.
        if cause == Cause::Found && level == CgroupLevel::Pod {
            tracing::debug!(?owner, swap_max = %to, "limited a pod's cgroup");
            return;
        }
        let why = state.map(|state| state.grant.reason.to_string()).unwrap_or_default();
        messages::LimitSet {
            pod_namespace: &namespace,
            pod_name: &name,
            swap_max: &to,
            swap_max_before: &from,
            cause: &cause.word(),
            pod_uid: messages::optional(&known.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
        }
        .emit(format_args!(
            "set memory.swap.max of {namespace}/{name}'s {level} from {from} to {to}: {why}"
        ));
    }
}

/// Logs what a pass has noticed. `repair`: the agent repairs the kubelet's limits.
pub(super) fn tell_notice(known: Lookup<'_>, notice: &Notice, repair: bool) {
    let (Notice::AboveGrant { owner, .. }
    | Notice::BackWithinGrant { owner }
    | Notice::Contended { owner, .. }
    | Notice::Differs { owner, .. }) = notice;
    let pod = known.pod_of(owner);
    let (namespace, name) = names(pod.as_deref());
    let whose = whose(owner);
    let text = match (notice, owner) {
        (Notice::AboveGrant { used_bytes, grant, .. }, Holder::Container(_)) => format!(
            "uses {used_bytes} bytes of swap, above its grant of {grant}; its limit follows \
             its use down, because with a lower limit the kernel would kill it"
        ),
        (Notice::AboveGrant { used_bytes, grant, .. }, Holder::Pod(_)) => format!(
            "holds {used_bytes} bytes of swap, more than the {grant} that its containers may \
             have together: memory that outlived a container; its limit follows its use \
             down, because with a lower limit the kernel would kill its containers"
        ),
        (Notice::BackWithinGrant { .. }, _) => {
            messages::WithinGrant {
                pod_namespace: &namespace,
                pod_name: &name,
                pod_uid: messages::optional(&known.uid_of(owner)),
                container_id: messages::optional(&owner.container()),
            }
            .emit(format_args!("{whose} {namespace}/{name} is within its swap grant again"));
            return;
        }
        (Notice::Contended { found, wanted, .. }, _) => format!(
            "another writer keeps setting its memory.swap.max to {found} instead of {wanted} \
             (a second agent? a swap hook? the kubelet's own LimitedSwap?); the agent now \
             repairs it once a second"
        ),
        (Notice::Differs { found, expected, .. }, _) => format!(
            "has memory.swap.max {found}, but the kubelet's LimitedSwap gives {expected}; the \
             agent does not change it ({})",
            if repair {
                "the swap that the kubelet counts is not known for certain"
            } else {
                "limits.repair = false"
            }
        ),
    };
    let (pod_uid, container_id) = (known.uid_of(owner), owner.container());
    let (pod_namespace, pod_name): (&dyn std::fmt::Display, &dyn std::fmt::Display) =
        (&namespace, &name);
    let (pod_uid, container_id) = (messages::optional(&pod_uid), messages::optional(&container_id));
    let text = format_args!("{whose} {namespace}/{name}: {text}");
    match notice {
        Notice::Contended { .. } => {
            messages::LimitFought { pod_namespace, pod_name, pod_uid, container_id }.emit(text);
        }
        Notice::Differs { .. } => {
            messages::LimitDiffers { pod_namespace, pod_name, pod_uid, container_id }.emit(text);
        }
        Notice::AboveGrant { .. } | Notice::BackWithinGrant { .. } => {
            messages::AboveGrant { pod_namespace, pod_name, pod_uid, container_id }.emit(text);
        }
    }
}

/// Words before the pod's name.
fn whose(owner: &Holder) -> &'static str {
    match owner {
        Holder::Container(_) => "container of",
        Holder::Pod(_) => "pod",
    }
}

fn names(pod: Option<&Pod>) -> (&str, &str) {
    pod.map_or(("unknown", "unknown"), |pod| (&*pod.namespace, &*pod.name))
}
