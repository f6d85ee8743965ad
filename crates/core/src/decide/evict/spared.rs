//! Which pods are never evicted, or not now.
//!
//! The author of a pod writes most of what this goes by. So nothing that an author may write spares a
//! pod for ever, but what a kubelet's own node-pressure eviction and `kubectl drain` spare as well.

use std::{fmt, time::Duration};

use crate::{
    config::settings::EvictionSettings,
    decide::{estimate::matches, grant::critical},
    model::{
        pod::{Migration, OwnerKind, Pod, Pods},
        pressure::PodUsage,
    },
};

use super::select::{ends_within, request};

/// A pod that is being deleted is waited for if it has to end so soon.
const ENDS_SOON: Duration = Duration::from_secs(300);
/// A VM that arrived by a migration is not moved on for so long.
const SETTLES_WITHIN: Duration = Duration::from_secs(15 * 60);
/// What a migration may take beside the transfer: scheduling, the start of the target, retries.
const MIGRATION_AT_LEAST: Duration = Duration::from_secs(15 * 60);
/// KubeVirt gives up a migration after this time for each GiB (`completionTimeoutPerGiB`).
const MIGRATION_PER_GIB: u64 = 150;

/// Why a pod is never chosen, or not now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Static, mirror or critical; in words.
    Critical(String),
    Namespace,
    /// Its DaemonSet makes it again, here.
    DaemonSet,
    /// A pod of this node owns it: a hotplug attachment holds the disk of a running VM.
    PartOf(String),
    /// By this annotation (`eviction.opt-out-annotations`).
    OptedOut(String),
    /// Its VM is arriving from another node.
    Arriving,
    /// Its VM has arrived a moment ago.
    JustArrived,
    Terminating,
    Finished,
    UsesNothing,
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Critical(reason) => f.write_str(reason),
            Self::Namespace => f.write_str("its namespace is in eviction.protected-namespaces"),
            Self::DaemonSet => {
                f.write_str("it belongs to a DaemonSet, which would create it again on this node")
            }
            Self::PartOf(pod) => write!(f, "it belongs to pod {pod}, which needs it"),
            Self::OptedOut(key) => {
                write!(f, "its annotation {key} is in eviction.opt-out-annotations")
            }
            Self::Arriving => f.write_str("its VM is migrating to this node"),
            Self::JustArrived => {
                f.write_str("its VM migrated to this node less than 15 minutes ago")
            }
            Self::Terminating => f.write_str("it is being deleted"),
            Self::Finished => f.write_str("it has finished"),
            Self::UsesNothing => f.write_str("it uses neither memory nor swap"),
        }
    }
}

/// Why `pod` may not be evicted, if it may not. `epoch`: seconds since the epoch.
pub fn spared(
    settings: &EvictionSettings,
    pods: &Pods,
    pod: &Pod,
    usage: Option<&PodUsage>,
    epoch: i64,
) -> Option<Spared> {
    let useless = || usage.is_none_or(|usage| usage.bytes() == 0).then_some(Spared::UsesNothing);
    spared_as_such(settings, pod, epoch)
        .or_else(|| part_of(pods, pod).map(Spared::PartOf))
        .or_else(useless)
}

/// As [`spared`], whatever it uses and whatever other pods there are.
pub fn spared_as_such(settings: &EvictionSettings, pod: &Pod, epoch: i64) -> Option<Spared> {
    if let Some(reason) = critical(pod) {
        return Some(Spared::Critical(reason.to_string()));
    }
    if matches(&settings.protected_namespaces, &pod.namespace) {
        return Some(Spared::Namespace);
    }
    if pod.finished {
        return Some(Spared::Finished);
    }
    if pod.is_terminating() {
        return (!may_be_shortened(settings, pod, epoch)).then_some(Spared::Terminating);
    }
    let owner = pod.owner.as_ref().filter(|owner| owner.controller).map(|owner| owner.kind);
    if owner == Some(OwnerKind::DaemonSet) {
        return Some(Spared::DaemonSet);
    }
    let opted_out = |key: &&String| pod.annotation(key).is_some_and(|value| value != "false");
    if let Some(key) = settings.opt_out_annotations.iter().find(opted_out) {
        return Some(Spared::OptedOut(key.clone()));
    }
    arrives(pod, epoch)
}

/// Whether an eviction can end the pod much earlier than its author has set.
fn may_be_shortened(settings: &EvictionSettings, pod: &Pod, epoch: i64) -> bool {
    let ends_within = Duration::from_secs(ends_within(pod, epoch));
    ends_within > ENDS_SOON && settings.longest_grace.is_some_and(|longest| ends_within > longest)
}

/// The pod of this node, in the same namespace, that owns this one.
fn part_of(pods: &Pods, pod: &Pod) -> Option<String> {
    let owner = pod.owner.as_ref().filter(|owner| owner.kind == OwnerKind::Pod)?;
    let is_owner = |other: &&std::sync::Arc<Pod>| {
        *other.uid.as_str() == *owner.uid && other.namespace == pod.namespace
    };
    let found = pods.values().find(is_owner)?;
    Some(format!("{}/{}", found.namespace, found.name))
}

/// Labels and annotations tell of a migration, and their author may be anybody: what they tell is
/// believed for as long as a migration may take since the API server made the pod.
fn arrives(pod: &Pod, epoch: i64) -> Option<Spared> {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let migrated_at_the_latest = pod.created.saturating_add(seconds(migrates_within(pod, None)));
    match pod.migration? {
        Migration::Arriving => (epoch <= migrated_at_the_latest).then_some(Spared::Arriving),
        Migration::Arrived { ready } => {
            let arrived = ready.unwrap_or(pod.created).clamp(pod.created, migrated_at_the_latest);
            let settled = arrived.saturating_add(seconds(SETTLES_WITHIN));
            (epoch < settled).then_some(Spared::JustArrived)
        }
        Migration::Leaving => None,
    }
}

/// How long a live migration of the pod's VM may take, by its size: after that KubeVirt has given up.
pub fn migrates_within(pod: &Pod, usage: Option<&PodUsage>) -> Duration {
    // A VM that overcommits requests less than it has; its limit may be any text of its author.
    let bytes = request(pod).saturating_mul(2).max(usage.map_or(0, PodUsage::bytes));
    let gib = bytes.div_ceil(1 << 30).min(1024);
    MIGRATION_AT_LEAST + Duration::from_secs(gib * MIGRATION_PER_GIB)
}
