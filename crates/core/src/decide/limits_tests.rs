use std::{path::Path, sync::Arc};

use super::*;
use crate::{
    config::settings::Settings,
    decide::suspend::Suspensions,
    fixtures::{NODE, pod},
    model::{
        host::{CgroupLevel, Holder, Role},
        pod::{ContainerId, Pod, PodUid, Pods},
    },
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn at(seconds: u64) -> SinceStart {
    SinceStart(Duration::from_secs(seconds))
}

fn pods(all: impl IntoIterator<Item = Pod>) -> Pods {
    all.into_iter().map(|pod| (pod.uid.clone(), Arc::new(pod))).collect()
}

fn uid(name: &str) -> PodUid {
    pod(name, &[]).uid
}

/// The container `c0` of pod `name`, under runc: one level.
fn runc(name: &str, swap_max: SwapMax, swap_used_bytes: u64) -> ContainerFacts {
    let id = ContainerId::new(&format!("{name:0>12}")).unwrap();
    ContainerFacts {
        pod: uid(name),
        role: Role::Container("c0".into()),
        manager: Manager::Systemd(format!("crio-{id}.scope").into()),
        starting: false,
        path: Path::new(&format!("kubepods.slice/crio-{id}.scope")).into(),
        levels: vec![LevelFacts {
            level: CgroupLevel::Container,
            inode: 1,
            swap_max,
            swap_used_bytes,
        }],
        id,
    }
}

fn crun(name: &str, scope: SwapMax, child: SwapMax) -> ContainerFacts {
    let mut facts = runc(name, scope, 0);
    facts.levels.push(LevelFacts {
        level: CgroupLevel::RuntimeChild,
        inode: 2,
        swap_max: child,
        swap_used_bytes: 0,
    });
    facts
}

/// The cgroup of pod `name`.
fn slice(name: &str, swap_max: SwapMax, swap_used_bytes: u64) -> PodFacts {
    let uid = uid(name);
    let unit = format!("kubepods-pod{uid}.slice");
    PodFacts {
        path: Path::new(&format!("kubepods.slice/{unit}")).into(),
        manager: Manager::Systemd(unit.into()),
        level: LevelFacts { level: CgroupLevel::Pod, inode: 9, swap_max, swap_used_bytes },
        uid,
    }
}

struct Case {
    settings: Settings,
    node: NodeMemory,
    pods: Pods,
    state: LimitStates,
    thorough: bool,
    swap_is_certain: bool,
    suspensions: Suspensions,
}

impl Case {
    fn new(all: impl IntoIterator<Item = Pod>) -> Self {
        Self {
            settings: Settings { grants: Grants::Agent, ..Settings::defaults() },
            node: NODE,
            pods: pods(all),
            state: LimitStates::default(),
            thorough: false,
            swap_is_certain: true,
            suspensions: Suspensions::default(),
        }
    }

    /// Runs the first pass of an agent: the containers may have been there for long.
    fn first_pass(&mut self, containers: &[ContainerFacts], now: SinceStart) -> Decision {
        self.thorough = true;
        let decision = self.pass(containers, now);
        self.thorough = false;
        decision
    }

    fn pass(&mut self, containers: &[ContainerFacts], now: SinceStart) -> Decision {
        self.pass_with(containers, &[], now)
    }

    fn pass_with(
        &mut self,
        containers: &[ContainerFacts],
        slices: &[PodFacts],
        now: SinceStart,
    ) -> Decision {
        let (node, pods, thorough) = (self.node, &self.pods, self.thorough);
        let snapshot = Snapshot {
            node,
            pods,
            containers,
            slices,
            suspensions: &self.suspensions,
            swap_is_certain: self.swap_is_certain,
            thorough,
        };
        let (state, decision) =
            decide(&self.settings, snapshot, std::mem::take(&mut self.state), now);
        self.state = state;
        decision
    }

    /// Carries out the actions on `containers`, as a kernel and a working systemd would.
    fn apply(&mut self, decision: &Decision, containers: &mut [ContainerFacts]) {
        self.apply_with(decision, containers, &mut []);
    }

    fn apply_with(
        &mut self,
        decision: &Decision,
        containers: &mut [ContainerFacts],
        slices: &mut [PodFacts],
    ) {
        for action in &decision.actions {
            match action {
                Action::WriteLimit { owner, level, to, .. } => {
                    let found = match owner {
                        Holder::Container(id) => {
                            let facts = containers.iter_mut().find(|c| c.id == *id).unwrap();
                            facts.levels.iter_mut().find(|l| l.level == *level).unwrap()
                        }
                        Holder::Pod(uid) => {
                            &mut slices.iter_mut().find(|p| p.uid == *uid).unwrap().level
                        }
                    };
                    found.swap_max = to.as_kernel_shows(4096);
                }
                Action::TellSystemd { owner, to, .. } => {
                    self.state.systemd_answered(owner, *to, true, at(0));
                }
            }
        }
    }
}

fn owner(facts: &ContainerFacts) -> Holder {
    facts.id.clone().into()
}

/// Returns `(level, from, to, cause)` of the writes.
fn writes(decision: &Decision) -> Vec<(CgroupLevel, SwapMax, SwapMax, Cause)> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::WriteLimit { level, from, to, cause, .. } => Some((*level, *from, *to, *cause)),
            Action::TellSystemd { .. } => None,
        })
        .collect()
}

fn told(decision: &Decision) -> Vec<SwapMax> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::TellSystemd { to, .. } => Some(*to),
            Action::WriteLimit { .. } => None,
        })
        .collect()
}

fn bytes(bytes: u64) -> SwapMax {
    SwapMax::Bytes(bytes)
}

#[test]
fn a_new_container_gets_its_grant_at_every_level_and_in_systemd() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [crun("a", SwapMax::Max, SwapMax::ZERO)];
    let decision = case.first_pass(&containers, at(1));
    let grant = bytes(2 * GIB);
    assert_eq!(
        writes(&decision),
        [
            (CgroupLevel::Container, SwapMax::Max, grant, Cause::Found),
            (CgroupLevel::RuntimeChild, SwapMax::ZERO, grant, Cause::Found),
        ]
    );
    assert_eq!(told(&decision), [grant]);
    case.apply(&decision, &mut containers);
    assert_eq!(case.pass(&containers, at(2)), Decision::default(), "all is right: nothing to do");
}

#[test]
fn the_kernel_keeps_whole_pages_and_systemd_every_byte() {
    let mut case = Case::new([pod("a", &["- - 100000001 -"])]);
    let mut containers = [runc("a", SwapMax::Max, 0)];
    let decision = case.first_pass(&containers, at(1));
    let SwapMax::Bytes(exact) = told(&decision)[0] else { panic!("{decision:?}") };
    assert_eq!(exact, 50_000_000);
    case.apply(&decision, &mut containers);
    assert_eq!(containers[0].levels[0].swap_max, bytes(50_000_000 - 50_000_000 % 4096));
    assert_eq!(case.pass(&containers, at(2)), Decision::default());
}

#[test]
fn everything_else_gets_zero_even_where_the_file_says_so_already() {
    let mut sandbox = runc("a", SwapMax::ZERO, 0);
    sandbox.role = Role::Helper;
    for (facts, pods) in [
        (sandbox, vec![pod("a", &["- - 4Gi -"])]),
        (runc("a", SwapMax::ZERO, 0), vec![pod("a", &["1 1 1Gi 1Gi"])]),
        (runc("b", SwapMax::ZERO, 0), vec![]),
    ] {
        let decision = Case::new(pods).first_pass(&[facts], at(1));
        assert_eq!(writes(&decision), []);
        assert_eq!(told(&decision), [SwapMax::ZERO], "or a daemon-reload brings max back");
    }
}

#[test]
fn drift_is_repaired_at_the_level_where_it_happened() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let grant = bytes(2 * GIB);
    let mut containers = [crun("a", grant, grant)];
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers);
    for (level, found) in [(0, SwapMax::Max), (1, SwapMax::ZERO), (1, bytes(4096))] {
        containers[0].levels[level].swap_max = found;
        let decision = case.pass(&containers, at(10));
        let name = containers[0].levels[level].level;
        assert_eq!(writes(&decision), [(name, found, grant, Cause::Drift)]);
        assert_eq!(told(&decision), [grant], "another program may have set it in systemd");
        case.apply(&decision, &mut containers);
        assert_eq!(case.pass(&containers, at(10)), Decision::default());
    }
}

#[test]
fn what_the_runtime_writes_while_it_starts_is_no_drift() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", SwapMax::Max, 0)];
    let first = case.pass(&containers, at(10));
    case.apply(&first, &mut containers);
    containers[0].levels[0].swap_max = SwapMax::ZERO;
    let second = case.pass(&containers, at(11));
    assert_eq!(writes(&second)[0].3, Cause::Found);
    case.apply(&second, &mut containers);
    containers[0] = crun("a", bytes(2 * GIB), SwapMax::ZERO);
    let third = case.pass(&containers, at(60));
    assert_eq!(
        writes(&third),
        [(CgroupLevel::RuntimeChild, SwapMax::ZERO, bytes(2 * GIB), Cause::Found)],
        "a level never seen before"
    );
}

#[test]
fn a_changed_grant_is_applied_up_and_down() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", SwapMax::ZERO, 0)];
    for (swap_bytes, grant) in [(8 * GIB, 2 * GIB), (16 * GIB, 4 * GIB), (0, 0), (8 * GIB, 2 * GIB)]
    {
        case.node.swap_bytes = swap_bytes;
        let decision = case.first_pass(&containers, at(5));
        assert_eq!(told(&decision), [bytes(grant)]);
        case.apply(&decision, &mut containers);
        assert_eq!(containers[0].levels[0].swap_max, bytes(grant));
    }
}

#[test]
fn a_limit_never_falls_below_use_and_follows_it_down() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", bytes(2 * GIB), GIB)];
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers);
    case.node.swap_bytes = GIB; // the grant falls to 256 MiB
    let decision = case.pass(&containers, at(2));
    assert_eq!(
        writes(&decision),
        [(CgroupLevel::Container, bytes(2 * GIB), bytes(GIB + MIB), Cause::StepDown)]
    );
    assert!(matches!(decision.notices[..], [Notice::AboveGrant { used_bytes: GIB, .. }]));
    assert_eq!(decision.again, [(at(4), owner(&containers[0]))]);
    case.apply(&decision, &mut containers);

    containers[0].levels[0].swap_used_bytes = GIB - MIB / 2;
    assert_eq!(writes(&case.pass(&containers, at(4))), [], "not worth a write yet");
    containers[0].levels[0].swap_used_bytes = GIB / 2;
    let decision = case.pass(&containers, at(6));
    assert_eq!(writes(&decision)[0].2, bytes(GIB / 2 + MIB));
    assert_eq!(decision.notices, [], "said once");
    case.apply(&decision, &mut containers);

    containers[0].levels[0].swap_max = SwapMax::ZERO;
    let repaired = case.pass(&containers, at(7));
    assert_eq!(writes(&repaired)[0].2, bytes(GIB / 2 + MIB), "another program's 0 would kill it");
    case.apply(&repaired, &mut containers);

    containers[0].levels[0].swap_used_bytes = 100 * MIB;
    let decision = case.pass(&containers, at(8));
    assert_eq!(writes(&decision)[0].2, bytes(256 * MIB));
    assert!(matches!(decision.notices[..], [Notice::BackWithinGrant { .. }]));
    assert_eq!(decision.again, []);
}

#[test]
fn nobody_is_raised_while_another_still_holds_the_bytes() {
    let mut case = Case::new([pod("a", &["- - 8Gi -"]), pod("b", &["- - 8Gi -"])]);
    let mut containers = [runc("a", SwapMax::ZERO, 0), runc("b", SwapMax::ZERO, 0)];
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers); // 4 GiB each, all of the swap

    containers[0].levels[0].swap_used_bytes = 4 * GIB - MIB;
    case.pods = pods([pod("a", &["- - 4Gi -"]), pod("b", &["- - 12Gi -"])]);
    let decision = case.pass(&containers, at(2));
    assert_eq!(writes(&decision), [], "a cannot fall yet, so b cannot rise");
    assert_eq!(decision.again.len(), 2);

    containers[0].levels[0].swap_used_bytes = 3 * GIB;
    for _ in 0..2 {
        let decision = case.pass(&containers, at(4));
        case.apply(&decision, &mut containers);
    }
    assert_eq!(containers[0].levels[0].swap_max, bytes(3 * GIB + MIB));
    assert_eq!(containers[1].levels[0].swap_max, bytes(5 * GIB - MIB), "what a has let go");

    containers[0].levels[0].swap_used_bytes = GIB;
    for _ in 0..2 {
        let decision = case.pass(&containers, at(6));
        case.apply(&decision, &mut containers);
    }
    assert_eq!(containers[0].levels[0].swap_max, bytes(2 * GIB));
    assert_eq!(containers[1].levels[0].swap_max, bytes(6 * GIB));
}

#[test]
fn who_uses_nothing_gets_no_room_that_is_not_free() {
    let mut case = Case::new([pod("a", &["- - 8Gi -"]), pod("b", &["- - 8Gi -"])]);
    let mut containers = [runc("a", SwapMax::ZERO, 0), runc("b", SwapMax::ZERO, 0)];
    case.pods = pods([pod("a", &["- - 16Gi -"]), pod("b", &["- - 8Gi 8Gi"])]);
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers); // all of the swap to a, none to b
    containers[0].levels[0].swap_used_bytes = 8 * GIB - 1;
    case.pods = pods([pod("a", &["- - 8Gi -"]), pod("b", &["- - 8Gi -"])]);
    let decision = case.pass(&containers, at(2));
    case.apply(&decision, &mut containers);
    assert_eq!(containers[1].levels[0].swap_max, SwapMax::ZERO, "not even a mebibyte");
}

#[test]
fn a_writer_that_fights_is_named_once_and_met_once_a_second() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", SwapMax::ZERO, 0)];
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers);
    let (mut written, mut named, mut deaf) = (0, 0, 0);
    for millis in (10_000..20_000).step_by(10) {
        containers[0].levels[0].swap_max = SwapMax::Max;
        let decision = case.pass(&containers, SinceStart(Duration::from_millis(millis)));
        written += writes(&decision).len();
        named += decision.notices.len();
        deaf += decision.deaf_until.len();
        case.apply(&decision, &mut containers);
    }
    assert_eq!(written, 8 + 9, "a burst, then one a second");
    assert_eq!(named, 1);
    assert!(deaf > 0);
    containers[0].levels[0].swap_max = SwapMax::Max;
    assert_eq!(writes(&case.pass(&containers, at(60))).len(), 1, "calm again");
}

#[test]
fn systemd_is_asked_again_after_a_refusal_and_thoroughly() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let grant = bytes(2 * GIB);
    let containers = [runc("a", grant, 0)];
    let id = &owner(&containers[0]);
    assert_eq!(told(&case.first_pass(&containers, at(1))), [grant]);
    assert_eq!(told(&case.pass(&containers, at(1))), [], "the question is on its way");
    case.state.systemd_answered(id, SwapMax::ZERO, true, at(1));
    assert_eq!(told(&case.pass(&containers, at(1))), [], "an answer to another question");
    case.state.systemd_answered(id, grant, false, at(2));
    let waiting = case.pass(&containers, at(3));
    assert_eq!((told(&waiting), waiting.again), (vec![], vec![(at(7), id.clone())]));
    assert_eq!(told(&case.pass(&containers, at(7))), [grant]);
    case.state.systemd_answered(id, grant, true, at(7));
    assert_eq!(told(&case.pass(&containers, at(8))), []);
    case.thorough = true;
    assert_eq!(told(&case.pass(&containers, at(8))), [grant]);
}

#[test]
fn systemd_is_not_told_while_the_runtime_starts_the_container() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", SwapMax::Max, 0)];
    containers[0].starting = true;
    let decision = case.pass(&containers, at(10));
    assert_eq!(
        (writes(&decision).len(), told(&decision)),
        (1, vec![]),
        "the file holds it for now"
    );
    assert_eq!(decision.again, [(at(10) + STARTED_YET, owner(&containers[0]))]);
    case.apply(&decision, &mut containers);
    assert_eq!(told(&case.pass(&containers, at(69))), []);
    assert_eq!(told(&case.pass(&containers, at(70))).len(), 1, "but not for ever");
    containers[0].starting = false;
    case.state.forget(&owner(&containers[0]));
    assert_eq!(told(&case.pass(&containers, at(80))), [], "nor so soon after it appeared");
    assert_eq!(told(&case.pass(&containers, at(82))).len(), 1);
}

#[test]
fn without_systemd_nobody_is_told() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut facts = runc("a", SwapMax::Max, 0);
    facts.manager = Manager::Cgroupfs;
    let decision = case.pass(&[facts], at(1));
    assert_eq!((writes(&decision).len(), told(&decision).len()), (1, 0));
}

/// Under runc a container may create a cgroup `container` in its own, and set its limit.
#[test]
fn a_level_of_the_containers_own_making_raises_nothing() {
    let mut case = Case::new([pod("a", &["- - 4Gi -"])]);
    let mut containers = [runc("a", bytes(2 * GIB), GIB)];
    let first = case.first_pass(&containers, at(1));
    case.apply(&first, &mut containers);
    case.node.swap_bytes = GIB;
    let lowered = case.pass(&containers, at(2));
    case.apply(&lowered, &mut containers);
    let limit = containers[0].levels[0].swap_max;
    assert_eq!(limit, bytes(GIB + MIB));
    for second in 3..9 {
        let mut nested = crun("a", limit, SwapMax::Max);
        nested.levels[0].swap_used_bytes = GIB + MIB - 4096;
        containers = [nested];
        let decision = case.pass(&containers, at(second));
        let expected = [(CgroupLevel::RuntimeChild, limit)];
        let written: Vec<_> = writes(&decision).iter().map(|w| (w.0, w.2)).collect();
        assert_eq!(written, expected, "{decision:?}");
        case.apply(&decision, &mut containers);
    }
    // The same when the agent first sees the container.
    let mut nested = crun("b", bytes(GIB), SwapMax::ZERO);
    nested.levels[0].swap_used_bytes = GIB - MIB;
    case.pods = pods([pod("b", &["- - 4Gi -"])]);
    let decision = case.pass(&[nested], at(9));
    assert_eq!(
        writes(&decision),
        [(CgroupLevel::RuntimeChild, SwapMax::ZERO, bytes(GIB), Cause::Found)]
    );
}

#[path = "limits/invariant_tests.rs"]
mod invariants;
#[path = "limits/of_kubelet_tests.rs"]
mod of_kubelet;
#[path = "limits/of_pods_tests.rs"]
mod of_pods;
#[path = "limits/suspended_tests.rs"]
mod suspended;
