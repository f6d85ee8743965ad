//! Reports to the cluster: the node's condition, the guard against new pods, events. Runs in a
//! separate task, because the API server may be slow or unreachable.

mod guard;

use std::{path::PathBuf, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use guard::{MigrationGuard, Taint};

use crate::{
    act::{
        events::{Note, Notes},
        node::{self, NodeApi},
    },
    config::settings::Settings,
    decide::evict::condition::{ConditionValue, HEARTBEAT, SwapCondition},
    messages,
    observe::{
        alarm::Alarm,
        kube::{credentials, errors::chain, node::WireNode, spread},
    },
    roots::Roots,
};

/// Interval for checking the guard while it is active.
const LOOK: Duration = Duration::from_secs(60);
/// Time that the agent waits for the API server when it ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The state that the cluster should see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnnounceWanted {
    /// `None`: the node has no condition of ours.
    pub condition: Option<SwapCondition>,
    /// True to keep new pods away.
    pub keep_away: bool,
    /// Other programs are evicting pods of this node.
    pub others_leave: bool,
    /// They have left nothing that a drain would evict.
    pub drained: bool,
}

/// Facts from the Node object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// The descheduler relieves this node.
    pub relieved_by_others: bool,
    /// The minor version of the kubelet, 36 for v1.36.2.
    pub kubelet_minor: Option<u32>,
    /// The swap that the kubelet counts, in bytes.
    pub kubelet_swap_bytes: Option<u64>,
}

/// The announcer's report after each turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncerReport {
    /// The request that the API server refuses, if any.
    pub problem: Option<String>,
    /// The Node as it was read last; `None` if it was not read.
    pub node: Option<NodeSeen>,
}

impl AnnounceWanted {
    fn is_news_after(&self, other: &Self) -> bool {
        let condition = match (&self.condition, &other.condition) {
            (Some(now), Some(before)) => now.is_news_after(before),
            (None, None) => false,
            _ => true,
        };
        condition || self.keep_away != other.keep_away || self.drained != other.drained
    }
}

/// The loop's handle of the announcer.
#[derive(Debug)]
pub struct Announcer {
    /// `None` until the first state is known.
    wanted: watch::Sender<Option<AnnounceWanted>>,
    notes: mpsc::Sender<Note>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Starts the task. The receiver gets problems, and their end.
    pub fn start(
        roots: Roots,
        settings: watch::Receiver<Settings>,
    ) -> (Self, mpsc::UnboundedReceiver<AnnouncerReport>) {
        let (wanted, receive_wanted) = watch::channel(None);
        let (notes, receive_notes) = mpsc::channel(64);
        let (reports, receive) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(roots, settings, receive_wanted, receive_notes, reports));
        (Self { wanted, notes, task }, receive)
    }

    /// Sets the wanted state. If only figures have changed, the task sends nothing; the next
    /// heartbeat includes them.
    pub fn want(&self, wanted: AnnounceWanted) {
        self.wanted.send_if_modified(|current| {
            let news = current.as_ref().is_none_or(|current| wanted.is_news_after(current));
            *current = Some(wanted);
            news
        });
    }

    /// Queues an event; drops it if the queue is full, because the journal has it too.
    pub(super) fn note(&self, note: Note) {
        if let Err(error) = self.notes.try_send(note) {
            tracing::debug!(%error, "cannot send an event");
        }
    }

    /// Removes everything from the node, because no agent maintains it any more.
    pub async fn stop(self) {
        // A cordon stays for a drain in progress, even when the agent stops.
        let AnnounceWanted { others_leave, drained, .. } =
            self.wanted.borrow().clone().unwrap_or_default();
        self.want(AnnounceWanted { others_leave, drained, ..AnnounceWanted::default() });
        drop((self.wanted, self.notes));
        if timeout(LAST_WORDS, self.task).await.is_err() {
            messages::LastWordsLost
                .emit(format_args!("could not report to the API server that the agent stops"));
        }
    }
}

async fn serve(
    roots: Roots,
    mut settings: watch::Receiver<Settings>,
    mut wanted: watch::Receiver<Option<AnnounceWanted>>,
    mut notes: mpsc::Receiver<Note>,
    reports: mpsc::UnboundedSender<AnnouncerReport>,
) {
    let mut work = Work { roots, ..Work::default() };
    let mut alarm = Alarm::new();
    if wanted.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        let now = settings.borrow_and_update().clone();
        let want = wanted.borrow_and_update().clone().unwrap_or_default();
        let problem = work.turn(&now, &want).await;
        let told = AnnouncerReport { problem, node: work.seen.take() };
        if reports.send(told).is_err() {
            return;
        }
        tokio::select! {
            biased;
            note = notes.recv() => match note {
                Some(note) => work.publish(&now, &note).await,
                // The agent ends. Its last wanted state is done by now, or arrived during the work.
                None => {
                    let want = wanted.borrow_and_update().clone().unwrap_or_default();
                    drop(work.turn(&now, &want).await);
                    return;
                }
            },
            _ = wanted.changed() => {}
            _ = settings.changed() => {}
            () = alarm.at(work.next.into_std()) => {}
        }
    }
}

/// A client with the credentials as they were read.
struct Connected {
    /// As configured: `kubeconfig` and `node.name`.
    by: (Option<PathBuf>, Option<String>),
    fingerprint: u64,
    files: Vec<PathBuf>,
    name: String,
    node: NodeApi,
    notes: Notes,
}

struct Work {
    roots: Roots,
    connected: Option<Connected>,
    /// The condition sent last and the time to confirm it; below, its status and the time of its
    /// last change.
    sent: Option<(SwapCondition, Instant)>,
    status: Option<(ConditionValue, Timestamp)>,
    /// The Node was read after the start, so the remains of a killed agent are known.
    known: bool,
    guard: MigrationGuard,
    /// The taint that was set, with the credentials for it.
    tainted: Option<Taint>,
    /// Facts from the Node that are not reported yet.
    seen: Option<NodeSeen>,
    /// The time to read the Node again, unless something else reads it before.
    reread: Instant,
    next: Instant,
    backoff: Option<ExponentialBackoff>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            roots: Roots::host(),
            connected: None,
            sent: None,
            status: None,
            known: false,
            guard: MigrationGuard::default(),
            tainted: None,
            seen: None,
            reread: Instant::now(),
            next: Instant::now(),
            backoff: None,
        }
    }
}

/// The reason why a report failed.
enum AnnounceFailure {
    /// The API server is unreachable, which the agent reports itself.
    Away(String),
    Refused(String),
}

impl AnnounceFailure {
    fn of(what: &str, error: &kube::Error) -> Self {
        let text = format!("{what}: {}", chain(error));
        if matches!(error, kube::Error::Api(_)) { Self::Refused(text) } else { Self::Away(text) }
    }
}

impl Work {
    /// Changes the Node to the wanted state once. Returns the request that the API
    /// server refused.
    async fn turn(&mut self, settings: &Settings, wanted: &AnnounceWanted) -> Option<String> {
        match self.bring(settings, wanted).await {
            Ok(()) => {
                self.backoff = None;
                let heartbeat = self.sent.as_ref().map(|(_, due)| *due);
                let look = self.guard.looked.filter(|_| self.guard.pressed || self.guard.there);
                let dues = heartbeat.into_iter().chain(look.map(|at| at + LOOK));
                self.next = dues.fold(self.reread, Instant::min);
                None
            }
            Err(trouble) => {
                let backoff = self.backoff.get_or_insert_with(|| {
                    ExponentialBuilder::default()
                        .with_min_delay(Duration::from_secs(2))
                        .with_max_delay(LOOK)
                        .with_jitter()
                        .without_max_times()
                        .build()
                });
                self.next = Instant::now() + backoff.next().unwrap_or(LOOK);
                match trouble {
                    AnnounceFailure::Refused(text) => Some(text),
                    AnnounceFailure::Away(text) => {
                        tracing::debug!("{text}; trying again");
                        None
                    }
                }
            }
        }
    }

    async fn bring(
        &mut self,
        settings: &Settings,
        wanted: &AnnounceWanted,
    ) -> Result<(), AnnounceFailure> {
        let by = (settings.kubeconfig.clone(), settings.node_name.clone());
        if self.connected.as_ref().is_some_and(|connected| connected.by != by) {
            // Another API server, or another node, has none of the state reported so far.
            let (roots, tainted) = (self.roots.clone(), self.tainted.take());
            *self = Self { roots, tainted, backoff: self.backoff.take(), ..Self::default() };
        }
        let now = Instant::now();
        let pressed = wanted.keep_away;
        let look = self.guard.looked.is_none_or(|at| now >= at + LOOK);
        let other = |by: &Taint| Taint::wanted(settings).as_ref() != Some(by);
        let of_guard = !self.known
            || pressed != self.guard.pressed
            || (wanted.drained && !self.guard.drained && self.guard.there)
            || self.tainted.as_ref().is_some_and(other)
            || (look && (pressed || self.guard.there));
        let mut read = None;
        if !self.known {
            self.connect(settings).await?;
            let node = self.node()?.get().await;
            let node = node.map_err(|error| AnnounceFailure::of("reading the node", &error))?;
            // Remains of a killed agent.
            self.status = node::condition(&node);
            self.known = true;
            self.see(&node);
            read = Some(node);
        }
        let of_condition = match (&wanted.condition, &self.sent) {
            (Some(new), Some((sent, due))) => new.is_news_after(sent) || now >= *due,
            (Some(_), None) => true,
            (None, _) => self.status.is_some(),
        };
        let mut told = Ok(());
        if of_condition {
            let name = self.connect(settings).await?;
            let node = self.node()?;
            match self.condition(&name, &node, wanted.condition.as_ref()).await {
                Ok(node) => {
                    self.see(&node);
                    read = Some(node);
                }
                Err(trouble) => told = Err(trouble),
            }
        }
        // Without a condition and a guard, nothing else shows what others have changed.
        if now >= self.reread && !of_condition && !of_guard {
            self.connect(settings).await?;
            let node = self.node()?.get().await;
            self.see(&node.map_err(|error| AnnounceFailure::of("reading the node", &error))?);
        }
        // A failure of the guard must not stop the condition, and vice versa.
        if of_guard {
            let name = self.connect(settings).await?;
            let node = self.node()?;
            let read = match read {
                Some(read) => read,
                None => node
                    .get()
                    .await
                    .map_err(|error| AnnounceFailure::of("reading the node", &error))?,
            };
            self.see(&read);
            self.guard(settings, &name, &node, &read, wanted).await?;
        }
        told
    }

    fn see(&mut self, node: &WireNode) {
        let name = self.connected.as_ref().map_or("", |connected| &connected.name);
        self.reread = Instant::now() + Duration::from_secs(spread(name, HEARTBEAT).into());
        self.seen = Some(NodeSeen {
            relieved_by_others: node::is_relieved_by_others(node),
            kubelet_minor: node.kubelet_minor(),
            kubelet_swap_bytes: node.kubelet_swap_bytes(),
        });
    }

    async fn condition(
        &mut self,
        name: &str,
        node: &NodeApi,
        new: Option<&SwapCondition>,
    ) -> Result<WireNode, AnnounceFailure> {
        let same = |(status, since): &(ConditionValue, Timestamp)| {
            new.filter(|new| new.status == *status).map(|_| *since)
        };
        let since = self.status.as_ref().and_then(same).unwrap_or_else(Timestamp::now);
        let failed =
            |error| AnnounceFailure::of("setting the node's condition SwapPressure", &error);
        let read = node.set_condition(new, since).await.map_err(failed)?;
        self.status = new.map(|new| (new.status, since));
        let due = Instant::now() + Duration::from_secs(spread(name, HEARTBEAT).into());
        self.sent = new.map(|new| (new.clone(), due));
        Ok(read)
    }

    async fn publish(&mut self, settings: &Settings, note: &Note) {
        let sent = match self.connect(settings).await {
            Ok(_) => match &mut self.connected {
                Some(connected) => connected.notes.publish(note).await.map_err(|e| chain(&e)),
                None => return,
            },
            Err(AnnounceFailure::Away(text) | AnnounceFailure::Refused(text)) => Err(text),
        };
        if let Err(error) = sent {
            messages::EventLost { reason: &note.reason.word() }
                .emit(format_args!("could not send an event: {error}"));
        }
    }

    fn node(&self) -> Result<NodeApi, AnnounceFailure> {
        let connected = self.connected.as_ref();
        let node = connected.map(|connected| connected.node.clone());
        node.ok_or_else(|| AnnounceFailure::Away("no credentials".to_owned()))
    }

    /// Builds a client with the current credentials; returns the node's name.
    async fn connect(&mut self, settings: &Settings) -> Result<String, AnnounceFailure> {
        if let Some(connected) = &self.connected
            && credentials::fingerprint(&connected.files) == connected.fingerprint
            && connected.by.0 == settings.kubeconfig
            && connected.by.1 == settings.node_name
        {
            return Ok(connected.name.clone());
        }
        let loaded = credentials::load(&self.roots, settings).await;
        let loaded = loaded.map_err(|error| AnnounceFailure::Away(error.to_string()))?;
        let name = loaded.node_name.clone();
        self.connected = Some(Connected {
            by: (settings.kubeconfig.clone(), settings.node_name.clone()),
            fingerprint: loaded.fingerprint,
            files: loaded.files,
            node: NodeApi::new(loaded.client.clone(), &name),
            notes: Notes::new(loaded.client, &name),
            name: name.clone(),
        });
        Ok(name)
    }
}
