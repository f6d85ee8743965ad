//! Orders the pods for eviction as a kubelet does, but with containers above their memory limit
//! first, because swap lets them exceed it. Among equals the pod whose eviction helps most and
//! costs least comes first.
//!
//! Source: Kubernetes "Node-pressure Eviction", "Pod selection for kubelet eviction"; the order
//! follows `pkg/kubelet/eviction/helpers.go`.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    efforts::Efforts,
    request::{bytes, ends_within, request},
    spared::{migrates_within, spared},
    workload::Workload,
};
use crate::{
    config::settings::EvictionSettings,
    model::{
        clock::UnixTime,
        pod::{DESCHEDULER_EVICT, OwnerKind, PREFER_NO_EVICTION, Pod, PodUid, Pods, SAFE_TO_EVICT},
        pressure::PodUsage,
        swap::human_bytes,
    },
};

/// Facts that are the same for all pods at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    pub now: UnixTime,
    /// RAM of the node.
    pub ram_bytes: u64,
    pub efforts: &'a Efforts,
}

/// A pod that may be evicted, with the figures that determine its rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ranked {
    pub uid: PodUid,
    pub namespace: String,
    pub name: String,
    /// An annotation asks to evict other pods first.
    pub prefers_to_stay: bool,
    /// Bytes of memory and swap above the memory limit, for the container that exceeds it most.
    pub above_limit: u64,
    pub above_request: u64,
    pub priority: i32,
    pub loses: Loses,
    /// Pages per second that return from swap into the pod.
    pub pages_per_second: u64,
    pub swap_bytes: u64,
    /// Bytes of memory and swap that its eviction frees.
    pub frees_bytes: u64,
    /// Bytes of its swap that a live migration reads back before the VM can leave.
    pub read_back_bytes: u64,
    pub created: UnixTime,
    #[serde(skip)]
    pub order: Order,
    /// The grace period to request, in seconds, if the pod's own is longer than allowed.
    pub grace_seconds: Option<u64>,
    /// The longest time until the pod ends, in seconds.
    pub ends_within_seconds: u64,
    /// The longest time for a live migration of the pod, in seconds.
    pub migrates_within_seconds: u64,
    pub launcher: bool,
    #[serde(skip)]
    pub workload: Option<Workload>,
}

crate::vocabulary! {
    /// The loss that an eviction of the pod causes, the least first.
    #[derive(PartialOrd, Ord)]
    pub enum Loses {
        /// The pod's controller creates it again.
        Nothing = "nothing",
        /// Files in an `emptyDir`.
        LocalStorage = "local-storage",
        /// The work of a Job so far.
        Job = "job",
        /// The pod itself: no controller creates it again.
        BarePod = "bare-pod",
    }
}

impl Loses {
    fn of(pod: &Pod) -> Self {
        let owner = pod.owner.as_ref().filter(|owner| owner.controller).map(|owner| owner.kind);
        match owner {
            None => Self::BarePod,
            Some(OwnerKind::Job) => Self::Job,
            // A launcher's emptyDir volumes hold nothing that the VM needs after a migration.
            Some(_) if pod.local_storage && !pod.virt_launcher => Self::LocalStorage,
            Some(_) => Self::Nothing,
        }
    }

    /// Returns a warning, if one applies.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::LocalStorage => Some("the files in its emptyDir volumes are lost"),
            Self::Job => Some("the results of its Job so far are lost"),
            Self::BarePod => Some("no controller creates it again: it is lost"),
        }
    }
}

/// The keys of the rank, in order of importance; the first pod leaves first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    prefers_to_stay: bool,
    above_limit: Reverse<bool>,
    above_request: Reverse<bool>,
    priority: i32,
    /// In steps of a hundredth of RAM, so that smaller differences count as equal.
    how_far_above: Reverse<u64>,
    loses: u8,
    /// The number of the pod's own pages that move, in powers of two.
    pages_move: Reverse<u32>,
    /// The memory freed, minus the memory that has to be read back first.
    gain: Reverse<u64>,
    swap: Reverse<u64>,
    /// The oldest pod first; the newest may still be warming up.
    created: UnixTime,
    uid: String,
}

impl Ranked {
    /// Explains the pod's rank.
    pub fn why(&self) -> String {
        let above = match (self.above_limit, self.above_request) {
            (0, 0) => "within its request".to_owned(),
            (0, request) => format!("{} above its request", human_bytes(request)),
            (limit, _) => format!("{} above a container's limit", human_bytes(limit)),
        };
        let swap = human_bytes(self.swap_bytes);
        let mut why = format!("{above}, priority {}, {swap} in swap", self.priority);
        if self.prefers_to_stay {
            why += ", has an annotation that prefers no eviction";
        }
        if self.pages_per_second > 0 {
            why += &format!(", {} pages/s swapped in", self.pages_per_second);
        }
        why
    }

    /// Describes the memory that an eviction frees and its cost.
    pub fn cost(&self) -> String {
        let frees = human_bytes(self.frees_bytes);
        let mut text = match self.read_back_bytes {
            0 => format!("its eviction frees {frees}"),
            bytes => format!(
                "its eviction frees {frees}; a live migration first reads {} back from swap",
                human_bytes(bytes)
            ),
        };
        if let Some(warning) = self.loses.warning() {
            text += "; ";
            text += warning;
        }
        text
    }
}

/// Ranks all pods that may be evicted, the first to leave first. Equal input gives equal output.
pub fn rank(
    settings: &EvictionSettings,
    pods: &Pods,
    usage: &[PodUsage],
    at: Circumstances<'_>,
) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = usage
        .iter()
        .filter_map(|usage| Some((pods.get(&usage.uid)?, usage)))
        .filter(|(pod, usage)| spared(settings, pods, pod, Some(usage), at.now).is_none())
        .map(|(pod, usage)| ranked(settings, pod, usage, at))
        .collect();
    ranked.sort_by(|a, b| a.order.cmp(&b.order));
    ranked
}

fn ranked(
    settings: &EvictionSettings,
    pod: &Pod,
    usage: &PodUsage,
    at: Circumstances<'_>,
) -> Ranked {
    let above_limit = above_limit(pod, usage);
    let above_request = usage.bytes().saturating_sub(request(pod));
    let priority = pod.priority.unwrap_or(0);
    let (frees_bytes, swap_bytes) = (usage.bytes(), usage.swap_bytes());
    let read_back_bytes = if pod.virt_launcher { swap_bytes } else { 0 };
    let pages_per_second = at.efforts.pages_per_second(&pod.uid);
    let loses = Loses::of(pod);
    let prefers_to_stay = prefers_to_stay(pod);
    let step = (at.ram_bytes / 100).max(1);
    let order = Order {
        prefers_to_stay,
        above_limit: Reverse(above_limit > 0),
        above_request: Reverse(above_request > 0),
        priority,
        how_far_above: Reverse(above_request / step),
        loses: loses as u8,
        pages_move: Reverse(pages_per_second.checked_ilog2().map_or(0, |log| log + 1)),
        gain: Reverse(frees_bytes - read_back_bytes),
        swap: Reverse(swap_bytes),
        created: pod.created,
        uid: pod.uid.to_string(),
    };
    let own = ends_within(pod, at.now);
    let longest = settings.longest_grace.map(|longest| longest.as_secs());
    Ranked {
        uid: pod.uid.clone(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        prefers_to_stay,
        above_limit,
        above_request,
        priority,
        loses,
        pages_per_second,
        swap_bytes,
        frees_bytes,
        read_back_bytes,
        created: pod.created,
        order,
        grace_seconds: longest.filter(|longest| own > *longest),
        ends_within_seconds: longest.map_or(own, |longest| longest.min(own)),
        migrates_within_seconds: migrates_within(pod, Some(usage)).as_secs(),
        launcher: pod.virt_launcher,
        workload: Workload::of(pod),
    }
}

fn above_limit(pod: &Pod, usage: &PodUsage) -> u64 {
    let of_containers = usage.containers.iter().filter_map(|used| {
        let container = pod.container(used.name.as_deref()?)?;
        // The kubelet sets no limit for 0, nor for an amount that overflows an int64, which becomes
        // 0.
        let limit = bytes(container.effective().limits.memory?).filter(|limit| *limit > 0)?;
        Some(used.working_set_bytes.saturating_add(used.swap_bytes).saturating_sub(limit))
    });
    let whole = pod.resources.and_then(|resources| resources.limits.memory).and_then(bytes);
    let of_pod = whole.map(|limit| usage.bytes().saturating_sub(limit));
    of_containers.chain(of_pod).max().unwrap_or(0)
}

/// Returns true if an annotation asks to evict other pods first.
fn prefers_to_stay(pod: &Pod) -> bool {
    pod.annotation(PREFER_NO_EVICTION).is_some()
        || [DESCHEDULER_EVICT, SAFE_TO_EVICT].iter().any(|key| pod.annotation(key) == Some("false"))
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
