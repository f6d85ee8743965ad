//! This node's pods, for as long as the agent runs: listed from the API server's watch cache,
//! watched with bookmarks, with jittered backoff, and anew whenever the credentials change.
//!
//! What thousands of nodes do is spread: `make bench-fleet` shows how.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::ExponentialBuilder;
use futures::{FutureExt, StreamExt, pin_mut};
use hyper::Request;
use kube::{
    Api, Client,
    client::Body,
    runtime::{
        utils::ResetTimerBackoff,
        watcher::{self, Event, ExponentialBackoff},
    },
};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use super::{
    credentials::{self, Credentials, chain},
    spread,
    wire::{self, WirePod},
};
use crate::{
    config::settings::Settings,
    model::pod::{Pod, PodUid},
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

/// News of the API server.
#[derive(Debug)]
pub enum Update {
    /// Credentials are (again) usable; nothing is known of the server yet.
    Credentials {
        node_name: String,
        server: String,
        certificate_expires: Option<SystemTime>,
    },
    /// A new list begins, and replaces all with [`Update::ListEnds`].
    ListBegins,
    Listed(Arc<Pod>),
    ListEnds,
    Applied(Arc<Pod>),
    Deleted(PodUid),
    /// A list or a watch was granted. On a quiet node nothing else tells that the server is back.
    Granted,
    /// Something does not work; it is tried again by itself.
    Failed(String),
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
                if news.send(Update::Failed(error.to_string())).await.is_err() {
                    return;
                }
                let files = credentials::candidates(&roots, &settings);
                wait_for_change(&files).await;
            }
        }
    }
}

/// Waits after failures. Not by kube's `.backoff()`: that begins anew with every list that is tried,
/// though it fails.
fn pauses() -> impl Iterator<Item = Duration> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_BACKOFF)
        .with_jitter()
        .without_max_times();
    ResetTimerBackoff::new(ExponentialBackoff::from(backoff), OUTAGE_IS_OVER)
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
    };
    if news.send(update).await.is_err() {
        return false;
    }
    let granted = Arc::new(Notify::new());
    let api: Api<WirePod> = Api::all(telling(credentials.client.clone(), granted.clone()));
    let stream = watcher::watcher(api, config(&credentials.node_name));
    pin_mut!(stream);
    let changed = changed(credentials);
    pin_mut!(changed);
    loop {
        let mut failure = None;
        let update = tokio::select! {
            biased;
            () = &mut changed => return true,
            () = granted.notified() => Some(Update::Granted),
            event = stream.next() => match event {
                Some(Ok(event)) => news_of(event, kept),
                // No failure, and the way here was spread: kube lists anew, at once.
                Some(Err(watcher::Error::WatchError(status))) if status.code == 410 => None,
                Some(Err(error)) => {
                    // Granted, and broken since.
                    granted.notified().now_or_never();
                    Some(Update::Failed(chain(failure.insert(error))))
                }
                None => return true,
            },
        };
        if let Some(update) = update
            && news.send(update).await.is_err()
        {
            return false;
        }
        if let Some(error) = failure {
            tokio::select! {
                () = &mut changed => return true,
                () = sleep(pauses.next().unwrap_or(LONGEST_BACKOFF)) => {}
            }
            if is_stuck(&error) {
                return true;
            }
        }
    }
}

/// A client that tells of every request that was granted. kube's watcher does not tell when a watch
/// goes on after a failure.
fn telling(client: Client, granted: Arc<Notify>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let send = move |request: Request<Body>| {
        let (client, granted) = (client.clone(), granted.clone());
        async move {
            let response = client.send(request).await?;
            if response.status().is_success() {
                granted.notify_one();
            }
            Ok::<_, kube::Error>(response)
        }
    };
    Client::new(tower::service_fn(send), namespace)
}

/// Of this node only, or the API server refuses it; from its watch cache (`resourceVersion=0`),
/// which kube asks for only where no page size is set.
fn config(node_name: &str) -> watcher::Config {
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node_name}"))
        .any_semantic()
        .timeout(spread(node_name, WATCH_LASTS));
    watcher::Config { page_size: None, ..config }
}

/// Whether kube's watcher would not get on by itself: it reads on in a stream that brought what is no
/// event, where one may be lost, and asks for ever for a version that is refused as too old.
fn is_stuck(error: &watcher::Error) -> bool {
    use kube::Error::{Api, SerdeError};
    match error {
        watcher::Error::WatchFailed(error) => matches!(error, SerdeError(_)),
        watcher::Error::WatchStartFailed(Api(status)) => status.code == 410,
        _ => false,
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

/// `None` for pods that cannot be used.
fn news_of(event: Event<WirePod>, kept: &[String]) -> Option<Update> {
    let pod = |wire| wire::pod(wire, kept).map(Arc::new);
    match event {
        Event::Init => Some(Update::ListBegins),
        Event::InitApply(wire) => pod(wire).map(Update::Listed),
        Event::InitDone => Some(Update::ListEnds),
        Event::Apply(wire) => pod(wire).map(Update::Applied),
        Event::Delete(wire) => pod(wire).map(|pod| Update::Deleted(pod.uid.clone())),
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
