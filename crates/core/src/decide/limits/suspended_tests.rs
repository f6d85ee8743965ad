use super::*;
use crate::{
    decide::suspend::{Room, plan},
    model::suspend::{Candidate, Suspended, Usage},
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
        path: facts.path.clone(),
        inode: level.inode,
        starting: false,
        swap_max,
        usage: Usage { memory_bytes: GIB, swap_bytes, file_bytes: 0 },
    };
    let room = Room {
        pod_swap_max: SwapMax::Max,
        pod_swap_bytes: 0,
        free_swap_bytes,
        swap_bytes: NODE.swap_bytes,
    };
    let settings = &case.settings.suspend;
    plan(settings, &case.pods[&facts.pod], vec![candidate], room, at(1))
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
