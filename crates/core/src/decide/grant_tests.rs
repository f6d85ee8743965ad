use proptest::prelude::*;

use super::*;
use crate::fixtures::{NODE, grant_settings as settings, pod, resources};

const GIB: u64 = 1 << 30;

fn reason(pod: &Pod) -> Reason {
    grant(&settings(), &NODE, pod, &pod.containers[0]).reason
}

#[test]
fn the_share_is_the_kubelets_to_the_byte() {
    // From left to right in float64: another order rounds differently.
    assert_eq!(share(4 * GIB, 16 * GIB, 8 * GIB), 2 * GIB);
    assert_eq!(share(200 << 20, 4_106_436_608, 1_073_737_728), 54_835_650);
    assert_eq!(share(1, 16 * GIB, 8 * GIB), 0);
    assert_eq!(share(16 * GIB, 16 * GIB, 8 * GIB), 8 * GIB);
}

#[test]
fn burstable_containers_get_their_share() {
    let pod = pod("p", &["- - 4Gi -", "- - 2Gi 3Gi", "- - - -"]);
    let grants: Vec<SwapMax> =
        pod.containers.iter().map(|c| grant(&settings(), &NODE, &pod, c).swap_max).collect();
    assert_eq!(grants, [SwapMax::Bytes(2 * GIB), SwapMax::Bytes(GIB), SwapMax::ZERO]);
}

#[test]
fn every_exclusion_says_why() {
    let burstable = || pod("p", &["- - 4Gi -"]);
    assert_eq!(
        reason(&burstable()),
        Reason::Limited {
            request_bytes: 4 * GIB,
            ram_bytes: 16 * GIB,
            swap_for_pods_bytes: 8 * GIB
        }
    );
    assert_eq!(reason(&pod("p", &["- - - -"])), Reason::NotBurstable(QosClass::BestEffort));
    assert_eq!(reason(&pod("p", &["1 1 1Gi 1Gi"])), Reason::NotBurstable(QosClass::Guaranteed));
    let mut resizing = pod("p", &["- - 1Gi -"]);
    resizing.containers[0].request_unknown = true;
    assert_eq!(reason(&resizing), Reason::RequestUnknown);
    assert_eq!(reason(&pod("p", &["- - 1Gi 1Gi"])), Reason::RequestEqualsLimit);
    assert_eq!(reason(&pod("p", &["1 - - -"])), Reason::NoMemoryRequest);
    assert_eq!(reason(&pod("p", &["1 - 0 1Gi"])), Reason::NoMemoryRequest);
    assert_eq!(
        reason(&pod("p", &["- - 17Gi -"])),
        Reason::RequestExceedsRam { request_bytes: 17 * GIB, ram_bytes: 16 * GIB }
    );

    let mut critical = burstable();
    critical.priority = Some(SYSTEM_CRITICAL_PRIORITY);
    assert_eq!(reason(&critical), Reason::CriticalPriority(SYSTEM_CRITICAL_PRIORITY));
    critical.priority = Some(SYSTEM_CRITICAL_PRIORITY - 1);
    assert!(matches!(reason(&critical), Reason::Limited { .. }));

    let mut fixed = burstable();
    fixed.mirror = true;
    assert_eq!(reason(&fixed), Reason::MirrorPod);

    let mut debugged = burstable();
    debugged.containers[0].kind = ContainerKind::Ephemeral;
    debugged.qos_class = Some(QosClass::Burstable);
    assert_eq!(reason(&debugged), Reason::Ephemeral);
}

#[test]
fn a_resized_container_counts_as_the_kubelet_last_gave_it() {
    let mut pod = pod("p", &["- - 4Gi 8Gi"]);
    pod.containers[0].actual = Some(resources("- - 2Gi 8Gi"));
    assert_eq!(
        grant(&settings(), &NODE, &pod, &pod.containers[0]).swap_max,
        SwapMax::Bytes(GIB),
        "a deferred resize does not count yet"
    );
}

#[test]
fn policy_and_eligibility_shape_the_grant() {
    let mut vm = pod("p", &["- - 4Gi -"]);
    let with = |policy, eligibility, pod: &Pod| {
        let settings = GrantSettings { policy, eligibility, ..settings() };
        grant(&settings, &NODE, pod, &pod.containers[0])
    };
    assert_eq!(with(Policy::Max, Eligibility::Burstable, &vm).swap_max, SwapMax::Max);
    assert_eq!(with(Policy::None, Eligibility::Burstable, &vm).reason, Reason::PolicyNone);
    assert_eq!(
        with(Policy::Limited, Eligibility::VirtLauncher, &vm).reason,
        Reason::NotVirtLauncher
    );
    vm.virt_launcher = true;
    assert_eq!(
        with(Policy::Limited, Eligibility::VirtLauncher, &vm).swap_max,
        SwapMax::Bytes(2 * GIB)
    );
    vm.priority = Some(SYSTEM_CRITICAL_PRIORITY);
    assert_eq!(with(Policy::Max, Eligibility::VirtLauncher, &vm).swap_max, SwapMax::ZERO);
}

#[test]
fn what_is_kept_back_is_not_shared_out() {
    let pod = pod("p", &["- - 4Gi -"]);
    let settings = GrantSettings { system_reserved_percent: 25, ..settings() };
    assert_eq!(
        grant(&settings, &NODE, &pod, &pod.containers[0]).swap_max,
        SwapMax::Bytes(GIB + GIB / 2)
    );
    let all = GrantSettings { system_reserved_percent: 100, ..settings };
    assert_eq!(grant(&all, &NODE, &pod, &pod.containers[0]).reason, Reason::NoSwapOnNode);
}

#[test]
fn what_is_not_known_gets_nothing() {
    let pod = pod("p", &["- - 4Gi -"]);
    let by = |pod: Option<&Pod>, role: &Role| {
        let grant = grant_by_role(&settings(), &NODE, pod, role);
        assert_eq!(grant.swap_max == SwapMax::ZERO, *role != Role::Container("c0".into()));
        grant.reason
    };
    assert_eq!(by(Some(&pod), &Role::Helper), Reason::Helper);
    assert_eq!(by(None, &Role::Helper), Reason::Helper);
    assert_eq!(by(None, &Role::Container("c1".into())), Reason::UnknownPod);
    assert_eq!(by(Some(&pod), &Role::Unknown), Reason::UnknownContainer);
    assert_eq!(by(Some(&pod), &Role::Container("other".into())), Reason::UnknownContainer);
    assert!(matches!(by(Some(&pod), &Role::Container("c0".into())), Reason::Limited { .. }));
}

fn requests() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1u64..(64 * GIB), 1..60)
}

proptest! {
    #[test]
    fn grants_never_exceed_the_swap_when_requests_fit_the_node(
        requests in requests(),
        spare in 0u64..GIB,
        swap_bytes in 0u64..(512 * GIB),
        percent in 0u8..=100,
    ) {
        let ram_bytes = requests.iter().sum::<u64>() + spare;
        let node = NodeMemory { ram_bytes, swap_bytes, page_bytes: 4096 };
        let settings = GrantSettings { system_reserved_percent: percent, ..settings() };
        let texts: Vec<String> = requests.iter().map(|r| format!("- - {r} -")).collect();
        let pod = pod("p", &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let granted: u64 = pod.containers.iter().map(|c| {
            match grant(&settings, &node, &pod, c).swap_max.as_kernel_shows(4096) {
                SwapMax::Bytes(bytes) => bytes,
                SwapMax::Max => u64::MAX,
            }
        }).sum();
        prop_assert!(granted <= swap_for_pods(&settings, &node));
    }

    #[test]
    fn more_request_never_means_less_swap(a in 1u64..(16 * GIB), b in 1u64..(16 * GIB)) {
        let (less, more) = (a.min(b), a.max(b));
        prop_assert!(share(less, 16 * GIB, 8 * GIB) <= share(more, 16 * GIB, 8 * GIB));
    }
}
