//! The limit of a pod's own cgroup.

use super::*;

#[test]
fn a_pods_cgroup_is_limited_to_what_its_containers_may_have_together() {
    let mut case = Case::new([pod("a", &["- - 4Gi -", "- - 2Gi -"])]);
    let mut containers = [runc("a", SwapMax::Max, 0)];
    let mut slices = [slice("a", SwapMax::Max, 0)];
    case.thorough = true;
    let decision = case.pass_with(&containers, &slices, at(1));
    case.thorough = false;
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Container, SwapMax::Max, bytes(2 * GIB), Cause::Found),
            (CgroupLevel::Pod, SwapMax::Max, bytes(3 * GIB), Cause::Found),
        ],
        "lowered after its containers"
    );
    assert_eq!(told(&decision), [bytes(2 * GIB), bytes(3 * GIB)]);
    case.apply_with(&decision, &mut containers, &mut slices);

    case.node.swap_bytes = 16 * GIB;
    let decision = case.pass_with(&containers, &slices, at(5));
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Pod, bytes(3 * GIB), bytes(6 * GIB), Cause::GrantChanged),
            (CgroupLevel::Container, bytes(2 * GIB), bytes(4 * GIB), Cause::GrantChanged),
        ],
        "raised before its containers"
    );
    case.apply_with(&decision, &mut containers, &mut slices);

    slices[0].level.swap_max = SwapMax::Max;
    let decision = case.pass_with(&containers, &slices, at(9));
    assert_eq!(writes(&decision), [(CgroupLevel::Pod, SwapMax::Max, bytes(6 * GIB), Cause::Drift)]);
    assert_eq!(told(&decision), [bytes(6 * GIB)]);
    case.apply_with(&decision, &mut containers, &mut slices);
    assert_eq!(case.pass_with(&containers, &slices, at(9)), Decision::default());
}

#[test]
fn a_pod_without_swap_has_none_in_its_cgroup_either() {
    let mut critical = pod("c", &["- - 4Gi -"]);
    critical.priority = Some(2_000_001_000);
    let mut case = Case::new([pod("a", &["- - - -"]), pod("b", &["1 1 1Gi 1Gi"]), critical]);
    for name in ["a", "b", "c", "unknown"] {
        let slices = [slice(name, SwapMax::Max, 0)];
        let decision = case.pass_with(&[], &slices, at(1));
        let expected = [(CgroupLevel::Pod, SwapMax::Max, SwapMax::ZERO, Cause::Found)];
        assert_eq!(writes(&decision), expected, "{name}");
    }
}

/// Memory that outlived its container counts in addition to the running containers.
#[test]
fn a_pods_limit_is_never_below_use_and_follows_it_down() {
    let mut case = Case::new([pod("a", &["- - 2Gi -"])]);
    let mut containers = [runc("a", bytes(GIB), 0)];
    let mut slices = [slice("a", SwapMax::Max, 3 * GIB)];
    let decision = case.pass_with(&containers, &slices, at(1));
    let follows = [(CgroupLevel::Pod, SwapMax::Max, bytes(3 * GIB + MIB), Cause::Found)];
    assert_eq!(writes(&decision), follows);
    let above =
        Notice::AboveGrant { owner: Holder::Pod(uid("a")), used_bytes: 3 * GIB, grant: bytes(GIB) };
    assert_eq!(decision.notices, [above]);
    assert!(decision.again.contains(&(at(3), Holder::Pod(uid("a")))));
    case.apply_with(&decision, &mut containers, &mut slices);
    slices[0].level.swap_used_bytes = 2 * GIB;
    let decision = case.pass_with(&containers, &slices, at(3));
    assert_eq!(writes(&decision)[0].2, bytes(2 * GIB + MIB));
    case.apply_with(&decision, &mut containers, &mut slices);
    slices[0].level.swap_used_bytes = 0;
    let decision = case.pass_with(&containers, &slices, at(5));
    assert_eq!(writes(&decision)[0].2, bytes(GIB));
    let within = Notice::BackWithinGrant { owner: Holder::Pod(uid("a")) };
    assert_eq!(decision.notices, [within]);
}

#[test]
fn a_pod_has_room_for_a_container_above_its_grant() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", bytes(2 * GIB), GIB)];
    let mut slices = [slice("a", bytes(2 * GIB), GIB)];
    let first = case.pass_with(&containers, &slices, at(1));
    case.apply_with(&first, &mut containers, &mut slices);
    case.node.swap_bytes = GIB; // the grant falls to 256 MiB
    let decision = case.pass_with(&containers, &slices, at(2));
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Container, bytes(2 * GIB), bytes(GIB + MIB), Cause::StepDown),
            (CgroupLevel::Pod, bytes(2 * GIB), bytes(GIB + MIB), Cause::GrantChanged),
        ]
    );
    assert_eq!(decision.notices.len(), 1, "of the container: {:?}", decision.notices);
    case.apply_with(&decision, &mut containers, &mut slices);
    // The container is gone, with the memory that it held.
    case.state.forget(&owner(&containers[0]));
    slices[0].level.swap_used_bytes = 0;
    let decision = case.pass_with(&[], &slices, at(3));
    assert_eq!(writes(&decision)[0].2, bytes(256 * MIB));
}

#[test]
fn what_a_pod_holds_beyond_its_grant_is_not_given_to_another() {
    let mut case = Case::new([pod("a", &["- - 8Gi -"]), pod("b", &["- - 4Gi -"])]);
    let mut containers = [runc("a", SwapMax::ZERO, 0), runc("b", SwapMax::ZERO, 0)];
    let mut slices = [slice("a", SwapMax::ZERO, 0), slice("b", SwapMax::ZERO, 0)];
    let first = case.pass_with(&containers, &slices, at(1));
    case.apply_with(&first, &mut containers, &mut slices);
    // a's container has left 4 GiB in its pod, and the pod's grant falls; b's rises.
    slices[0].level.swap_used_bytes = 4 * GIB;
    case.pods = pods([pod("a", &["- - 2Gi -"]), pod("b", &["- - 14Gi -"])]);
    for second in [2, 4] {
        let decision = case.pass_with(&containers, &slices, at(second));
        case.apply_with(&decision, &mut containers, &mut slices);
        // 8 GiB less a's 1, the 3 above it, and a rest that is not worth a write.
        let limit = containers[1].levels[0].swap_max;
        assert!((bytes(4 * GIB - MIB)..=bytes(4 * GIB)).contains(&limit), "{limit:?}");
    }
}
