//! Everything that leaves the agent's loop, as one trait: limits, files, systemd, the API server,
//! reclaim and the node's history. [`Live`] carries effects out; [`DryRun`] logs those that an
//! administrator wants to know about, and drops the others. The loop does not know which one it has.

use std::{io, path::Path, sync::Arc};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use super::{
    announce::{AnnounceWanted, Announcer},
    control,
    events::{Event, EventSender},
    eviction::Answered,
    protection::{
        self,
        effects::{SliceEffects, Systemd},
    },
    serve,
};
use crate::{
    act::{
        Actuator, DryRun, Host, Written,
        events::{EventSubject, Note},
        evict,
        reclaim::{Request, Worker},
        systemd,
    },
    config::settings::{EvictionMode, ReclaimMode, Settings},
    decide::{
        evict::{answer::EvictionAnswer, flight::ASKING, verdict::Victim},
        suspend::Suspensions,
    },
    errors::FileError,
    history,
    model::{event::EventReason, published::Published, swap::SwapMax},
    observe::hooks::USUAL_FOLDERS,
    replace::sweep,
    roots::Roots,
    state::StateFile,
};

/// The inputs of the tasks outside the loop.
pub(super) struct Shared {
    pub(super) roots: Roots,
    /// Sends the settings in effect to every task.
    pub(super) settings: watch::Sender<Settings>,
    /// The loop compares everything now.
    pub(super) resync: Arc<Notify>,
    /// The status that was published last.
    pub(super) latest: watch::Sender<Option<Arc<Published>>>,
    pub(super) events: EventSender,
}

/// The effects of an agent on the host and the cluster.
pub(super) trait Effects: Actuator {
    /// The settings that this implementation can carry out.
    fn admitted(&self, settings: Settings) -> Settings;

    /// Starts the tasks outside the loop. They report by `shared.events`.
    fn begin(&mut self, shared: &Shared);

    /// Loads the suspended pods that this agent takes over from the agent before it.
    fn suspended(&self, roots: &Roots) -> Result<Suspensions, FileError>;

    /// Requests the eviction of `victim`, unless `wanted` becomes false. The answer is an event.
    fn evict(&self, settings: &Settings, victim: Victim, wanted: watch::Receiver<bool>);

    /// Announces the state of the node to the cluster.
    fn announce(&self, wanted: AnnounceWanted);

    /// Creates an Event in the cluster.
    fn note(&self, note: Note);

    fn tell(&self, about: EventSubject, warning: bool, reason: EventReason, text: String) {
        self.note(Note { about, warning, reason, text });
    }

    /// Asks the kernel to reclaim memory of a pod. Returns true if an event will report the result.
    fn reclaim(&mut self, request: Request) -> io::Result<bool>;

    /// Ends the reclaim in progress.
    fn stop_reclaim(&mut self);

    /// Appends to the node's history; returns the problem, if there is one.
    fn keep(&mut self, news: history::HistoryUpdate) -> Option<String>;

    /// Writes a file that only describes the agent.
    fn publish(&self, path: &Path, text: &str, mode: u32) -> io::Result<()>;

    /// Stops taking requests from the command line.
    fn refuse_requests(&mut self, roots: &Roots);

    /// Ends the tasks that [`Effects::begin`] has started, and withdraws the announced state. Tasks
    /// end when `settings` is gone.
    async fn end(self, settings: watch::Sender<Settings>) -> anyhow::Result<()>;
}

/// Carries effects out.
#[derive(Debug)]
pub(super) struct Live {
    host: Host,
    roots: Roots,
    events: EventSender,
    announcer: Option<Announcer>,
    keeper: Option<history::Keeper>,
    keeper_failed: Option<String>,
    worker: Option<Worker>,
    control: Option<JoinHandle<()>>,
    metrics: Option<JoinHandle<()>>,
}

impl Live {
    pub(super) fn new(roots: &Roots, events: &EventSender) -> Self {
        let interrupted = [roots.runtime(), roots.runtime().join("pods")];
        let hooks = USUAL_FOLDERS.map(|folder| roots.path(Path::new(folder)));
        for folder in interrupted.into_iter().chain(hooks) {
            sweep(&folder);
        }
        let (requests, receive) = mpsc::unbounded_channel();
        let (send, answers) = mpsc::unbounded_channel();
        tokio::spawn(systemd::serve(roots.clone(), receive, send));
        events.forward(answers, Event::Systemd);
        Self {
            host: Host { roots: roots.clone(), systemd: requests },
            roots: roots.clone(),
            events: events.clone(),
            announcer: None,
            keeper: None,
            keeper_failed: None,
            worker: None,
            control: None,
            metrics: None,
        }
    }
}

impl Actuator for Live {
    fn write_limit(&self, path: &Path, inode: u64, to: SwapMax) -> Result<Written, FileError> {
        self.host.write_limit(path, inode, to)
    }

    fn replace_file(&self, path: &Path, text: &str, mode: u32) -> io::Result<Written> {
        self.host.replace_file(path, text, mode)
    }

    fn remove_file(&self, path: &Path) -> io::Result<Written> {
        self.host.remove_file(path)
    }

    fn tell_systemd(&self, request: systemd::UnitRequest) {
        self.host.tell_systemd(request);
    }

    fn restart_unit(&self, unit: &'static str) {
        self.host.restart_unit(unit);
    }
}

impl Effects for Live {
    fn admitted(&self, settings: Settings) -> Settings {
        settings
    }

    fn begin(&mut self, shared: &Shared) {
        let Shared { roots, settings, latest, events, .. } = shared;
        begin_guard(shared, Systemd);
        let (announcer, told) = Announcer::start(roots.clone(), settings.subscribe());
        self.announcer = Some(announcer);
        events.forward(told, Event::Announcer);
        let (problems, served) = mpsc::unbounded_channel();
        let serve = serve::serve(roots.clone(), settings.subscribe(), latest.subscribe(), problems);
        self.metrics = Some(tokio::spawn(serve));
        events.forward(served, Event::Metrics);
        let (requests, asked) = mpsc::unbounded_channel();
        self.control = Some(tokio::spawn(control::serve(roots.clone(), requests)));
        events.forward(asked, Event::Suspend);
        match history::Keeper::start(roots.clone()) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => {
                self.keeper_failed = Some(format!(
                    "cannot start the thread that writes the node's history: {error}"
                ));
            }
        }
    }

    fn suspended(&self, roots: &Roots) -> Result<Suspensions, FileError> {
        StateFile::new(roots).load().map(Option::unwrap_or_default)
    }

    fn evict(&self, settings: &Settings, victim: Victim, wanted: watch::Receiver<bool>) {
        let (roots, settings) = (self.roots.clone(), settings.clone());
        let events = self.events.clone();
        tokio::spawn(async move {
            let asking = evict::evict(&roots, &settings, &victim, &wanted);
            let answer = tokio::time::timeout(ASKING, asking).await.unwrap_or_else(|_| {
                EvictionAnswer::Unknown { text: format!("no answer within {} s", ASKING.as_secs()) }
            });
            events.send(Event::Evicted(Answered { victim, answer }));
        });
    }

    fn announce(&self, wanted: AnnounceWanted) {
        if let Some(announcer) = &self.announcer {
            announcer.want(wanted);
        }
    }

    fn note(&self, note: Note) {
        if let Some(announcer) = &self.announcer {
            announcer.note(note);
        }
    }

    fn reclaim(&mut self, request: Request) -> io::Result<bool> {
        let worker = match &self.worker {
            Some(worker) => worker,
            None => {
                let events = self.events.clone();
                let answer = move |answer| {
                    events.send(Event::Reclaimed(answer));
                };
                self.worker.insert(Worker::start(answer)?)
            }
        };
        Ok(worker.ask(request))
    }

    fn stop_reclaim(&mut self) {
        self.worker = None;
    }

    fn keep(&mut self, news: history::HistoryUpdate) -> Option<String> {
        let Some(keeper) = &self.keeper else { return self.keeper_failed.clone() };
        match keeper.keep(news) {
            true => keeper.failure(),
            false => Some(format!("cannot write {}: the disk does not respond", history::MINUTES)),
        }
    }

    fn publish(&self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        self.host.replace_file(path, text, mode).map(drop)
    }

    fn refuse_requests(&mut self, roots: &Roots) {
        if let Some(control) = self.control.take() {
            control.abort();
            let _ = std::fs::remove_file(roots.control_socket());
        }
    }

    async fn end(self, settings: watch::Sender<Settings>) -> anyhow::Result<()> {
        if let Some(keeper) = self.keeper {
            keeper.end();
        }
        if let Some(announcer) = self.announcer {
            announcer.stop().await;
        }
        drop(settings);
        if let Some(metrics) = self.metrics {
            metrics.await?;
        }
        Ok(())
    }
}

fn begin_guard(shared: &Shared, effects: impl SliceEffects) {
    let (reports, receive) = mpsc::unbounded_channel();
    let settings = shared.settings.subscribe();
    let (roots, resync) = (shared.roots.clone(), shared.resync.clone());
    tokio::spawn(protection::guard(roots, settings, resync, effects, reports));
    shared.events.forward(receive, Event::Slices);
}

impl Effects for DryRun {
    /// A dry run only observes.
    fn admitted(&self, mut settings: Settings) -> Settings {
        if settings.eviction.mode == EvictionMode::Enforce {
            settings.eviction.mode = EvictionMode::Observe;
        }
        if settings.reclaim.mode == ReclaimMode::On {
            settings.reclaim.mode = ReclaimMode::Observe;
        }
        settings
    }

    fn begin(&mut self, shared: &Shared) {
        begin_guard(shared, DryRun);
    }

    /// A dry run takes over none: it would have to resume them when it ends.
    fn suspended(&self, _roots: &Roots) -> Result<Suspensions, FileError> {
        Ok(Suspensions::default())
    }

    fn evict(&self, _settings: &Settings, _victim: Victim, _wanted: watch::Receiver<bool>) {}

    fn announce(&self, _wanted: AnnounceWanted) {}

    fn note(&self, _note: Note) {}

    fn reclaim(&mut self, _request: Request) -> io::Result<bool> {
        Ok(false)
    }

    fn stop_reclaim(&mut self) {}

    fn keep(&mut self, _news: history::HistoryUpdate) -> Option<String> {
        None
    }

    fn publish(&self, _path: &Path, _text: &str, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    fn refuse_requests(&mut self, _roots: &Roots) {}

    async fn end(self, _settings: watch::Sender<Settings>) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_admits_only_settings_that_observe() {
        // Without any file, the defaults.
        let folder = tempfile::tempdir().unwrap();
        let loaded = crate::observe::settings::load(&Roots::at(folder.path()), |_| None);
        let mut settings = loaded.unwrap().0;
        (settings.eviction.mode, settings.reclaim.mode) = (EvictionMode::Enforce, ReclaimMode::On);
        let admitted = DryRun.admitted(settings.clone());
        assert_eq!(admitted.eviction.mode, EvictionMode::Observe);
        assert_eq!(admitted.reclaim.mode, ReclaimMode::Observe);
        (settings.eviction.mode, settings.reclaim.mode) = (EvictionMode::Off, ReclaimMode::Off);
        let admitted = DryRun.admitted(settings);
        assert_eq!(admitted.eviction.mode, EvictionMode::Off);
        assert_eq!(admitted.reclaim.mode, ReclaimMode::Off);
    }
}
