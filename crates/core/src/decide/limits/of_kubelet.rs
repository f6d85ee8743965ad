//! Kubelet mode: compares the limits to the byte, and repairs those that another program has reset.
//! The kubelet sets a limit only when it creates or resizes a container.
//!
//! Source: Kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`
//! (`configureContainerSwapResources`): it limits neither sandboxes nor pods.

use std::time::Duration;

use super::{LimitFacts, Pass, START_AT_MOST, STARTED_YET, STARTING};
use crate::{
    config::settings::Grants,
    decide::{
        decision::{Action, Cause, Decision, Notice, Snapshot},
        grant::{Grant, Reason, grant},
        pod_limit::pod_grant,
        state::{LimitState, LimitStates, ToldLimit},
    },
    model::{
        host::{ContainerFacts, Manager, PodFacts, Role},
        swap::SwapMax,
    },
};

/// A wrong finite limit may last for this long, because the kubelet resizes a container before the
/// API server reports it.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

impl Pass<'_> {
    /// Runs in kubelet mode, and while the agent does not know the mode yet. In the latter case it
    /// changes nothing.
    pub(super) fn watch_over_kubelet(
        &self,
        snapshot: &Snapshot<'_>,
        due: Vec<(&ContainerFacts, Grant)>,
        pods: Vec<&PodFacts>,
        state: &mut LimitStates,
        decision: &mut Decision,
    ) {
        for (facts, grant) in due {
            if grant.reason == Reason::Suspended {
                self.enforce(&facts.into(), grant, SwapMax::Max, state, decision);
                continue;
            }
            let resized = self.asked_for(snapshot, facts);
            self.compare(&facts.into(), grant, resized, snapshot.swap_is_certain, state, decision);
        }
        for facts in pods {
            let pod = snapshot.pods.get(&facts.uid).map(AsRef::as_ref);
            let grant = pod_grant(&self.settings.grant, &self.node, pod);
            let facts = LimitFacts::from(facts);
            let known = state.forget(&facts.owner);
            let before = known.as_ref().map(|known| (known.differs, known.target, known.changed));
            let mut next = self.next(&facts, grant, known);
            self.lift(&facts, before, &mut next, decision);
            state.insert(&facts.owner, next);
        }
    }

    /// Returns the limit during an in-place resize: the kubelet sets it before the pod's status
    /// shows it.
    fn asked_for(&self, snapshot: &Snapshot<'_>, facts: &ContainerFacts) -> Option<SwapMax> {
        let Role::Container(name) = &facts.role else { return None };
        let pod = snapshot.pods.get(&facts.pod)?;
        let mut container = pod.container(name)?.clone();
        container.actual.take().filter(|actual| *actual != container.spec)?;
        Some(grant(&self.settings.grant, &self.node, pod, &container).swap_max)
    }

    /// Returns the state to keep for `facts` if nothing is wrong with it.
    fn next(&self, facts: &LimitFacts<'_>, grant: Grant, known: Option<LimitState>) -> LimitState {
        let found = facts.levels.first().map_or(SwapMax::Max, |level| level.swap_max);
        let mut next = known.unwrap_or_else(|| LimitState {
            was_there: self.thorough,
            ..LimitState::new(grant.clone(), found, self.now)
        });
        next.pod = facts.pod.cloned();
        next.used_bytes = facts.levels.first().map_or(0, |level| level.swap_used_bytes);
        (next.grant, next.differs, next.wrong_since) = (grant, false, None);
        next
    }

    /// Compares a container. The lowest limit of its levels counts: crun's child cgroup may hold
    /// the limit that the scope lacks.
    fn compare(
        &self,
        facts: &LimitFacts<'_>,
        grant: Grant,
        resized: Option<SwapMax>,
        swap_is_certain: bool,
        state: &mut LimitStates,
        decision: &mut Decision,
    ) {
        let known = state.forget(&facts.owner);
        let is_first = known.is_none();
        let before = known.as_ref().map(|known| (known.differs, known.wrong_since));
        let (differed, wrong_since) = before.unwrap_or_default();
        let page = self.node.page_bytes;
        let expected = grant.swap_max;
        let is_known = !matches!(
            grant.reason,
            Reason::Helper | Reason::UnknownPod | Reason::UnknownContainer | Reason::RequestUnknown
        );
        let mut next = self.next(facts, grant.clone(), known);
        let found = facts.levels.iter().map(|level| level.swap_max).min();
        let by_kubelet = self.settings.grants == Grants::Kubelet;
        let Some(found) = found.filter(|_| is_known && by_kubelet) else {
            // Another program has reset it: the kubelet leaves no container at `max`.
            let is_reset = grant.reason == Reason::UnknownPod
                && found == Some(SwapMax::Max)
                && self.now.since(next.since) >= START_AT_MOST;
            if found != Some(next.target.as_kernel_shows(page)) {
                next.seen.clear();
            }
            state.insert(&facts.owner, next);
            if is_reset && by_kubelet && self.settings.limits.repair {
                self.enforce(facts, grant, SwapMax::Max, state, decision);
            }
            return;
        };
        let right = [Some(expected), resized]
            .into_iter()
            .flatten()
            .find(|right| right.as_kernel_shows(page) == found);
        if let Some(right) = right
            && !next.above
        {
            next.target = right;
            next.seen = facts.levels.iter().map(|level| level.inode).collect();
            next.budget.refill(self.now);
            next.contended &= !next.budget.is_full();
            if next.told != ToldLimit::Nothing {
                self.tell_systemd(facts, false, &mut next, decision);
            }
            state.insert(&facts.owner, next);
            return;
        }
        let age = self.now.since(next.since);
        let starting = facts.starting || (age < STARTING && !next.was_there);
        if starting && age < START_AT_MOST {
            decision.again.push((self.now + STARTED_YET, facts.owner.clone()));
            state.insert(&facts.owner, next);
            return;
        }
        let since = wrong_since.unwrap_or(self.now);
        let settles = found != SwapMax::Max && !next.above && !differed;
        if settles && self.now.since(since) < SETTLE && !(is_first && self.thorough) {
            next.wrong_since = Some(since);
            decision.again.push((since + SETTLE, facts.owner.clone()));
            state.insert(&facts.owner, next);
            return;
        }
        // A kubelet that counts less swap may set less than expected, unless the limit was right
        // before.
        let is_reset = found > expected || swap_is_certain || !next.seen.is_empty();
        if self.settings.limits.repair && is_reset {
            state.insert(&facts.owner, next);
            self.enforce(facts, grant, SwapMax::Max, state, decision);
            return;
        }
        next.differs = true;
        if !differed {
            let owner = facts.owner.clone();
            let expected = expected.as_kernel_shows(page);
            decision.notices.push(Notice::Differs { owner, found, expected });
        }
        state.insert(&facts.owner, next);
    }

    /// The kubelet never limits a pod's cgroup. So such a limit is from an earlier agent mode, or
    /// from another program. For the latter, the agent makes as many repairs as for a container's
    /// limit, and none without `limits.repair`. `before` has `differs` and `target` of the last pass, and
    /// true if the agent has set that target.
    fn lift(
        &self,
        facts: &LimitFacts<'_>,
        before: Option<(bool, SwapMax, bool)>,
        next: &mut LimitState,
        decision: &mut Decision,
    ) {
        let Some(level) = facts.levels.first() else { return };
        if self.settings.grants != Grants::Kubelet {
            return;
        }
        next.recover(self.now);
        let was_lifted = next.seen == [level.inode] && next.target == SwapMax::Max;
        (next.seen, next.target) = (vec![level.inode], SwapMax::Max);
        if level.swap_max == SwapMax::Max {
            return;
        }
        let (differed, target, was_set) = before.unwrap_or((false, SwapMax::Max, false));
        let is_ours = was_set && target.as_kernel_shows(self.node.page_bytes) == level.swap_max;
        if !self.settings.limits.repair && !is_ours {
            next.differs = true;
            if !differed {
                let (found, expected) = (level.swap_max, SwapMax::Max);
                let owner = facts.owner.clone();
                decision.notices.push(Notice::Differs { owner, found, expected });
            }
            return;
        }
        if was_lifted && !self.may_repair(facts, level, next, decision) {
            return;
        }
        decision.actions.push(Action::WriteLimit {
            owner: facts.owner.clone(),
            path: facts.path.to_owned(),
            level: level.level,
            inode: level.inode,
            from: level.swap_max,
            to: SwapMax::Max,
            cause: Cause::GrantChanged,
        });
        if let Manager::Systemd(unit) = facts.manager {
            decision.actions.push(Action::TellSystemd {
                owner: facts.owner.clone(),
                unit: unit.clone(),
                path: facts.path.to_owned(),
                to: SwapMax::Max,
            });
        }
    }
}
