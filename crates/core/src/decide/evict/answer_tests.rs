use super::*;

const WEBHOOK_OF_KUBEVIRT: &str =
    "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the request: ";

fn refusal(code: u16, message: &str) -> Refusal {
    Refusal { code, message: message.to_owned(), ..Refusal::default() }
}

fn by_budget(name: &str, retry_after: Option<u64>) -> Refusal {
    let cause = format!("The disruption budget {name} needs 1 healthy pods and has 1 currently");
    Refusal {
        causes: vec![(BUDGET.to_owned(), cause)],
        retry_after: retry_after.map(Duration::from_secs),
        ..refusal(429, "Cannot evict pod as it would violate the pod's disruption budget.")
    }
}

#[test]
fn kubevirts_words_have_their_meaning_in_every_version() {
    let of = |words: &str| classify(&refusal(429, &format!("{WEBHOOK_OF_KUBEVIRT}{words}")), true);
    for words in [
        "Eviction triggered evacuation of VMI \"vms/vm\"",
        "Evacuation in progress: Eviction triggered evacuation of VMI \"vms/vm\"",
    ] {
        assert_eq!(of(words).outcome().word(), "migrating", "{words}");
        assert!(of(words).text().contains(words), "the server's own words are kept");
    }
    for words in [
        "VMI vm is configured with an eviction strategy but is not live-migratable",
        "Eviction request for target Pod",
        "kubevirt failed getting the vmi: not found",
        "cannot evict hotplug pod: hp-volume-x associated with running vmi: vm in namespace vms",
    ] {
        assert_eq!(of(words).outcome().word(), "unwilling", "{words}");
    }
    for words in [
        "kubevirt failed marking the vmi for eviction: timeout",
        "kubevirt failed getting the vmi: etcdserver: request timed out",
        "failed getting owner for hotplug pod: context deadline exceeded",
    ] {
        assert_eq!(of(words).outcome().word(), "busy", "{words}");
    }
}

#[test]
fn kubevirts_own_budget_tells_of_a_migration_and_no_other_does() {
    let kubevirt = by_budget("kubevirt-disruption-budget-x7x2p", None);
    assert_eq!(classify(&kubevirt, true).outcome().word(), "migrating");
    assert_eq!(classify(&kubevirt, false).outcome().word(), "budget", "no VM");
    assert_eq!(classify(&by_budget("web", None), true).outcome().word(), "budget");
    let answer = classify(&by_budget("web", Some(10)), false);
    let EvictionAnswer::Budget { retry_after, text } = answer else { panic!("{answer:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(10)));
    assert!(text.contains("The disruption budget web"), "{text}");
}

#[test]
fn overload_and_errors_are_the_servers_trouble() {
    let overloaded = Refusal {
        retry_after: Some(Duration::from_secs(1)),
        ..refusal(429, "Too many requests, please try again later.")
    };
    let EvictionAnswer::Busy { retry_after, .. } = classify(&overloaded, true) else { panic!() };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert_eq!(classify(&refusal(429, ""), false).outcome().word(), "busy", "no cause, no blame");
    for code in [408, 500, 502, 503, 504] {
        assert_eq!(
            classify(&refusal(code, "etcdserver: request timed out"), false).outcome().word(),
            "unknown"
        );
    }
    assert_eq!(classify(&refusal(401, "Unauthorized"), false).outcome().word(), "unreachable");
    assert_eq!(
        classify(&refusal(409, "the object has been modified"), false).outcome().word(),
        "busy"
    );
}

#[test]
fn a_webhook_that_was_not_called_has_begun_nothing() {
    let failed = |name: &str, why: &str| {
        let text = format!(
            "Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: \
             Post \"https://virt-api.kubevirt.svc:443/launcher-eviction-validate?timeout=10s\": {why}"
        );
        refusal(500, &text)
    };
    let kubevirt = "virt-launcher-eviction-interceptor.kubevirt.io";
    let absent = "no endpoints available for service \"virt-api\"";
    for (webhook, why, launcher, outcome) in [
        (kubevirt, absent, true, "busy"),
        (kubevirt, "dial tcp 10.0.0.1:443: connect: connection refused", true, "busy"),
        (kubevirt, "service \"virt-api\" not found", true, "busy"),
        (kubevirt, "context deadline exceeded", true, "unknown"),
        (kubevirt, "the answer was not found in time", true, "unknown"),
        // KubeVirt's webhook may have begun a migration beside the one that failed.
        ("policy.example", absent, true, "unknown"),
        ("policy.example", absent, false, "busy"),
        ("policy.example", "EOF", false, "unknown"),
    ] {
        let answer = classify(&failed(webhook, why), launcher);
        assert_eq!(answer.outcome().word(), outcome, "{webhook} {why}");
    }
}

#[test]
fn the_pods_own_refusals_and_its_absence() {
    assert_eq!(classify(&refusal(404, "pods \"x\" not found"), false), EvictionAnswer::Gone);
    let gone = "pods \"x\" is forbidden: User \"system:node:node-a\" cannot create: no relationship \
                found between node 'node-a' and this object";
    assert_eq!(classify(&refusal(403, gone), false), EvictionAnswer::Gone);
    let other = "Precondition failed: UID in precondition: a, UID in object meta: b";
    assert_eq!(classify(&refusal(409, other), false), EvictionAnswer::Gone);
    // `pkg/registry/core/pod/storage/eviction.go`.
    let other = "Operation cannot be fulfilled on pods \"x\": the UID in the precondition (a) does \
                 not match the UID in record (b). The object might have been deleted and then recreated";
    assert_eq!(classify(&refusal(409, other), true), EvictionAnswer::Gone);
    assert_eq!(
        classify(&refusal(403, "no"), false),
        EvictionAnswer::Refused { text: "403 no".into() }
    );
    let custom = "admission webhook \"policy.example\" denied the request: not on Fridays";
    assert_eq!(classify(&refusal(429, custom), false).outcome().word(), "refused");
}
