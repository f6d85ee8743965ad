//! From grants and what was found to actions: which `memory.swap.max` to write, what to tell
//! systemd, and what to say.

use std::time::Duration;

use super::{
    decision::{Action, Cause, Decision, Notice, Snapshot},
    grant::{Grant, grant_by_role, swap_for_pods},
    state::{ContainerState, State, Told},
};
use crate::{
    config::settings::{Grants, Settings},
    model::{
        host::{ContainerFacts, LevelFacts, Manager, Monotonic, NodeMemory},
        swap::SwapMax,
    },
};

/// A container that uses more than its grant keeps at least this much room above its use, so that
/// the step down itself never gets it OOM-killed.
const STEP_BYTES: u64 = 1 << 20;

/// For so long after a container's cgroup appears its runtime may still write limits.
const STARTING: Duration = Duration::from_secs(2);

/// While a container starts, systemd is not told: a changed property has systemd attach its device
/// filter to the scope anew, and runc, about to replace the filter that it has just seen there, then
/// fails to start the container (opencontainers/runc#3604). The cgroup file holds the limit until
/// then. A program that is named like a runtime is believed only so long.
const START_AT_MOST: Duration = Duration::from_secs(60);
const STARTED_YET: Duration = Duration::from_millis(500);

/// One pass: compares every container of the snapshot with its grant.
pub fn decide(
    settings: &Settings,
    snapshot: Snapshot<'_>,
    mut state: State,
    now: Monotonic,
) -> (State, Decision) {
    let mut decision = Decision::default();
    let mut due: Vec<(&ContainerFacts, Grant)> = snapshot
        .containers
        .iter()
        .map(|facts| {
            let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
            (facts, grant_by_role(&settings.grant, &snapshot.node, pod, &facts.role))
        })
        .collect();
    due.sort_by_key(|(facts, _)| &facts.id);
    if settings.grants == Grants::Kubelet {
        for (facts, grant) in due {
            let known = state.containers.remove(&facts.id);
            let next = compare(facts, grant, known, snapshot.node, now, &mut decision);
            state.containers.insert(facts.id.clone(), next);
        }
        return (state, decision);
    }

    let pass = Pass { settings, node: snapshot.node, thorough: snapshot.thorough, now };
    let (raised, rest): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|(facts, grant)| grant.swap_max > state.target_of(&facts.id));
    for (facts, grant) in rest {
        pass.enforce(facts, grant, SwapMax::Max, &mut state, &mut decision);
    }
    // While somebody holds more than its grant, a raise must find its bytes free.
    let (excess, mut total) = if raised.is_empty() { (0, 0) } else { state.totals() };
    let for_pods = swap_for_pods(&settings.grant, &snapshot.node);
    for (facts, grant) in raised {
        let before = state.target_of(&facts.id);
        let ceiling = match before {
            SwapMax::Bytes(before) if excess > 0 => {
                SwapMax::Bytes(before.saturating_add(for_pods.saturating_sub(total)))
            }
            _ => SwapMax::Max,
        };
        pass.enforce(facts, grant, ceiling, &mut state, &mut decision);
        if let (SwapMax::Bytes(before), SwapMax::Bytes(after)) =
            (before, state.target_of(&facts.id))
        {
            total = total.saturating_sub(before).saturating_add(after);
        }
    }
    (state, decision)
}

/// `grants = "kubelet"`: look, say, leave alone.
fn compare(
    facts: &ContainerFacts,
    grant: Grant,
    known: Option<ContainerState>,
    node: NodeMemory,
    now: Monotonic,
    decision: &mut Decision,
) -> ContainerState {
    let expected = grant.swap_max.as_kernel_shows(node.page_bytes);
    let in_force = facts.levels.iter().map(|level| level.swap_max).min();
    let differs = in_force.is_some_and(|found| found != expected);
    if let Some(found) = in_force
        && differs
        && !known.is_some_and(|known| known.differs)
    {
        decision.notices.push(Notice::Differs { container: facts.id.clone(), found, expected });
    }
    let used_bytes = facts.levels.first().map_or(0, |level| level.swap_used_bytes);
    ContainerState { differs, used_bytes, ..ContainerState::new(grant, expected, now) }
}

struct Pass<'a> {
    settings: &'a Settings,
    node: NodeMemory,
    thorough: bool,
    now: Monotonic,
}

impl Pass<'_> {
    fn enforce(
        &self,
        facts: &ContainerFacts,
        grant: Grant,
        ceiling: SwapMax,
        state: &mut State,
        decision: &mut Decision,
    ) {
        let known = state.containers.remove(&facts.id);
        let page = self.node.page_bytes;
        let used = facts.levels.iter().map(|level| level.swap_used_bytes).max().unwrap_or(0);
        let lowest = facts.levels.iter().map(|l| l.swap_max).min().unwrap_or(SwapMax::Max);
        let highest = facts.levels.iter().map(|l| l.swap_max).max().unwrap_or(SwapMax::Max);
        let known_target = known.as_ref().map(|known| known.target);
        // A writer that lowered the limit has not taken from the container what we had left it.
        let in_force =
            known_target.map_or(lowest, |before| if highest > before { highest } else { before });
        // Room beyond the ceiling is for what is in use; who uses nothing waits for free bytes.
        let floor = if used > 0 { with_room(used) } else { SwapMax::ZERO };
        let target = target(in_force, used, grant.swap_max).min(ceiling.max(floor));

        let mut next = known.unwrap_or_else(|| ContainerState {
            was_there: self.thorough,
            ..ContainerState::new(grant.clone(), target, self.now)
        });
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

        next.budget.refill(self.now);
        if next.budget.is_full() {
            next.contended = false;
        }
        if let Some(level) = drift
            && let Err(again_at) = next.budget.spend(self.now)
        {
            if !next.contended {
                next.contended = true;
                decision.notices.push(Notice::Contended {
                    container: facts.id.clone(),
                    found: level.swap_max,
                    wanted: target,
                });
            }
            decision.deaf_until.push((again_at, facts.id.clone()));
            state.containers.insert(facts.id.clone(), next);
            return;
        }
        // A limit that changes while the container starts is the runtime's work, no drift.
        let starting = self.now.since(next.since) < STARTING;
        for (level, cause) in wrong {
            decision.actions.push(Action::WriteLimit {
                container: facts.id.clone(),
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
        state.containers.insert(facts.id.clone(), next);
    }

    fn tell_systemd(
        &self,
        facts: &ContainerFacts,
        drifted: bool,
        next: &mut ContainerState,
        decision: &mut Decision,
    ) {
        let Manager::Systemd(unit) = &facts.manager else { return };
        let age = self.now.since(next.since);
        let starting = facts.starting || (age < STARTING && !next.was_there);
        if starting && age < START_AT_MOST {
            decision.again.push((self.now + STARTED_YET, facts.id.clone()));
            return;
        }
        let due = match next.told {
            Told::Nothing => true,
            // A drift may have come with a new property (an in-place resize sets both).
            Told::Asked(asked) => asked != next.target || drifted,
            Told::Holds(held) => held != next.target || drifted || self.thorough,
            Told::Failed { retry_at } => retry_at <= self.now,
        };
        if due {
            next.told = Told::Asked(next.target);
            decision.actions.push(Action::TellSystemd {
                container: facts.id.clone(),
                unit: unit.clone(),
                path: facts.path.clone(),
                to: next.target,
            });
        } else if let Told::Failed { retry_at } = next.told {
            decision.again.push((retry_at, facts.id.clone()));
        }
    }

    /// Keeps looking at a container that uses more than its grant, or waits for a raise.
    fn follow(
        &self,
        facts: &ContainerFacts,
        used_bytes: u64,
        next: &mut ContainerState,
        decision: &mut Decision,
    ) {
        let container = || facts.id.clone();
        let above = SwapMax::Bytes(used_bytes) > next.grant.swap_max;
        match (next.above, above) {
            (false, true) => decision.notices.push(Notice::AboveGrant {
                container: container(),
                used_bytes,
                grant: next.grant.swap_max,
            }),
            (true, false) => {
                decision.notices.push(Notice::BackWithinGrant { container: container() })
            }
            _ => {}
        }
        next.above = above;
        if next.target != next.grant.swap_max {
            decision.again.push((self.now + self.settings.limits.follow, container()));
        }
    }
}

/// What to set where `in_force` is set, `used` bytes are swapped and `grant` is due.
///
/// Raising is always safe. Lowering below use has the container OOM-killed within seconds, so the
/// limit only follows the use down, in steps worth a write, and never rises on the way.
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
