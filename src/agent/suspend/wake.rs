//! Resumes pods: on request, when a reason requires it, and all when the agent ends.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Falling, Suspend, SuspendNews, errors::SuspendError};
use crate::{
    act::{
        events::{EventSubject, PodReference},
        freeze, offload,
    },
    agent::{Agent, effects::Effects, events::Event, health::Health},
    decide::suspend::{Wake, is_near},
    messages,
    model::{
        clock::SinceStart,
        event::EventReason,
        host::Role,
        pod::{ContainerId, PodUid},
        suspend::{Reply, Sleeper, SuspendStage, Suspended},
        swap::{SwapMax, human_bytes},
        trouble::Trouble,
    },
    observe::sleeper,
    roots::Roots,
};

/// Interval for retrying to thaw a container.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Interval for looking at the processes of frozen pods. The kubelet may leave them two seconds
/// between the signal and their end.
const LOOK: Duration = Duration::from_secs(1);
/// Number of times that the ending agent tries again to thaw what is still frozen.
const LAST_TRIES: usize = 5;
/// Time that the ending agent waits for containers that are being frozen.
const ENDING: Duration = Duration::from_secs(12);

impl Suspend {
    /// Thaws the pod; returns the problem, if there is one.
    pub(super) fn thaw(
        &mut self,
        roots: &Roots,
        health: &mut Health,
        suspended: &Suspended,
    ) -> Result<(), SuspendError> {
        // The agent did not freeze a launcher.
        if suspended.vm {
            return Ok(());
        }
        let failed: Vec<String> = suspended
            .containers
            .iter()
            .filter_map(|sleeper| freeze::thaw(roots, sleeper).err())
            .map(|error| error.to_string())
            .collect();
        let failed = match failed.is_empty() {
            true => Ok(()),
            false => Err(SuspendError::StillFrozen(failed)),
        };
        // Another pod's success does not solve this problem.
        match &failed {
            Err(error) => {
                self.unthawed.insert(suspended.uid.clone(), error.to_string());
            }
            Ok(()) => drop(self.unthawed.remove(&suspended.uid)),
        }
        health.problem(Trouble::Suspend, self.trouble());
        let units = suspended.containers.iter().filter_map(|sleeper| sleeper.unit.clone());
        tell_thawed(roots, units.collect());
        failed
    }

    /// Thaws everything while an earlier agent's frozen pods are unknown. Keeps the unreadable file
    /// until that has succeeded, because nothing else tells the next agent about them.
    fn thaw_lost(&mut self, roots: &Roots, health: &mut Health, now: SinceStart) {
        if self.lost.is_none() || self.again.is_some_and(|at| now < at) {
            return;
        }
        let thawed = freeze::thaw_all(roots);
        self.unthawed_lost = thawed.result().err().map(|error| error.to_string());
        tell_thawed(roots, thawed.units);
        health.problem(Trouble::Suspend, self.trouble());
        if self.unthawed_lost.is_some() {
            self.again = Some(now + RETRY);
            return;
        }
        self.lost = None;
        self.again = None;
        let _ = self.remember(roots, health);
    }
}

impl<E: Effects> Agent<E> {
    /// Resumes the pod immediately.
    pub(in crate::agent) fn wake(
        &mut self,
        uid: &PodUid,
        why: &Wake,
    ) -> Result<String, SuspendError> {
        let Some(suspended) = self.suspend.pods.get(uid).cloned() else {
            return Err(SuspendError::NotSuspended);
        };
        let (namespace, name) = (&suspended.namespace, &suspended.name);
        let text =
            format!("{namespace}/{name} is resumed: {why}{}", still_lent(&self.roots, &suspended));
        if let Some(Falling { orders, answer, .. }) = self.suspend.falling.remove(uid) {
            orders.stop();
            let text = format!("{namespace}/{name} was not suspended: {why}");
            let _ = answer.send(Reply::Refused { text });
        }
        if let Err(error) = self.suspend.thaw(&self.roots, &mut self.health, &suspended) {
            self.suspend.again = Some(self.now() + RETRY);
            self.suspend.stuck.insert(uid.clone(), why.clone());
            return Err(error);
        }
        self.suspend.pods.remove(uid);
        self.limits.look_at_pod_of(&self.tree, &suspended);
        // An agent that finds it there thaws it once more, which has no effect.
        let _ = self.suspend.remember(&self.roots, &mut self.health);
        self.publisher.counters.resumes += 1;
        messages::Resumed { pod_namespace: namespace, pod_name: name, pod_uid: uid }
            .emit(format_args!("{text}"));
        // There is no pod to report for.
        if *why != Wake::Gone {
            let (namespace, name) = (namespace.to_string(), name.to_string());
            let pod = PodReference { namespace, name, uid: uid.to_string() };
            self.effects.tell(
                EventSubject::Pod(pod),
                !why.is_expected(),
                EventReason::SwapResumed,
                text.clone(),
            );
        }
        self.publisher.mark_stale();
        Ok(text)
    }

    /// Resumes every pod that has a reason to be resumed.
    pub(in crate::agent) fn watch_suspended(&mut self) {
        self.adopt();
        let now = self.now();
        if self.suspend.pods.is_empty() {
            return;
        }
        let near = is_near(self.publisher.nearest_signal());
        self.suspend.falling.values().for_each(|falling| falling.orders.careful(near));
        if self.suspend.again.is_some_and(|at| now < at) {
            return;
        }
        self.suspend.again = None;
        let mut due = std::mem::take(&mut self.suspend.stuck);
        let lost = now.since(self.api.heard);
        let evicting = |uid: &PodUid| self.eviction.is_evicting(uid);
        let settings = &self.settings.suspend;
        for (uid, why) in
            self.suspend.pods.to_wake(settings, &self.pods, &self.api.deleted, evicting, lost)
        {
            due.entry(uid).or_insert(why);
        }
        let gone = |pod: &&Suspended| {
            pod.containers.iter().any(|sleeper| self.tree.pod_of(&sleeper.id).is_none())
        };
        for pod in self.suspend.pods.iter().filter(gone) {
            due.entry(pod.uid.clone()).or_insert(Wake::ContainersChanged);
        }
        for (uid, why) in self.look_at_frozen(now) {
            due.entry(uid).or_insert(why);
        }
        for (uid, why) in due {
            // A failed thaw is reported and retried.
            let _ = self.wake(&uid, &why);
        }
    }

    /// Examines the processes of frozen pods at intervals: most reasons to resume a pod do not show
    /// in the API while its processes are frozen.
    fn look_at_frozen(&mut self, now: SinceStart) -> Vec<(PodUid, Wake)> {
        if now < self.suspend.look {
            return Vec::new();
        }
        self.suspend.look = now + LOOK;
        let frozen = self.suspend.pods.iter().filter(|pod| !pod.vm).cloned();
        let frozen: Vec<Suspended> = frozen.collect();
        let mut due = Vec::new();
        for pod in frozen {
            let look = |sleeper: &Sleeper| {
                // A process that cannot be read is read again at the next interval.
                sleeper::look(&self.roots, &sleeper.path, sleeper.inode).ok().flatten()
            };
            let looks: Vec<_> = pod.containers.iter().map(look).collect();
            let why = self.suspend.pods.looked(&pod.uid, &looks);
            let beside = || self.has_another(&pod).then_some(Wake::ContainersChanged);
            due.extend(why.or_else(beside).map(|why| (pod.uid, why)));
        }
        due
    }

    /// Returns true if a container of the pod runs while the others are frozen.
    fn has_another(&mut self, suspended: &Suspended) -> bool {
        let known = |id: &&ContainerId| suspended.containers.iter().any(|one| one.id == **id);
        let others = self.tree.of_pod(&suspended.uid).filter(|id| !known(id)).cloned();
        let (others, pod) =
            (others.collect::<Vec<_>>(), self.pods.get(&suspended.uid).map(AsRef::as_ref));
        others.iter().any(|id| {
            let facts = self.tree.facts(id, pod).ok().flatten();
            facts.is_some_and(|facts| matches!(facts.role, Role::Container(_)))
        })
    }

    /// Takes over an earlier agent's suspensions, once.
    fn adopt(&mut self) {
        if std::mem::replace(&mut self.suspend.adopted, true) {
            return self.suspend.thaw_lost(&self.roots, &mut self.health, self.clock.now());
        }
        let awake = |pod: &&Suspended| {
            let asleep = |sleeper| freeze::is_asleep(&self.roots, sleeper);
            pod.stage == SuspendStage::Falling || (!pod.vm && !pod.containers.iter().all(asleep))
        };
        let interrupted: Vec<PodUid> =
            self.suspend.pods.iter().filter(awake).map(|pod| pod.uid.clone()).collect();
        for uid in interrupted {
            let _ = self.wake(&uid, &Wake::Interrupted);
        }
        if let Some(lost) = &self.suspend.lost {
            messages::SuspendedLost.emit(format_args!("{lost}; thawing every frozen container"));
        }
        self.suspend.thaw_lost(&self.roots, &mut self.health, self.clock.now());
    }

    /// Resumes all pods when the agent ends, because no other program would resume them.
    pub(in crate::agent) async fn wake_all(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        self.wake_for_the_end();
        // systemd may have been asked to freeze one more container.
        let settled = async {
            while self.suspend.at_work > 0
                && let Some(next) = events.recv().await
            {
                if let Event::Suspend(fell @ SuspendNews::Fell(..)) = next {
                    self.suspend_news(fell);
                }
            }
        };
        let _ = tokio::time::timeout(ENDING, settled).await;
        for _ in 0..LAST_TRIES {
            if self.suspend.pods.is_empty() {
                break;
            }
            tokio::time::sleep(RETRY).await;
            self.wake_for_the_end();
        }
        self.pass(false);
    }

    fn wake_for_the_end(&mut self) {
        let uids: Vec<PodUid> = self.suspend.pods.iter().map(|pod| pod.uid.clone()).collect();
        for uid in &uids {
            let _ = self.wake(uid, &Wake::AgentStops);
        }
    }
}

/// Describes the reserve's swap that a resumed pod still uses.
fn still_lent(roots: &Roots, suspended: &Suspended) -> String {
    let beyond = |sleeper: &Sleeper| {
        let Some(SwapMax::Bytes(limit)) = sleeper.swap_max.filter(|_| sleeper.lent_bytes > 0)
        else {
            return 0;
        };
        let usage = offload::usage(roots, &sleeper.path, sleeper.inode).ok().flatten();
        usage.map_or(0, |usage| usage.swap_bytes.saturating_sub(limit))
    };
    match suspended.containers.iter().map(beyond).fold(0, u64::saturating_add) {
        0 => String::new(),
        bytes => format!(
            "; {} that suspend.reserve has lent it is still in swap: its limit follows its use down \
             to its grant",
            human_bytes(bytes)
        ),
    }
}

fn tell_thawed(roots: &Roots, units: Vec<Arc<str>>) {
    let roots = roots.clone();
    tokio::spawn(async move {
        if let Err(error) = freeze::tell_thawed(&roots, &units).await {
            tracing::debug!("systemd does not have the state of resumed containers: {error}");
        }
    });
}
