//! Follows this node's pods while the agent runs: lists them from the API server's watch cache,
//! watches them with bookmarks, backs off with jitter, and starts over when the credentials change.
//!
//! The requests of thousands of nodes are spread over time: `make bench-fleet` measures it.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::pin_mut;
use kube::Client;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    credentials::{self, Credentials},
    decode::{OddPod, PodEvent},
    list::{PodList, PodWatch, StreamError},
    spread,
};
use crate::{
    config::settings::Settings,
    model::{
        failure::{Failure, FailureKind},
        pod::{Pod, PodUid},
    },
    observe::files::FileWatch,
    roots::Roots,
};

/// Interval for retrying unusable credentials, even if no file has changed.
const CREDENTIALS_RETRY: Duration = Duration::from_secs(10);

/// Before jitter, which can double it. client-go's 30 s would leave new VMs without swap for up to
/// a minute after an outage.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// A failure this long after the last one starts with short pauses again.
const OUTAGE_IS_OVER: Duration = Duration::from_secs(60);

/// Duration of a watch in seconds. It differs by node, so that watches which begin together do not
/// end together. The API server's own durations are 300 to 600 s.
const WATCH_LASTS: std::ops::Range<u32> = 200..290;

/// The agent ends a watch that its server has not ended this long after its duration.
const LATE: Duration = Duration::from_secs(30);

/// A watch that ends sooner than this without an event was useless.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The status code for a version that the server no longer has.
const GONE: u16 = 410;

/// An update from the API server.
#[derive(Debug)]
pub enum Update {
    /// Credentials are usable (again); the state of the server is unknown yet.
    Credentials {
        node_name: String,
        server: String,
        certificate_expires: Option<SystemTime>,
        certificate_begins: Option<SystemTime>,
        /// The name of the node in the certificate.
        certificate_name: Option<String>,
    },
    /// A new list begins; it replaces all pods at [`Update::ListEnds`].
    ListBegins,
    Listed(Arc<Pod>),
    ListEnds,
    Applied(Arc<Pod>),
    Deleted(PodUid),
    /// A pod that cannot be read.
    Unreadable(Seen, OddPod),
    /// The server granted a watch. On a quiet node this is the only sign that the server is back.
    Granted,
    /// A bookmark: the watch is alive. One comes about every minute.
    Alive,
    /// A failure; the task retries by itself.
    Failed(Failure),
}

/// The source of a pod that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Listed,
    Applied,
    Deleted,
}

/// Sends updates forever. Ends only when the receiver is gone.
pub async fn watch(roots: Roots, settings: Settings, news: mpsc::Sender<Update>) {
    let mut pauses = pauses();
    let kept = &settings.eviction.opt_out_annotations;
    // Each round uses one generation of credentials.
    while !news.is_closed() {
        match credentials::load(&roots, &settings).await {
            Ok(credentials) => {
                let changed = changed(&roots, &settings, &credentials);
                if !with_credentials(&credentials, changed, kept, &mut pauses, &news).await {
                    return;
                }
            }
            Err(error) => {
                let failure = credentials::failure(&error);
                if news.send(Update::Failed(failure)).await.is_err() {
                    return;
                }
                let files = credentials::candidates(&roots, &settings);
                wait_for_change(&files).await;
            }
        }
    }
}

/// Returns the pauses after failures, which grow.
fn pauses() -> Pauses {
    Pauses { backoff: backoff(), last: None }
}

#[derive(Debug)]
struct Pauses {
    backoff: ExponentialBackoff,
    last: Option<Instant>,
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_BACKOFF)
        .with_jitter()
        .without_max_times()
        .build()
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) > OUTAGE_IS_OVER) {
            self.backoff = backoff();
        }
        self.last = Some(now);
        self.backoff.next()
    }
}

async fn wait_for_change(files: &[std::path::PathBuf]) {
    let _ = match FileWatch::new(files) {
        Ok(watch) => tokio::time::timeout(CREDENTIALS_RETRY, watch.changed()).await.is_ok(),
        Err(_) => {
            tokio::time::sleep(CREDENTIALS_RETRY).await;
            false
        }
    };
}

/// Watches until the credentials change; returns `false` if the receiver is gone.
async fn with_credentials(
    credentials: &Credentials,
    changed: impl Future<Output = ()>,
    kept: &[String],
    pauses: &mut impl Iterator<Item = Duration>,
    news: &mpsc::Sender<Update>,
) -> bool {
    let update = Update::Credentials {
        node_name: credentials.node_name.clone(),
        server: credentials.server.clone(),
        certificate_expires: credentials.certificate_expires,
        certificate_begins: credentials.certificate_begins,
        certificate_name: credentials.certificate_name.clone(),
    };
    if news.send(update).await.is_err() {
        return false;
    }
    let turns = turns(&credentials.client, &credentials.node_name, kept, pauses, news);
    pin_mut!(turns);
    tokio::select! {
        biased;
        () = changed => true,
        () = &mut turns => false,
    }
}

/// The result of a list or a watch.
enum Turn {
    /// Continue from this version.
    Listed(String),
    /// Continue from this version.
    Watch {
        version: String,
        useful: bool,
    },
    /// The server no longer has the version.
    ListAnew {
        useful: bool,
    },
    Failed {
        version: Option<String>,
        failure: Failure,
    },
    /// The receiver is gone.
    Closed,
}

/// Lists and watches alternately until the receiver is gone.
async fn turns(
    client: &Client,
    node_name: &str,
    kept: &[String],
    pauses: &mut impl Iterator<Item = Duration>,
    news: &mpsc::Sender<Update>,
) {
    let mut from = None;
    let mut in_vain = false;
    loop {
        let turn = match from.take() {
            None => list_once(client, node_name, kept, news).await,
            Some(version) => watch_once(client, node_name, kept, version, news).await,
        };
        // The start was spread already, so continue immediately, but not forever if watches are
        // useless.
        let mut pause = false;
        let mut went_on = |useful: bool| {
            pause = in_vain && !useful;
            in_vain = !useful;
        };
        match turn {
            Turn::Listed(version) => from = Some(version),
            Turn::Watch { version, useful } => {
                went_on(useful);
                from = Some(version);
            }
            Turn::ListAnew { useful } => went_on(useful),
            Turn::Failed { version, failure } => {
                if news.send(Update::Failed(failure)).await.is_err() {
                    return;
                }
                pause = true;
                from = version;
            }
            Turn::Closed => return,
        }
        if pause {
            sleep(pauses.next().unwrap_or(LONGEST_BACKOFF)).await;
        }
    }
}

/// A server that answers is reachable.
pub fn failure(what: &str, error: &StreamError) -> Failure {
    let kind = match error {
        StreamError::Refused { code: 401 | 403, .. } => FailureKind::Refused,
        StreamError::Refused { .. } => FailureKind::Error,
        _ => FailureKind::Unreachable,
    };
    Failure { kind, text: format!("{what}: {error}"), remedy: Vec::new() }
}

/// Reads one list. An incomplete list has no end, so the pods missing from it do not count as gone.
async fn list_once(
    client: &Client,
    node_name: &str,
    kept: &[String],
    news: &mpsc::Sender<Update>,
) -> Turn {
    let failed = |error: StreamError| Turn::Failed {
        version: None,
        failure: failure("cannot list pods", &error),
    };
    let mut list = match PodList::begin(client, node_name, kept).await {
        Ok(list) => list,
        Err(error) => return failed(error),
    };
    let mut update = Update::ListBegins;
    loop {
        if news.send(update).await.is_err() {
            return Turn::Closed;
        }
        update = match list.next().await {
            Ok(Some(Ok(pod))) => Update::Listed(Arc::new(pod)),
            Ok(Some(Err(pod))) => Update::Unreadable(Seen::Listed, pod),
            Ok(None) => break,
            Err(error) => return failed(error),
        };
    }
    match news.send(Update::ListEnds).await {
        Ok(()) => Turn::Listed(list.version()),
        Err(_) => Turn::Closed,
    }
}

async fn watch_once(
    client: &Client,
    node_name: &str,
    kept: &[String],
    mut version: String,
    news: &mpsc::Sender<Update>,
) -> Turn {
    let seconds = spread(node_name, WATCH_LASTS);
    let began = Instant::now();
    let failed = |version: Option<String>, error: StreamError| Turn::Failed {
        version,
        failure: failure("cannot watch pods", &error),
    };
    let mut watch = match PodWatch::begin(client, node_name, kept, &version, seconds).await {
        Ok(watch) => watch,
        // The server would refuse this version forever.
        Err(error @ StreamError::Refused { code: GONE, .. }) => {
            return failed(None, error);
        }
        Err(error) => return failed(Some(version), error),
    };
    if news.send(Update::Granted).await.is_err() {
        return Turn::Closed;
    }
    let mut useful = false;
    let longest = Duration::from_secs(seconds.into()) + LATE;
    loop {
        useful |= began.elapsed() > AT_ONCE;
        let (event, newer) = match tokio::time::timeout(longest, watch.next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) | Err(_) => return Turn::Watch { version, useful },
            // An event may be lost.
            Ok(Err(error @ StreamError::NoEvent(_))) => return failed(None, error),
            Ok(Err(error)) => return failed(Some(version), error),
        };
        version = newer.unwrap_or(version);
        let update = match event {
            PodEvent::Applied(Ok(pod)) => Update::Applied(Arc::new(pod)),
            PodEvent::Applied(Err(pod)) => Update::Unreadable(Seen::Applied, pod),
            PodEvent::Deleted(Ok(pod)) => Update::Deleted(pod.uid),
            PodEvent::Deleted(Err(pod)) => Update::Unreadable(Seen::Deleted, pod),
            PodEvent::Bookmark => Update::Alive,
            PodEvent::Error { code: GONE, .. } => return Turn::ListAnew { useful },
            PodEvent::Error { code, message } => {
                return failed(Some(version), StreamError::Refused { code, message });
            }
        };
        useful = true;
        if news.send(update).await.is_err() {
            return Turn::Closed;
        }
    }
}

/// Interval for asking where the kubelet takes its credentials from, and for reading files without a
/// notification (a network file system, a directory created later).
const PLACES_AGAIN: Duration = Duration::from_secs(600);

/// Returns when the content of a credential file has changed, or the kubelet takes its credentials
/// from elsewhere.
async fn changed(roots: &Roots, settings: &Settings, credentials: &Credentials) {
    let watch = FileWatch::new(&credentials.files);
    loop {
        let wait = tokio::time::timeout(PLACES_AGAIN, async {
            match &watch {
                Ok(watch) => watch.changed().await,
                Err(_) => std::future::pending().await,
            }
        });
        let _ = wait.await;
        let moved = credentials::find(roots, settings)
            .is_ok_and(|kubeconfig| kubeconfig != credentials.kubeconfig);
        if moved || credentials::fingerprint(&credentials.files) != credentials.fingerprint {
            return;
        }
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
