//! Conditions that hold reclaim back: on the node, and in a pod's own figures.

use std::time::Duration;

use crate::{
    config::settings::ReclaimSettings,
    model::reclaim::{HeldBack, NodeLook, PodMemory, Some as Stalls},
};

/// Reclaim uses no data older than this.
const FRESH: Duration = Duration::from_secs(30);
/// A signal above this part of its threshold counts as near.
pub const NEAR: f64 = 0.8;
/// A disk with a longer request queue is busy with other work.
const QUEUE: f64 = 2.0;

/// Returns the reason for reclaiming nothing from any pod.
pub(super) fn of_node(settings: &ReclaimSettings, node: &NodeLook) -> Option<HeldBack> {
    if !node.pods_are_fresh || node.at.since(node.sampled) > FRESH {
        return Some(HeldBack::Stale);
    }
    if node.nearest_signal.is_some_and(|ratio| ratio > NEAR) {
        return Some(HeldBack::Signal);
    }
    if node.disk_queue.is_some_and(|queue| queue > QUEUE) {
        return Some(HeldBack::Disk);
    }
    (room(settings, node.swap_bytes, node.swap_used_bytes) == 0).then_some(HeldBack::NodeSwap)
}

/// Returns the bytes of `whole` that reclaim may still swap out.
pub(super) fn room(settings: &ReclaimSettings, whole: u64, used: u64) -> u64 {
    let share = u128::from(whole) * u128::from(settings.max_swap_percent) / 100;
    u64::try_from(share).unwrap_or(whole).saturating_sub(used)
}

/// Returns the pod's pressure, in percent of time: the largest of its averages and of the share
/// since the last look, which shows a short wait sooner than an average does.
#[expect(clippy::cast_precision_loss, reason = "a share")]
pub(super) fn pressure(now: Stalls, before: Stalls, span: Duration) -> f64 {
    let waited = now.total_micros.saturating_sub(before.total_micros) as f64;
    let recent = waited / span.as_micros().max(1) as f64 * 100.0;
    recent.max(now.avg10).max(now.avg60)
}

/// Returns the bytes that the pod always keeps in RAM.
pub(super) fn floor(settings: &ReclaimSettings, memory: &PodMemory) -> u64 {
    settings.floor_bytes.max(memory.protected_bytes)
}
