//! Compares grants with the limits found, and decides which `memory.swap.max` to write, what to set
//! in systemd and what to report.

mod facts;
mod of_kubelet;

use std::{collections::BTreeMap, time::Duration};

use super::{
    decision::{Action, Cause, Decision, Notice, Snapshot},
    doubt::held,
    grant::{Grant, grant, grant_by_role, swap_for_pods},
    pod_limit::{plus, pod_grant},
    sleepers::{may_borrow, sets_limits},
    state::{LimitState, LimitStates, ToldLimit},
};
use crate::{
    config::settings::{GrantSettings, Grants, Settings},
    model::{
        clock::SinceStart,
        host::{ContainerFacts, Holder, LevelFacts, Manager, NodeMemory, PodFacts},
        pod::PodUid,
        swap::SwapMax,
    },
};

use facts::LimitFacts;

/// A container above its grant keeps at least this much room above its use, so that lowering its
/// limit does not get it OOM-killed.
const STEP_BYTES: u64 = 1 << 20;

/// The runtime may still write limits for this long after a cgroup appears.
const STARTING: Duration = Duration::from_secs(2);

/// While a container starts, the agent sets no property in systemd: systemd would attach its device
/// filter to the scope again. runc is about to replace the filter that it has just seen there, and
/// would fail to start the container (opencontainers/runc#3604). The cgroup file alone holds the
/// limit until then. A program with the name of a runtime counts as one for at most this long.
const START_AT_MOST: Duration = Duration::from_secs(60);
const STARTED_YET: Duration = Duration::from_millis(500);

/// Runs one pass: compares every container and pod of the snapshot with its grant.
///
/// Raises a pod's limit before those of its containers, and lowers it after them.
pub fn decide(
    settings: &Settings,
    snapshot: Snapshot<'_>,
    mut state: LimitStates,
    now: SinceStart,
) -> (LimitStates, Decision) {
    let mut decision = Decision::default();
    let mut due: Vec<(&ContainerFacts, Grant)> = snapshot
        .containers
        .iter()
        .map(|facts| {
            let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
            (facts, grant_by_role(&settings.grant_rules(), &snapshot.node, pod, &facts.role))
        })
        .collect();
    due.sort_by_key(|(facts, _)| &facts.id);
    if settings.grants == Grants::Auto {
        for (facts, grant) in &mut due {
            // Allow up to the amount that the kubelet may have granted, for any settings of the
            // agent.
            let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
            let kubelets =
                grant_by_role(&GrantSettings::LIMITED_SWAP, &snapshot.node, pod, &facts.role);
            if kubelets.swap_max > grant.swap_max {
                *grant = kubelets;
            }
            let found = facts.levels.iter().map(|level| level.swap_max).min();
            let before = state.get(&Holder::Container(facts.id.clone())).map(|known| known.target);
            let found = found.unwrap_or(SwapMax::ZERO);
            *grant = held(found, before, grant.clone(), snapshot.node.page_bytes);
        }
    }
    if !snapshot.suspensions.is_empty() && sets_limits(settings) {
        for (facts, grant) in &mut due {
            let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
            if let Some(asleep) = snapshot.suspensions.grant_of(&facts.id, pod, grant) {
                *grant = asleep;
            }
        }
    }
    let mut pods: Vec<&PodFacts> = snapshot.slices.iter().collect();
    pods.sort_by_key(|facts| &facts.uid);
    let pass = Pass { settings, node: snapshot.node, thorough: snapshot.thorough, now };
    if settings.grants == Grants::Kubelet {
        pass.watch_over_kubelet(&snapshot, due, pods, &mut state, &mut decision);
        return (state, decision);
    }
    let (raised, rest): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|(facts, grant)| grant.swap_max > state.target_of(&facts.id));
    for (facts, grant) in rest {
        pass.enforce(&facts.into(), grant, SwapMax::Max, &mut state, &mut decision);
    }
    // While some container holds more than its grant, a raise has to wait for free bytes.
    let (excess, mut total) = match raised.is_empty() {
        true => (0, 0),
        false => state.totals(&pass.outside(&pass.due_of_pods(&snapshot, &pods, &state))),
    };
    let for_pods = swap_for_pods(&settings.grant, &snapshot.node);
    for (facts, grant) in raised {
        let before = state.target_of(&facts.id);
        let ceiling = match before {
            SwapMax::Bytes(before) if excess > 0 => {
                SwapMax::Bytes(before.saturating_add(for_pods.saturating_sub(total)))
            }
            _ => SwapMax::Max,
        };
        pass.enforce(&facts.into(), grant, ceiling, &mut state, &mut decision);
        if let (SwapMax::Bytes(before), SwapMax::Bytes(after)) =
            (before, state.target_of(&facts.id))
        {
            total = total.saturating_sub(before).saturating_add(after);
        }
    }
    pass.enforce_pods(&snapshot, &pods, &mut state, &mut decision);
    (state, decision)
}

struct Pass<'a> {
    settings: &'a Settings,
    node: NodeMemory,
    thorough: bool,
    now: SinceStart,
}

impl Pass<'_> {
    /// Returns the limits of the pods' cgroups: their grants, plus what their containers hold
    /// beyond theirs.
    fn due_of_pods<'a>(
        &self,
        snapshot: &Snapshot<'_>,
        pods: &[&'a PodFacts],
        state: &LimitStates,
    ) -> Vec<(&'a PodFacts, Grant)> {
        let excess = if pods.is_empty() { Default::default() } else { state.excess_of_pods() };
        let due = |facts: &&'a PodFacts| {
            let pod = snapshot.pods.get(&facts.uid).map(AsRef::as_ref);
            let rules = self.settings.grant_rules();
            let mut granted = pod_grant(&rules, &self.node, pod);
            if sets_limits(self.settings) {
                let borrows = |name: &str| {
                    let found = pod.and_then(|pod| Some((pod, pod.container(name)?)));
                    found.is_some_and(|(pod, container)| {
                        may_borrow(pod, name, &grant(&rules, &self.node, pod, container))
                    })
                };
                granted.swap_max =
                    snapshot.suspensions.of_pod(&facts.uid, granted.swap_max, borrows);
            }
            let excess = excess.get(&facts.uid).copied().unwrap_or(0);
            granted.swap_max = match self.settings.grants == Grants::Auto {
                // Do not change the limit: in kubelet mode the kubelet sets none on pods.
                true => facts.level.swap_max,
                false => plus(granted.swap_max, SwapMax::Bytes(excess)),
            };
            (*facts, granted)
        };
        pods.iter().map(due).collect()
    }

    /// Returns the bytes that the pods hold beyond that.
    fn outside<'a>(&self, due: &[(&'a PodFacts, Grant)]) -> BTreeMap<&'a PodUid, u64> {
        let beyond = |(facts, grant): &(&'a PodFacts, Grant)| match grant.swap_max {
            SwapMax::Bytes(bytes) => {
                (&facts.uid, facts.level.swap_used_bytes.saturating_sub(bytes))
            }
            SwapMax::Max => (&facts.uid, 0),
        };
        due.iter().map(beyond).collect()
    }

    /// Runs after the containers of these pods, whose states record what they hold beyond their
    /// grants.
    fn enforce_pods(
        &self,
        snapshot: &Snapshot<'_>,
        pods: &[&PodFacts],
        state: &mut LimitStates,
        decision: &mut Decision,
    ) {
        let due = self.due_of_pods(snapshot, pods, state);
        let mut of_pods = Decision::default();
        for (facts, grant) in due {
            self.enforce(&facts.into(), grant, SwapMax::Max, state, &mut of_pods);
        }
        let raises = |action: &Action| match action {
            Action::WriteLimit { from, to, .. } => to > from,
            Action::TellSystemd { .. } => false,
        };
        let (mut first, last): (Vec<_>, Vec<_>) = of_pods.actions.into_iter().partition(raises);
        first.append(&mut decision.actions);
        first.extend(last);
        decision.actions = first;
        decision.notices.extend(of_pods.notices);
        decision.again.extend(of_pods.again);
        decision.deaf_until.extend(of_pods.deaf_until);
    }

    /// Counts a repair of a level that another writer has changed. Returns false if the repair has
    /// to wait.
    fn may_repair(
        &self,
        facts: &LimitFacts<'_>,
        level: &LevelFacts,
        next: &mut LimitState,
        decision: &mut Decision,
    ) -> bool {
        let slow = next.fight.changed(self.now);
        let spent = next.budget.spend(self.now);
        if (slow || spent.is_err()) && !next.contended {
            next.contended = true;
            decision.notices.push(Notice::Contended {
                owner: facts.owner.clone(),
                found: level.swap_max,
                wanted: next.target,
            });
        }
        if let Err(again_at) = spent {
            decision.deaf_until.push((again_at, facts.owner.clone()));
        }
        spent.is_ok()
    }

    fn enforce(
        &self,
        facts: &LimitFacts<'_>,
        grant: Grant,
        ceiling: SwapMax,
        state: &mut LimitStates,
        decision: &mut Decision,
    ) {
        let known = state.forget(&facts.owner);
        let page = self.node.page_bytes;
        // The outermost level accounts for the use of all levels in it, and its limit is the only
        // one that the container cannot set: the container may have created the inner level itself.
        let used = facts.levels.first().map_or(0, |level| level.swap_used_bytes);
        let outermost = facts.levels.first().map_or(SwapMax::Max, |level| level.swap_max);
        let known_target = known.as_ref().map(|known| known.target);
        // The limit that the agent has set counts, even if another program has changed it since. A
        // use above it shows that the outermost limit was higher for a moment.
        let in_force = match known_target {
            None => outermost,
            Some(before) if SwapMax::Bytes(used) > before => with_room(used),
            Some(before) => before,
        };
        // Memory in use may exceed the ceiling; a container that uses no swap waits for free bytes.
        let floor = if used > 0 { with_room(used) } else { SwapMax::ZERO };
        let target = target(in_force, used, grant.swap_max).min(ceiling.max(floor));

        let mut next = known.unwrap_or_else(|| LimitState {
            was_there: self.thorough,
            pod: facts.pod.cloned(),
            ..LimitState::new(grant.clone(), target, self.now)
        });
        // State from kubelet mode has no pod.
        next.pod = facts.pod.cloned();
        let cause_of = |level: &LevelFacts| match known_target {
            Some(before) if next.seen.contains(&level.inode) => {
                if level.swap_max != before.as_kernel_shows(page) {
                    Cause::Drift
                } else if target > grant.swap_max {
                    Cause::StepDown
                } else {
                    Cause::GrantChanged
                }
            }
            _ => Cause::Found,
        };
        let wrong: Vec<(&LevelFacts, Cause)> = facts
            .levels
            .iter()
            .filter(|level| level.swap_max != target.as_kernel_shows(page))
            .map(|level| (level, cause_of(level)))
            .collect();
        let drift = wrong.iter().find(|(_, cause)| *cause == Cause::Drift).map(|(level, _)| *level);
        (next.grant, next.target, next.used_bytes) = (grant, target, used);
        next.seen = facts.levels.iter().map(|level| level.inode).collect();

        next.recover(self.now);
        if let Some(level) = drift
            && !self.may_repair(facts, level, &mut next, decision)
        {
            state.insert(&facts.owner, next);
            return;
        }
        // The runtime changes limits while the container starts: that is no drift.
        let starting = self.now.since(next.since) < STARTING;
        next.changed |= !wrong.is_empty();
        for (level, cause) in wrong {
            decision.actions.push(Action::WriteLimit {
                owner: facts.owner.clone(),
                path: facts.path_of(level.level),
                level: level.level,
                inode: level.inode,
                from: level.swap_max,
                to: target,
                cause: if cause == Cause::Drift && starting { Cause::Found } else { cause },
            });
        }
        self.tell_systemd(facts, drift.is_some(), &mut next, decision);
        self.follow(facts, used, &mut next, decision);
        state.insert(&facts.owner, next);
    }

    fn tell_systemd(
        &self,
        facts: &LimitFacts<'_>,
        drifted: bool,
        next: &mut LimitState,
        decision: &mut Decision,
    ) {
        let Manager::Systemd(unit) = &facts.manager else { return };
        let age = self.now.since(next.since);
        let starting = facts.starting || (age < STARTING && !next.was_there);
        if starting && age < START_AT_MOST {
            decision.again.push((self.now + STARTED_YET, facts.owner.clone()));
            return;
        }
        let due = match next.told {
            ToldLimit::Nothing => true,
            // The change may have come with a new property in systemd (an in-place resize sets
            // both).
            ToldLimit::Asked(asked) => asked != next.target || drifted,
            ToldLimit::Holds(held) => held != next.target || drifted || self.thorough,
            ToldLimit::Failed { retry_at } => retry_at <= self.now,
        };
        if due {
            next.told = ToldLimit::Asked(next.target);
            decision.actions.push(Action::TellSystemd {
                owner: facts.owner.clone(),
                unit: unit.clone(),
                path: facts.path.to_owned(),
                to: next.target,
            });
        } else if let ToldLimit::Failed { retry_at } = next.told {
            decision.again.push((retry_at, facts.owner.clone()));
        }
    }

    /// Schedules another look at a container that uses more than its grant, or waits for a raise.
    fn follow(
        &self,
        facts: &LimitFacts<'_>,
        used_bytes: u64,
        next: &mut LimitState,
        decision: &mut Decision,
    ) {
        let owner = || facts.owner.clone();
        let above = SwapMax::Bytes(used_bytes) > next.grant.swap_max;
        match (next.above, above) {
            (false, true) => decision.notices.push(Notice::AboveGrant {
                owner: owner(),
                used_bytes,
                grant: next.grant.swap_max,
            }),
            (true, false) => {
                decision.notices.push(Notice::BackWithinGrant { owner: owner() });
            }
            _ => {}
        }
        next.above = above;
        if next.target != next.grant.swap_max {
            decision.again.push((self.now + self.settings.limits.follow, owner()));
        }
    }
}

/// Returns the limit to set if `in_force` is set, `used` bytes are swapped and the grant is
/// `grant`.
///
/// Raising a limit is always safe. With a limit below use the kernel kills the container within
/// seconds. So the limit only follows the use down, in steps that are worth a write, and never
/// rises before that.
fn target(in_force: SwapMax, used_bytes: u64, grant: SwapMax) -> SwapMax {
    let use_with_room = with_room(used_bytes);
    if grant >= in_force || SwapMax::Bytes(used_bytes) <= grant {
        return grant;
    }
    match in_force {
        SwapMax::Bytes(bytes)
            if SwapMax::Bytes(bytes.saturating_sub(STEP_BYTES)) <= use_with_room =>
        {
            in_force
        }
        _ => use_with_room.max(grant),
    }
}

fn with_room(used_bytes: u64) -> SwapMax {
    SwapMax::Bytes(used_bytes.saturating_add(STEP_BYTES))
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
