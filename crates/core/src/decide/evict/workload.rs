//! Remembers workloads whose pods were moved: evicting a pod that returns within minutes is
//! useless, and a VM that has just moved should rest.
//!
//! Source: the descheduler's `KubevirtMigrationAware`, whose cooldown for a VM is 15 minutes,
//! doubled each time up to 6 hours.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::model::{
    clock::SinceBoot,
    pod::{Owner, OwnerKind, Pod, PodUid, Pods},
};

const FIRST_COOLDOWN: Duration = Duration::from_secs(15 * 60);
const LONGEST_COOLDOWN: Duration = Duration::from_secs(6 * 3600);
/// A new pod of a workload that appears within this time after one has left counts as its return.
const BACK_WITHIN: Duration = Duration::from_secs(10 * 60);
/// The agent leaves a workload that returned alone for this long.
const SPARED_AFTER_RETURN: Duration = Duration::from_secs(3600);
/// A workload that has not moved for this long starts with the shortest cooldown again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Upper bound of entries, because authors of pods choose the owners: new entries replace the
/// oldest.
const MOST: usize = 1024;
/// A workload of which this many pods were evicted from the node within [`FORGOTTEN_AFTER`] is
/// reported: evictions do not solve its problem.
const OFTEN: usize = 3;
/// Upper bound of the remembered evictions of one workload.
const MOST_TIMES: usize = 16;

/// The controller that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// UID of the controller. A VM has `namespace/name` instead: each of its starts makes a new
    /// VirtualMachineInstance (KubeVirt `SetupVMIFromVM`).
    #[serde(alias = "uid")]
    pub key: String,
    /// `namespace/name` of the controller.
    pub name: String,
    pub vm: bool,
}

impl Workload {
    /// Returns the pod's workload; `None` for a bare pod.
    pub fn of(pod: &Pod) -> Option<Self> {
        let Owner { kind, name, uid, .. } = pod.owner.as_ref().filter(|owner| owner.controller)?;
        let vm = *kind == OwnerKind::VirtualMachineInstance && pod.virt_launcher;
        let name = format!("{}/{name}", pod.namespace);
        let key = if vm { name.clone() } else { uid.to_string() };
        Some(Self { key, name, vm })
    }
}

/// A workload whose evicted pod has returned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// `namespace/name` of the controller.
    pub workload: String,
    pub pod: PodUid,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Moved {
    last: SinceBoot,
    /// The cooldown of a VM; zero for other workloads.
    cooldown: Duration,
    /// The agent evicts none of its pods before this time.
    until: SinceBoot,
    /// Until this time a new pod of it counts as the return of the one that left.
    watched_until: SinceBoot,
    /// Its pods on this node at the time of the request.
    pods: BTreeSet<PodUid>,
    came_back: bool,
    /// `namespace/name` of the controller.
    #[serde(default)]
    name: String,
    /// The last evictions within [`FORGOTTEN_AFTER`].
    #[serde(default)]
    times: Vec<SinceBoot>,
}

/// The workloads that were moved, by [`Workload::key`]. Times are since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workloads(BTreeMap<String, Moved>);

impl Workloads {
    /// Records that a pod of `workload` is leaving.
    pub fn moves(&mut self, workload: &Workload, pods: BTreeSet<PodUid>, now: SinceBoot) {
        let before = self.0.get(&workload.key).map(|moved| moved.cooldown);
        let cooldown = match (workload.vm, before) {
            (false, _) => Duration::ZERO,
            // A VM has one launcher here, or two for a moment: a workload with more pods is not a
            // VM.
            (true, _) if pods.len() > 2 => Duration::ZERO,
            (true, None | Some(Duration::ZERO)) => FIRST_COOLDOWN,
            (true, Some(before)) => before.saturating_mul(2).min(LONGEST_COOLDOWN),
        };
        let mut times =
            self.0.get_mut(&workload.key).map_or_else(Vec::new, |moved| take(&mut moved.times));
        times.retain(|then| now.since(*then) < FORGOTTEN_AFTER);
        times.drain(..(times.len() + 1).saturating_sub(MOST_TIMES));
        times.push(now);
        let moved = Moved {
            last: now,
            cooldown,
            until: now + cooldown,
            watched_until: now + BACK_WITHIN,
            pods,
            came_back: false,
            name: workload.name.clone(),
            times,
        };
        self.0.insert(workload.key.clone(), moved);
        if self.0.len() > MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, moved)| moved.last)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
    }

    /// Records that the pod has left: from now on a new one replaces it.
    pub fn left(&mut self, workload: &Workload, now: SinceBoot) {
        if let Some(moved) = self.0.get_mut(&workload.key) {
            moved.watched_until = now + BACK_WITHIN;
            moved.until = moved.until.max(now + moved.cooldown);
        }
    }

    /// Returns the workloads that have returned, each once, and drops those that moved long ago.
    pub fn see(&mut self, pods: &Pods, now: SinceBoot) -> Vec<Returned> {
        self.0.retain(|_, moved| now.since(moved.last) < FORGOTTEN_AFTER);
        let watched = |moved: &Moved| !moved.came_back && now < moved.watched_until;
        if !self.0.values().any(watched) {
            return Vec::new();
        }
        let mut returned = Vec::new();
        for pod in pods.values().filter(|pod| !pod.is_terminating() && !pod.finished) {
            let Some(workload) = Workload::of(pod) else { continue };
            let Some(moved) = self.0.get_mut(&workload.key) else { continue };
            if watched(moved) && !moved.pods.contains(&pod.uid) {
                moved.came_back = true;
                moved.until = moved.until.max(now + SPARED_AFTER_RETURN);
                let name = format!("{}/{}", pod.namespace, pod.name);
                returned.push(Returned { workload: workload.name, pod: pod.uid.clone(), name });
            }
        }
        returned
    }

    /// Returns the workloads of which pods were evicted at least [`OFTEN`] times within a day, each
    /// as `namespace/name` with the number of evictions.
    pub fn often(&self, now: SinceBoot) -> Vec<(&str, usize)> {
        let recent = |moved: &Moved| {
            moved.times.iter().filter(|then| now.since(**then) < FORGOTTEN_AFTER).count()
        };
        let all = self.0.values().map(|moved| (moved.name.as_str(), recent(moved)));
        let mut often: Vec<_> = all.filter(|(_, count)| *count >= OFTEN).collect();
        often.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        often
    }

    /// Returns the reason for evicting no pod of `workload` now, if there is one.
    pub fn spared(&self, workload: &Workload, now: SinceBoot) -> Option<String> {
        let moved = self.0.get(&workload.key).filter(|moved| now < moved.until)?;
        let minutes = moved.until.since(now).as_secs().div_ceil(60);
        Some(match moved.came_back {
            true => format!(
                "a pod of {} came back to this node after an eviction; the agent evicts none of \
                 its pods for {minutes} min",
                workload.name
            ),
            false => {
                format!(
                    "{} was moved recently; the agent does not evict it for {minutes} min",
                    workload.name
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixtures::pod;

    fn at(minutes: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(minutes * 60))
    }

    fn of(name: &str, kind: OwnerKind, owner: &str) -> Arc<Pod> {
        let mut pod = pod(name, &["- - 100Mi -"]);
        pod.owner = Some(Owner { kind, name: owner.into(), uid: owner.into(), controller: true });
        pod.virt_launcher = kind == OwnerKind::VirtualMachineInstance;
        Arc::new(pod)
    }

    fn pods(all: &[&Arc<Pod>]) -> Pods {
        all.iter().map(|pod| (pod.uid.clone(), Arc::clone(pod))).collect()
    }

    #[test]
    fn a_workload_that_comes_back_is_spared_for_an_hour_and_its_siblings_are_no_return() {
        let (first, sibling, again) = (
            of("web-1", OwnerKind::Other, "web"),
            of("web-2", OwnerKind::Other, "web"),
            of("web-3", OwnerKind::Other, "web"),
        );
        let workload = Workload::of(&first).unwrap();
        let mut workloads = Workloads::default();
        workloads.moves(&workload, [first.uid.clone(), sibling.uid.clone()].into(), at(0));
        assert_eq!(workloads.see(&pods(&[&first, &sibling]), at(1)), []);
        assert_eq!(workloads.spared(&workload, at(1)), None, "another replica may leave");
        workloads.left(&workload, at(1));
        let returned = workloads.see(&pods(&[&sibling, &again]), at(3));
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].name, "default/web-3");
        assert_eq!(workloads.see(&pods(&[&sibling, &again]), at(4)), [], "reported once");
        assert!(workloads.spared(&workload, at(62)).unwrap().contains("came back"));
        assert_eq!(workloads.spared(&workload, at(64)), None);
    }

    #[test]
    fn a_pod_that_appears_much_later_is_no_return() {
        let (first, later) =
            (of("web-1", OwnerKind::Other, "web"), of("web-9", OwnerKind::Other, "web"));
        let workload = Workload::of(&first).unwrap();
        let mut workloads = Workloads::default();
        workloads.moves(&workload, [first.uid.clone()].into(), at(0));
        workloads.left(&workload, at(1));
        assert_eq!(workloads.see(&pods(&[&later]), at(12)), []);
    }

    #[test]
    fn a_vms_cooldown_doubles_from_a_quarter_of_an_hour_to_six_hours() {
        let launcher = of("virt-launcher-a", OwnerKind::VirtualMachineInstance, "vm");
        let workload = Workload::of(&launcher).unwrap();
        let mut workloads = Workloads::default();
        let mut now = 0;
        for minutes in [15, 30, 60, 120, 240, 360, 360] {
            workloads.moves(&workload, BTreeSet::new(), at(now));
            assert!(workloads.spared(&workload, at(now + minutes - 1)).is_some(), "{minutes}");
            assert_eq!(workloads.spared(&workload, at(now + minutes)), None, "{minutes}");
            now += minutes + 1;
        }
        workloads.see(&Pods::new(), at(now + 25 * 60));
        assert_eq!(workloads, Workloads::default(), "forgotten after a day");
    }

    #[test]
    fn a_vm_that_starts_again_with_another_instance_has_come_back() {
        let start = |number: u8| {
            let mut pod = of(&format!("virt-launcher-vm-{number}"), OwnerKind::Other, "vm");
            let launcher = Arc::make_mut(&mut pod);
            launcher.virt_launcher = true;
            if let Some(owner) = &mut launcher.owner {
                owner.kind = OwnerKind::VirtualMachineInstance;
                owner.uid = format!("instance-{number}").into();
            }
            pod
        };
        let (first, again) = (start(1), start(2));
        let workload = Workload::of(&first).unwrap();
        let mut workloads = Workloads::default();
        workloads.moves(&workload, [first.uid.clone()].into(), at(0));
        workloads.left(&workload, at(1));
        assert_eq!(workloads.see(&pods(&[&again]), at(2)).len(), 1);
        let workload = Workload::of(&again).unwrap();
        assert!(workloads.spared(&workload, at(61)).unwrap().contains("came back"));
        for minutes in [70, 140] {
            workloads.moves(&workload, BTreeSet::new(), at(minutes));
        }
        assert_eq!(workloads.often(at(141)), [("default/vm", 3)]);
    }

    #[test]
    fn a_workload_that_is_evicted_three_times_a_day_is_reported() {
        let web = Workload { key: "u".into(), name: "default/web".into(), vm: false };
        let other = Workload { key: "o".into(), name: "default/other".into(), vm: false };
        let mut workloads = Workloads::default();
        for minutes in [0, 60, 120] {
            assert_eq!(workloads.often(at(minutes)), []);
            workloads.moves(&web, BTreeSet::new(), at(minutes));
            workloads.moves(&other, BTreeSet::new(), at(minutes * 13));
        }
        assert_eq!(workloads.often(at(121)), [("default/web", 3)]);
        assert_eq!(workloads.often(at(24 * 60 + 1)), [], "the first was more than a day ago");
        for minutes in 0..100 {
            workloads.moves(&web, BTreeSet::new(), at(121 + minutes));
        }
        assert_eq!(workloads.often(at(221)), [("default/web", MOST_TIMES)]);
        let kept: Workloads =
            serde_json::from_str(&serde_json::to_string(&workloads).unwrap()).unwrap();
        assert_eq!(kept.often(at(221)), [("default/web", MOST_TIMES)], "by the next agent too");
    }

    #[test]
    fn the_name_of_the_key_in_an_earlier_file_is_read() {
        let before = r#"{"uid":"u","name":"default/web","vm":false}"#;
        assert_eq!(serde_json::from_str::<Workload>(before).unwrap().key, "u");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut workloads = Workloads::default();
        for number in 0..u64::try_from(MOST).unwrap() + 10 {
            let workload = Workload { key: number.to_string(), name: "x".into(), vm: true };
            workloads.moves(&workload, BTreeSet::new(), at(number));
        }
        assert_eq!(workloads.0.len(), MOST);
        assert!(!workloads.0.contains_key("0"));
    }
}
