//! The loop: observe → decide → act → report. One thread, woken by events and by few timers.

pub mod announce;
mod api;
mod control;
mod eviction;
mod health;
mod history;
mod hook;
mod host;
mod late_swap;
mod pass;
mod protection;
mod publish;
mod reclaim;
mod reload;
mod reserves;
mod serve;
mod suspend;
mod timers;
mod victim;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    act::records::Records,
    act::{Actuator, DryRun, Host, files, systemd},
    config::settings::{GrantSettings, Grants, Settings},
    decide::{kubelet_swap::KubeletSwap, state::State, tunables::Tunable},
    messages,
    model::{
        host::{Holder, Monotonic, NodeMemory},
        pod::{ContainerId, PodUid, Pods},
        trouble::Trouble,
    },
    observe::{
        alarm::Alarm,
        hooks::USUAL_FOLDERS,
        kube::pods::{self, Update},
        kubelet,
        mounts::mount_watch,
        node::{self, swap_watch},
        tree::{Changes, Tree},
    },
    report::{log::Verbosity, notify::Notifier},
    roots::Roots,
};

/// Time that the first pass waits for the API server's pods. Without them it uses the records.
const FIRST_LIST: Duration = Duration::from_secs(5);

/// Interval for comparing everything while the kernel does not report changes.
const DEAF: Duration = Duration::from_secs(5);

/// Time that the first pass waits for systemd to protect the slices.
const FIRST_PROTECTION: Duration = Duration::from_secs(10);

/// The agent's whole state.
#[derive(Debug)]
struct Agent<A> {
    roots: Roots,
    settings: Settings,
    /// As configured; the kubelet's configuration decides which are in force.
    configured: (Grants, GrantSettings),
    /// The swap that the kubelet shares out.
    kubelet_swap: KubeletSwap,
    granted_from_bytes: u64,
    actuator: A,
    started: Instant,
    node: NodeMemory,
    pods: Pods,
    api: api::Api,
    tree: Tree,
    state: State,
    /// Holders to compare with their grant.
    dirty: BTreeSet<Holder>,
    timers: timers::Timers,
    records: Records,
    notifier: Notifier,
    verbosity: Verbosity,
    /// The last report of the slices' guard, and its copy of the settings.
    protection: protection::Report,
    guards_settings: watch::Sender<Settings>,
    installed: hook::Installed,
    late_swap: late_swap::LateSwap,
    /// The changes of watermarks last requested from wasp-swap.service.
    alignment: Vec<Tunable>,
    eviction: eviction::Eviction,
    eviction_status: Option<String>,
    suspend: suspend::Suspend,
    reclaim: reclaim::Reclaim,
    publisher: publish::Publisher,
    recorder: history::Recorder,
    /// Start of the current pass, or of the last one.
    pass_began: Monotonic,
    /// Holders whose limit could not be read or set.
    failures: HashMap<Holder, pass::Failure>,
    kubelet: kubelet::Kubelet,
    /// Carries systemd's answers about the kubelet's unit.
    kubelet_units: mpsc::UnboundedSender<Option<kubelet::Service>>,
    /// Containers without a `memory.swap.max` at the last look.
    without_limit: BTreeSet<ContainerId>,
    /// Running pods without a cgroup, and since when.
    lost: BTreeMap<PodUid, Monotonic>,
    health: health::Health,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(
    roots: Roots,
    settings: Settings,
    in_force: String,
    verbosity: Verbosity,
    dry_run: bool,
) -> anyhow::Result<()> {
    if dry_run {
        let records = Records::read_only(&roots);
        let (eviction, evicted) = eviction::Eviction::new(&roots, false);
        let (agent, suspending) =
            Agent::start(roots, settings, verbosity, records, DryRun, eviction)?;
        return agent.turn(None, evicted, suspending).await;
    }
    for folder in [roots.runtime(), roots.runtime().join("pods")]
        .into_iter()
        .chain(USUAL_FOLDERS.map(|folder| roots.path(Path::new(folder))))
    {
        files::sweep(&folder);
    }
    let (requests, receive) = mpsc::unbounded_channel();
    let (send, answers) = mpsc::unbounded_channel();
    tokio::spawn(systemd::serve(roots.clone(), receive, send));
    let host = Host { roots: roots.clone(), systemd: requests };
    let records = Records::new(&roots);
    let (eviction, evicted) = eviction::Eviction::new(&roots, true);
    let (mut agent, suspending) =
        Agent::start(roots, settings, verbosity, records, host, eviction)?;
    agent.keep_in_force(&in_force);
    agent.turn(Some(answers), evicted, suspending).await
}

impl<A: Actuator> Agent<A> {
    fn start(
        roots: Roots,
        settings: Settings,
        verbosity: Verbosity,
        mut records: Records,
        actuator: A,
        eviction: eviction::Eviction,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<suspend::News>)> {
        let node = node::memory(&roots)?;
        let (suspend, suspending) = suspend::Suspend::new(&roots);
        let guards_settings = watch::Sender::new(settings.clone());
        let (tree, found) = Tree::new(&roots)
            .with_context(|| format!("cannot watch cgroups below {}", roots.cgroup().display()))?;
        let pods = records.load();
        let agent = Self {
            roots,
            configured: (settings.grants, settings.grant.clone()),
            kubelet_swap: KubeletSwap::default(),
            granted_from_bytes: node.swap_bytes,
            // Until the kubelet's configuration is read.
            settings: Settings { grants: Grants::Auto, ..settings },
            actuator,
            started: Instant::now(),
            node,
            pods,
            api: api::Api::default(),
            tree,
            state: State::default(),
            dirty: found.touched,
            timers: timers::Timers::default(),
            records,
            notifier: Notifier::default(),
            verbosity,
            protection: protection::Report::default(),
            guards_settings,
            installed: hook::Installed::default(),
            late_swap: late_swap::LateSwap::default(),
            reclaim: reclaim::Reclaim::new(eviction.acts),
            alignment: Vec::new(),
            eviction,
            eviction_status: None,
            suspend,
            publisher: publish::Publisher::default(),
            recorder: history::Recorder::default(),
            pass_began: Monotonic::default(),
            failures: HashMap::new(),
            kubelet: kubelet::Kubelet::default(),
            // Replaced below by a channel with a receiver.
            kubelet_units: mpsc::unbounded_channel().0,
            without_limit: BTreeSet::new(),
            lost: BTreeMap::new(),
            health: health::Health::default(),
        };
        Ok((agent, suspending))
    }

    fn now(&self) -> Monotonic {
        Monotonic(self.started.elapsed())
    }

    async fn turn(
        mut self,
        answers: Option<mpsc::UnboundedReceiver<systemd::Answer>>,
        mut evicted: mpsc::UnboundedReceiver<eviction::Answered>,
        mut suspending: mpsc::UnboundedReceiver<suspend::News>,
    ) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let swap = swap_watch(&self.roots);
        let mounts = mount_watch(&self.roots);
        let mut alarm = Alarm::new();
        let (_keep_open, no_answers) = mpsc::unbounded_channel();
        let act = answers.is_some();
        let mut answers = answers.unwrap_or(no_answers);
        let mut guard = self.guard_slices(act);
        let (_no_announcer, mut told) = mpsc::channel(1);
        if act {
            let (announcer, reports) =
                announce::Announcer::start(self.roots.clone(), self.guards_settings.subscribe());
            self.eviction.announcer = Some(announcer);
            told = reports;
        }
        let (report_served, mut served) = mpsc::channel(1);
        let mut server = None;
        if act {
            let latest = self.publisher.latest.subscribe();
            let settings = self.guards_settings.subscribe();
            let serve = serve::serve(self.roots.clone(), settings, latest, report_served);
            server = Some(tokio::spawn(serve));
        }
        let (send, mut kubelet_units) = mpsc::unbounded_channel();
        self.kubelet_units = send;
        self.kubelet.unit = kubelet::service(&self.roots).await;
        // Before anything is published or set.
        self.check_kubelet();
        let control =
            act.then(|| tokio::spawn(control::serve(self.roots.clone(), self.suspend.news())));
        let mut news = self.watch_pods();
        messages::Started {
            version: &env!("CARGO_PKG_VERSION"),
            containers: &self.tree.ids().count(),
            recorded_pods: &self.pods.len(),
        }
        .emit(format_args!("started"));
        self.notifier.status("Waiting for the API server's list of pods.", self.now());
        self.first_list(&mut news).await;
        self.first_protection(&mut guard).await;
        self.history_begins(act);
        self.resync();
        self.report();
        self.remember();
        self.notifier.ready(self.longest_pause());

        loop {
            let next = self
                .timers
                .next()
                .min(self.eviction.next())
                .min(self.reclaim.next())
                .min(self.recorder.next());
            let silence = self.settings.suspend.longest_silence;
            let next = self.suspend.next(silence).map_or(next, |at| at.min(next));
            let next = self.publication().map_or(next, |at| at.min(next));
            let next = self.installed.next().map_or(next, |at| at.min(next));
            // An endless source of events must not block the others.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                changes = self.tree.changed() => {
                    let changes = changes.context("the kernel's cgroup notifications failed")?;
                    self.cgroups_changed(changes);
                }
                Some(answer) = answers.recv() => {
                    self.systemd_answered(answer);
                    while let Ok(answer) = answers.try_recv() {
                        self.systemd_answered(answer);
                    }
                }
                changed = swap.changed() => {
                    changed.context("the kernel's swap notifications failed")?;
                    self.read_node();
                }
                changed = self.installed.changed() => {
                    changed.context("the kernel's notifications of the hooks folder failed")?;
                    self.check_hook();
                    self.check_rivals();
                }
                changed = mounts.changed() => {
                    changed.context("the kernel's notifications of mounts failed")?;
                    self.mounts_changed();
                }
                changed = self.late_swap.changed() => {
                    changed.context("the kernel's notifications of udev's database failed")?;
                    self.check_swap();
                }
                Some(unit) = kubelet_units.recv() => self.kubelet_unit_is(unit),
                Some(news) = suspending.recv() => self.suspend_news(news),
                done = self.reclaim.done() => self.reclaim_done(done),
                Some(answer) = evicted.recv() => self.eviction_answered(answer),
                Some(report) = guard.recv() => self.protection_says(report),
                Some(told) = told.recv() => self.announcer_told(told),
                Some(problem) = served.recv() => self.problem(Trouble::Metrics, problem),
                fired = self.eviction.stalled() => {
                    fired.context("the kernel's notifications of stalls failed")?;
                    self.stalls_begin();
                }
                Some(update) = news.recv() => {
                    self.api_says(update);
                    while let Ok(update) = news.try_recv() {
                        self.api_says(update);
                    }
                }
                _ = hangup.recv() => {
                    if self.reload() {
                        news = self.watch_pods();
                    }
                }
                () = alarm.at(self.started + next.0) => {}
            }
            self.time_passed();
            self.check_mounts();
            self.watch_pressure();
            if act {
                self.watch_suspended();
            }
            self.reclaim_cold();
            self.pass(false);
            self.report();
            self.remember();
        }
        self.history_ends();
        self.notifier.stopping();
        if let Some(control) = control {
            control.abort();
            let _ = std::fs::remove_file(self.roots.control_socket());
            self.wake_all(&mut suspending).await;
        }
        messages::Stopping.emit(format_args!("stopping; limits stay as they are"));
        if let Some(announcer) = self.eviction.announcer.take() {
            announcer.stop().await;
        }
        self.remove_textfile();
        // Its task ends with the settings that it uses.
        drop(self);
        if let Some(server) = server {
            server.await?;
        }
        Ok(())
    }

    /// Starts watching pods, in a task that ends when the receiver is dropped.
    fn watch_pods(&self) -> mpsc::Receiver<Update> {
        let (send, receive) = mpsc::channel(256);
        tokio::spawn(pods::watch(self.roots.clone(), self.settings.clone(), send));
        receive
    }

    /// Waits for the first list for a limited time, and not if it is known to fail.
    async fn first_list(&mut self, news: &mut mpsc::Receiver<Update>) {
        let deadline = tokio::time::Instant::now() + FIRST_LIST;
        while !self.api.synced && self.api.failure.is_none() {
            match tokio::time::timeout_at(deadline, news.recv()).await {
                Ok(Some(update)) => self.api_says(update),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Starts the guard, which ends when the receiver is dropped.
    fn guard_slices(&self, act: bool) -> mpsc::Receiver<protection::Report> {
        let (send, receive) = mpsc::channel(1);
        let settings = self.guards_settings.subscribe();
        tokio::spawn(protection::guard(self.roots.clone(), settings, act, send));
        receive
    }

    /// The kubelet starts when the agent is ready: by then the slices are protected, or known not
    /// to be.
    async fn first_protection(&mut self, guard: &mut mpsc::Receiver<protection::Report>) {
        if let Ok(Some(report)) = tokio::time::timeout(FIRST_PROTECTION, guard.recv()).await {
            self.protection_says(report);
        }
    }

    /// Returns the longest time between two complete passes, with ample reserve.
    fn longest_pause(&self) -> Duration {
        self.settings.limits.resync * 3 + Duration::from_secs(30)
    }

    fn cgroups_changed(&mut self, changes: Changes) {
        for id in &changes.gone {
            self.dirty.remove(id);
            self.state.forget(id);
            self.failures.remove(id);
            self.timers.again.forget(id);
            self.timers.deaf.forget(id);
        }
        if !changes.gone.is_empty() {
            self.forget_pods_that_left();
        }
        self.dirty.extend(changes.touched);
        let deaf = self.tree.deaf();
        if deaf.is_some() {
            self.timers.resync = self.timers.resync.min(self.now() + DEAF);
        }
        self.problem(Trouble::Inotify, deaf);
    }

    fn time_passed(&mut self) {
        let now = self.now();
        self.dirty.extend(self.timers.again.due(now));
        for id in self.timers.deaf.due(now) {
            self.tree.listen(&id);
            self.dirty.insert(id);
        }
        if self.timers.resync <= now {
            self.resync();
            // From now on both are due at the same time.
            self.eviction.look_now();
        }
    }

    /// Looks at everything, even without any event.
    fn resync(&mut self) {
        let mut changes = Changes::default();
        self.tree.scan(&mut changes);
        self.cgroups_changed(changes);
        self.dirty.extend(self.tree.owners());
        self.record_the_rest();
        self.read_node();
        self.check_host();
        self.arm_trigger();
        self.pass(true);
        let pause = self.settings.limits.resync;
        let pause = if self.tree.deaf().is_some() { pause.min(DEAF) } else { pause };
        // Then pods without a cgroup may have one, or are reported.
        let pause = if self.lost.is_empty() { pause } else { pause.min(host::LOST_AFTER) };
        self.timers.resync = self.now() + pause;
        self.published_is_stale();
        self.notifier.alive();
    }
}
