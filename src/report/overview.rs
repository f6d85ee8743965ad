//! The data of `wasp-agent status` and `explain`: the agent's publication, and the current pods of
//! the host, by the same decisions as the agent's.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::Settings,
    decide::{
        decision::Snapshot,
        evict::{
            efforts::Efforts,
            select::{Circumstances, rank},
            spared::spared,
        },
        grant::{Grant, grant_by_role, swap_for_pods},
        pod_limit::pod_grant,
        qos::qos_class,
    },
    model::{
        clock::UnixTime,
        host::{ContainerFacts, MemoryEvents, Role, SwapDevice},
        obstacles::Ancestor,
        pod::{ContainerId, QosClass},
        pressure::PodUsage,
        published::Published,
        quantity::Quantity,
        swap::SwapMax,
    },
};

/// A version may gain fields, but keeps all existing ones.
pub const VERSION: u32 = 2;

/// Sizes are bytes, times RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Overview {
    pub version: u32,
    pub at: String,
    pub agent: AgentState,
    /// The agent's last publication; `null` if there is none that can be read.
    pub published: Option<Published>,
    pub swap_for_pods_bytes: u64,
    pub swap_devices: Vec<Device>,
    /// The pods that use most swap come first.
    pub pods: Vec<OverviewPodRow>,
    /// VMs that request all of their guests' memory, as `namespace/pod`: they are not
    /// overcommitted.
    #[serde(default)]
    pub vms_without_overcommit: Vec<String>,
    /// Containers whose pod is not known, and whose limits were not compared.
    #[serde(default)]
    pub unknown_containers: usize,
    /// Facts that could not be read.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AgentState {
    pub running: bool,
    /// The reason why the publication is unreliable; null if it is reliable.
    pub warning: Option<String>,
    /// The publication cannot be read, so it is not known whether the agent runs.
    #[serde(skip)]
    pub unreadable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Device {
    pub path: String,
    pub kind: String,
    pub size_bytes: u64,
    pub used_bytes: u64,
    pub priority: i32,
}

impl From<SwapDevice> for Device {
    fn from(device: SwapDevice) -> Self {
        let SwapDevice { path, kind, size_bytes, used_bytes, priority } = device;
        Self { path, kind, size_bytes, used_bytes, priority }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OverviewPodRow {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub qos_class: String,
    /// Swap of the pod's own cgroup, like the fields below.
    pub swap_bytes: u64,
    /// The part of it that ended containers have left behind.
    #[serde(default)]
    pub swap_outside_containers_bytes: u64,
    /// Bytes, or `max`.
    #[serde(default)]
    pub swap_grant: String,
    /// Bytes, or `max`; `null` if the cgroup cannot be read.
    #[serde(default)]
    pub swap_max_in_force: Option<String>,
    pub working_set_bytes: u64,
    /// Pages per second; `null` if the kernel does not count them by cgroup.
    pub swap_in_pages_per_second: Option<f64>,
    /// Share of time in which all its processes waited for memory, in percent; `null` without PSI.
    pub stalled_percent: Option<f64>,
    /// Rank for eviction, from 1; `null` for a pod that is never evicted.
    pub eviction_order: Option<usize>,
    /// The reason for the rank, or for having none.
    pub eviction_reason: String,
    /// The memory that its eviction frees, and its cost; `null` for a pod that is never evicted.
    #[serde(default)]
    pub eviction_cost: Option<String>,
    pub containers: Vec<ContainerRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ContainerRow {
    pub name: String,
    pub id: String,
    pub memory_request: Option<String>,
    pub memory_limit: Option<String>,
    /// Bytes, or `max`.
    pub swap_grant: String,
    /// The lowest of the container's own limit and those of its ancestors.
    pub swap_max_in_force: String,
    /// The cgroup with that limit, if it is not the container's own.
    #[serde(default)]
    pub bound_by: Option<String>,
    /// Number of times that the kernel could not swap because of that limit, and number of OOM
    /// kills; `null` if the kernel does not count them.
    #[serde(default)]
    pub swap_limit_hits: Option<u64>,
    #[serde(default)]
    pub oom_kills: Option<u64>,
    pub swap_bytes: u64,
    pub why: String,
}

/// Activity of a pod during the observation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    pub swap_in_pages_per_second: Option<f64>,
    pub stalled_percent: Option<f64>,
}

/// Returns the pods in the order of their use of swap, the largest first.
pub fn pods(
    settings: &Settings,
    snapshot: Snapshot<'_>,
    usage: &[PodUsage],
    now: UnixTime,
    activity: impl Fn(&[ContainerId]) -> Activity,
    events: impl Fn(&ContainerId) -> MemoryEvents,
    above: &[Ancestor],
) -> Vec<OverviewPodRow> {
    let efforts = Efforts::default();
    let ram_bytes = snapshot.node.ram_bytes;
    let at = Circumstances { now, ram_bytes, efforts: &efforts };
    let order = rank(&settings.eviction, snapshot.pods, usage, at);
    let pods_limit: BTreeMap<_, _> =
        snapshot.slices.iter().map(|facts| (&facts.uid, facts.level.swap_max)).collect();
    let mut rows = Vec::with_capacity(usage.len());
    for used in usage {
        let Some(pod) = snapshot.pods.get(&used.uid) else { continue };
        let mut containers = Vec::new();
        let mut ids = Vec::new();
        for facts in snapshot.containers.iter().filter(|facts| facts.pod == used.uid) {
            ids.push(facts.id.clone());
            let Role::Container(name) = &facts.role else { continue };
            let Grant { swap_max, reason } =
                grant_by_role(&settings.grant_rules(), &snapshot.node, Some(pod), &facts.role);
            let resources = pod.container(name).map(|container| container.effective());
            let shown = |quantity: Option<Quantity>| quantity.map(|quantity| quantity.to_string());
            let own = facts.levels.iter().map(|level| level.swap_max).min();
            let own = own.unwrap_or(SwapMax::Max);
            let (in_force, bound_by) =
                effective(own, pods_limit.get(&used.uid).copied(), &facts.path, above);
            let events = events(&facts.id);
            containers.push(ContainerRow {
                name: name.to_string(),
                id: facts.id.to_string(),
                memory_request: shown(resources.and_then(|r| r.requests.memory)),
                memory_limit: shown(resources.and_then(|r| r.limits.memory)),
                swap_grant: swap_max.to_string(),
                swap_max_in_force: in_force.to_string(),
                bound_by,
                swap_limit_hits: events.swap_limit_hits,
                oom_kills: events.oom_kills,
                swap_bytes: facts.levels.iter().map(|l| l.swap_used_bytes).max().unwrap_or(0),
                why: reason.to_string(),
            });
        }
        containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let slice = snapshot.slices.iter().find(|facts| facts.uid == used.uid);
        let place = order.iter().position(|ranked| ranked.uid == used.uid);
        let spared = spared(&settings.eviction, snapshot.pods, pod, Some(used), now);
        let eviction_reason = match (place, spared) {
            (Some(place), _) => order[place].why(),
            (None, Some(spared)) => spared.to_string(),
            (None, None) => String::new(),
        };
        let Activity { swap_in_pages_per_second, stalled_percent } = activity(&ids);
        rows.push(OverviewPodRow {
            namespace: pod.namespace.to_string(),
            pod: pod.name.to_string(),
            uid: used.uid.to_string(),
            qos_class: qos_class(pod).to_string(),
            swap_bytes: used.swap_bytes(),
            swap_outside_containers_bytes: used.swap_outside_bytes(),
            swap_grant: pod_grant(&settings.grant_rules(), &snapshot.node, Some(pod))
                .swap_max
                .to_string(),
            swap_max_in_force: slice.map(|facts| {
                let (in_force, _) = effective(facts.level.swap_max, None, &facts.path, above);
                in_force.to_string()
            }),
            working_set_bytes: used.working_set_bytes(),
            swap_in_pages_per_second,
            stalled_percent,
            eviction_order: place.map(|place| place + 1),
            eviction_reason,
            eviction_cost: place.map(|place| order[place].cost()),
            containers,
        });
    }
    rows.sort_by(|a, b| {
        (b.swap_bytes, &a.namespace, &a.pod).cmp(&(a.swap_bytes, &b.namespace, &b.pod))
    });
    rows
}

/// The name of a pod's own cgroup.
pub(super) const THE_POD: &str = "the pod";

/// Returns the effective limit for the cgroup at `path`, and the cgroup that has it unless it is
/// `path` itself: the lowest of its own, its pod's, and those of the cgroups above.
pub(super) fn effective(
    own: SwapMax,
    pod: Option<SwapMax>,
    path: &Path,
    above: &[Ancestor],
) -> (SwapMax, Option<String>) {
    let above = above.iter().filter(|ancestor| path.starts_with(&ancestor.path));
    let above = above.map(|ancestor| (ancestor.swap_max, ancestor.name().to_owned()));
    let pod = pod.map(|limit| (limit, THE_POD.to_owned()));
    match above.chain(pod).min_by_key(|(limit, _)| *limit) {
        Some((limit, name)) if limit < own => (limit, Some(name)),
        _ => (own, None),
    }
}

/// Returns the most that all pods together may swap.
pub fn for_pods(settings: &Settings, snapshot: &Snapshot<'_>) -> u64 {
    swap_for_pods(&settings.grant, &snapshot.node)
}

/// Counts the containers whose pod is not known.
pub fn unknown_containers(snapshot: &Snapshot<'_>) -> usize {
    let is_unknown = |facts: &&ContainerFacts| {
        facts.role != Role::Helper && !snapshot.pods.contains_key(&facts.pod)
    };
    snapshot.containers.iter().filter(is_unknown).count()
}

/// Returns true if pods of this class may swap at all.
pub fn may_swap(class: &str) -> bool {
    class == QosClass::Burstable.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts_and_is_named() {
        let above = |path: &str, swap_max| Ancestor {
            path: path.into(),
            swap_max,
            high: None,
            drop_ins: Vec::new(),
        };
        let path = Path::new("kubepods.slice/kubepods-burstable.slice/pod1/c");
        let all = [
            above("kubepods.slice", SwapMax::Bytes(40)),
            above("kubepods.slice/kubepods-besteffort.slice", SwapMax::ZERO),
        ];
        let own = SwapMax::Bytes(50);
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(effective(own, None, path, &[]), (own, None));
        assert_eq!(effective(own, Some(own), path, &[]), (own, None));
        assert_eq!(effective(own, None, path, &all), (SwapMax::Bytes(40), named("kubepods.slice")));
        let pod = Some(SwapMax::Bytes(30));
        assert_eq!(effective(own, pod, path, &all), (SwapMax::Bytes(30), named("the pod")));
        assert_eq!(effective(SwapMax::Bytes(20), pod, path, &all), (SwapMax::Bytes(20), None));
    }
}
