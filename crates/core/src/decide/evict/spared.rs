//! Decides which pods the agent never evicts, or does not evict now.
//!
//! Most of the inputs are written by the pod's author. So nothing that an author can write exempts
//! a pod forever, except what also exempts it from the kubelet's node-pressure eviction and from
//! `kubectl drain`.

use std::{fmt, time::Duration};

use crate::{
    config::settings::EvictionSettings,
    decide::grant::critical,
    model::{
        clock::UnixTime,
        pattern::matches,
        pod::{Migration, OwnerKind, Pod, Pods},
        pressure::PodUsage,
    },
};

use super::request::{ends_within, request};

/// The agent waits for a pod that is being deleted if it must end within this time.
const ENDS_SOON: Duration = Duration::from_secs(300);
/// The agent does not move a VM again for this long after it has arrived by a migration.
const SETTLES_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Time allowed for a migration beyond the transfer: scheduling, the start of the target, retries.
const MIGRATION_AT_LEAST: Duration = Duration::from_secs(15 * 60);
/// Seconds per GiB after which KubeVirt gives up a migration (`completionTimeoutPerGiB`).
const MIGRATION_PER_GIB: u64 = 150;

/// The reason for not choosing a pod, ever or now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// A static, mirror or critical pod; the text describes which.
    Critical(String),
    Namespace,
    /// Its DaemonSet creates it again on this node.
    DaemonSet,
    /// A pod of this node owns it: a hotplug attachment, for example, holds the disk of a running
    /// VM.
    PartOf(String),
    /// It has this annotation (`eviction.opt-out-annotations`).
    OptedOut(String),
    /// Its VM is arriving from another node.
    Arriving,
    /// Its VM has arrived recently.
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

/// Returns the reason for not evicting `pod`, if there is one.
pub fn spared(
    settings: &EvictionSettings,
    pods: &Pods,
    pod: &Pod,
    usage: Option<&PodUsage>,
    now: UnixTime,
) -> Option<Spared> {
    let useless = || usage.is_none_or(|usage| usage.bytes() == 0).then_some(Spared::UsesNothing);
    spared_as_such(settings, pod, now)
        .or_else(|| part_of(pods, pod).map(Spared::PartOf))
        .or_else(useless)
}

/// As [`spared`], but independent of the pod's use and of other pods.
pub fn spared_as_such(settings: &EvictionSettings, pod: &Pod, now: UnixTime) -> Option<Spared> {
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
        return (!may_be_shortened(settings, pod, now)).then_some(Spared::Terminating);
    }
    let owner = pod.owner.as_ref().filter(|owner| owner.controller).map(|owner| owner.kind);
    if owner == Some(OwnerKind::DaemonSet) {
        return Some(Spared::DaemonSet);
    }
    let opted_out = |key: &&String| pod.annotation(key).is_some_and(|value| value != "false");
    if let Some(key) = settings.opt_out_annotations.iter().find(opted_out) {
        return Some(Spared::OptedOut(key.clone()));
    }
    arrives(pod, now)
}

/// Returns true if an eviction can end the pod much earlier than its author has set.
fn may_be_shortened(settings: &EvictionSettings, pod: &Pod, now: UnixTime) -> bool {
    let ends_within = Duration::from_secs(ends_within(pod, now));
    ends_within > ENDS_SOON && settings.longest_grace.is_some_and(|longest| ends_within > longest)
}

/// Returns the pod of this node, in the same namespace, that owns this one.
fn part_of(pods: &Pods, pod: &Pod) -> Option<String> {
    let owner = pod.owner.as_ref().filter(|owner| owner.kind == OwnerKind::Pod)?;
    let is_owner = |other: &&std::sync::Arc<Pod>| {
        *other.uid.as_str() == *owner.uid && other.namespace == pod.namespace
    };
    let found = pods.values().find(is_owner)?;
    Some(format!("{}/{}", found.namespace, found.name))
}

/// Labels and annotations announce a migration, but any author can set them. They count only for
/// the longest time that a migration may take after the API server created the pod.
fn arrives(pod: &Pod, now: UnixTime) -> Option<Spared> {
    let migrated_at_the_latest = pod.created + migrates_within(pod, None);
    match pod.migration? {
        Migration::Arriving => (now <= migrated_at_the_latest).then_some(Spared::Arriving),
        Migration::Arrived { ready } => {
            let arrived = ready.unwrap_or(pod.created).clamp(pod.created, migrated_at_the_latest);
            (now < arrived + SETTLES_WITHIN).then_some(Spared::JustArrived)
        }
        Migration::Leaving => None,
    }
}

/// Returns how long a live migration of the pod's VM may take, by its size: KubeVirt gives up after
/// that.
pub fn migrates_within(pod: &Pod, usage: Option<&PodUsage>) -> Duration {
    // An overcommitted VM requests less than its size, and its author may have set any limit.
    let bytes = request(pod).saturating_mul(2).max(usage.map_or(0, PodUsage::bytes));
    let gib = bytes.div_ceil(1 << 30).min(1024);
    MIGRATION_AT_LEAST + Duration::from_secs(gib * MIGRATION_PER_GIB)
}
