//! Suspends a pod: plans it, and starts a separate task that freezes the pod and reclaims its
//! memory.

use std::sync::Arc;

use super::{Falling, SuspendNews, SuspendReply, errors::SuspendError, wake::RETRY};
use crate::{
    act::{
        events::EventSubject,
        freeze,
        offload::{self, Orders, put_to_sleep},
    },
    agent::{Agent, effects::Effects, events::Event},
    decide::{
        grant::grant_by_role,
        sleepers::{lendable, may_borrow},
        suspend::{Room, Wake, is_near, plan, refuse},
    },
    errors::FileError,
    messages,
    model::{
        event::EventReason,
        host::{Manager, Role},
        pod::Pod,
        suspend::{Candidate, Reply, Suspended, Usage},
        swap::SwapMax,
    },
    observe::{clock::since_boot, node, sleeper},
    roots::Roots,
};

/// Number of pods that may be suspended at the same time.
const AT_ONCE: usize = 8;

impl<E: Effects> Agent<E> {
    /// Plans the suspension of a pod, or returns the reason for a refusal.
    pub(super) fn planned(
        &mut self,
        namespace: &str,
        name: &str,
        force: bool,
    ) -> Result<Suspended, SuspendError> {
        if !self.api.is_fresh() {
            return Err(SuspendError::ApiUnreachable);
        }
        let named = |pod: &&Arc<Pod>| &*pod.namespace == namespace && &*pod.name == name;
        // A pod deleted by force may still exist at the same time as its successor with the same
        // name.
        let gone = |pod: &&Arc<Pod>| self.api.deleted.contains(&pod.uid);
        let found = self.pods.values().filter(named).min_by_key(gone);
        let Some(pod) = found.cloned() else {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            return Err(SuspendError::NoPod { namespace, name });
        };
        let candidates = self.candidates(&pod)?;
        let leaving = self.is_leaving(&pod.uid);
        if let Some(why) = refuse(&self.suspend.pods, &pod, &candidates, leaving, force) {
            return Err(SuspendError::Refused(why));
        }
        if is_near(self.publisher.nearest_signal()) {
            return Err(SuspendError::SignalNear);
        }
        if self.suspend.at_work >= AT_ONCE {
            return Err(SuspendError::Busy(AT_ONCE));
        }
        if !candidates.iter().all(|found| offload::can_reclaim(&self.roots, &found.path)) {
            return Err(SuspendError::NoReclaim);
        }
        let claimed = self.suspend.pods.claimed_bytes(|sleeper| {
            let usage = offload::usage(&self.roots, &sleeper.path, sleeper.inode).ok().flatten();
            usage.map_or(0, |usage| usage.swap_bytes)
        });
        let free_swap_bytes = node::free_swap_bytes(&self.roots)?.saturating_sub(claimed);
        let level = self.tree.pod_facts(&pod.uid)?;
        let level = level.map(|facts| facts.level);
        let room = Room {
            pod_swap_max: level.as_ref().map_or(SwapMax::Max, |level| level.swap_max),
            pod_swap_bytes: level.as_ref().map_or(0, |level| level.swap_used_bytes),
            free_swap_bytes,
            swap_bytes: self.node.swap_bytes,
            lendable_bytes: lendable(
                &self.settings,
                &self.suspend.pods,
                &self.limits.state,
                self.node.swap_bytes,
            ),
        };
        Ok(plan(&self.settings.suspend, &pod, candidates, room, since_boot()))
    }

    /// Returns the pod's running containers, without its sandbox.
    fn candidates(&mut self, pod: &Arc<Pod>) -> Result<Vec<Candidate>, FileError> {
        let ids: Vec<_> = self.tree.of_pod(&pod.uid).cloned().collect();
        let (rules, (node, _)) = (
            self.settings.grant_rules(),
            self.granting.granted_from(self.settings.grants, self.node),
        );
        let mut candidates = Vec::with_capacity(ids.len());
        for id in ids {
            let facts = self.tree.facts(&id, Some(pod))?;
            let Some(facts) = facts else { continue };
            let Role::Container(name) = &facts.role else { continue };
            let grant = grant_by_role(&rules, &node, Some(pod), &facts.role);
            let (name, may_borrow) = (name.clone(), may_borrow(pod, name, &grant));
            let Some(inode) = facts.levels.first().map(|level| level.inode) else { continue };
            let usage = offload::usage(&self.roots, &facts.path, inode)
                .map_err(FileError::of("read", &facts.path))?;
            let Some(usage) = usage else { continue };
            let unit = match facts.manager {
                Manager::Systemd(unit) => Some(unit),
                Manager::Cgroupfs => None,
            };
            let swap_max = facts.levels.iter().map(|level| level.swap_max).min();
            let look = sleeper::look(&self.roots, &facts.path, inode)
                .map_err(FileError::of("read", &facts.path))?;
            candidates.push(Candidate {
                name,
                id,
                unit,
                path: facts.path.to_path_buf(),
                inode,
                starting: facts.starting,
                swap_max: swap_max.unwrap_or(SwapMax::ZERO),
                may_borrow,
                pending: look.map(|look| look.pending).unwrap_or_default(),
                usage,
            });
        }
        Ok(candidates)
    }

    pub(super) fn begin(&mut self, planned: Suspended, answer: SuspendReply) {
        let uid = planned.uid.clone();
        self.suspend.pods.begin(planned.clone());
        // Save before freezing anything: the next agent must know.
        if let Err(error) = self.suspend.remember(&self.roots, &mut self.health) {
            let text = error.to_string();
            self.suspend.pods.remove(&uid);
            let _ = answer.send(Reply::Refused { text });
            return;
        }
        // The loop sets them before the task below runs.
        self.limits.look_at_pod_of(&self.tree, &planned);
        self.suspend.generation += 1;
        let (orders, generation) = (Arc::<Orders>::default(), self.suspend.generation);
        self.suspend.falling.insert(uid, Falling { orders: orders.clone(), answer, generation });
        self.suspend.at_work += 1;
        let (roots, events) = (self.roots.clone(), self.events.clone());
        let keep = self.settings.suspend.keep_free.of(self.node.swap_bytes);
        tokio::spawn(async move {
            let result = fall_asleep(&roots, &planned, keep, &orders).await;
            events.send(Event::Suspend(SuspendNews::Fell(Box::new(planned), generation, result)));
        });
    }

    pub(super) fn fell(
        &mut self,
        suspended: &Suspended,
        generation: u64,
        result: Result<Vec<Option<Usage>>, SuspendError>,
    ) {
        let uid = &suspended.uid;
        self.suspend.at_work -= 1;
        if self.suspend.falling.get(uid).is_none_or(|falling| falling.generation != generation) {
            // It was resumed in the meantime, and may have been frozen after that. A pod that is
            // suspended again stays suspended.
            let again = self.suspend.pods.get(uid);
            let again_is_none = again.is_none();
            let mut late = suspended.clone();
            late.containers.retain(|sleeper| {
                again.is_none_or(|pod| pod.containers.iter().all(|c| c.inode != sleeper.inode))
            });
            if !late.containers.is_empty()
                && self.suspend.thaw(&self.roots, &mut self.health, &late).is_err()
                && again_is_none
            {
                // Retry until it runs.
                self.suspend.again = Some(self.now() + RETRY);
                self.suspend.stuck.insert(uid.clone(), Wake::Interrupted);
                self.suspend.pods.begin(late);
            }
            return;
        }
        let after = match result {
            Ok(after) => after,
            Err(error) => {
                // The client gets the text too.
                let _ = self.wake(uid, &Wake::Failed(error.to_string()));
                return;
            }
        };
        let falling = self.suspend.falling.remove(uid);
        let Some(asleep) = self.suspend.pods.slept(uid, &after).cloned() else { return };
        self.limits.look_at_pod_of(&self.tree, &asleep);
        // If that fails, the next agent resumes it.
        let _ = self.suspend.remember(&self.roots, &mut self.health);
        self.publisher.counters.suspensions += 1;
        let text = asleep.summary();
        messages::Suspended {
            pod_namespace: &asleep.namespace,
            pod_name: &asleep.name,
            pod_uid: uid,
        }
        .emit(format_args!("{text}"));
        self.effects.tell(
            EventSubject::Pod(self.lookup().reference(uid)),
            false,
            EventReason::SwapSuspended,
            text.clone(),
        );
        self.publisher.mark_stale();
        if let Some(Falling { answer, .. }) = falling {
            let _ = answer.send(Reply::Done { text, rows: asleep.rows() });
        }
    }
}

/// Freezes the containers and reclaims their memory; returns the use of each afterwards.
async fn fall_asleep(
    roots: &Roots,
    suspended: &Suspended,
    keep_swap_free_bytes: u64,
    orders: &Arc<Orders>,
) -> Result<Vec<Option<Usage>>, SuspendError> {
    for sleeper in suspended.containers.iter().filter(|_| !suspended.vm) {
        if orders.is_stopped() {
            return Err(SuspendError::Stopped);
        }
        freeze::freeze(roots, sleeper).await.map_err(Box::new)?;
    }
    let (roots, orders, containers) = (roots.clone(), orders.clone(), suspended.containers.clone());
    let reclaiming = tokio::task::spawn_blocking(move || {
        let sleep = |sleeper| put_to_sleep(&roots, sleeper, keep_swap_free_bytes, &orders);
        containers.iter().map(sleep).collect::<Result<_, FileError>>()
    });
    Ok(reclaiming.await??)
}
