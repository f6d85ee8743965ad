use serde_json::{Value, json};

use super::*;

const UID: &str = "9192cfa8-679c-444e-9bb8-9701e3620c02";

fn pod(json: &[u8]) -> Result<Pod, OddPod> {
    super::pod(json, &[])
}

fn event(line: &[u8]) -> Option<(PodEvent, Option<String>)> {
    super::event(line, &[])
}

fn base() -> Value {
    json!({
        "metadata": {
            "name": "vm", "namespace": "vms", "uid": UID, "resourceVersion": "7",
            "labels": {"app": "x"}, "annotations": {"note": "y"},
            "creationTimestamp": "2026-11-22T00:00:00Z",
        },
        "spec": {
            "priority": 5, "terminationGracePeriodSeconds": 180, "nodeName": "node-a",
            "initContainers": [{"name": "init", "restartPolicy": "Always", "resources": {}}],
            "containers": [{
                "name": "main", "image": "i",
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            }],
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable",
            "containerStatuses": [{"name": "main", "containerID": "cri-o://6506db16ea97b09b",
                "allocatedResources": {"memory": "1Gi"}, "resources": {"requests": {"memory": "1Gi"}}}],
        },
    })
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut object = base();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        _ => parent[last] = value,
    }
    object.to_string().into_bytes()
}

/// Puts every kind of value into every field: the pod is read, or reported with the field.
#[test]
fn whatever_a_field_is_the_pod_is_read_or_named() {
    let fields = [
        "/metadata/labels",
        "/metadata/annotations",
        "/metadata/labels/app",
        "/metadata/annotations/note",
        "/metadata/creationTimestamp",
        "/metadata/deletionTimestamp",
        "/metadata/resourceVersion",
        "/spec/priority",
        "/spec/terminationGracePeriodSeconds",
        "/spec/resources",
        "/spec/initContainers",
        "/spec/containers",
        "/spec/ephemeralContainers",
        "/spec/containers/0",
        "/spec/containers/0/name",
        "/spec/containers/0/restartPolicy",
        "/spec/containers/0/resources",
        "/spec/containers/0/resources/limits",
        "/spec/containers/0/resources/requests/cpu",
        "/spec/containers/0/resources/limits/memory",
        "/spec/nodeName",
        "/status",
        "/status/phase",
        "/status/qosClass",
        "/status/containerStatuses",
        "/status/containerStatuses/0/name",
        "/status/containerStatuses/0/containerID",
        "/status/containerStatuses/0/allocatedResources/memory",
        "/status/containerStatuses/0/resources",
    ];
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(7),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("word"),
        json!("2026-99-99T00:00:00Z"),
        json!("-1"),
        json!([]),
        json!([1]),
        json!(["x", {"y": []}]),
        json!({}),
        json!({"memory": {"x": 1}}),
        json!({"x": "y"}),
        json!("x".repeat(100_000)),
    ];
    let (mut read, mut left_out) = (0, 0);
    for field in fields {
        for value in &values {
            match pod(&with(field, value.clone())) {
                Ok(pod) => {
                    assert_eq!((&*pod.namespace, &*pod.name), ("vms", "vm"));
                    read += 1;
                }
                Err(odd) => {
                    assert_eq!(odd.label(), "vms/vm", "{field} = {value:.40}");
                    assert_eq!(odd.uid, PodUid::new(UID));
                    assert!(odd.reason.chars().count() <= LONGEST_REASON + 1, "{}", odd.reason);
                    let path = field[1..].replace("/0", "[0]").replace('/', ".");
                    let named = odd.reason.starts_with(&path) || odd.reason.contains("its name");
                    assert!(named, "{path} = {value:.40}: {}", odd.reason);
                    left_out += 1;
                }
            }
        }
    }
    assert!(read > 100 && left_out > 200, "{read} read, {left_out} left out");
}

#[test]
fn the_reason_is_the_field_and_what_is_wrong_with_it() {
    for (field, value, reason) in [
        (
            "/spec/containers/0/resources/limits/memory",
            json!("1e9x"),
            r#"spec.containers[0].resources.limits.memory: "1e9x" is not a quantity (examples: 512Mi, 1.5Gi, 250m, 1e9)"#,
        ),
        ("/spec/priority", json!("high"), "spec.priority: string \"high\" is not a number"),
        (
            "/spec/priority",
            json!(1_i64 << 40),
            "spec.priority: integer 1099511627776 is out of range for a number",
        ),
        ("/spec/containers/0/name", json!(5), "spec.containers[0].name: integer 5 is not a string"),
        (
            "/spec/containers/0/name",
            json!("a b"),
            "its UID, its name, its namespace or the name of a container is not valid",
        ),
    ] {
        assert_eq!(pod(&with(field, value)).unwrap_err().reason, reason);
    }
}

#[test]
fn what_kubernetes_takes_for_something_is_that() {
    let grace = |value: Value| {
        pod(&with("/spec/terminationGracePeriodSeconds", value)).unwrap().grace_seconds
    };
    assert_eq!(grace(json!(-5)), 1);
    assert_eq!(grace(json!(i64::MIN)), 1);
    assert_eq!(grace(json!(i64::MAX)), i64::MAX.unsigned_abs());
    assert_eq!(grace(json!(null)), 30);
    for field in [
        "/spec/initContainers",
        "/status",
        "/metadata/deletionTimestamp",
        "/spec/containers/0/resources",
    ] {
        assert!(pod(&with(field, json!(null))).is_ok(), "{field}");
    }
    // Values that an API server of another version may send.
    let words = pod(&with("/status/qosClass", json!("Elastic"))).unwrap();
    assert_eq!(words.qos_class, None);
    assert!(pod(&with("/spec/containers/0/restartPolicy", json!("Sometimes"))).is_ok());
    // Valid for the API server, though above every int64.
    let huge = pod(&with("/spec/containers/0/resources/limits/memory", json!("1e42"))).unwrap();
    assert_eq!(huge.containers[1].spec.limits.memory.unwrap().value(), 0);
}

#[test]
fn text_that_is_not_unicode_or_very_deep_hurts_nobody() {
    let object = base().to_string();
    let odd = pod(object.replace("\"node-a\"", r#""\ud800\udfff""#).as_bytes());
    assert!(odd.is_ok(), "nobody reads spec.nodeName");
    let odd = pod(object.replace("\"main\"", r#""\ud800""#).as_bytes()).unwrap_err();
    assert_eq!(odd.label(), "vms/vm");
    assert!(odd.reason.starts_with("spec.containers[0].name: "), "{}", odd.reason);
    let bytes = object.replace("node-a", "NODE").into_bytes();
    let at = bytes.windows(4).position(|four| four == b"NODE").unwrap();
    let not_unicode = [&bytes[..at], b"\xff\xfe", &bytes[at + 4..]].concat();
    assert!(pod(&not_unicode).is_ok());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let ignored = format!("\"node-a\",\"affinity\":{deep}");
        assert!(pod(object.replace("\"node-a\"", &ignored).as_bytes()).is_ok());
        let odd = pod(object.replace("\"node-a\"", &deep).as_bytes()).unwrap_err();
        assert_eq!(odd.label(), "vms/vm");
        let odd = pod(object.replace("\"Running\"", &deep).as_bytes()).unwrap_err();
        assert_eq!(odd.label(), "vms/vm");
    }
}

#[test]
fn what_has_no_usable_name_is_counted_all_the_same() {
    for (field, value, label) in [
        ("/metadata/name", json!(5), format!("the pod with UID {UID}")),
        ("/metadata/name", json!("\u{1b}[2J"), format!("the pod with UID {UID}")),
        ("/metadata/uid", json!("../../etc"), "vms/vm".to_owned()),
        ("/metadata/namespace", json!([]), "/vm".to_owned()),
    ] {
        assert_eq!(pod(&with(field, value)).unwrap_err().label(), label);
    }
    for json in ["", "{}", "[]", "5", "null", "{\"metadata\":5}", "{\"metadata\":{}", "nonsense"] {
        assert_eq!(pod(json.as_bytes()).unwrap_err().label(), "a pod without a name", "{json}");
    }
    let mut mirror = base();
    mirror["spec"]["priority"] = json!("x");
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("0a1b2c3d4e5f6071");
    let uid = || pod(mirror.to_string().as_bytes()).unwrap_err().uid;
    assert_eq!(uid(), PodUid::new("0a1b2c3d4e5f6071"));
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!(UID);
    let uid = pod(mirror.to_string().as_bytes()).unwrap_err().uid;
    assert_eq!(uid, None, "an API pod's UID is no mirror's");
}

#[test]
fn a_watch_goes_on_whatever_its_objects_are() {
    let line = |kind: &str, object: &str| format!(r#"{{"type":"{kind}","object":{object}}}"#);
    let good = base().to_string();
    let (found, version) = event(line("ADDED", &good).as_bytes()).unwrap();
    assert!(matches!(found, PodEvent::Applied(Ok(_))));
    assert_eq!(version.as_deref(), Some("7"));
    let odd = String::from_utf8(with("/spec/containers", json!("none"))).unwrap();
    let (found, version) = event(line("MODIFIED", &odd).as_bytes()).unwrap();
    assert!(matches!(found, PodEvent::Applied(Err(odd)) if odd.label() == "vms/vm"));
    assert_eq!(version.as_deref(), Some("7"));
    let (found, _) = event(line("DELETED", &odd).as_bytes()).unwrap();
    assert!(matches!(found, PodEvent::Deleted(Err(odd)) if odd.uid == PodUid::new(UID)));
    let bookmark = r#"{"kind":"Pod","metadata":{"resourceVersion":"12"},"spec":{"containers":null},"status":{}}"#;
    assert_eq!(
        event(line("BOOKMARK", bookmark).as_bytes()),
        Some((PodEvent::Bookmark, Some("12".to_owned())))
    );
    let error = r#"{"kind":"Status","code":410,"message":"too old"}"#;
    let (found, _) = event(line("ERROR", error).as_bytes()).unwrap();
    assert_eq!(found, PodEvent::Error { code: 410, message: "too old".to_owned() });
    for nonsense in
        ["nonsense", "{}", "[]", r#"{"type":"ADDED"}"#, r#"{"type":"SOMETHING","object":{}}"#]
    {
        assert_eq!(event(nonsense.as_bytes()), None);
    }
    let long = line("MODIFIED", &good);
    let (found, version) = long_event(&long.as_bytes()[..long.len() - 100]).unwrap();
    assert!(
        matches!(found, PodEvent::Applied(Err(odd)) if odd.to_string() == "vms/vm: it is longer than 4 MiB")
    );
    assert_eq!(version.as_deref(), Some("7"));
}

#[test]
fn a_list_has_a_version_and_is_whole() {
    for (frame, version) in [
        (r#"{"metadata":{"resourceVersion":"7"},"items":[0,0]}"#, Ok("7")),
        (r#"{"metadata":{"resourceVersion":"7"},"items":null}"#, Ok("7")),
        (r#"{"metadata":{"resourceVersion":"7"}}"#, Err("it has no items")),
        (r#"{"metadata":{},"items":[]}"#, Err("it has no metadata.resourceVersion")),
        (
            r#"{"metadata":{"resourceVersion":"7","continue":"x"},"items":[0]}"#,
            Err("it is incomplete"),
        ),
        (
            r#"{"metadata":{"resourceVersion":"7"},"items":[0 0]}"#,
            Err("it is not JSON, or has no metadata"),
        ),
        ("", Err("it is not JSON, or has no metadata")),
        ("<html>", Err("it is not JSON, or has no metadata")),
    ] {
        assert_eq!(
            list_version(frame.as_bytes()).as_deref(),
            version.as_ref().map(|v| *v),
            "{frame}"
        );
    }
}
