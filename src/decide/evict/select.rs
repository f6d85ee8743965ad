//! Which pod is to leave: the order in which a kubelet would go about it, with containers above
//! their limit first, since swap lets them be.
//!
//! Source: Kubernetes "Node-pressure Eviction", "Pod selection for kubelet eviction".

use std::{cmp::Reverse, fmt};

use serde::Serialize;

use crate::{
    config::settings::EvictionSettings,
    decide::{estimate::matches, grant::critical},
    model::{
        pod::{Pod, PodUid, Pods},
        pressure::PodUsage,
        swap::human_bytes,
    },
};

/// A pod that may be evicted, with what its place goes by, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ranked {
    pub uid: PodUid,
    pub namespace: String,
    pub name: String,
    /// Bytes of memory and swap above the memory limit, of its worst container.
    pub above_limit: u64,
    pub above_request: u64,
    pub priority: i32,
    pub swap_bytes: u64,
    /// Seconds since the epoch.
    pub created: i64,
}

impl Ranked {
    /// Why it has its place.
    pub fn why(&self) -> String {
        let above = match (self.above_limit, self.above_request) {
            (0, 0) => "within its request".to_owned(),
            (0, request) => format!("{} above its request", human_bytes(request)),
            (limit, _) => format!("{} above a container's limit", human_bytes(limit)),
        };
        format!("{above}, priority {}, {} in swap", self.priority, human_bytes(self.swap_bytes))
    }
}

/// Why a pod is never chosen, or not now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Static, mirror or critical; in words.
    Critical(String),
    Namespace,
    Terminating,
    Finished,
    UsesNothing,
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Critical(reason) => reason,
            Self::Namespace => "its namespace is in eviction.protected-namespaces",
            Self::Terminating => "it is being deleted",
            Self::Finished => "it has finished",
            Self::UsesNothing => "it uses neither memory nor swap",
        })
    }
}

/// Whether `pod` may be evicted.
pub fn spared(settings: &EvictionSettings, pod: &Pod, usage: Option<&PodUsage>) -> Option<Spared> {
    // Its going would free nothing.
    let useless = || usage.is_none_or(|usage| usage.bytes() == 0).then_some(Spared::UsesNothing);
    spared_as_such(settings, pod).or_else(useless)
}

/// Whether `pod` may be evicted, whatever it uses.
pub fn spared_as_such(settings: &EvictionSettings, pod: &Pod) -> Option<Spared> {
    if let Some(reason) = critical(pod) {
        return Some(Spared::Critical(reason.to_string()));
    }
    if matches(&settings.protected_namespaces, &pod.namespace) {
        return Some(Spared::Namespace);
    }
    if pod.terminating {
        return Some(Spared::Terminating);
    }
    pod.finished.then_some(Spared::Finished)
}

/// All that may be evicted, the first to go first. Equal input gives equal output.
pub fn rank(settings: &EvictionSettings, pods: &Pods, usage: &[PodUsage]) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = usage
        .iter()
        .filter_map(|usage| Some((pods.get(&usage.uid)?, usage)))
        .filter(|(pod, usage)| spared(settings, pod, Some(usage)).is_none())
        .map(|(pod, usage)| ranked(pod, usage))
        .collect();
    ranked.sort_by_cached_key(|pod| {
        (
            Reverse(pod.above_limit > 0),
            Reverse(pod.above_request > 0),
            pod.priority,
            Reverse(pod.above_request),
            Reverse(pod.swap_bytes),
            // The youngest has the least to lose.
            Reverse(pod.created),
            pod.uid.clone(),
        )
    });
    ranked
}

fn ranked(pod: &Pod, usage: &PodUsage) -> Ranked {
    let above_limit = usage
        .containers
        .iter()
        .filter_map(|used| {
            let container = pod.container(used.name.as_deref()?)?;
            // The kubelet sets no limit of 0, which is also what an amount above an int64 comes to.
            let limit = bytes(container.effective().limits.memory?).filter(|limit| *limit > 0)?;
            Some(used.working_set_bytes.saturating_add(used.swap_bytes).saturating_sub(limit))
        })
        .max()
        .unwrap_or(0);
    Ranked {
        uid: pod.uid.clone(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        above_limit,
        above_request: usage.bytes().saturating_sub(request(pod)),
        priority: pod.priority.unwrap_or(0),
        swap_bytes: usage.swap_bytes(),
        created: pod.created,
    }
}

/// What the pod requests: of the pod as a whole where it says so, else of those of its containers
/// that run for its whole life.
fn request(pod: &Pod) -> u64 {
    use crate::model::pod::ContainerKind::{Regular, Sidecar};
    let whole = pod.resources.and_then(|resources| resources.requests.memory).and_then(bytes);
    whole.unwrap_or_else(|| {
        pod.containers
            .iter()
            .filter(|container| matches!(container.kind, Regular | Sidecar))
            .filter_map(|container| bytes(container.effective().requests.memory?))
            .sum()
    })
}

fn bytes(quantity: crate::model::quantity::Quantity) -> Option<u64> {
    u64::try_from(quantity.value()).ok()
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
