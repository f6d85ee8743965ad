//! This node's pods, for as long as the agent runs: listed from the API server's watch cache,
//! watched with bookmarks, with jittered backoff, and anew whenever the credentials change.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::ExponentialBuilder;
use futures::{StreamExt, pin_mut};
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::sync::mpsc;

use super::{
    credentials::{self, Credentials, chain},
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

/// Before a watch that brought nonsense is begun anew.
const GARBLED_PAUSE: Duration = Duration::from_secs(2);

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
    /// Something does not work; it is tried again by itself.
    Failed(String),
}

/// Sends news for ever. Ends only with the receiver.
pub async fn watch(roots: Roots, settings: Settings, news: mpsc::Sender<Update>) {
    // One generation of credentials a turn.
    while !news.is_closed() {
        match credentials::load(&roots, &settings).await {
            Ok(credentials) => {
                if !with_credentials(&credentials, &news).await {
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

async fn wait_for_change(files: &[std::path::PathBuf]) {
    let _ = match FileWatch::new(files) {
        Ok(watch) => tokio::time::timeout(CREDENTIALS_RETRY, watch.changed()).await.is_ok(),
        Err(_) => {
            tokio::time::sleep(CREDENTIALS_RETRY).await;
            false
        }
    };
}

/// Watches until the credentials change; `false` where nobody listens any more.
async fn with_credentials(credentials: &Credentials, news: &mpsc::Sender<Update>) -> bool {
    let update = Update::Credentials {
        node_name: credentials.node_name.clone(),
        server: credentials.server.clone(),
        certificate_expires: credentials.certificate_expires,
    };
    if news.send(update).await.is_err() {
        return false;
    }
    let api: Api<WirePod> = Api::all(credentials.client.clone());
    let config = config(&credentials.node_name);
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_BACKOFF)
        .with_jitter()
        .without_max_times();
    let stream = watcher::watcher(api, config).backoff(watcher::ExponentialBackoff::from(backoff));
    pin_mut!(stream);
    let changed = changed(credentials);
    pin_mut!(changed);
    let mut garbled = false;
    loop {
        let update = tokio::select! {
            () = &mut changed => return true,
            event = stream.next() => match event {
                Some(Ok(event)) => news_of(event),
                Some(Err(error)) => {
                    garbled = is_garbled(&error);
                    Some(Update::Failed(chain(&error)))
                }
                None => return true,
            },
        };
        if let Some(update) = update
            && news.send(update).await.is_err()
        {
            return false;
        }
        if garbled {
            tokio::time::sleep(GARBLED_PAUSE).await;
            return true;
        }
    }
}

/// Of this node only, or the API server refuses it; from its watch cache (`resourceVersion=0`),
/// which kube asks for only where no page size is set.
fn config(node_name: &str) -> watcher::Config {
    let config =
        watcher::Config::default().fields(&format!("spec.nodeName={node_name}")).any_semantic();
    watcher::Config { page_size: None, ..config }
}

/// Whether a watch brought what is no event. kube's watcher would read on in the same stream, where
/// an event may be lost.
fn is_garbled(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchFailed(kube::Error::SerdeError(_)))
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
fn news_of(event: Event<WirePod>) -> Option<Update> {
    let pod = |wire| wire::pod(wire).map(Arc::new);
    match event {
        Event::Init => Some(Update::ListBegins),
        Event::InitApply(wire) => pod(wire).map(Update::Listed),
        Event::InitDone => Some(Update::ListEnds),
        Event::Apply(wire) => pod(wire).map(Update::Applied),
        Event::Delete(wire) => pod(wire).map(|pod| Update::Deleted(pod.uid.clone())),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::ListSemantic;

    use super::*;

    #[test]
    fn lists_come_from_the_watch_cache_and_are_of_one_node() {
        let config = config("node-a");
        assert_eq!(config.field_selector.as_deref(), Some("spec.nodeName=node-a"));
        assert_eq!(config.list_semantic, ListSemantic::Any);
        assert_eq!(config.page_size, None, "with a page size, kube leaves resourceVersion=0 out");
        assert!(config.bookmarks);
    }
}
