use super::{super::of_kubelet::SETTLE, *};

/// A case in kubelet mode, on a node whose pod `a` requests 4 of 16 GiB: 2 of 8 GiB of swap.
fn kubelet(all: impl IntoIterator<Item = Pod>) -> Case {
    let mut case = Case::new(all);
    case.settings.grants = Grants::Kubelet;
    case
}

fn differs(facts: &ContainerFacts, found: SwapMax, expected: SwapMax) -> Notice {
    Notice::Differs { owner: owner(facts), found, expected }
}

#[test]
fn what_the_kubelet_has_set_right_is_left_alone() {
    let mut critical = pod("c", &["- - 4Gi -"]);
    critical.priority = Some(2_000_000_000);
    let mut from_file = pod("s", &["- - 4Gi -"]);
    from_file.mirror = true;
    let mut case = kubelet([
        pod("a", &["- - 4Gi -"]),
        pod("b", &["- - - -"]),
        pod("g", &["1 1 1Gi 1Gi"]),
        pod("l", &["- - 1Gi 2Gi"]),
        critical,
        from_file,
    ]);
    let mut sandbox = runc("a", SwapMax::Max, 0);
    sandbox.id = ContainerId::new("0123456789ab").unwrap();
    sandbox.role = Role::Helper;
    let containers = [
        sandbox,
        // Measured with CRI-O and crun: the scope has the memory limit, the child has the swap
        // limit that counts.
        crun("l", bytes(2 * GIB), bytes(GIB / 2)),
        crun("a", SwapMax::Max, bytes(2 * GIB)),
        runc("b", SwapMax::ZERO, 0),
        runc("g", SwapMax::ZERO, 0),
        runc("c", SwapMax::ZERO, 0),
        runc("s", SwapMax::ZERO, 0),
        runc("unknown", bytes(GIB), 0),
    ];
    assert_eq!(case.first_pass(&containers, at(1)), Decision::default());
    for second in 2..70 {
        assert_eq!(case.pass(&containers, at(second)), Decision::default(), "{second}");
    }
    assert!(case.state.containers().all(|(_, state)| !state.differs));
}

/// `systemctl daemon-reload` with a runtime that does not set a limit of 0 in systemd.
#[test]
fn a_limit_that_was_reset_is_repaired_at_once_and_systemd_told() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"]), pod("b", &["- - - -"])]);
    let right = [runc("a", bytes(2 * GIB), 0), runc("b", SwapMax::ZERO, 0)];
    assert_eq!(case.first_pass(&right, at(1)), Decision::default());
    let mut reset = right.clone();
    for facts in &mut reset {
        facts.levels[0].swap_max = SwapMax::Max;
    }
    let decision = case.pass(&reset, at(5));
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Container, SwapMax::Max, bytes(2 * GIB), Cause::Drift),
            (CgroupLevel::Container, SwapMax::Max, SwapMax::ZERO, Cause::Drift),
        ]
    );
    assert_eq!(told(&decision), [bytes(2 * GIB), SwapMax::ZERO]);
    assert_eq!(decision.notices, []);
    case.apply(&decision, &mut reset);
    assert_eq!(reset, right);
    assert_eq!(case.pass(&reset, at(5)), Decision::default());
}

#[test]
fn at_crun_the_level_that_binds_is_compared_and_all_are_repaired() {
    let mut case = kubelet([pod("l", &["- - 1Gi 2Gi"])]);
    let mut containers = [crun("l", bytes(2 * GIB), bytes(GIB / 2))];
    assert_eq!(case.first_pass(&containers, at(1)), Decision::default());
    containers[0].levels[0].swap_max = SwapMax::Max;
    assert_eq!(case.pass(&containers, at(2)), Decision::default(), "the child holds it");
    containers[0].levels[1].swap_max = SwapMax::Max;
    let decision = case.pass(&containers, at(3));
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Container, SwapMax::Max, bytes(GIB / 2), Cause::Drift),
            (CgroupLevel::RuntimeChild, SwapMax::Max, bytes(GIB / 2), Cause::Drift),
        ]
    );
}

#[test]
fn a_best_effort_container_that_was_left_without_a_limit_is_corrected() {
    let mut case = kubelet([pod("b", &["- - - -"])]);
    let mut containers = [runc("b", SwapMax::Max, 0)];
    containers[0].starting = true;
    let decision = case.pass(&containers, at(1));
    assert_eq!((&decision.actions, &decision.notices), (&vec![], &vec![]), "it starts");
    assert_eq!(decision.again, [(at(1) + STARTED_YET, owner(&containers[0]))]);
    containers[0].starting = false;
    assert_eq!(writes(&case.pass(&containers, at(2))), [], "the runtime may still write");
    let decision = case.pass(&containers, at(3));
    let expected = [(CgroupLevel::Container, SwapMax::Max, SwapMax::ZERO, Cause::Found)];
    assert_eq!(writes(&decision), expected);
    // The first pass corrects a limit that has been there for long.
    case.state = LimitStates::default();
    assert_eq!(writes(&case.first_pass(&containers, at(9))), expected);
}

/// A limit below use would get the container OOM-killed.
#[test]
fn a_repair_is_never_below_use_and_follows_it_down() {
    let mut case = kubelet([pod("b", &["- - - -"])]);
    let mut containers = [runc("b", SwapMax::ZERO, 0)];
    assert_eq!(case.first_pass(&containers, at(1)), Decision::default());
    containers[0].levels[0] = LevelFacts {
        swap_max: SwapMax::Max,
        swap_used_bytes: GIB,
        ..containers[0].levels[0].clone()
    };
    let decision = case.pass(&containers, at(2));
    assert_eq!(writes(&decision)[0].2, bytes(GIB + MIB));
    case.apply(&decision, &mut containers);
    containers[0].levels[0].swap_used_bytes = 0;
    let decision = case.pass(&containers, at(4));
    assert_eq!(writes(&decision)[0].2, SwapMax::ZERO);
    case.apply(&decision, &mut containers);
    assert_eq!(case.pass(&containers, at(5)), Decision::default());
}

#[test]
fn a_finite_limit_is_repaired_when_it_stays_wrong() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
    let right = [runc("a", bytes(2 * GIB), 0)];
    assert_eq!(case.first_pass(&right, at(1)), Decision::default());
    let wrong = [runc("a", bytes(4096), 0)];
    let decision = case.pass(&wrong, at(2));
    assert_eq!((writes(&decision), &decision.notices), (vec![], &vec![]));
    assert_eq!(decision.again, [(at(2) + SETTLE, owner(&wrong[0]))]);
    // The limit was right in between, so the time starts again.
    assert_eq!(case.pass(&right, at(2)), Decision::default());
    assert_eq!(writes(&case.pass(&wrong, at(4))), []);
    let expected = [(CgroupLevel::Container, bytes(4096), bytes(2 * GIB), Cause::Drift)];
    assert_eq!(writes(&case.pass(&wrong, at(5))), expected);
}

/// The kubelet resizes first and updates the status afterwards.
#[test]
fn a_resize_under_way_is_no_difference() {
    let mut resizing = pod("a", &["- - 8Gi -"]);
    resizing.containers[0].actual = Some(crate::fixtures::resources("- - 4Gi -"));
    let mut case = kubelet([resizing]);
    for (second, limit) in [(1, 2), (3, 4), (60, 4)] {
        let containers = [runc("a", bytes(limit * GIB), 0)];
        assert_eq!(case.pass(&containers, at(second)), Decision::default());
    }
    case.pods = pods([pod("a", &["- - 8Gi -"])]);
    assert_eq!(case.pass(&[runc("a", bytes(4 * GIB), 0)], at(61)), Decision::default());
}

#[test]
fn without_repair_a_difference_is_reported_once() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
    case.settings.limits.repair = false;
    let wrong = [crun("a", bytes(2 * GIB), SwapMax::ZERO)];
    let decision = case.first_pass(&wrong, at(1));
    assert_eq!(decision.actions, []);
    assert_eq!(decision.notices, [differs(&wrong[0], SwapMax::ZERO, bytes(2 * GIB))]);
    assert_eq!(case.pass(&wrong, at(3)), Decision::default(), "reported once");
    assert!(case.state.get(&owner(&wrong[0])).unwrap().differs);
    let right = [crun("a", bytes(2 * GIB), bytes(2 * GIB))];
    assert_eq!(case.pass(&right, at(4)), Decision::default());
    assert!(!case.state.get(&owner(&wrong[0])).unwrap().differs);
}

/// A kubelet that started before the swap was on grants none. The agent must not grant more.
#[test]
fn less_than_expected_is_not_raised_where_the_kubelets_swap_is_a_guess() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
    case.swap_is_certain = false;
    let none = [runc("a", SwapMax::ZERO, 0)];
    let decision = case.first_pass(&none, at(1));
    assert_eq!(decision.actions, []);
    assert_eq!(decision.notices, [differs(&none[0], SwapMax::ZERO, bytes(2 * GIB))]);
    // But a limit that had been right was reset.
    assert_eq!(case.pass(&[runc("a", bytes(2 * GIB), 0)], at(2)), Decision::default());
    assert_eq!(writes(&case.pass(&none, at(3))), []);
    let expected = [(CgroupLevel::Container, SwapMax::ZERO, bytes(2 * GIB), Cause::Drift)];
    assert_eq!(writes(&case.pass(&none, at(4))), expected);
}

#[test]
fn while_nobody_knows_who_grants_no_limit_is_raised() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"]), pod("b", &["- - - -"])]);
    case.settings.grants = Grants::Auto;
    let containers = |b| [runc("a", SwapMax::ZERO, 0), runc("b", b, 7)];
    let slices = [slice("a", SwapMax::ZERO, 0), slice("b", SwapMax::Max, 7)];
    case.thorough = true;
    // Neither program can have granted swap to a BestEffort pod.
    let decision = case.pass_with(&containers(SwapMax::Max), &slices, at(1));
    let lowered = [(CgroupLevel::Container, SwapMax::Max, bytes(MIB + 7), Cause::Found)];
    assert_eq!(writes(&decision), lowered);
    for second in 2..9 {
        let decision = case.pass_with(&containers(bytes(MIB + 7)), &slices, at(second));
        assert!(writes(&decision).iter().all(|(_, from, to, _)| to <= from), "{decision:?}");
    }
    assert_eq!(case.state.get(&Holder::Pod(uid("b"))).unwrap().used_bytes, 7);
    // Now the agent reads that it sets the limits itself.
    case.settings.grants = Grants::Agent;
    let decision = case.pass_with(&containers(bytes(MIB + 7)), &[], at(9));
    assert!(
        writes(&decision)
            .iter()
            .any(|(_, from, to, _)| (*from, *to) == (SwapMax::ZERO, bytes(2 * GIB)))
    );
}

/// Every limit that another program can leave, at every level, ends as the kubelet's own.
#[test]
fn whatever_a_writer_leaves_ends_as_the_kubelets() {
    let values = [SwapMax::Max, SwapMax::ZERO, bytes(4096), bytes(2 * GIB), bytes(7 * GIB)];
    for scope in values {
        for child in values {
            let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
            let mut containers = [crun("a", bytes(2 * GIB), bytes(2 * GIB))];
            assert_eq!(case.first_pass(&containers, at(1)), Decision::default());
            containers[0].levels[0].swap_max = scope;
            containers[0].levels[1].swap_max = child;
            for second in 5..9 {
                let decision = case.pass(&containers, at(second));
                case.apply(&decision, &mut containers);
            }
            let in_force = containers[0].levels.iter().map(|level| level.swap_max).min();
            assert_eq!(in_force, Some(bytes(2 * GIB)), "{scope:?} {child:?}");
        }
    }
}

#[test]
fn where_the_kubelet_grants_a_limit_that_the_agent_has_left_on_a_pod_is_lifted() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    case.settings.grants = Grants::Kubelet;
    let mut slices = [slice("a", SwapMax::Max, 7)];
    assert_eq!(case.pass_with(&[], &slices, at(1)), Decision::default());
    assert_eq!(case.state.get(&Holder::Pod(uid("a"))).unwrap().used_bytes, 7);
    slices[0].level.swap_max = SwapMax::ZERO;
    let decision = case.pass_with(&[], &slices, at(2));
    assert_eq!(decision.notices, []);
    let lifts = |action: &Action| match action {
        Action::WriteLimit { to, .. } | Action::TellSystemd { to, .. } => *to == SwapMax::Max,
    };
    assert!(!decision.actions.is_empty() && decision.actions.iter().all(lifts), "{decision:?}");
}

#[test]
fn without_repair_a_limit_of_another_program_on_a_pod_is_reported_once_and_stays() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
    case.settings.limits.repair = false;
    let limited = [slice("a", bytes(100 * MIB), 0)];
    let decision = case.pass_with(&[], &limited, at(1));
    assert_eq!(decision.actions, []);
    let owner = Holder::Pod(uid("a"));
    let (found, expected) = (bytes(100 * MIB), SwapMax::Max);
    let differs = Notice::Differs { owner: owner.clone(), found, expected };
    assert_eq!(decision.notices, [differs]);
    assert_eq!(case.pass_with(&[], &limited, at(2)), Decision::default(), "reported once");
    assert!(case.state.get(&owner).unwrap().differs);
    let free = [slice("a", SwapMax::Max, 0)];
    assert_eq!(case.pass_with(&[], &free, at(3)), Decision::default());
    assert!(!case.state.get(&owner).unwrap().differs);
}

#[test]
fn without_repair_a_limit_that_the_agent_has_set_on_a_pod_is_lifted_when_the_kubelet_grants() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    case.settings.limits.repair = false;
    let mut slices = [slice("a", SwapMax::Max, 0)];
    let decision = case.pass_with(&[], &slices, at(1));
    let limit = writes(&decision)[0].2;
    slices[0].level.swap_max = limit;
    case.settings.grants = Grants::Kubelet;
    let decision = case.pass_with(&[], &slices, at(2));
    assert_eq!(writes(&decision)[0].2, SwapMax::Max);
}

#[test]
fn a_limit_on_a_pod_that_was_found_before_the_mode_was_known_is_not_the_agents() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    case.settings.limits.repair = false;
    case.settings.grants = Grants::Auto;
    let limited = [slice("a", bytes(100 * MIB), 0)];
    assert_eq!(writes(&case.pass_with(&[], &limited, at(1))), []);
    case.settings.grants = Grants::Kubelet;
    assert_eq!(writes(&case.pass_with(&[], &limited, at(2))), []);
}

#[test]
fn a_container_whose_request_is_not_known_is_not_compared() {
    let mut resizing = pod("a", &["- - 4Gi -"]);
    resizing.containers[0].request_unknown = true;
    let mut case = kubelet([resizing]);
    let containers = [crun("a", bytes(2 * GIB), bytes(32 * MIB))];
    for second in [1, 2, 70] {
        assert_eq!(case.pass(&containers, at(second)), Decision::default());
    }
}

#[test]
fn where_the_kubelet_grants_sandboxes_and_unknown_pods_do_not_differ() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    case.settings.grants = Grants::Kubelet;
    let mut sandbox = runc("a", SwapMax::Max, 0);
    sandbox.role = Role::Helper;
    let unknown = runc("b", SwapMax::Max, 0);
    let decision = case.pass_with(&[sandbox, unknown], &[], at(1));
    assert_eq!(decision, Decision::default());
}

/// A `daemon-reload` resets it to `max`, and no other program would ever limit it.
#[test]
fn an_unknown_pod_without_a_limit_gets_no_more_swap_than_it_uses_until_it_is_known() {
    let mut case = kubelet([]);
    let mut containers = [runc("a", SwapMax::Max, 5 * MIB), runc("b", bytes(GIB), 0)];
    for second in [1, 30, 60] {
        assert_eq!(
            case.pass(&containers, at(second)),
            Decision::default(),
            "{second}: it may start"
        );
    }
    let decision = case.pass(&containers, at(62));
    assert_eq!(
        writes(&decision),
        [(CgroupLevel::Container, SwapMax::Max, bytes(6 * MIB), Cause::Found)],
        "never below use; a limit that is there stays"
    );
    case.apply(&decision, &mut containers);
    case.pass(&containers, at(70));
    case.pods = pods([pod("a", &["- - 4Gi -"])]);
    case.swap_is_certain = false;
    for second in [80, 82] {
        let decision = case.pass(&containers, at(second));
        case.apply(&decision, &mut containers);
    }
    assert_eq!(containers[0].levels[0].swap_max, bytes(2 * GIB), "known, it has its grant again");

    let mut unrepaired = kubelet([]);
    unrepaired.settings.limits.repair = false;
    let containers = [runc("a", SwapMax::Max, 0)];
    for second in [1, 62, 120] {
        assert_eq!(writes(&unrepaired.pass(&containers, at(second))), []);
    }
}

#[test]
fn a_program_that_keeps_limiting_a_pods_cgroup_is_repaired_once_a_second_and_reported_once() {
    let mut case = kubelet([pod("a", &["- - 4Gi -"])]);
    case.pass_with(&[], &[slice("a", SwapMax::Max, 0)], at(1));
    let limited = [slice("a", SwapMax::ZERO, 0)];
    let (mut lifts, mut reports, mut deaf) = (0, 0, 0);
    for _ in 0..100 {
        let decision = case.pass_with(&[], &limited, at(2));
        lifts += writes(&decision).len();
        reports += decision.notices.len();
        deaf += decision.deaf_until.len();
    }
    assert!(lifts <= 8 && deaf >= 92, "{lifts} repairs, {deaf} pauses");
    assert_eq!(reports, 1);
    let again = case.pass_with(&[], &limited, at(4));
    assert_eq!(writes(&again).len(), 1, "it is still repaired");
}
