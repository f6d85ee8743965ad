//! Suspended pods: asked for by the control socket, put to sleep by tasks of their own, woken from the loop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{Agent, eviction::since_boot};
use crate::{
    act::{
        Actuator,
        freeze::{self, Orders},
        node::{About, PodReference},
    },
    decide::{
        grant::grant_by_role,
        sleepers::{lendable, may_borrow},
        suspend::{Room, Suspensions, Wake, is_near, plan, refuse},
    },
    messages,
    model::trouble::Trouble,
    model::{
        host::{Holder, Manager, Monotonic, Role},
        pod::{Pod, PodUid},
        published,
        suspend::{Candidate, Reply, Request, Sleeper, Stage, Suspended, Usage},
        swap::{SwapMax, human_bytes},
    },
    observe::node,
    roots::Roots,
    state::StateFile,
};

/// A container that could not be thawed is tried again so often.
const RETRY: Duration = Duration::from_secs(1);
/// How long the agent waits, when it ends, for containers that are just being frozen.
const ENDING: Duration = Duration::from_secs(12);

/// So many pods are put to sleep at once.
const AT_ONCE: usize = 8;

type Answer = oneshot::Sender<Reply>;

/// What the loop is told.
#[derive(Debug)]
pub(super) enum News {
    Asked(Request, Answer),
    /// A pod is asleep, or could not be put to sleep; the number is [`Falling::generation`].
    Fell(Suspended, u64, Result<Vec<Option<Usage>>, String>),
    /// With the control socket.
    Problem(Option<String>),
}

/// A pod that is being put to sleep.
#[derive(Debug)]
struct Falling {
    orders: Arc<Orders>,
    answer: Answer,
    /// Tells its task from that of a suspension before it, which was taken back and may end later.
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Suspend {
    pods: Suspensions,
    falling: BTreeMap<PodUid, Falling>,
    /// Tasks that may still freeze something.
    at_work: usize,
    generation: u64,
    news: mpsc::UnboundedSender<News>,
    /// Why it is not known what an agent before has frozen; the file is kept until all of that runs.
    lost: Option<String>,
    /// What went wrong, each until it is right again: thaws, the thaw of all, the file.
    unthawed: BTreeMap<PodUid, String>,
    unthawed_lost: Option<String>,
    unwritten: Option<String>,
    adopted: bool,
    watch_lost: Option<Monotonic>,
    /// Those that could not be thawed, and when to try again.
    stuck: BTreeMap<PodUid, Wake>,
    again: Option<Monotonic>,
}

impl Suspend {
    pub(super) fn new(roots: &Roots) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, receive) = mpsc::unbounded_channel();
        let (pods, lost) = match StateFile::<Suspensions>::new(roots).load() {
            Ok(found) => (found.unwrap_or_default(), None),
            Err(error) => (Suspensions::default(), Some(error.to_string())),
        };
        let suspend = Self {
            pods,
            falling: BTreeMap::new(),
            at_work: 0,
            generation: 0,
            news,
            lost,
            unthawed: BTreeMap::new(),
            unthawed_lost: None,
            unwritten: None,
            adopted: false,
            watch_lost: None,
            stuck: BTreeMap::new(),
            again: None,
        };
        (suspend, receive)
    }

    pub(super) fn pods(&self) -> &Suspensions {
        &self.pods
    }

    pub(super) fn news(&self) -> mpsc::UnboundedSender<News> {
        self.news.clone()
    }

    /// When to come again, by the agent's clock; `longest` is the bound for a lost watch.
    pub(super) fn next(&self, longest: Duration) -> Option<Monotonic> {
        if self.pods.is_empty() && self.lost.is_none() {
            return None;
        }
        let lost = self.watch_lost.map(|since| since + longest + RETRY);
        [lost, self.again].into_iter().flatten().min()
    }

    /// Whether the pod is asleep, or about to be.
    pub(super) fn has(&self, uid: &PodUid) -> bool {
        self.pods.get(uid).is_some()
    }

    /// Everything that is wrong now.
    fn trouble(&self) -> Option<String> {
        let parts = self.unthawed.values().chain(&self.unthawed_lost).chain(&self.unwritten);
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    pub(super) fn published(&self) -> Vec<published::Suspended> {
        let of = |pod: &Suspended| {
            let (memory_before_bytes, memory_bytes, swap_bytes) = pod.sums();
            published::Suspended {
                uid: pod.uid.to_string(),
                pod: format!("{}/{}", pod.namespace, pod.name),
                frozen: !pod.vm,
                memory_before_bytes,
                memory_bytes,
                swap_bytes,
            }
        };
        self.pods.iter().filter(|pod| pod.stage == Stage::Asleep).map(of).collect()
    }
}

impl<A: Actuator> Agent<A> {
    pub(super) fn suspend_news(&mut self, news: News) {
        match news {
            News::Asked(request, answer) => self.asked(request, answer),
            News::Fell(suspended, generation, result) => self.fell(&suspended, generation, result),
            News::Problem(problem) => self.problem(Trouble::Control, problem),
        }
    }

    fn asked(&mut self, request: Request, answer: Answer) {
        let reply = match request {
            Request::Suspended => {
                let rows = self.suspend.pods.iter().flat_map(Suspended::rows).collect();
                Reply::Done { text: String::new(), rows }
            }
            Request::Resume { namespace, pod } => {
                let found = self.suspend.pods.named(&namespace, &pod).map(|pod| pod.uid.clone());
                match found.map(|uid| self.wake(&uid, &Wake::Asked)) {
                    Some(Ok(text)) => Reply::Done { text, rows: Vec::new() },
                    Some(Err(text)) => Reply::Refused { text },
                    None => Reply::Refused { text: format!("{namespace}/{pod} is not suspended") },
                }
            }
            Request::Suspend { namespace, pod, dry_run, force } => {
                match self.planned(&namespace, &pod, force) {
                    Ok(planned) if dry_run => Reply::Done {
                        text: format!("would suspend {namespace}/{pod} ({})", planned.qos_class),
                        rows: planned.rows(),
                    },
                    Ok(planned) => {
                        self.begin(planned, answer);
                        return;
                    }
                    Err(text) => Reply::Refused { text },
                }
            }
        };
        // Whoever has asked may have gone.
        let _ = answer.send(reply);
    }

    /// What suspending the pod would do, or why it is refused.
    fn planned(&mut self, namespace: &str, name: &str, force: bool) -> Result<Suspended, String> {
        if !self.api.is_fresh() {
            return Err(
                "the API server is not reachable, so nobody would tell when the pod must be \
                        resumed; try again later"
                    .to_owned(),
            );
        }
        let named = |pod: &&Arc<Pod>| &*pod.namespace == namespace && &*pod.name == name;
        // One that was deleted by force may still be there beside its successor of the same name.
        let gone = |pod: &&Arc<Pod>| self.api.deleted.contains(&pod.uid);
        let found = self.pods.values().filter(named).min_by_key(gone);
        let Some(pod) = found.cloned() else {
            return Err(format!("there is no pod {namespace}/{name} on this node"));
        };
        let candidates = self.candidates(&pod)?;
        let leaving = self.is_leaving(&pod.uid);
        if let Some(why) = refuse(&self.suspend.pods, &pod, &candidates, leaving, force) {
            return Err(why);
        }
        if is_near(self.publisher.nearest_signal()) {
            return Err(
                "an eviction signal is near its threshold (wasp-agent status shows it): what \
                        would be written to swap could have another pod evicted; try again later"
                    .to_owned(),
            );
        }
        if self.suspend.at_work >= AT_ONCE {
            return Err(format!(
                "{AT_ONCE} pods are being suspended already; try again when one is asleep"
            ));
        }
        if !candidates.iter().all(|found| freeze::can_reclaim(&self.roots, &found.path)) {
            return Err(
                "the kernel has no memory.reclaim (Linux 5.19 and RHEL 9.2 have it)".to_owned()
            );
        }
        let free_swap_bytes =
            node::free_swap_bytes(&self.roots).map_err(|error| error.to_string())?;
        let level = self.tree.pod_facts(&pod.uid).map_err(|error| error.to_string())?;
        let level = level.map(|facts| facts.level);
        let room = Room {
            pod_swap_max: level.as_ref().map_or(SwapMax::Max, |level| level.swap_max),
            pod_swap_bytes: level.as_ref().map_or(0, |level| level.swap_used_bytes),
            free_swap_bytes,
            swap_bytes: self.node.swap_bytes,
            lendable_bytes: lendable(
                &self.settings,
                &self.suspend.pods,
                &self.state,
                self.node.swap_bytes,
            ),
        };
        Ok(plan(&self.settings.suspend, &pod, candidates, room, since_boot()))
    }

    /// The pod's running containers, without its sandbox.
    fn candidates(&mut self, pod: &Arc<Pod>) -> Result<Vec<Candidate>, String> {
        let ids: Vec<_> = self.tree.of_pod(&pod.uid).cloned().collect();
        let (rules, (node, _)) = (self.settings.grant_rules(), self.granted_from());
        let mut candidates = Vec::with_capacity(ids.len());
        for id in ids {
            let facts = self.tree.facts(&id, Some(pod)).map_err(|error| error.to_string())?;
            let Some(facts) = facts else { continue };
            let Role::Container(name) = &facts.role else { continue };
            let grant = grant_by_role(&rules, &node, Some(pod), &facts.role);
            let (name, may_borrow) = (name.clone(), may_borrow(pod, name, &grant));
            let Some(inode) = facts.levels.first().map(|level| level.inode) else { continue };
            let usage = freeze::usage(&self.roots, &facts.path, inode)
                .map_err(|error| format!("cannot read {}: {error}", facts.path.display()))?;
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

    /// Their limits depend on how far the suspension is.
    fn limits_changed(&mut self, suspended: &Suspended) {
        let ids = suspended.containers.iter().map(|sleeper| sleeper.id.clone());
        self.dirty.extend(ids.filter(|id| self.tree.pod_of(id).is_some()).map(Holder::Container));
    }

    fn is_evicting(&self, uid: &PodUid) -> bool {
        self.eviction.in_flight().iter().any(|pod| pod.uid == *uid)
    }

    /// It is being evicted, or the API server has it no more.
    pub(super) fn is_leaving(&self, uid: &PodUid) -> bool {
        self.is_evicting(uid) || self.api.deleted.contains(uid)
    }

    fn begin(&mut self, planned: Suspended, answer: Answer) {
        let uid = planned.uid.clone();
        self.suspend.pods.begin(planned.clone());
        // Written before anything is frozen: the next agent must know.
        if let Err(text) = self.remember_suspended() {
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
        let (roots, news) = (self.roots.clone(), self.suspend.news());
        let keep = self.settings.suspend.keep_free.of(self.node.swap_bytes);
        tokio::spawn(async move {
            let result = fall_asleep(&roots, &planned, keep, &orders).await;
            // Fails only while the agent ends.
            let _ = news.send(News::Fell(planned, generation, result));
        });
    }

    fn fell(
        &mut self,
        suspended: &Suspended,
        generation: u64,
        result: Result<Vec<Option<Usage>>, String>,
    ) {
        let uid = &suspended.uid;
        self.suspend.at_work -= 1;
        if self.suspend.falling.get(uid).is_none_or(|falling| falling.generation != generation) {
            // It was woken meanwhile, and may have been frozen after that. What is suspended anew stays so.
            let again = self.suspend.pods.get(uid);
            let again_is_none = again.is_none();
            let mut late = suspended.clone();
            late.containers.retain(|sleeper| {
                again.is_none_or(|pod| pod.containers.iter().all(|c| c.inode != sleeper.inode))
            });
            if !late.containers.is_empty() && self.thaw(&late).is_some() && again_is_none {
                // Tried again until it runs.
                self.suspend.again = Some(self.now() + RETRY);
                self.suspend.stuck.insert(uid.clone(), Wake::Interrupted);
                self.suspend.pods.begin(late);
            }
            return;
        }
        let after = match result {
            Ok(after) => after,
            Err(text) => {
                // Whoever has asked is told by that, too.
                let _ = self.wake(uid, &Wake::Failed(text));
                return;
            }
        };
        let falling = self.suspend.falling.remove(uid);
        let Some(asleep) = self.suspend.pods.slept(uid, &after).cloned() else { return };
        self.limits_changed(&asleep);
        // Where that fails, the next agent wakes it.
        let _ = self.remember_suspended();
        self.publisher.counters.suspensions += 1;
        let text = asleep.summary();
        messages::Suspended {
            pod_namespace: &asleep.namespace,
            pod_name: &asleep.name,
            pod_uid: uid,
        }
        .emit(format_args!("{text}"));
        self.note_of_pod(uid, false, "SwapSuspended", text.clone());
        self.published_is_stale();
        if let Some(Falling { answer, .. }) = falling {
            let _ = answer.send(Reply::Done { text, rows: asleep.rows() });
        }
    }

    /// Lets the pod run again, at once.
    pub(super) fn wake(&mut self, uid: &PodUid, why: &Wake) -> Result<String, String> {
        let Some(suspended) = self.suspend.pods.get(uid).cloned() else {
            return Err("the pod is not suspended".to_owned());
        };
        let (namespace, name) = (&suspended.namespace, &suspended.name);
        let text = format!("{namespace}/{name} is resumed: {why}{}", self.still_lent(&suspended));
        if let Some(Falling { orders, answer, .. }) = self.suspend.falling.remove(uid) {
            orders.stop();
            let text = format!("{namespace}/{name} was not suspended: {why}");
            let _ = answer.send(Reply::Refused { text });
        }
        if let Some(failed) = self.thaw(&suspended) {
            self.suspend.again = Some(self.now() + RETRY);
            self.suspend.stuck.insert(uid.clone(), why.clone());
            return Err(failed);
        }
        self.suspend.pods.remove(uid);
        self.limits_changed(&suspended);
        // An agent that finds it there thaws it once more, which does no harm.
        let _ = self.remember_suspended();
        self.publisher.counters.resumes += 1;
        messages::Resumed { pod_namespace: namespace, pod_name: name, pod_uid: uid }
            .emit(format_args!("{text}"));
        // Of a pod that is gone there is nobody to tell.
        if *why != Wake::Gone {
            let (namespace, name) = (namespace.to_string(), name.to_string());
            let pod = PodReference { namespace, name, uid: uid.to_string() };
            self.note(About::Pod(pod), !why.is_expected(), "SwapResumed", text.clone());
        }
        self.published_is_stale();
        Ok(text)
    }

    /// What of the reserve a pod that wakes has in swap.
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

    /// What went wrong, if anything did.
    fn thaw(&mut self, suspended: &Suspended) -> Option<String> {
        // A launcher was not frozen.
        if suspended.vm {
            return None;
        }
        let failed: Vec<String> = suspended
            .containers
            .iter()
            .filter_map(|sleeper| freeze::thaw(&self.roots, sleeper).err())
            .collect();
        let failed = (!failed.is_empty()).then(|| failed.join("; "));
        // Another pod's success says nothing of this one.
        match failed.clone() {
            Some(text) => drop(self.suspend.unthawed.insert(suspended.uid.clone(), text)),
            None => drop(self.suspend.unthawed.remove(&suspended.uid)),
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
                tracing::debug!("systemd does not know that containers run again: {error}");
            }
        });
    }

    /// Wakes whatever must not sleep any longer.
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
            // What cannot be thawed is reported and tried again.
            let _ = self.wake(&uid, &why);
        }
    }

    /// Takes over what an agent before has left, once.
    fn adopt(&mut self) {
        if std::mem::replace(&mut self.suspend.adopted, true) {
            return self.thaw_lost();
        }
        let awake = |pod: &&Suspended| {
            let asleep = |sleeper| freeze::is_asleep(&self.roots, sleeper);
            pod.stage == Stage::Falling || (!pod.vm && !pod.containers.iter().all(asleep))
        };
        let interrupted: Vec<PodUid> =
            self.suspend.pods.iter().filter(awake).map(|pod| pod.uid.clone()).collect();
        for uid in interrupted {
            let _ = self.wake(&uid, &Wake::Interrupted);
        }
        if let Some(lost) = &self.suspend.lost {
            messages::SuspendedLost.emit(format_args!("{lost}; every frozen container is thawed"));
        }
        self.thaw_lost();
    }

    /// While it is not known what an agent before has frozen, everything is let run. The file that cannot be read
    /// is kept until that has succeeded: it is all that tells the next agent.
    fn thaw_lost(&mut self) {
        let now = self.now();
        if self.suspend.lost.is_none() || self.suspend.again.is_some_and(|at| now < at) {
            return;
        }
        let thawed = freeze::thaw_all(&self.roots);
        self.suspend.unthawed_lost = thawed.result().err();
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

    /// The agent ends: nobody would wake them.
    pub(super) async fn wake_all(&mut self, news: &mut mpsc::UnboundedReceiver<News>) {
        let uids: Vec<PodUid> = self.suspend.pods.iter().map(|pod| pod.uid.clone()).collect();
        for uid in &uids {
            let _ = self.wake(uid, &Wake::AgentStops);
        }
        // systemd may have been asked to freeze one more container.
        let settled = async {
            while self.suspend.at_work > 0
                && let Some(next) = news.recv().await
            {
                if let News::Fell(..) = next {
                    self.suspend_news(next);
                }
            }
        };
        let _ = tokio::time::timeout(ENDING, settled).await;
        self.pass(false);
    }

    /// Writes down who is suspended, for an agent that starts anew.
    fn remember_suspended(&mut self) -> Result<(), String> {
        if let Some(lost) = &self.suspend.lost {
            return Err(format!("{lost}; nothing is suspended until all that is frozen runs"));
        }
        let written = StateFile::new(&self.roots).save(&self.suspend.pods);
        let failed = written.err().map(|error| error.to_string());
        self.suspend.unwritten = failed.clone();
        self.problem(Trouble::Suspend, self.suspend.trouble());
        failed.map_or(Ok(()), Err)
    }
}

/// Freezes the containers and has their memory reclaimed; what each uses then.
async fn fall_asleep(
    roots: &Roots,
    suspended: &Suspended,
    keep_swap_free_bytes: u64,
    orders: &Arc<Orders>,
) -> Result<Vec<Option<Usage>>, String> {
    for sleeper in suspended.containers.iter().filter(|_| !suspended.vm) {
        if orders.is_stopped() {
            return Err("it was stopped".to_owned());
        }
        freeze::freeze(roots, sleeper).await?;
    }
    let (roots, orders, containers) = (roots.clone(), orders.clone(), suspended.containers.clone());
    let reclaiming = tokio::task::spawn_blocking(move || {
        let sleep = |sleeper| freeze::put_to_sleep(&roots, sleeper, keep_swap_free_bytes, &orders);
        containers.iter().map(sleep).collect()
    });
    reclaiming.await.map_err(|error| error.to_string())?
}
