//! The loop: observe → decide → act → report. One thread, which waits for events and a few timers.

pub mod announce;
mod api;
mod control;
mod effects;
mod events;
mod eviction;
mod granting;
mod health;
mod history;
mod hook;
mod host;
mod late_swap;
mod limit_news;
mod limits;
mod lookup;
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

use std::time::Duration;

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use effects::{Effects, Live, Shared};
use events::{Event, EventSender};
use granting::Granting;
use limits::Limits;
use lookup::Lookup;

use crate::{
    act::DryRun,
    act::records::Records,
    config::settings::{Grants, Settings},
    messages,
    model::{clock::SinceStart, host::NodeMemory, pod::Pods, system::System, trouble::Trouble},
    observe::{
        alarm::Alarm,
        check::swap::KnownSwapfiles,
        kube::pods::{self, Update},
        kubelet,
        mounts::mount_watch,
        node::{self, swap_watch},
        system::system,
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
struct Agent<E> {
    roots: Roots,
    /// As it was at the start or at the last reload: remedies depend on it.
    system: System,
    settings: Settings,
    granting: Granting,
    effects: E,
    events: EventSender,
    clock: timers::StartClock,
    node: NodeMemory,
    pods: Pods,
    api: api::Api,
    tree: Tree,
    limits: Limits,
    timers: timers::Timers,
    notifier: Notifier,
    verbosity: Verbosity,
    /// The last report of the slices' guard, and its copy of the settings.
    protection: protection::SliceReport,
    guards_settings: watch::Sender<Settings>,
    installed: hook::Installed,
    late_swap: late_swap::LateSwap,
    swapfiles: KnownSwapfiles,
    alignment: host::Alignment,
    eviction: eviction::Eviction,
    suspend: suspend::Suspend,
    reclaim: reclaim::Reclaim,
    publisher: publish::Publisher,
    recorder: history::Recorder,
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
    let (events, receive) = EventSender::new();
    if dry_run {
        Agent::start(roots, settings, verbosity, DryRun, events)?.turn(receive).await
    } else {
        let live = Live::new(&roots, &events);
        let mut agent = Agent::start(roots, settings, verbosity, live, events)?;
        agent.keep_in_force(&in_force);
        agent.turn(receive).await
    }
}

impl<E: Effects> Agent<E> {
    fn start(
        roots: Roots,
        settings: Settings,
        verbosity: Verbosity,
        effects: E,
        events: EventSender,
    ) -> anyhow::Result<Self> {
        let clock = timers::StartClock::default();
        let node = node::memory(&roots)?;
        let settings = effects.admitted(settings);
        let guards_settings = watch::Sender::new(settings.clone());
        let (tree, found) = Tree::new(&roots)
            .with_context(|| format!("cannot watch cgroups below {}", roots.cgroup().display()))?;
        let mut records = Records::new(&roots);
        let pods = records.load();
        let eviction = eviction::Eviction::new(&roots);
        let suspend = suspend::Suspend::new(effects.suspended(&roots));
        Ok(Self {
            system: system(&roots),
            roots,
            granting: Granting::new((settings.grants, settings.grant.clone()), node),
            // Until the kubelet's configuration is read.
            settings: Settings { grants: Grants::Auto, ..settings },
            effects,
            events,
            clock,
            node,
            pods,
            api: api::Api::default(),
            tree,
            limits: Limits::new(records, found.touched),
            timers: timers::Timers::default(),
            notifier: Notifier::default(),
            verbosity,
            protection: protection::SliceReport::default(),
            guards_settings,
            installed: hook::Installed::default(),
            late_swap: late_swap::LateSwap::default(),
            swapfiles: KnownSwapfiles::default(),
            reclaim: reclaim::Reclaim::default(),
            alignment: host::Alignment::default(),
            eviction,
            suspend,
            publisher: publish::Publisher::default(),
            recorder: history::Recorder::default(),
            health: health::Health::new(clock),
        })
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup { pods: &self.pods, tree: &self.tree }
    }

    fn now(&self) -> SinceStart {
        self.clock.now()
    }

    async fn turn(mut self, mut events: mpsc::UnboundedReceiver<Event>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let swap = swap_watch(&self.roots);
        let mounts = mount_watch(&self.roots);
        let mut alarm = Alarm::new();
        self.granting.kubelet.unit = kubelet::service(&self.roots).await;
        // Before anything is published or set.
        self.look_for_unread();
        self.check_kubelet();
        self.effects.begin(&Shared {
            roots: self.roots.clone(),
            settings: self.guards_settings.clone(),
            resync: self.timers.resynced.clone(),
            latest: self.publisher.latest.clone(),
            events: self.events.clone(),
        });
        let mut news = self.watch_pods();
        messages::Started {
            version: &env!("CARGO_PKG_VERSION"),
            containers: &self.tree.ids().count(),
            recorded_pods: &self.pods.len(),
        }
        .emit(format_args!("started"));
        self.notifier.status("Waiting for the API server's list of pods.", self.now());
        self.first_list(&mut news).await;
        self.first_protection(&mut events).await;
        self.recorder.begins(&self.roots);
        self.resync();
        self.report();
        self.remember();
        self.notifier.ready(self.longest_pause());

        loop {
            let next = self.next();
            // An endless source of events must not block the others.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                changes = self.tree.changed() => {
                    let changes = changes.context("the kernel's cgroup notifications failed")?;
                    self.cgroups_changed(changes);
                }
                Some(event) = events.recv() => {
                    self.happened(event);
                    while let Ok(event) = events.try_recv() {
                        self.happened(event);
                    }
                }
                Some(update) = news.recv() => {
                    self.api_says(update);
                    while let Ok(update) = news.try_recv() {
                        self.api_says(update);
                    }
                }
                changed = swap.changed() => {
                    changed.context("the kernel's swap notifications failed")?;
                    self.read_node();
                }
                changed = self.installed.changed() => {
                    changed.context("the kernel's notifications of the hooks directory failed")?;
                    self.check_hook();
                    self.check_rivals();
                }
                changed = mounts.changed() => {
                    changed.context("the kernel's notifications of mounts failed")?;
                    self.installed.mounts_changed(self.clock.now());
                }
                changed = self.late_swap.changed() => {
                    changed.context("the kernel's notifications of udev's database failed")?;
                    self.check_swap();
                }
                fired = self.eviction.stalled() => {
                    fired.context("the kernel's notifications of memory pressure failed")?;
                    self.eviction.stalls_begin(self.clock.now());
                }
                _ = hangup.recv() => {
                    if self.reload() {
                        news = self.watch_pods();
                    }
                }
                () = alarm.at(self.clock.instant(next)) => {}
            }
            self.time_passed();
            let now = self.now();
            let (installed, mut context) = self.hook();
            installed.check_mounts(&mut context, now);
            self.watch_pressure();
            self.watch_suspended();
            self.reclaim_cold();
            self.pass(false);
            self.report();
            self.remember();
        }
        self.notifier.stopping();
        self.effects.refuse_requests(&self.roots);
        self.wake_all(&mut events).await;
        messages::Stopping.emit(format_args!("stopping; limits do not change"));
        self.history_ends();
        self.publisher.end(&self.effects, &self.roots);
        let Self { effects, guards_settings, .. } = self;
        effects.end(guards_settings).await
    }

    /// Returns the time of the next look if there is no event.
    fn next(&self) -> SinceStart {
        let silence = self.settings.suspend.longest_silence;
        let sometimes = [
            self.limits.next(),
            self.suspend.next(self.api.heard + silence),
            self.publisher.next(self.health.has_news()),
            self.installed.next(),
        ];
        let next = self
            .timers
            .next()
            .min(self.eviction.next())
            .min(self.reclaim.next())
            .min(self.recorder.next());
        sometimes.into_iter().flatten().fold(next, SinceStart::min)
    }

    /// Routes the report of a task to the part of the agent that handles it.
    fn happened(&mut self, event: Event) {
        match event {
            Event::Systemd(answer) => self.systemd_answered(answer),
            Event::Evicted(answer) => self.eviction_answered(answer),
            Event::Reclaimed(done) => self.reclaim.done(&mut self.health, done),
            Event::Announcer(told) => self.announcer_told(told),
            Event::Slices(report) => self.protection_says(report),
            Event::Metrics(problem) => self.health.problem_is(Trouble::Metrics, problem),
            Event::KubeletUnit(unit) => self.kubelet_unit_is(unit),
            Event::Suspend(news) => self.suspend_news(news),
        }
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

    /// The kubelet starts when the agent is ready: by then the slices are protected, or the agent
    /// has reported that they are not protected.
    async fn first_protection(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let deadline = tokio::time::Instant::now() + FIRST_PROTECTION;
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await {
            let known = matches!(event, Event::Slices(_));
            self.happened(event);
            if known {
                break;
            }
        }
    }

    /// Returns the longest time between two complete passes, with ample reserve.
    fn longest_pause(&self) -> Duration {
        self.settings.limits.resync * 3 + Duration::from_secs(30)
    }

    fn cgroups_changed(&mut self, changes: Changes) {
        for id in &changes.gone {
            self.limits.forget(id);
        }
        if !changes.gone.is_empty() {
            self.forget_pods_that_left();
        }
        self.limits.dirty.extend(changes.touched);
        let deaf = self.tree.deaf();
        if deaf.is_some() {
            self.timers.resync = self.timers.resync.min(self.now() + DEAF);
        }
        self.health.problem(Trouble::Inotify, deaf);
    }

    fn time_passed(&mut self) {
        let now = self.now();
        self.limits.dirty.extend(self.limits.again.due(now));
        for id in self.limits.deaf.due(now) {
            self.tree.listen(&id);
            self.limits.dirty.insert(id);
        }
        if self.timers.resync <= now {
            self.resync();
            // From now on all are due at the same time.
            self.eviction.look_now();
            self.timers.resynced.notify_one();
        }
    }

    /// Looks at everything, even without any event.
    fn resync(&mut self) {
        let mut changes = Changes::default();
        self.tree.scan(&mut changes);
        self.cgroups_changed(changes);
        self.limits.dirty.extend(self.tree.owners());
        self.record_the_rest();
        self.read_node();
        self.check_host();
        self.eviction.arm(&self.roots);
        self.pass(true);
        let pause = self.settings.limits.resync;
        let pause = if self.tree.deaf().is_some() { pause.min(DEAF) } else { pause };
        // Then pods without a cgroup may have one, or are reported.
        let pause = if self.limits.lost.is_empty() { pause } else { pause.min(host::LOST_AFTER) };
        self.timers.resync = self.now() + pause;
        self.publisher.mark_stale();
        self.notifier.alive();
    }
}
