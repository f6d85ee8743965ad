//! Computes the swap grant of a container, with its reason: LimitedSwap as the kubelet computes it.
//!
//! Source: KEP-2400 and `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`.

use std::fmt;

use serde::Serialize;

use super::{
    qos::qos_class,
    wish::{self, Lowered},
};
use crate::{
    config::settings::{Eligibility, GrantSettings, Policy},
    model::{
        host::{NodeMemory, Role},
        pod::{Container, ContainerKind, Pod, QosClass},
        quantity::Quantity,
        swap::{SwapMax, human_bytes},
    },
};

/// The lowest priority of the system's own classes, from `scheduling.k8s.io`.
pub const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub swap_max: SwapMax,
    pub reason: Reason,
}

/// The reason for a container's grant. Operators see the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Limited {
        request_bytes: u64,
        ram_bytes: u64,
        swap_for_pods_bytes: u64,
    },
    PolicyMax,
    PolicyNone,
    NoSwapOnNode,
    NotBurstable(QosClass),
    MirrorPod,
    CriticalPriority(i32),
    NotVirtLauncher,
    Ephemeral,
    NoMemoryRequest,
    /// A resize is pending, and the kubelet has not reported the resources of the container yet.
    RequestUnknown,
    RequestEqualsLimit,
    RequestExceedsRam {
        request_bytes: u64,
        ram_bytes: u64,
    },
    /// An annotation or the namespace gives the pod less than the policy.
    Lowered(Lowered),
    /// The grant of a pod's cgroup.
    Together,
    Helper,
    UnknownPod,
    UnknownContainer,
    KubeletInDoubt,
    /// The pod is suspended or is being suspended.
    Suspended,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited { request_bytes, ram_bytes, swap_for_pods_bytes } => write!(
                f,
                "requests {} of {} RAM, so that share of {} swap",
                human_bytes(*request_bytes),
                human_bytes(*ram_bytes),
                human_bytes(*swap_for_pods_bytes)
            ),
            Self::PolicyMax => f.write_str("policy is \"max\""),
            Self::PolicyNone => f.write_str("policy is \"none\""),
            Self::NoSwapOnNode => f.write_str("the node has no swap for pods"),
            Self::NotBurstable(class) => write!(f, "{class} pod; only Burstable pods may swap"),
            Self::MirrorPod => f.write_str("mirror of a static pod"),
            Self::CriticalPriority(priority) => write!(f, "critical pod (priority {priority})"),
            Self::NotVirtLauncher => f.write_str("no VM, and eligibility is \"virt-launcher\""),
            Self::Ephemeral => f.write_str("ephemeral containers may not swap"),
            Self::NoMemoryRequest => f.write_str("requests no memory"),
            Self::RequestUnknown => f.write_str(
                "a resize is pending, and the kubelet has not reported the container's resources yet",
            ),
            Self::RequestEqualsLimit => f.write_str("memory request equals limit"),
            Self::RequestExceedsRam { request_bytes, ram_bytes } => write!(
                f,
                "requests {}, more than the node's {} RAM",
                human_bytes(*request_bytes),
                human_bytes(*ram_bytes)
            ),
            Self::Lowered(lowered) => lowered.fmt(f),
            Self::Together => f.write_str(
                "the highest sum of grants of the pod's containers that run at the \
                    same time",
            ),
            Self::Helper => f.write_str("sandbox or monitor, not a container"),
            Self::UnknownPod => f.write_str("its pod is not known (yet)"),
            Self::UnknownContainer => f.write_str("the pod has no such container (yet)"),
            Self::Suspended => f.write_str(
                "its pod is suspended: suspend.reserve and suspend.keep-swap-free decide on its limit",
            ),
            Self::KubeletInDoubt => f.write_str(
                "the agent raises no limit until it can read the kubelet's \
                    configuration",
            ),
        }
    }
}

/// Returns the bytes to share among pods: all swap except the part reserved for the system.
pub fn swap_for_pods(settings: &GrantSettings, node: &NodeMemory) -> u64 {
    let reserved = u128::from(node.swap_bytes) * u128::from(settings.system_reserved_percent) / 100;
    node.swap_bytes.saturating_sub(u64::try_from(reserved).unwrap_or(u64::MAX))
}

/// Returns the grant of a container's cgroup that has `role` in `pod`.
pub fn grant_by_role(
    settings: &GrantSettings,
    node: &NodeMemory,
    pod: Option<&Pod>,
    role: &Role,
) -> Grant {
    let container = match (role, pod) {
        (Role::Helper, _) => return none(Reason::Helper),
        (_, None) => return none(Reason::UnknownPod),
        (Role::Unknown, Some(_)) => return none(Reason::UnknownContainer),
        (Role::Container(name), Some(pod)) => pod.container(name).map(|c| (pod, c)),
    };
    container.map_or_else(
        || none(Reason::UnknownContainer),
        |(pod, container)| grant(settings, node, pod, container),
    )
}

/// Returns the grant of `container` in `pod`, in bytes (the kernel rounds down to pages).
pub fn grant(
    settings: &GrantSettings,
    node: &NodeMemory,
    pod: &Pod,
    container: &Container,
) -> Grant {
    if let Some(reason) = denied(settings, node, pod, container) {
        return none(reason);
    }
    let Grant { swap_max, reason } = match settings.policy {
        Policy::None => none(Reason::PolicyNone),
        Policy::Max => Grant { swap_max: SwapMax::Max, reason: Reason::PolicyMax },
        Policy::Limited => limited(settings, node, container),
    };
    let asked = wish::of(|key| pod.annotation(key), &container.name);
    let for_pods = swap_for_pods(settings, node);
    let (swap_max, lowered) =
        wish::lower(&settings.wishes, &pod.namespace, asked, swap_max, for_pods);
    Grant { swap_max, reason: lowered.map_or(reason, Reason::Lowered) }
}

pub(super) fn none(reason: Reason) -> Grant {
    Grant { swap_max: SwapMax::ZERO, reason }
}

/// Returns the reason that excludes the container under any policy.
fn denied(
    settings: &GrantSettings,
    node: &NodeMemory,
    pod: &Pod,
    container: &Container,
) -> Option<Reason> {
    let ephemeral = || (container.kind == ContainerKind::Ephemeral).then_some(Reason::Ephemeral);
    pod_denied(settings, pod)
        .or_else(ephemeral)
        .or_else(|| (swap_for_pods(settings, node) == 0).then_some(Reason::NoSwapOnNode))
}

/// Returns the reason that excludes every container of the pod under any policy.
pub(super) fn pod_denied(settings: &GrantSettings, pod: &Pod) -> Option<Reason> {
    if let Some(reason) = critical(pod) {
        return Some(reason);
    }
    let class = qos_class(pod);
    if class != QosClass::Burstable {
        return Some(Reason::NotBurstable(class));
    }
    let no_vm = settings.eligibility == Eligibility::VirtLauncher && !pod.virt_launcher;
    no_vm.then_some(Reason::NotVirtLauncher)
}

/// Returns the reason for which the kubelet treats the pod as critical: it is a static pod, which
/// the API server shows as a mirror pod, or it has a system priority. The annotation
/// `kubernetes.io/config.source` does not count: the author of a pod in the API server can set it,
/// and the kubelet overwrites it.
pub fn critical(pod: &Pod) -> Option<Reason> {
    if pod.mirror {
        return Some(Reason::MirrorPod);
    }
    pod.priority
        .filter(|priority| *priority >= SYSTEM_CRITICAL_PRIORITY)
        .map(Reason::CriticalPriority)
}

fn limited(settings: &GrantSettings, node: &NodeMemory, container: &Container) -> Grant {
    if container.request_unknown {
        return none(Reason::RequestUnknown);
    }
    let resources = container.effective();
    let request = resources.requests.memory.unwrap_or_default();
    let limit = resources.limits.memory.unwrap_or_default();
    if request == Quantity::default() && limit == Quantity::default() {
        return none(Reason::NoMemoryRequest);
    }
    if request == limit {
        return none(Reason::RequestEqualsLimit);
    }
    let Ok(request_bytes) = u64::try_from(request.value()) else {
        return none(Reason::NoMemoryRequest);
    };
    let (ram_bytes, swap_for_pods_bytes) = (node.ram_bytes, swap_for_pods(settings, node));
    if request_bytes == 0 {
        return none(Reason::NoMemoryRequest);
    }
    if request_bytes > ram_bytes {
        return none(Reason::RequestExceedsRam { request_bytes, ram_bytes });
    }
    Grant {
        swap_max: SwapMax::Bytes(share(request_bytes, ram_bytes, swap_for_pods_bytes)),
        reason: Reason::Limited { request_bytes, ram_bytes, swap_for_pods_bytes },
    }
}

/// Computes `int64(float64(request) / float64(ram) * float64(swap))` in this order, so that the
/// result equals the kubelet's to the byte.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kubelet computes in float64, so must we; none of the three is negative"
)]
pub fn share(request_bytes: u64, ram_bytes: u64, swap_bytes: u64) -> u64 {
    (request_bytes as f64 / ram_bytes as f64 * swap_bytes as f64) as u64
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
