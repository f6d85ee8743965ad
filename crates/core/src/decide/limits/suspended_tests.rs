use super::*;
use crate::{
    config::settings::Share,
    decide::{
        grant::grant,
        sleepers::{lendable, may_borrow},
        suspend::{Room, plan},
    },
    model::{
        clock::SinceBoot,
        policy::WishRules,
        suspend::{Candidate, Suspended, Usage},
    },
};

/// Suspends pod `a`, which requests 4 of 16 GiB, so that its grant is 2 of 8 GiB of swap. 1 GiB of
/// its memory is anonymous.
fn suspended(case: &Case, facts: &ContainerFacts, free_swap_bytes: u64) -> Suspended {
    let level = &facts.levels[0];
    let (swap_max, swap_bytes) = (level.swap_max, level.swap_used_bytes);
    let candidate = Candidate {
        name: "c0".into(),
        id: facts.id.clone(),
        unit: None,
        path: facts.path.to_path_buf(),
        inode: level.inode,
        starting: false,
        swap_max,
        may_borrow: true,
        pending: Default::default(),
        usage: Usage { memory_bytes: GIB, swap_bytes, file_bytes: 0 },
    };
    let room = Room {
        pod_swap_max: SwapMax::Max,
        pod_swap_bytes: 0,
        free_swap_bytes,
        swap_bytes: NODE.swap_bytes,
        lendable_bytes: lendable(&case.settings, &case.suspensions, &case.state, NODE.swap_bytes),
    };
    let settings = &case.settings.suspend;
    plan(settings, &case.pods[&facts.pod], vec![candidate], room, SinceBoot::default())
}

fn kept(case: &Case) -> u64 {
    case.settings.suspend.keep_free.of(NODE.swap_bytes)
}

/// Regression: the kernel took up to 31 MiB of the swap that has to stay free.
#[test]
fn while_a_pod_falls_asleep_its_limit_keeps_the_kernel_from_taking_more_swap_than_is_free() {
    for grants in [Grants::Agent, Grants::Kubelet] {
        let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
        case.settings.grants = grants;
        let mut facts = [crun("a", bytes(2 * GIB), bytes(2 * GIB))];
        assert_eq!(writes(&case.first_pass(&facts, at(1))), []);
        facts[0].levels[0].swap_used_bytes = 8 * MIB;
        let asleep = suspended(&case, &facts[0], kept(&case) + 30 * MIB);
        let uid = asleep.uid.clone();
        case.suspensions.begin(asleep);
        let decision = case.pass(&facts, at(2));
        let all: Vec<_> = writes(&decision).iter().map(|(_, _, to, _)| *to).collect();
        assert_eq!(all, [bytes(38 * MIB); 2], "{grants:?}");
        case.apply(&decision, &mut facts);
        facts[0].levels[0].swap_used_bytes = 38 * MIB;
        assert_eq!(writes(&case.pass(&facts, at(3))), [], "{grants:?}: it holds");
        case.suspensions.slept(&uid, &[None]);
        let decision = case.pass(&facts, at(4));
        case.apply(&decision, &mut facts);
        if grants == Grants::Kubelet {
            // A finite limit of the kubelet's has a second to settle.
            let decision = case.pass(&facts, at(6));
            case.apply(&decision, &mut facts);
        }
        assert!(facts[0].levels.iter().all(|level| level.swap_max == bytes(2 * GIB)), "{facts:?}");
    }
}

#[test]
fn where_swap_has_room_or_nobody_may_set_limits_none_is_set() {
    let unrepaired = |case: &mut Case| {
        case.settings.grants = Grants::Kubelet;
        case.settings.limits.repair = false;
    };
    for (free, change) in
        [(4 * GIB, &(|_: &mut Case| {}) as &dyn Fn(&mut Case)), (30 * MIB, &unrepaired)]
    {
        let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
        change(&mut case);
        let facts = [runc("a", bytes(2 * GIB), 0)];
        case.first_pass(&facts, at(1));
        let asleep = suspended(&case, &facts[0], kept(&case) + free);
        case.suspensions.begin(asleep);
        assert_eq!(writes(&case.pass(&facts, at(2))), []);
    }
}

fn case_with_reserve(grants: Grants) -> Case {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    case.settings.grants = grants;
    case.settings.suspend.reserve = Share::Bytes(300 * MIB);
    case
}

fn slice_of(pod: &str, swap_max: SwapMax, swap_used_bytes: u64) -> PodFacts {
    PodFacts {
        uid: uid(pod),
        manager: Manager::Cgroupfs,
        path: Path::new("kubepods.slice/a.slice").into(),
        level: LevelFacts { level: CgroupLevel::Pod, inode: 9, swap_max, swap_used_bytes },
    }
}

/// 1 GiB of its memory is anonymous, and it has 1.9 of its 2 GiB of swap.
#[test]
fn a_loan_raises_the_limit_until_the_pod_is_resumed_and_the_limit_follows_the_use_down() {
    for grants in [Grants::Agent, Grants::Kubelet] {
        let mut case = case_with_reserve(grants);
        let mut facts = [runc("a", bytes(2 * GIB), 2 * GIB - 100 * MIB)];
        let of_pod = if grants == Grants::Agent { bytes(2 * GIB) } else { SwapMax::Max };
        let mut slices = [slice_of("a", of_pod, 2 * GIB - 100 * MIB)];
        case.thorough = true;
        let decision = case.pass_with(&facts, &slices, at(1));
        assert_eq!(writes(&decision), []);
        case.thorough = false;
        let asleep = suspended(&case, &facts[0], kept(&case) + 4 * GIB);
        let id = asleep.uid.clone();
        assert_eq!(asleep.lent_bytes(), 300 * MIB, "{grants:?}");
        case.suspensions.begin(asleep);
        let decision = case.pass_with(&facts, &slices, at(2));
        case.apply_with(&decision, &mut facts, &mut slices);
        assert_eq!(facts[0].levels[0].swap_max, bytes(2 * GIB + 300 * MIB), "{grants:?}");
        let of_pod =
            if grants == Grants::Agent { facts[0].levels[0].swap_max } else { SwapMax::Max };
        assert_eq!(slices[0].level.swap_max, of_pod, "{grants:?}");
        let none = lendable(&case.settings, &case.suspensions, &case.state, NODE.swap_bytes);
        assert_eq!(none, 0, "all of it is lent");

        let used = 2 * GIB + 200 * MIB;
        (facts[0].levels[0].swap_used_bytes, slices[0].level.swap_used_bytes) = (used, used);
        case.suspensions.slept(&id, &[None]);
        assert_eq!(writes(&case.pass_with(&facts, &slices, at(3))), [], "{grants:?}: it stays");
        case.suspensions.remove(&id);
        for second in [4, 6] {
            let decision = case.pass_with(&facts, &slices, at(second));
            case.apply_with(&decision, &mut facts, &mut slices);
        }
        assert_eq!(facts[0].levels[0].swap_max, bytes(used + MIB), "{grants:?}: never below use");
        let rest = lendable(&case.settings, &case.suspensions, &case.state, NODE.swap_bytes);
        assert_eq!(rest, 99 * MIB, "{grants:?}: what is still in swap counts");
        (facts[0].levels[0].swap_used_bytes, slices[0].level.swap_used_bytes) = (GIB, GIB);
        let decision = case.pass_with(&facts, &slices, at(8));
        case.apply_with(&decision, &mut facts, &mut slices);
        assert_eq!(
            facts[0].levels[0].swap_max,
            bytes(2 * GIB),
            "{grants:?}: nothing is left behind"
        );
        assert!(
            slices[0].level.swap_max
                == if grants == Grants::Agent { bytes(2 * GIB) } else { SwapMax::Max }
        );
    }
}

/// Regression: an annotation that a suspended pod got lowered the grant, but the loan stayed.
#[test]
fn a_loan_ends_when_the_owner_asks_for_less_or_for_no_more_than_a_number() {
    for (value, expected) in [("1Gi", GIB), ("2200Mi", 2 * GIB), ("100%", 2 * GIB + 300 * MIB)] {
        let mut case = case_with_reserve(Grants::Agent);
        let mut facts = [runc("a", bytes(2 * GIB), 2 * GIB - 100 * MIB)];
        let mut slices = [slice_of("a", bytes(2 * GIB), 0)];
        case.first_pass(&facts, at(1));
        let asleep = suspended(&case, &facts[0], kept(&case) + 4 * GIB);
        let id = asleep.uid.clone();
        case.suspensions.begin(asleep);
        case.suspensions.slept(&id, &[None]);
        let decision = case.pass_with(&facts, &slices, at(2));
        case.apply_with(&decision, &mut facts, &mut slices);
        assert_eq!(facts[0].levels[0].swap_max, bytes(2 * GIB + 300 * MIB));
        facts[0].levels[0].swap_used_bytes = 0;
        let mut pod = (*case.pods[&id]).clone();
        pod.annotations = vec![("swap.wasp.io/limit".into(), value.into())];
        case.pods.insert(id, pod.into());
        let decision = case.pass_with(&facts, &slices, at(3));
        case.apply_with(&decision, &mut facts, &mut slices);
        let limits = [facts[0].levels[0].swap_max, slices[0].level.swap_max];
        assert_eq!(limits, [bytes(expected); 2], "{value}");
    }
}

#[test]
fn nothing_is_lent_where_the_owner_wants_less_or_nobody_repairs() {
    let mut case = case_with_reserve(Grants::Kubelet);
    case.settings.limits.repair = false;
    assert_eq!(lendable(&case.settings, &case.suspensions, &case.state, NODE.swap_bytes), 0);
    let rules = GrantSettings {
        wishes: WishRules { annotations: true, ..WishRules::default() },
        ..case.settings.grant.clone()
    };
    for (value, expected) in [
        (None, true),
        (Some("100%"), true),
        (Some("50%"), false),
        (Some("0"), false),
        (Some("x"), false),
        (Some("64Gi"), false),
    ] {
        let mut pod = pod("a", &["- - 4Gi -"]);
        pod.annotations =
            value.map(|value| ("swap.wasp.io/limit".into(), value.into())).into_iter().collect();
        let granted = grant(&rules, &NODE, &pod, &pod.containers[0]);
        assert_eq!(may_borrow(&pod, "c0", &granted), expected, "{value:?}");
    }
    let besteffort = pod("b", &["- - - -"]);
    let granted = grant(&rules, &NODE, &besteffort, &besteffort.containers[0]);
    assert!(!may_borrow(&besteffort, "c0", &granted), "only Burstable pods swap");
}
