//! Suspended pods: requested over the control socket, put to sleep by separate tasks, woken from
//! the loop.

mod errors;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use errors::SuspendError;

use super::{Agent, effects::Effects, events::Event, eviction::since_boot};
use crate::{
    act::{
        freeze::{self, Orders},
        node::{EventSubject, PodReference},
    },
    decide::{
        grant::grant_by_role,
        sleepers::{lendable, may_borrow},
        suspend::{Room, Suspensions, Wake, is_near, plan, refuse},
    },
    errors::FileError,
    messages,
    model::trouble::Trouble,
    model::{
        event::EventReason,
        host::{Holder, Manager, Monotonic, Role},
        pod::{Pod, PodUid},
        published,
        suspend::{Candidate, Reply, Sleeper, SuspendRequest, SuspendStage, Suspended, Usage},
        swap::{SwapMax, human_bytes},
    },
    observe::node,
    roots::Roots,
    state::StateFile,
};

/// Interval for retrying to thaw a container.
const RETRY: Duration = Duration::from_secs(1);
/// Time that the ending agent waits for containers that are being frozen.
const ENDING: Duration = Duration::from_secs(12);

/// Number of pods that may be put to sleep at once.
const AT_ONCE: usize = 8;

type SuspendReply = oneshot::Sender<Reply>;

/// News for the loop.
#[derive(Debug)]
pub(super) enum SuspendNews {
    Asked(SuspendRequest, SuspendReply),
    /// A pod is asleep, or could not be put to sleep; the number is [`Falling::generation`].
    Fell(Box<Suspended>, u64, Result<Vec<Option<Usage>>, SuspendError>),
    /// A problem with the control socket.
    Problem(Option<String>),
}

/// A pod that is being put to sleep.
#[derive(Debug)]
struct Falling {
    orders: Arc<Orders>,
    answer: SuspendReply,
    /// Distinguishes its task from that of an earlier suspension, which was cancelled and may end
    /// later.
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Suspend {
    pods: Suspensions,
    falling: BTreeMap<PodUid, Falling>,
    /// Number of tasks that may still freeze something.
    at_work: usize,
    generation: u64,
    /// The reason why an earlier agent's frozen pods are unknown; the file stays until all of them
    /// run.
    lost: Option<String>,
    /// Problems, each until it is solved: thaws, the thaw of all, the file.
    unthawed: BTreeMap<PodUid, String>,
    unthawed_lost: Option<String>,
    unwritten: Option<String>,
    adopted: bool,
    watch_lost: Option<Monotonic>,
    /// Pods that could not be thawed, and when to retry.
    stuck: BTreeMap<PodUid, Wake>,
    again: Option<Monotonic>,
}

impl Suspend {
    /// `found`: the pods that the agent before this one has suspended.
    pub(super) fn new(found: Result<Suspensions, FileError>) -> Self {
        let (pods, lost) = match found {
            Ok(found) => (found, None),
            Err(error) => (Suspensions::default(), Some(error.to_string())),
        };
        Self {
            pods,
            falling: BTreeMap::new(),
            at_work: 0,
            generation: 0,
            lost,
            unthawed: BTreeMap::new(),
            unthawed_lost: None,
            unwritten: None,
            adopted: false,
            watch_lost: None,
            stuck: BTreeMap::new(),
            again: None,
        }
    }

    pub(super) fn pods(&self) -> &Suspensions {
        &self.pods
    }

    /// The time of the next look, on the agent's clock; `longest` is the bound for a lost watch.
    pub(super) fn next(&self, longest: Duration) -> Option<Monotonic> {
        if self.pods.is_empty() && self.lost.is_none() {
            return None;
        }
        let lost = self.watch_lost.map(|since| since + longest + RETRY);
        [lost, self.again].into_iter().flatten().min()
    }

    /// Returns true if the pod is asleep, or about to be.
    pub(super) fn has(&self, uid: &PodUid) -> bool {
        self.pods.get(uid).is_some()
    }

    /// Describes all current problems.
    fn trouble(&self) -> Option<String> {
        let parts = self.unthawed.values().chain(&self.unthawed_lost).chain(&self.unwritten);
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns the memory of suspended pods in swap, in bytes.
    pub(super) fn swap_bytes(&self) -> u64 {
        self.published().iter().map(|pod| pod.swap_bytes).sum()
    }

    pub(super) fn published(&self) -> Vec<published::SuspendedStatus> {
        let of = |pod: &Suspended| {
            let (memory_before_bytes, memory_bytes, swap_bytes) = pod.sums();
            published::SuspendedStatus {
                uid: pod.uid.to_string(),
                pod: format!("{}/{}", pod.namespace, pod.name),
                frozen: !pod.vm,
                memory_before_bytes,
                memory_bytes,
                swap_bytes,
            }
        };
        self.pods.iter().filter(|pod| pod.stage == SuspendStage::Asleep).map(of).collect()
    }
}

impl<E: Effects> Agent<E> {
    pub(super) fn suspend_news(&mut self, news: SuspendNews) {
        match news {
            SuspendNews::Asked(request, answer) => self.asked(request, answer),
            SuspendNews::Fell(suspended, generation, result) => {
                self.fell(&suspended, generation, result)
            }
            SuspendNews::Problem(problem) => self.problem(Trouble::Control, problem),
        }
    }

    fn asked(&mut self, request: SuspendRequest, answer: SuspendReply) {
        let reply = match request {
            SuspendRequest::Suspended => {
                let rows = self.suspend.pods.iter().flat_map(Suspended::rows).collect();
                Reply::Done { text: String::new(), rows }
            }
            SuspendRequest::Resume { namespace, pod } => {
                let found = self.suspend.pods.named(&namespace, &pod).map(|pod| pod.uid.clone());
                match found.map(|uid| self.wake(&uid, &Wake::Asked)) {
                    Some(Ok(text)) => Reply::Done { text, rows: Vec::new() },
                    Some(Err(text)) => Reply::Refused { text: text.to_string() },
                    None => Reply::Refused { text: format!("{namespace}/{pod} is not suspended") },
                }
            }
            SuspendRequest::Suspend { namespace, pod, dry_run, force } => {
                match self.planned(&namespace, &pod, force) {
                    Ok(planned) if dry_run => Reply::Done {
                        text: format!("would suspend {namespace}/{pod} ({})", planned.qos_class),
                        rows: planned.rows(),
                    },
                    Ok(planned) => {
                        self.begin(planned, answer);
                        return;
                    }
                    Err(text) => Reply::Refused { text: text.to_string() },
                }
            }
        };
        // The client may have gone.
        let _ = answer.send(reply);
    }

    /// Plans the suspension of a pod, or returns the reason for a refusal.
    fn planned(
        &mut self,
        namespace: &str,
        name: &str,
        force: bool,
    ) -> Result<Suspended, SuspendError> {
        if !self.api.is_fresh() {
            return Err(SuspendError::ApiUnreachable);
        }
        let named = |pod: &&Arc<Pod>| &*pod.namespace == namespace && &*pod.name == name;
        // A pod deleted by force may still exist beside its successor with the same name.
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
        if !candidates.iter().all(|found| freeze::can_reclaim(&self.roots, &found.path)) {
            return Err(SuspendError::NoReclaim);
        }
        let free_swap_bytes = node::free_swap_bytes(&self.roots)?;
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
        let (rules, (node, _)) = (self.settings.grant_rules(), self.granted_from());
        let mut candidates = Vec::with_capacity(ids.len());
        for id in ids {
            let facts = self.tree.facts(&id, Some(pod))?;
            let Some(facts) = facts else { continue };
            let Role::Container(name) = &facts.role else { continue };
            let grant = grant_by_role(&rules, &node, Some(pod), &facts.role);
            let (name, may_borrow) = (name.clone(), may_borrow(pod, name, &grant));
            let Some(inode) = facts.levels.first().map(|level| level.inode) else { continue };
            let usage = freeze::usage(&self.roots, &facts.path, inode)
                .map_err(FileError::of("read", &facts.path))?;
            let Some(usage) = usage else { continue };
            let unit = match facts.manager {
                Manager::Systemd(unit) => Some(unit),
                Manager::Cgroupfs => None,
            };
            let swap_max = facts.levels.iter().map(|level| level.swap_max).min();
            candidates.push(Candidate {
                name,
                id,
                unit,
                path: facts.path,
                inode,
                starting: facts.starting,
                swap_max: swap_max.unwrap_or(SwapMax::ZERO),
                may_borrow,
                usage,
            });
        }
        Ok(candidates)
    }

    /// Marks the pod's limits for comparison, because they depend on the stage of the suspension.
    fn limits_changed(&mut self, suspended: &Suspended) {
        let ids = suspended.containers.iter().map(|sleeper| sleeper.id.clone());
        self.limits
            .dirty
            .extend(ids.filter(|id| self.tree.pod_of(id).is_some()).map(Holder::Container));
    }

    fn is_evicting(&self, uid: &PodUid) -> bool {
        self.eviction.in_flight().iter().any(|pod| pod.uid == *uid)
    }

    /// It is being evicted, or the API server no longer has it.
    pub(super) fn is_leaving(&self, uid: &PodUid) -> bool {
        self.is_evicting(uid) || self.api.deleted.contains(uid)
    }

    fn begin(&mut self, planned: Suspended, answer: SuspendReply) {
        let uid = planned.uid.clone();
        self.suspend.pods.begin(planned.clone());
        // Save before freezing anything: the next agent must know.
        if let Err(error) = self.remember_suspended() {
            let text = error.to_string();
            self.suspend.pods.remove(&uid);
            let _ = answer.send(Reply::Refused { text });
            return;
        }
        // The loop sets them before the task below runs.
        self.limits_changed(&planned);
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

    fn fell(
        &mut self,
        suspended: &Suspended,
        generation: u64,
        result: Result<Vec<Option<Usage>>, SuspendError>,
    ) {
        let uid = &suspended.uid;
        self.suspend.at_work -= 1;
        if self.suspend.falling.get(uid).is_none_or(|falling| falling.generation != generation) {
            // It was woken meanwhile, and may have been frozen after that. A pod that is suspended
            // again stays so.
            let again = self.suspend.pods.get(uid);
            let again_is_none = again.is_none();
            let mut late = suspended.clone();
            late.containers.retain(|sleeper| {
                again.is_none_or(|pod| pod.containers.iter().all(|c| c.inode != sleeper.inode))
            });
            if !late.containers.is_empty() && self.thaw(&late).is_err() && again_is_none {
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
        self.limits_changed(&asleep);
        // If that fails, the next agent wakes it.
        let _ = self.remember_suspended();
        self.publisher.counters.suspensions += 1;
        let text = asleep.summary();
        messages::Suspended {
            pod_namespace: &asleep.namespace,
            pod_name: &asleep.name,
            pod_uid: uid,
        }
        .emit(format_args!("{text}"));
        self.note_of_pod(uid, false, EventReason::SwapSuspended, text.clone());
        self.published_is_stale();
        if let Some(Falling { answer, .. }) = falling {
            let _ = answer.send(Reply::Done { text, rows: asleep.rows() });
        }
    }

    /// Wakes the pod at once.
    pub(super) fn wake(&mut self, uid: &PodUid, why: &Wake) -> Result<String, SuspendError> {
        let Some(suspended) = self.suspend.pods.get(uid).cloned() else {
            return Err(SuspendError::NotSuspended);
        };
        let (namespace, name) = (&suspended.namespace, &suspended.name);
        let text = format!("{namespace}/{name} is resumed: {why}{}", self.still_lent(&suspended));
        if let Some(Falling { orders, answer, .. }) = self.suspend.falling.remove(uid) {
            orders.stop();
            let text = format!("{namespace}/{name} was not suspended: {why}");
            let _ = answer.send(Reply::Refused { text });
        }
        if let Err(error) = self.thaw(&suspended) {
            self.suspend.again = Some(self.now() + RETRY);
            self.suspend.stuck.insert(uid.clone(), why.clone());
            return Err(error);
        }
        self.suspend.pods.remove(uid);
        self.limits_changed(&suspended);
        // An agent that finds it there thaws it once more, which does no harm.
        let _ = self.remember_suspended();
        self.publisher.counters.resumes += 1;
        messages::Resumed { pod_namespace: namespace, pod_name: name, pod_uid: uid }
            .emit(format_args!("{text}"));
        // There is no pod to report for.
        if *why != Wake::Gone {
            let (namespace, name) = (namespace.to_string(), name.to_string());
            let pod = PodReference { namespace, name, uid: uid.to_string() };
            self.note(
                EventSubject::Pod(pod),
                !why.is_expected(),
                EventReason::SwapResumed,
                text.clone(),
            );
        }
        self.published_is_stale();
        Ok(text)
    }

    /// Describes the reserve's swap that a waking pod still uses.
    fn still_lent(&self, suspended: &Suspended) -> String {
        let beyond = |sleeper: &Sleeper| {
            let Some(SwapMax::Bytes(limit)) = sleeper.swap_max.filter(|_| sleeper.lent_bytes > 0)
            else {
                return 0;
            };
            let usage = freeze::usage(&self.roots, &sleeper.path, sleeper.inode).ok().flatten();
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

    /// Thaws the pod; returns the problem, if there is one.
    fn thaw(&mut self, suspended: &Suspended) -> Result<(), SuspendError> {
        // The agent did not freeze a launcher.
        if suspended.vm {
            return Ok(());
        }
        let failed: Vec<String> = suspended
            .containers
            .iter()
            .filter_map(|sleeper| freeze::thaw(&self.roots, sleeper).err())
            .map(|error| error.to_string())
            .collect();
        let failed = match failed.is_empty() {
            true => Ok(()),
            false => Err(SuspendError::StillFrozen(failed)),
        };
        // Another pod's success does not solve this problem.
        match &failed {
            Err(error) => {
                self.suspend.unthawed.insert(suspended.uid.clone(), error.to_string());
            }
            Ok(()) => drop(self.suspend.unthawed.remove(&suspended.uid)),
        }
        self.problem(Trouble::Suspend, self.suspend.trouble());
        let units = suspended.containers.iter().filter_map(|sleeper| sleeper.unit.clone());
        self.tell_thawed(units.collect());
        failed
    }

    fn tell_thawed(&self, units: Vec<Arc<str>>) {
        let roots = self.roots.clone();
        tokio::spawn(async move {
            if let Err(error) = freeze::tell_thawed(&roots, &units).await {
                tracing::debug!("systemd does not have the state of resumed containers: {error}");
            }
        });
    }

    /// Wakes every pod that must not sleep any longer.
    pub(super) fn watch_suspended(&mut self) {
        self.adopt();
        let now = self.now();
        let reachable = self.api.synced && self.api.failure.is_none();
        self.suspend.watch_lost = match reachable {
            true => None,
            false => self.suspend.watch_lost.or(Some(now)),
        };
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
        let lost = self.suspend.watch_lost.map(|since| now.since(since));
        let evicting = |uid: &PodUid| self.is_evicting(uid);
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
        for (uid, why) in due {
            // A failed thaw is reported and retried.
            let _ = self.wake(&uid, &why);
        }
    }

    /// Takes over an earlier agent's suspensions, once.
    fn adopt(&mut self) {
        if std::mem::replace(&mut self.suspend.adopted, true) {
            return self.thaw_lost();
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
        self.thaw_lost();
    }

    /// Thaws everything while an earlier agent's frozen pods are unknown. Keeps the unreadable file
    /// until that has succeeded, because it is the next agent's only hint.
    fn thaw_lost(&mut self) {
        let now = self.now();
        if self.suspend.lost.is_none() || self.suspend.again.is_some_and(|at| now < at) {
            return;
        }
        let thawed = freeze::thaw_all(&self.roots);
        self.suspend.unthawed_lost = thawed.result().err().map(|error| error.to_string());
        self.tell_thawed(thawed.units);
        self.problem(Trouble::Suspend, self.suspend.trouble());
        if self.suspend.unthawed_lost.is_some() {
            self.suspend.again = Some(now + RETRY);
            return;
        }
        self.suspend.lost = None;
        self.suspend.again = None;
        let _ = self.remember_suspended();
    }

    /// Wakes all pods when the agent ends, because no other program would.
    pub(super) async fn wake_all(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let uids: Vec<PodUid> = self.suspend.pods.iter().map(|pod| pod.uid.clone()).collect();
        for uid in &uids {
            let _ = self.wake(uid, &Wake::AgentStops);
        }
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
        self.pass(false);
    }

    /// Saves the suspensions for a restarted agent.
    fn remember_suspended(&mut self) -> Result<(), SuspendError> {
        if let Some(lost) = &self.suspend.lost {
            return Err(SuspendError::StateLost(lost.clone()));
        }
        let written = StateFile::new(&self.roots).save(&self.suspend.pods);
        self.suspend.unwritten = written.as_ref().err().map(ToString::to_string);
        self.problem(Trouble::Suspend, self.suspend.trouble());
        Ok(written?)
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
        let sleep = |sleeper| freeze::put_to_sleep(&roots, sleeper, keep_swap_free_bytes, &orders);
        containers.iter().map(sleep).collect::<Result<_, FileError>>()
    });
    Ok(reclaiming.await??)
}
