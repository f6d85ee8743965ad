use std::sync::Arc;

use super::*;
use crate::{
    config::settings::Settings, decide::grant::tests::pod, model::pressure::ContainerUsage,
};

const MIB: u64 = 1 << 20;

/// A pod with one container, and what it uses: memory and swap in MiB.
type Case = (&'static str, &'static str, i32, u64, u64);

fn order(cases: &[Case]) -> Vec<String> {
    let pods: Pods = cases
        .iter()
        .map(|(name, resources, priority, ..)| {
            let mut pod = pod(name, &[resources]);
            pod.priority = Some(*priority);
            (pod.uid.clone(), Arc::new(pod))
        })
        .collect();
    let usage: Vec<_> =
        cases.iter().map(|(name, _, _, memory, swap)| uses(name, *memory, *swap)).collect();
    let settings = Settings::defaults().eviction;
    rank(&settings, &pods, &usage).into_iter().map(|ranked| ranked.name).collect()
}

fn uses(name: &str, memory_mib: u64, swap_mib: u64) -> PodUsage {
    PodUsage {
        uid: pod(name, &[]).uid,
        containers: vec![ContainerUsage {
            name: Some("c0".into()),
            working_set_bytes: memory_mib * MIB,
            swap_bytes: swap_mib * MIB,
        }],
        slice: None,
    }
}

#[test]
fn the_order_is_limit_request_priority_usage_swap() {
    assert_eq!(
        order(&[
            ("within", "- - 200Mi -", -5, 100, 50),
            ("above-a-little", "- - 100Mi -", 0, 150, 0),
            ("above-a-lot", "- - 100Mi -", 0, 500, 0),
            ("important", "- - 100Mi -", 1000, 900, 0),
            ("above-limit", "- - 100Mi 200Mi", 5000, 150, 60),
        ]),
        ["above-limit", "above-a-lot", "above-a-little", "important", "within"]
    );
    assert_eq!(
        order(&[
            ("less-swap", "- - 100Mi -", 0, 140, 10),
            ("more-swap", "- - 100Mi -", 0, 100, 50)
        ]),
        ["more-swap", "less-swap"]
    );
    // No limit is no excess; swap counts as memory does.
    assert_eq!(
        order(&[("no-limit", "- - 100Mi -", 0, 9000, 0), ("limit", "- - 100Mi 110Mi", 0, 100, 11)]),
        ["limit", "no-limit"]
    );
}

/// Kubernetes, "Pod selection for kubelet eviction": usage above requests, priority, how far above.
#[test]
fn without_limits_the_order_is_the_kubelets() {
    assert_eq!(
        order(&[
            ("best-effort", "- - - -", 0, 300, 0),
            ("guaranteed-like", "- - 1Gi -", 0, 900, 0),
            ("burstable-above", "- - 100Mi -", 0, 350, 0),
            ("low-priority-within", "- - 1Gi -", -100, 1000, 0),
            ("high-priority-above", "- - 100Mi -", 100, 2000, 0),
        ]),
        [
            "best-effort",
            "burstable-above",
            "high-priority-above",
            "low-priority-within",
            "guaranteed-like"
        ]
    );
}

#[test]
fn the_youngest_goes_first_where_all_else_is_equal() {
    let settings = Settings::defaults().eviction;
    let mut pods = Pods::new();
    for (name, created) in [("old", 1), ("young", 3), ("middle", 2)] {
        let mut pod = pod(name, &["- - 100Mi -"]);
        pod.created = created;
        pods.insert(pod.uid.clone(), Arc::new(pod));
    }
    let usage = ["old", "young", "middle"].map(|name| uses(name, 200, 0));
    let names = |usage: &[PodUsage]| {
        rank(&settings, &pods, usage).into_iter().map(|r| r.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&usage), ["young", "middle", "old"]);
    let reversed: Vec<_> = usage.iter().rev().cloned().collect();
    assert_eq!(names(&reversed), names(&usage), "whatever the order in which they were found");
}

#[test]
fn some_are_never_chosen() {
    let settings = Settings::defaults().eviction;
    let reason = |change: fn(&mut Pod), usage: Option<&PodUsage>| {
        let mut pod = pod("a", &["- - 100Mi -"]);
        change(&mut pod);
        spared(&settings, &pod, usage)
    };
    let used = uses("a", 100, 100);
    let used = Some(&used);
    assert_eq!(reason(|_| {}, used), None);
    assert_eq!(reason(|p| p.namespace = "openshift-etcd".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "kube-system".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "kube-system-2".into(), used), None);
    assert!(matches!(reason(|p| p.mirror = true, used), Some(Spared::Critical(_))));
    let from_file: fn(&mut Pod) = |p| p.config_source = Some("file".into());
    assert!(matches!(reason(from_file, used), Some(Spared::Critical(_))));
    assert!(matches!(
        reason(|p| p.priority = Some(2_000_000_000), used),
        Some(Spared::Critical(_))
    ));
    assert_eq!(reason(|p| p.terminating = true, used), Some(Spared::Terminating));
    assert_eq!(reason(|p| p.finished = true, used), Some(Spared::Finished));
    assert_eq!(reason(|_| {}, Some(&uses("a", 0, 0))), Some(Spared::UsesNothing));
    assert_eq!(reason(|_| {}, None), Some(Spared::UsesNothing));
}

#[test]
fn the_reason_for_a_place_is_told() {
    let settings = Settings::defaults().eviction;
    let pod = pod("a", &["- - 100Mi 120Mi"]);
    let pods = Pods::from([(pod.uid.clone(), Arc::new(pod))]);
    let why = |memory, swap| rank(&settings, &pods, &[uses("a", memory, swap)])[0].why();
    assert_eq!(why(110, 30), "20.0 MiB above a container's limit, priority 0, 30.0 MiB in swap");
    assert_eq!(why(110, 0), "10.0 MiB above its request, priority 0, 0 B in swap");
    assert_eq!(why(50, 1), "within its request, priority 0, 1.0 MiB in swap");
}
