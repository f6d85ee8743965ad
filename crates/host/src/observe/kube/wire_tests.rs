use super::*;
use wasp_core::fixtures::resources;

const ID: &str = "6506db16ea97b09bdd2aa6ac6c3ca21e670f69b0e2233c99eafaebd597e53728";

fn parse(json: &str) -> Option<Pod> {
    pod(serde_json::from_str(json).unwrap(), &[])
}

#[test]
fn takes_what_counts_from_a_pod() {
    let pod = parse(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod",
        "metadata":{{"name":"vm","namespace":"vms","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
          "labels":{{"kubevirt.io":"virt-launcher"}},"annotations":{{"kubernetes.io/config.source":"api"}},
          "creationTimestamp":"2026-11-22T00:00:00Z","deletionTimestamp":"2026-11-22T00:01:00Z",
          "managedFields":[{{"manager":"kubelet","fieldsV1":{{"f:status":{{}}}}}}]}},
        "spec":{{"priority":5,"terminationGracePeriodSeconds":180,"nodeName":"node-a",
          "initContainers":[{{"name":"side","restartPolicy":"Always","resources":{{"requests":{{"memory":"20Mi"}}}}}},
                            {{"name":"init","resources":{{}}}}],
          "containers":[{{"name":"compute","resources":{{"requests":{{"cpu":"1","memory":"4Gi"}},"limits":{{"memory":"8Gi"}}}}}}],
          "ephemeralContainers":[{{"name":"debug"}}]}},
        "status":{{"qosClass":"Burstable","containerStatuses":[{{"name":"compute","containerID":"cri-o://{ID}",
          "allocatedResources":{{"cpu":"1","memory":"3Gi"}},
          "resources":{{"requests":{{"cpu":"1","memory":"2Gi"}},"limits":{{"memory":"8Gi"}}}}}}]}}}}"#
    ))
    .unwrap();
    assert_eq!((&*pod.namespace, &*pod.name, pod.priority), ("vms", "vm", Some(5)));
    assert!(pod.virt_launcher && !pod.mirror && !pod.finished);
    assert_eq!(pod.deletion_deadline, Some(UnixTime(1_795_305_660)));
    assert_eq!((pod.created, pod.grace_seconds), (UnixTime(1_795_305_600), 180));
    assert_eq!(pod.qos_class, Some(QosClass::Burstable));
    let kinds: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("side", ContainerKind::Sidecar),
            ("init", ContainerKind::Init),
            ("compute", ContainerKind::Regular),
            ("debug", ContainerKind::Ephemeral)
        ]
    );
    let compute = pod.container("compute").unwrap();
    assert_eq!(compute.id, ContainerId::new(ID));
    assert_eq!(compute.spec, resources("1 - 4Gi 8Gi"));
    assert_eq!(compute.effective(), resources("1 - 3Gi 8Gi"), "as allocated");
    assert_eq!(pod.container_by_id(&ContainerId::new(ID).unwrap()), Some(compute));
}

/// Status of a pod whose container `c` requests `4Gi` in the spec.
fn resizing(metadata: &str, status: &str) -> Container {
    let json = format!(
        r#"{{"metadata":{{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"{metadata}}},
        "spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"memory":"4Gi"}}}}}}]}},
        "status":{{"qosClass":"Burstable"{status}}}}}"#
    );
    parse(&json).unwrap().containers[0].clone()
}

#[test]
fn while_a_resize_is_pending_the_request_of_a_container_without_resources_is_not_known() {
    let waiting =
        r#","containerStatuses":[{"name":"c","state":{"waiting":{"reason":"PodInitializing"}}}]"#;
    let condition = |status: &str| {
        format!(
            r#","conditions":[{{"type":"PodResizePending","status":"{status}","reason":"Infeasible"}}]"#
        )
    };
    for (metadata, status, unknown) in [
        ("", waiting.to_owned(), false),
        ("", format!("{waiting}{}", condition("True")), true),
        ("", condition("True"), true),
        ("", format!("{waiting}{}", condition("False")), false),
        ("", format!(r#"{waiting},"resize":"Deferred""#), true),
        ("", format!(r#"{waiting},"resize":"InProgress""#), false),
        (r#","generation":2"#, format!(r#"{waiting},"observedGeneration":1"#), true),
        (r#","generation":2"#, format!(r#"{waiting},"observedGeneration":2"#), false),
        (r#","generation":2"#, waiting.to_owned(), false),
    ] {
        assert_eq!(resizing(metadata, &status).request_unknown, unknown, "{metadata} {status}");
    }
    let reported =
        r#","containerStatuses":[{"name":"c","resources":{"requests":{"memory":"1Gi"}}}]"#;
    let reported = resizing("", &format!("{reported}{}", condition("True")));
    assert!(!reported.request_unknown);
    assert_eq!(reported.effective(), resources("- - 1Gi -"));
}

#[test]
fn a_launcher_of_kubevirt_1_3_shows_migrations() {
    let shows = |annotations: &str| {
        let json = format!(
            r#"{{"metadata":{{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "annotations":{{{annotations}}}}},"spec":{{"containers":[]}}}}"#
        );
        parse(&json).unwrap().shows_migrations
    };
    assert!(shows(r#""descheduler.alpha.kubernetes.io/request-evict-only":"""#));
    assert!(!shows(""));
}

#[test]
fn the_limit_of_the_pod_is_not_one_of_the_container() {
    let status = r#","containerStatuses":[{"name":"c","resources":{"requests":{"memory":"4Gi"},
        "limits":{"cpu":"1","memory":"4Gi"}}}]"#;
    assert_eq!(resizing("", status).effective(), resources("- 1 4Gi -"));
}

/// The statuses are a kubelet's: of a running, a waiting and an ended container.
#[test]
fn a_container_runs_while_its_state_says_so() {
    let of = |state: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
            "spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running","containerStatuses":[
            {"name":"c","ready":false,"restartCount":7,"containerID":"cri-o://ID",STATE}]}}"#;
        parse(&json.replace("ID", ID).replace("STATE", state)).unwrap().containers[0].running
    };
    assert!(of(r#""state":{"running":{"startedAt":"2026-11-22T00:00:00Z"}}"#));
    assert!(of(r#""state":{"running":{}}"#));
    for state in [
        r#""state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s restarting failed container"}}"#,
        r#""state":{"terminated":{"exitCode":1,"reason":"Error"}}"#,
        r#""state":{"running":null}"#,
        r#""state":{}"#,
        r#""state":null"#,
        r#""started":false"#,
    ] {
        assert!(!of(state), "{state}");
    }
}

#[test]
fn a_mirror_pod_runs_under_the_static_pods_uid() {
    let pod = parse(
        r#"{"metadata":{"name":"etcd","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
        "annotations":{"kubernetes.io/config.mirror":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kubernetes.io/config.source":"file"},
        "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"u","controller":true}]},
        "spec":{"nodeName":"node-a","containers":[]}}"#,
    )
    .unwrap();
    assert_eq!(pod.uid.as_str(), "0a1b2c3d4e5f60718293a4b5c6d7e8f9");
    assert!(pod.mirror);
}

/// The mirror pod would replace the pod with this UID.
#[test]
fn a_mirror_pod_cannot_have_an_api_pods_uid() {
    let of = |mirror: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "annotations":{"kubernetes.io/config.mirror":"UID"},
            "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"u","controller":true}]},
            "spec":{"nodeName":"node-a"}}"#;
        parse(&json.replace("UID", mirror))
    };
    assert_eq!(of("9192cfa8-679c-444e-9bb8-9701e3620c02"), None);
    assert!(of("9192cfa8679c444e9bb89701e3620c02").unwrap().mirror);
}

/// Regression: annotations of its author exempted a pod from eviction forever.
#[test]
fn only_a_pod_that_this_node_owns_is_a_mirror() {
    for owner in [
        "",
        r#"{"apiVersion":"v1","kind":"Node","name":"node-b","uid":"u","controller":true}"#,
        r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"node-a","uid":"u","controller":true}"#,
    ] {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "annotations":{"kubernetes.io/config.mirror":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","kubernetes.io/config.source":"file"},
            "ownerReferences":[OWNER]},"spec":{"nodeName":"node-a"}}"#;
        let pod = parse(&json.replace("OWNER", owner)).unwrap();
        assert!(!pod.mirror, "{owner}");
        assert_eq!(pod.uid.as_str(), "00000000-679c-444e-9bb8-9701e3620c02");
        assert_eq!(crate::decide::grant::critical(&pod), None);
    }
}

#[test]
fn owners_annotations_and_volumes_are_kept_as_far_as_they_count() {
    let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
        "ownerReferences":[{"apiVersion":"v1","kind":"Other","name":"a","uid":"1"},
            {"apiVersion":"apps/v1","kind":"DaemonSet","name":"ds","uid":"2","controller":true}],
        "annotations":{"descheduler.alpha.kubernetes.io/evict":"false","a/b":"c","my/own":"LONG","other":"x"}},
        "spec":{"overhead":{"memory":"120Mi","cpu":"1"},
            "volumes":[{"name":"a","hostPath":{"path":"/"}},{"name":"b","emptyDir":{"medium":"Memory"}}]},
        "status":{"conditions":[{"type":"Ready","status":"True"},
            {"type":"DisruptionTarget","status":"True","reason":"EvictionByEvictionAPI"}]}}"#;
    let json = json.replace("LONG", &"é".repeat(100));
    let pod = pod(serde_json::from_str(&json).unwrap(), &["my/own".to_owned()]).unwrap();
    let owner = pod.owner.clone().unwrap();
    assert_eq!((owner.kind, &*owner.name, &*owner.uid), (OwnerKind::DaemonSet, "ds", "2"));
    assert_eq!(pod.annotation("descheduler.alpha.kubernetes.io/evict"), Some("false"));
    assert_eq!(pod.annotation("my/own"), Some(format!("{}…", "é".repeat(32)).as_str()));
    assert_eq!(pod.annotations.len(), 2);
    assert!(pod.local_storage && pod.evicted_by_api);
    assert_eq!(pod.overhead.map(|overhead| overhead.value()), Some(120 << 20));
}

#[test]
fn a_pod_that_anybody_ends_is_disrupted_and_only_the_eviction_api_evicts() {
    let of = |condition: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
            "status":{"conditions":[{"type":"DisruptionTarget",CONDITION}]}}"#;
        let pod = parse(&json.replace("CONDITION", condition)).unwrap();
        (pod.disrupted, pod.evicted_by_api)
    };
    assert_eq!(of(r#""status":"True","reason":"EvictionByEvictionAPI""#), (true, true));
    assert_eq!(of(r#""status":"True","reason":"TerminationByKubelet""#), (true, false));
    assert_eq!(of(r#""status":"True""#), (true, false));
    assert_eq!(of(r#""status":"False","reason":"TerminationByKubelet""#), (false, false));
}

#[test]
fn annotations_of_swap_are_kept_for_containers_that_exist() {
    let many: String = (0..50).map(|i| format!(r#""swap.wasp.io/limit.x{i}":"0","#)).collect();
    let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
        "annotations":{MANY"swap.wasp.io/limit":"25%","swap.wasp.io/limit.compute":"0","swap.wasp.io/other":"1"}},
        "spec":{"containers":[{"name":"compute"}]}}"#;
    let pod = parse(&json.replace("MANY", &many)).unwrap();
    assert_eq!(pod.annotation("swap.wasp.io/limit"), Some("25%"));
    assert_eq!(pod.annotation("swap.wasp.io/limit.compute"), Some("0"));
    assert_eq!(pod.annotations.len(), 2 + UNKNOWN_CONTAINERS);
}

/// The condition in virt-controller's form (`pkg/virt-controller/watch`,
/// `syncPausedConditionToPod`).
#[test]
fn a_launcher_shows_that_its_vm_is_paused() {
    let of = |status: &str, reason: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "labels":{"kubevirt.io":"virt-launcher"}},"spec":{},"status":{"conditions":[
            {"type":"Ready","status":"True"},{"lastProbeTime":"2023-07-18T13:48:56Z",
            "lastTransitionTime":"2023-07-18T13:48:56Z","message":"m","reason":"REASON","status":"STATUS",
            "type":"kubevirt.io/virtual-machine-unpaused"}]}}"#;
        parse(&json.replace("STATUS", status).replace("REASON", reason)).unwrap().vm_paused
    };
    assert!(of("False", "Paused"));
    assert!(!of("True", "NotPaused"));
}

#[test]
fn probes_that_a_frozen_container_would_not_answer_are_seen() {
    let of = |probe: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
            "spec":{"containers":[{"name":"c"PROBE}]}}"#;
        parse(&json.replace("PROBE", probe)).unwrap().containers[0].probed
    };
    assert!(!of(""));
    assert!(of(r#","livenessProbe":{"httpGet":{"port":80}}"#));
    assert!(of(r#","readinessProbe":{"exec":{"command":["true"]}}"#));
    assert!(!of(r#","readinessProbe":{"httpGet":{"port":80}},"livenessProbe":null"#));
    assert!(of(r#","startupProbe":{"exec":{"command":["true"]}}"#));
    let started = |started: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02"},
            "spec":{"containers":[{"name":"c","startupProbe":{"httpGet":{"port":80}}}]},
            "status":{"containerStatuses":[{"name":"c"STARTED}]}}"#;
        parse(&json.replace("STARTED", started)).unwrap().containers[0].probed
    };
    assert!(!started(r#","started":true"#) && !started(""));
    assert!(started(r#","started":false"#), "the kubelet still tries its startup probe");
}

/// Values of launcher pods of KubeVirt 1.0 to 1.9.
#[test]
fn a_launcher_shows_its_part_in_a_migration() {
    let of = |labels: &str, annotations: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "labels":{"kubevirt.io":"virt-launcher"LABELS},"annotations":{ANNOTATIONS}},"spec":{"nodeName":"node-a"}}"#;
        parse(&json.replace("LABELS", labels).replace("ANNOTATIONS", annotations))
            .unwrap()
            .migration
    };
    assert_eq!(of(r#","kubevirt.io/nodeName":"node-a""#, ""), None);
    for value in ["kubevirt", "true", ""] {
        let shown = format!(r#""descheduler.alpha.kubernetes.io/eviction-in-progress":"{value}""#);
        assert_eq!(of("", &shown), Some(Migration::Leaving));
    }
    let job = r#","kubevirt.io/migrationJobUID":"u""#;
    assert_eq!(of(job, ""), Some(Migration::Arriving), "a decentralized migration");
    let elsewhere = format!(r#"{job},"kubevirt.io/nodeName":"node-b""#);
    assert_eq!(of(&elsewhere, ""), Some(Migration::Arriving));
    let here = format!(r#"{job},"kubevirt.io/nodeName":"node-a""#);
    assert_eq!(of(&here, ""), Some(Migration::Arrived { ready: None }));
    let ready = r#""kubevirt.io/migration-target-ready-timestamp":"2026-11-22T00:00:00Z""#;
    assert_eq!(of(&here, ready), Some(Migration::Arrived { ready: Some(UnixTime(1_795_305_600)) }));
}

#[test]
fn what_is_no_usable_pod_is_left_out() {
    for json in [
        r#"{"metadata":{}}"#,
        r#"{"metadata":{"name":"p"}}"#,
        r#"{"metadata":{"name":"p","uid":"../../etc"}}"#,
        r#"{"metadata":{"name":"p\n","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
        r#"{"metadata":{"name":"p","namespace":"\u001b[2J","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
        r#"{"metadata":{"name":"p","uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"},"spec":{"containers":[{"name":"a b"}]}}"#,
        r#"{"metadata":{"uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
    ] {
        assert_eq!(parse(json), None, "{json}");
    }
    let odd = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","resources":{"requests":{"memory":"lots"}}}]}}"#;
    assert!(serde_json::from_str::<WirePod>(odd).is_err());
}

/// Regression: what was left of a value that ends in a letter of two bytes counted as a limit.
#[test]
fn an_annotation_that_is_too_long_is_marked() {
    let of = |value: &str| {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-679c-444e-9bb8-9701e3620c02",
            "annotations":{"swap.wasp.io/limit":"VALUE"}},"spec":{}}"#;
        parse(&json.replace("VALUE", value))
            .unwrap()
            .annotation("swap.wasp.io/limit")
            .map(String::from)
    };
    let fits = format!("{}20Mi", "0".repeat(60));
    assert_eq!(of(&fits), Some(fits));
    let cut = format!("{}20Mi", "0".repeat(59));
    assert_eq!(of(&format!("{cut}é")), Some(format!("{cut}…")));
}
