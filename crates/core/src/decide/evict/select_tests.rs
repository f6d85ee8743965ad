use std::sync::Arc;

use super::*;
use crate::decide::evict::spared::Spared;
use crate::{config::settings::Settings, fixtures::pod, model::pressure::ContainerUsage};

const MIB: u64 = 1 << 20;

fn at(efforts: &Efforts) -> Circumstances<'_> {
    Circumstances { now: UnixTime(1000), ram_bytes: 1000 * MIB, efforts }
}

/// A pod with one container, and its use of memory and swap in MiB.
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
    rank(&settings, &pods, &usage, at(&Efforts::default()))
        .into_iter()
        .map(|ranked| ranked.name)
        .collect()
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
        effort: None,
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
    // A pod without a limit is not above it; swap counts like memory.
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
fn the_pod_that_has_been_here_longest_goes_first_where_all_else_is_equal() {
    let settings = Settings::defaults().eviction;
    let mut pods = Pods::new();
    for (name, created) in [("old", 1), ("young", 3), ("middle", 2)] {
        let mut pod = pod(name, &["- - 100Mi -"]);
        pod.created = UnixTime(created);
        pods.insert(pod.uid.clone(), Arc::new(pod));
    }
    let usage = ["old", "young", "middle"].map(|name| uses(name, 200, 0));
    let names = |usage: &[PodUsage]| {
        rank(&settings, &pods, usage, at(&Efforts::default()))
            .into_iter()
            .map(|r| r.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&usage), ["old", "middle", "young"]);
    let reversed: Vec<_> = usage.iter().rev().cloned().collect();
    assert_eq!(names(&reversed), names(&usage), "whatever the order in which they were found");
}

#[test]
fn some_are_never_chosen() {
    let settings = Settings::defaults().eviction;
    let reason = |change: fn(&mut Pod), usage: Option<&PodUsage>| {
        let mut pod = pod("a", &["- - 100Mi -"]);
        change(&mut pod);
        spared(&settings, &Pods::new(), &pod, usage, UnixTime(1000))
    };
    let used = uses("a", 100, 100);
    let used = Some(&used);
    assert_eq!(reason(|_| {}, used), None);
    assert_eq!(reason(|p| p.namespace = "openshift-etcd".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "kube-system".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "kube-system-2".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "openshift".into(), used), Some(Spared::Namespace));
    assert_eq!(reason(|p| p.namespace = "kube-public".into(), used), None);
    assert_eq!(reason(|p| p.namespace = "my-openshift".into(), used), None);
    assert!(matches!(reason(|p| p.mirror = true, used), Some(Spared::Critical(_))));
    assert!(matches!(
        reason(|p| p.priority = Some(2_000_000_000), used),
        Some(Spared::Critical(_))
    ));
    assert_eq!(
        reason(|p| p.deletion_deadline = Some(UnixTime(1030)), used),
        Some(Spared::Terminating)
    );
    assert_eq!(reason(|p| p.finished = true, used), Some(Spared::Finished));
    assert_eq!(reason(|_| {}, Some(&uses("a", 0, 0))), Some(Spared::UsesNothing));
    assert_eq!(reason(|_| {}, None), Some(Spared::UsesNothing));
}

#[test]
fn the_reason_for_a_place_is_told() {
    let settings = Settings::defaults().eviction;
    let pod = pod("a", &["- - 100Mi 120Mi"]);
    let pods = Pods::from([(pod.uid.clone(), Arc::new(pod))]);
    let why = |memory, swap| {
        rank(&settings, &pods, &[uses("a", memory, swap)], at(&Efforts::default()))[0].why()
    };
    assert_eq!(why(110, 30), "20.0 MiB above a container's limit, priority 0, 30.0 MiB in swap");
    assert_eq!(why(110, 0), "10.0 MiB above its request, priority 0, 0 B in swap");
    assert_eq!(why(50, 1), "within its request, priority 0, 1.0 MiB in swap");
}

#[test]
fn owners_and_annotations_decide_who_is_a_candidate() {
    let mut settings = Settings::defaults().eviction;
    settings.opt_out_annotations = vec!["example.com/stays".into()];
    let used = uses("a", 100, 100);
    let reason = |change: &dyn Fn(&mut Pod)| {
        let mut pod = pod("a", &["- - 100Mi -"]);
        change(&mut pod);
        let owner = Arc::new(crate::fixtures::pod("owner", &[]));
        let pods = Pods::from([(owner.uid.clone(), owner)]);
        spared(&settings, &pods, &pod, Some(&used), UnixTime(1000))
    };
    let owned = |kind, uid: &str| {
        Some(crate::model::pod::Owner { kind, name: "x".into(), uid: uid.into(), controller: true })
    };
    assert_eq!(
        reason(&|pod| pod.owner = owned(OwnerKind::DaemonSet, "u")),
        Some(Spared::DaemonSet)
    );
    assert_eq!(reason(&|pod| pod.owner = owned(OwnerKind::Job, "u")), None);
    // An owner makes the pod part of it only if the owning pod exists.
    let part = reason(&|pod| pod.owner = owned(OwnerKind::Pod, "000owner-uid"));
    assert_eq!(part, Some(Spared::PartOf("default/owner".into())));
    assert_eq!(reason(&|pod| pod.owner = owned(OwnerKind::Pod, "nobody")), None);
    let with = |key: &str, value: &str| {
        let (key, value): (Arc<str>, Arc<str>) = (key.into(), value.into());
        reason(&move |pod| pod.annotations = vec![(key.clone(), value.clone())])
    };
    assert_eq!(with("example.com/stays", ""), Some(Spared::OptedOut("example.com/stays".into())));
    assert_eq!(with("example.com/stays", "false"), None);
    assert_eq!(with(PREFER_NO_EVICTION, "true"), None, "last, not never");
}

#[test]
fn among_equals_annotations_losses_movement_and_cost_decide() {
    let settings = Settings::defaults().eviction;
    /// A name, the pod's special properties, and its use of memory and swap in MiB.
    type Special<'a> = (&'a str, &'a dyn Fn(&mut Pod), u64, u64);
    let order = |changes: &[Special<'_>]| {
        let (mut pods, mut usage) = (Pods::new(), Vec::new());
        for (name, change, memory, swap) in changes {
            let mut pod = pod(name, &["- - 100Mi -"]);
            pod.owner = crate::decide::evict::sim::owner(OwnerKind::Other, name);
            change(&mut pod);
            pods.insert(pod.uid.clone(), Arc::new(pod));
            usage.push(uses(name, *memory, *swap));
        }
        let ranked = rank(&settings, &pods, &usage, at(&Efforts::default()));
        ranked.into_iter().map(|ranked| ranked.name).collect::<Vec<_>>()
    };
    let annotated = |key: &'static str, value: &'static str| {
        move |pod: &mut Pod| pod.annotations = vec![(key.into(), value.into())]
    };
    assert_eq!(
        order(&[
            ("stays", &annotated(PREFER_NO_EVICTION, "true"), 900, 300),
            ("evict-false", &annotated(DESCHEDULER_EVICT, "false"), 800, 300),
            ("unsafe", &annotated(SAFE_TO_EVICT, "false"), 700, 300),
            ("evict-true", &annotated(DESCHEDULER_EVICT, "true"), 200, 0),
            ("plain", &|_| {}, 150, 0),
        ]),
        ["evict-true", "plain", "stays", "evict-false", "unsafe"]
    );
    assert_eq!(
        order(&[
            ("bare", &|pod| pod.owner = None, 200, 0),
            ("job", &|pod| pod.owner.as_mut().unwrap().kind = OwnerKind::Job, 200, 0),
            ("files", &|pod| pod.local_storage = true, 200, 0),
            ("replica", &|pod| pod.created = UnixTime(9), 200, 0),
        ]),
        ["replica", "files", "job", "bare"]
    );
    let vm = |pod: &mut Pod| pod.virt_launcher = true;
    assert_eq!(
        order(&[("swapped", &vm, 100, 100), ("resident", &vm, 190, 10)]),
        ["resident", "swapped"],
        "a migration reads every swapped page back"
    );
    // Ten MiB are a hundredth of RAM: smaller differences count as equal.
    assert_eq!(
        order(&[
            ("a-bit-more", &|pod| pod.created = UnixTime(5), 205, 0),
            ("older", &|_| {}, 201, 0)
        ]),
        ["a-bit-more", "older"],
        "it frees more"
    );
}

/// Rows of the kubelet's `PodRequests` (component-helpers), with overhead as its eviction manager
/// adds it.
#[test]
fn requests_are_the_kubelets() {
    use crate::model::pod::ContainerKind::{self, Ephemeral, Init, Regular, Sidecar};
    let of = |containers: &[(ContainerKind, &str)]| {
        let mut pod = pod("p", &[]);
        for (kind, text) in containers {
            let resources = format!("- - {text} -");
            pod.containers.push(crate::fixtures::container("c", *kind, &resources));
        }
        pod
    };
    let mib = |pod: &Pod| request(pod) / MIB;
    assert_eq!(mib(&of(&[(Regular, "100Mi"), (Regular, "50Mi")])), 150);
    assert_eq!(mib(&of(&[(Init, "400Mi"), (Regular, "100Mi")])), 400);
    assert_eq!(mib(&of(&[(Sidecar, "30Mi"), (Init, "400Mi"), (Regular, "100Mi")])), 430);
    assert_eq!(mib(&of(&[(Init, "400Mi"), (Sidecar, "30Mi"), (Regular, "100Mi")])), 400);
    assert_eq!(mib(&of(&[(Sidecar, "30Mi"), (Regular, "100Mi"), (Ephemeral, "900Mi")])), 130);
    let mut pod = of(&[(Regular, "100Mi")]);
    pod.overhead = Some("120Mi".parse().unwrap());
    assert_eq!(mib(&pod), 220);
    pod.resources = Some(crate::fixtures::resources("- - 64Mi -"));
    assert_eq!(mib(&pod), 184);
    pod = of(&[]);
    pod.overhead = Some("120Mi".parse().unwrap());
    assert_eq!(mib(&pod), 0);
}
