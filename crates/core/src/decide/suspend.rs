//! Decides which pods may be suspended, how much of their memory may go to swap, and when they are
//! resumed.
//!
//! ```text
//!            refused ◄── suspend ──► Falling ──► Asleep
//!                                       └────┬─────┘
//!                            wake: a command or a reason of [`Wake`] ──► thawed, forgotten
//! ```

mod wake;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{grant::critical, qos::qos_class, reclaim::NEAR};
use crate::{
    config::settings::SuspendSettings,
    model::{
        clock::SinceBoot,
        pod::{Migration, Pod, PodUid, Pods},
        suspend::{Candidate, ProcessesSeen, Sleeper, SuspendRow, SuspendStage, Suspended, Usage},
        swap::{SwapMax, human_bytes},
    },
};

pub use wake::Wake;
use wake::wake;

/// All suspended pods; saved in `/run/wasp-agent/suspended.json`, so that they survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspensions {
    pods: BTreeMap<PodUid, Suspended>,
}

/// The free swap of the pod's cgroup and of the node, which bounds all of its containers together.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub pod_swap_max: SwapMax,
    pub pod_swap_bytes: u64,
    pub free_swap_bytes: u64,
    pub swap_bytes: u64,
    /// Bytes that `suspend.reserve` may still lend.
    pub lendable_bytes: u64,
}

/// Returns true if more swap traffic could lead to an eviction. `nearest_signal`: the highest ratio
/// of an eviction signal to its threshold.
pub fn is_near(nearest_signal: Option<f64>) -> bool {
    nearest_signal.is_some_and(|ratio| ratio > NEAR)
}

/// Returns the reason why `pod` may not be suspended; `leaving`: it is being evicted, or the API
/// server no longer has it.
pub fn refuse(
    suspensions: &Suspensions,
    pod: &Pod,
    candidates: &[Candidate],
    leaving: bool,
    force: bool,
) -> Option<String> {
    let name = format!("{}/{}", pod.namespace, pod.name);
    if suspensions.pods.contains_key(&pod.uid) {
        return Some(format!("{name} is suspended already"));
    }
    if let Some(reason) = critical(pod) {
        return Some(format!("{name} cannot be suspended: {reason}"));
    }
    if pod.is_terminating() || pod.finished || leaving || pod.evicted_by_api || pod.disrupted {
        return Some(format!("{name} is about to end"));
    }
    if matches!(pod.migration, Some(Migration::Leaving | Migration::Arriving)) {
        return Some(format!("{name} takes part in a migration; wait until it is over"));
    }
    if pod.virt_launcher && !pod.vm_paused {
        return Some(format!(
            "the VM of {name} is running; pause it first (virtctl pause vm NAME), then suspend it"
        ));
    }
    if candidates.is_empty() {
        return Some(format!("{name} has no running container on this node"));
    }
    if let Some(starting) = candidates.iter().find(|candidate| candidate.starting) {
        return Some(format!("container {} of {name} is starting; try again later", starting.name));
    }
    // The launcher is not frozen, so its probes keep working.
    let probed = pod.containers.iter().find(|container| container.probed);
    if let (Some(container), false, false) = (probed, pod.virt_launcher, force) {
        return Some(format!(
            "container {} of {name} has an exec or liveness probe, or a startup probe that has \
             not succeeded yet: the kubelet would kill it while it is frozen; use --force to suspend it anyway",
            container.name
        ));
    }
    None
}

/// Plans the suspension, with the bytes of each container that may go to swap.
pub fn plan(
    settings: &SuspendSettings,
    pod: &Pod,
    candidates: Vec<Candidate>,
    room: Room,
    now: SinceBoot,
) -> Suspended {
    let kept = settings.keep_free.of(room.swap_bytes);
    let mut free = room.free_swap_bytes.saturating_sub(kept);
    let mut left_of_pod = rest(room.pod_swap_max, room.pod_swap_bytes);
    let mut lendable = room.lendable_bytes;
    let sleepers = candidates.into_iter().map(|candidate| {
        let Candidate { name, id, unit, path, inode, swap_max, may_borrow, pending, usage, .. } =
            candidate;
        let swappable = usage.memory_bytes.saturating_sub(usage.file_bytes);
        let own = swappable.min(rest(swap_max, usage.swap_bytes));
        let granted = own.min(left_of_pod);
        let wanted = if may_borrow { (swappable - granted).min(lendable) } else { 0 };
        let budget_bytes = granted.saturating_add(wanted).min(free);
        let lent_bytes = budget_bytes.saturating_sub(granted);
        (left_of_pod, free) = (left_of_pod - (budget_bytes - lent_bytes), free - budget_bytes);
        lendable -= lent_bytes;
        let bound_bytes = (budget_bytes < own.saturating_add(wanted))
            .then(|| usage.swap_bytes.saturating_add(budget_bytes));
        let container = pod.container(&name);
        let spec = container.map(|container| container.spec).unwrap_or_default();
        let resources = container.map(|container| container.effective()).unwrap_or_default();
        let probed = container.is_some_and(|container| container.probed);
        let before = usage;
        Sleeper {
            name,
            id,
            unit,
            path,
            inode,
            spec,
            resources,
            budget_bytes,
            bound_bytes,
            lent_bytes,
            swap_max: Some(swap_max),
            pending,
            processes: None,
            probed,
            before,
            after: None,
        }
    });
    Suspended {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        qos_class: qos_class(pod),
        stage: SuspendStage::Falling,
        vm: pod.virt_launcher,
        since: now,
        resources: pod.resources,
        swap_max: Some(room.pod_swap_max),
        containers: sleepers.collect(),
    }
}

fn rest(limit: SwapMax, used_bytes: u64) -> u64 {
    match limit {
        SwapMax::Bytes(limit) => limit.saturating_sub(used_bytes),
        SwapMax::Max => u64::MAX,
    }
}

impl Suspensions {
    /// Returns the reason for resuming a frozen pod that a look at its containers shows; `None` in
    /// `looks` is a container that is gone.
    pub fn looked(&mut self, uid: &PodUid, looks: &[Option<ProcessesSeen>]) -> Option<Wake> {
        let pod = self.pods.get_mut(uid)?;
        let stage = pod.stage;
        let looks = pod.containers.iter_mut().zip(looks);
        looks.filter_map(|(sleeper, look)| sleeper.looked(stage, look.as_ref()?)).next()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Suspended> {
        self.pods.values()
    }

    pub fn get(&self, uid: &PodUid) -> Option<&Suspended> {
        self.pods.get(uid)
    }

    pub fn begin(&mut self, suspended: Suspended) {
        self.pods.insert(suspended.uid.clone(), suspended);
    }

    /// Records that the pod is suspended; `after` is by container, in the pod's order.
    pub fn slept(&mut self, uid: &PodUid, after: &[Option<Usage>]) -> Option<&Suspended> {
        let suspended = self.pods.get_mut(uid)?;
        suspended.stage = SuspendStage::Asleep;
        for (sleeper, after) in suspended.containers.iter_mut().zip(after) {
            sleeper.after = *after;
        }
        Some(suspended)
    }

    pub fn remove(&mut self, uid: &PodUid) -> Option<Suspended> {
        self.pods.remove(uid)
    }

    /// Returns the bytes of swap that pods which are being suspended may still take. `swap_bytes`:
    /// a container's swap now.
    pub fn claimed_bytes(&self, swap_bytes: impl Fn(&Sleeper) -> u64) -> u64 {
        let falling = self.iter().filter(|pod| pod.stage == SuspendStage::Falling);
        let claimed = falling.flat_map(|pod| &pod.containers).map(|sleeper| {
            let at_most = sleeper.before.swap_bytes.saturating_add(sleeper.budget_bytes);
            at_most.saturating_sub(swap_bytes(sleeper))
        });
        claimed.fold(0, u64::saturating_add)
    }

    pub fn named(&self, namespace: &str, name: &str) -> Option<&Suspended> {
        self.iter().find(|pod| &*pod.namespace == namespace && &*pod.name == name)
    }

    /// Returns all pods that must be resumed now, with the reason. A `deleted` pod in `pods` only
    /// has cgroups left.
    pub fn to_wake(
        &self,
        settings: &SuspendSettings,
        pods: &Pods,
        deleted: &BTreeSet<PodUid>,
        evicting: impl Fn(&PodUid) -> bool,
        silence: Duration,
    ) -> Vec<(PodUid, Wake)> {
        let due = |suspended: &Suspended| {
            let pod = pods.get(&suspended.uid).map(AsRef::as_ref);
            let pod = pod.filter(|_| !deleted.contains(&suspended.uid));
            let evicting = evicting(&suspended.uid);
            let wake = wake(settings, suspended, pod, evicting, silence)?;
            Some((suspended.uid.clone(), wake))
        };
        self.iter().filter_map(due).collect()
    }
}

impl Suspended {
    pub fn rows(&self) -> Vec<SuspendRow> {
        let row = |sleeper: &Sleeper| {
            let expected = sleeper.before.memory_bytes.saturating_sub(sleeper.budget_bytes);
            let swap = sleeper.after.unwrap_or(Usage {
                swap_bytes: sleeper.before.swap_bytes + sleeper.budget_bytes,
                ..Usage::default()
            });
            SuspendRow {
                namespace: self.namespace.to_string(),
                pod: self.name.to_string(),
                container: sleeper.name.to_string(),
                qos_class: self.qos_class,
                state: match (self.stage, self.vm) {
                    (SuspendStage::Falling, _) => "awake",
                    (SuspendStage::Asleep, false) => "frozen",
                    (SuspendStage::Asleep, true) => "paused",
                }
                .to_owned(),
                memory_before_bytes: sleeper.before.memory_bytes,
                memory_after_bytes: sleeper.after.map_or(expected, |after| after.memory_bytes),
                swap_bytes: swap.swap_bytes,
                lent_bytes: sleeper.lent_bytes,
            }
        };
        self.containers.iter().map(row).collect()
    }

    /// Returns bytes of RAM before and after, and bytes in swap.
    pub fn sums(&self) -> (u64, u64, u64) {
        self.rows().iter().fold((0, 0, 0), |(before, after, swap), row| {
            (
                before + row.memory_before_bytes,
                after + row.memory_after_bytes,
                swap + row.swap_bytes,
            )
        })
    }

    pub fn summary(&self) -> String {
        let (before, after, swap) = self.sums();
        let freed = before.saturating_sub(after);
        let lent = match self.lent_bytes() {
            0 => String::new(),
            lent => format!(" ({} lent by suspend.reserve)", human_bytes(lent)),
        };
        format!(
            "{}/{} ({}) is suspended: {} of {} RAM freed, {} in RAM, {} in swap{lent}",
            self.namespace,
            self.name,
            self.qos_class,
            human_bytes(freed),
            human_bytes(before),
            human_bytes(after),
            human_bytes(swap)
        )
    }
}

#[cfg(test)]
#[path = "suspend_tests.rs"]
mod tests;
