//! Decides which pods take part, and which of them are exempt at the moment.

use crate::{
    config::settings::{EvictionSettings, ReclaimPods, ReclaimSettings},
    decide::{grant::critical, qos::qos_class},
    model::{
        clock::UnixTime,
        pattern::matches,
        pod::{Migration, Pod, QosClass, RECLAIM},
        reclaim::HeldBack,
    },
};

/// Returns true if memory may be reclaimed from the pod at all.
pub fn takes_part(settings: &ReclaimSettings, eviction: &EvictionSettings, pod: &Pod) -> bool {
    let wish = pod.annotation(RECLAIM);
    let chosen = match settings.pods {
        ReclaimPods::VirtLauncher => pod.virt_launcher,
        ReclaimPods::Burstable => true,
        ReclaimPods::Annotated => wish == Some("true"),
    };
    chosen
        && wish != Some("false")
        && !pod.finished
        && qos_class(pod) == QosClass::Burstable
        && critical(pod).is_none()
        && !matches(&eviction.protected_namespaces, &pod.namespace)
}

/// Returns the reason to leave the pod alone now. `leaving`: it is
/// being evicted, or the API server no longer has it.
pub fn left_alone(
    settings: &ReclaimSettings,
    pod: &Pod,
    now: UnixTime,
    leaving: bool,
    suspended: bool,
) -> Option<HeldBack> {
    if leaving || pod.is_terminating() || pod.evicted_by_api {
        return Some(HeldBack::Leaving);
    }
    // The pod has swapped all that it may; pages that return are not a reaction to reclaim.
    if suspended {
        return Some(HeldBack::Suspended);
    }
    let since = match pod.migration {
        Some(Migration::Leaving | Migration::Arriving) => return Some(HeldBack::Migrating),
        Some(Migration::Arrived { ready: Some(ready) }) => ready.max(pod.created),
        _ => pod.created,
    };
    (now.since(since) < settings.start_delay).then_some(HeldBack::Starting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::settings::Settings, fixtures};

    fn vm(name: &str) -> Pod {
        Pod {
            virt_launcher: true,
            created: UnixTime(1000),
            ..fixtures::pod(name, &["- - 1Gi 2Gi"])
        }
    }

    #[test]
    fn only_pods_that_are_meant_take_part() {
        let mut settings = Settings::defaults();
        let takes =
            |settings: &Settings, pod: &Pod| takes_part(&settings.reclaim, &settings.eviction, pod);
        let annotated = |value: &str| Pod {
            virt_launcher: false,
            annotations: vec![(RECLAIM.into(), value.into())],
            ..vm("annotated")
        };
        let burstable = Pod { virt_launcher: false, ..vm("burstable") };
        assert!(takes(&settings, &vm("a")));
        assert!(!takes(&settings, &burstable));
        settings.reclaim.pods = ReclaimPods::Burstable;
        assert!(takes(&settings, &burstable) && !takes(&settings, &annotated("false")));
        settings.reclaim.pods = ReclaimPods::Annotated;
        assert!(takes(&settings, &annotated("true")) && !takes(&settings, &burstable));
        settings.reclaim.pods = ReclaimPods::VirtLauncher;
        for never in [
            Pod { priority: Some(2_000_000_000), ..vm("critical") },
            Pod { mirror: true, ..vm("static") },
            Pod { namespace: "kube-system".into(), ..vm("system") },
            Pod { namespace: "openshift-cnv".into(), ..vm("system") },
            Pod { finished: true, ..vm("finished") },
            Pod { virt_launcher: true, ..fixtures::pod("guaranteed", &["1 1 1Gi 1Gi"]) },
            Pod { virt_launcher: true, ..fixtures::pod("best-effort", &["- - - -"]) },
        ] {
            assert!(!takes(&settings, &never), "{}", never.name);
        }
    }

    #[test]
    fn a_suspended_pod_is_left_alone() {
        let settings = Settings::defaults().reclaim;
        let of = |leaving| left_alone(&settings, &vm("asleep"), UnixTime(9000), leaving, true);
        assert_eq!(of(false), Some(HeldBack::Suspended));
        assert_eq!(of(true), Some(HeldBack::Leaving));
    }

    #[test]
    fn a_pod_that_starts_migrates_or_leaves_is_left_alone() {
        let settings = Settings::defaults().reclaim;
        let at = |pod: &Pod, now| left_alone(&settings, pod, UnixTime(now), false, false);
        assert_eq!(at(&vm("new"), 1299), Some(HeldBack::Starting));
        assert_eq!(at(&vm("new"), 1300), None);
        assert_eq!(at(&vm("clock"), 10), Some(HeldBack::Starting));
        assert_eq!(
            left_alone(&settings, &vm("evicted"), UnixTime(9000), true, false),
            Some(HeldBack::Leaving)
        );
        let arrived = Migration::Arrived { ready: Some(UnixTime(5000)) };
        for (pod, held) in [
            (Pod { deletion_deadline: Some(UnixTime(1)), ..vm("deleted") }, HeldBack::Leaving),
            (Pod { evicted_by_api: true, ..vm("evicted") }, HeldBack::Leaving),
            (Pod { migration: Some(Migration::Leaving), ..vm("leaves") }, HeldBack::Migrating),
            (Pod { migration: Some(Migration::Arriving), ..vm("arrives") }, HeldBack::Migrating),
            (Pod { migration: Some(arrived), ..vm("arrived") }, HeldBack::Starting),
        ] {
            assert_eq!(at(&pod, 5100), Some(held), "{}", pod.name);
        }
        let settled = Pod { migration: Some(arrived), ..vm("settled") };
        assert_eq!(at(&settled, 5300), None);
    }
}
