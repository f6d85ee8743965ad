//! This node's pods, for as long as the agent runs: listed from the API server's watch cache,
//! watched with bookmarks, with jittered backoff, and anew whenever the credentials change.
//!
//! What thousands of nodes do is spread: `make bench-fleet` shows how.

use std::{
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
    decode::{Event, OddPod},
    list::{List, StreamError, Watch},
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

/// How often credentials that cannot be used are tried again, though no file was seen to change.
const CREDENTIALS_RETRY: Duration = Duration::from_secs(10);

/// The jitter adds up to as much again. client-go's 30 s would leave new VMs without their swap for
/// up to a minute after an outage.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// A failure so long after the last one begins with short pauses again.
const OUTAGE_IS_OVER: Duration = Duration::from_secs(60);

/// Seconds that a watch lasts, by the node: those that begin together do not end together. The API
/// server's own are 300 to 600.
const WATCH_LASTS: std::ops::Range<u32> = 200..290;

/// A watch that its server does not end is given up so long after it should have.
const LATE: Duration = Duration::from_secs(30);

/// A watch that ends sooner, without an event, was of no use.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The server does not know a version any more.
const GONE: u16 = 410;

/// News of the API server.
#[derive(Debug)]
pub enum Update {
    /// Credentials are (again) usable; nothing is known of the server yet.
    Credentials {
        node_name: String,
        server: String,
        certificate_expires: Option<SystemTime>,
        certificate_begins: Option<SystemTime>,
        /// The node that the certificate is for.
        certificate_name: Option<String>,
    },
    /// A new list begins, and replaces all with [`Update::ListEnds`].
    ListBegins,
    Listed(Arc<Pod>),
    ListEnds,
    Applied(Arc<Pod>),
    Deleted(PodUid),
    /// A pod that cannot be read.
    Unreadable(Seen, OddPod),
    /// A watch was granted. On a quiet node nothing else tells that the server is back.
    Granted,
    /// Something does not work; it is tried again by itself.
    Failed(Failure),
}

/// What has brought a pod that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Listed,
    Applied,
    Deleted,
}

/// Sends news for ever. Ends only with the receiver.
pub async fn watch(roots: Roots, settings: Settings, news: mpsc::Sender<Update>) {
    let mut pauses = pauses();
    let kept = &settings.eviction.opt_out_annotations;
    // One generation of credentials a turn.
    while !news.is_closed() {
        match credentials::load(&roots, &settings).await {
            Ok(credentials) => {
                if !with_credentials(&credentials, kept, &mut pauses, &news).await {
                    return;
                }
            }
            Err(error) => {
                let failure = Failure { kind: FailureKind::Credentials, text: error.to_string() };
                if news.send(Update::Failed(failure)).await.is_err() {
                    return;
                }
                let files = credentials::candidates(&roots, &settings);
                wait_for_change(&files).await;
            }
        }
    }
}

/// Waits after failures, ever longer ones.
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

/// Watches until it is to be begun anew; `false` where nobody listens any more.
async fn with_credentials(
    credentials: &Credentials,
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
        () = changed(credentials) => true,
        () = &mut turns => false,
    }
}

/// What a list or a watch came to.
enum Turn {
    /// Goes on from this version.
    Listed(String),
    /// Goes on from this version.
    Watch {
        version: String,
        useful: bool,
    },
    /// The server does not know the version any more.
    ListAnew {
        useful: bool,
    },
    Failed {
        version: Option<String>,
        failure: Failure,
    },
    /// Nobody listens any more.
    Closed,
}

/// Lists and watches in turn until nobody listens.
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
        // The way here was spread, so that it goes on at once; but not for ever without any use.
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

/// 401 and 403 are answers: the server is there.
fn failure(what: &str, error: &StreamError) -> Failure {
    let kind = match error {
        StreamError::Refused { code: 401 | 403, .. } => FailureKind::Refused,
        _ => FailureKind::Unreachable,
    };
    Failure { kind, text: format!("{what}: {error}") }
}

/// A list that breaks off tells of no end: what it has not come to is not gone.
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
    let mut list = match List::begin(client, node_name, kept).await {
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
    let mut watch = match Watch::begin(client, node_name, kept, &version, seconds).await {
        Ok(watch) => watch,
        // It would be refused for ever.
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
            Event::Applied(Ok(pod)) => Update::Applied(Arc::new(pod)),
            Event::Applied(Err(pod)) => Update::Unreadable(Seen::Applied, pod),
            Event::Deleted(Ok(pod)) => Update::Deleted(pod.uid),
            Event::Deleted(Err(pod)) => Update::Unreadable(Seen::Deleted, pod),
            Event::Bookmark => {
                useful = true;
                continue;
            }
            Event::Error { code: GONE, .. } => return Turn::ListAnew { useful },
            Event::Error { code, message } => {
                return failed(Some(version), StreamError::Refused { code, message });
            }
        };
        useful = true;
        if news.send(update).await.is_err() {
            return Turn::Closed;
        }
    }
}

/// Returns when the content of a credential file is another.
async fn changed(credentials: &Credentials) {
    let watch = FileWatch::new(&credentials.files);
    loop {
        // Also without a notification (a network file system, a folder that came later).
        let wait = tokio::time::timeout(Duration::from_secs(600), async {
            match &watch {
                Ok(watch) => watch.changed().await,
                Err(_) => std::future::pending().await,
            }
        });
        let _ = wait.await;
        if credentials::fingerprint(&credentials.files) != credentials.fingerprint {
            return;
        }
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
