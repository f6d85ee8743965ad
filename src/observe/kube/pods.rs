//! This node's pods, for as long as the agent runs: listed from the API server's watch cache,
//! watched with bookmarks, with jittered backoff, and anew whenever the credentials change.

use std::{sync::Arc, time::{Duration, SystemTime}};

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
use crate::{config::settings::Settings, model::pod::{Pod, PodUid}, observe::files::FileWatch, roots::Roots};

/// How often credentials that cannot be used are tried again, though no file was seen to change.
const CREDENTIALS_RETRY: Duration = Duration::from_secs(10);

/// News of the API server.
#[derive(Debug)]
pub enum Update {
    /// Credentials are (again) usable; nothing is known of the server yet.
    Credentials { node_name: String, server: String, certificate_expires: Option<SystemTime> },
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
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={}", credentials.node_name))
        .any_semantic();
    // Jittered, 0.8 s to 30 s, as client-go's.
    let stream = watcher::watcher(api, config).default_backoff();
    pin_mut!(stream);
    let changed = changed(credentials);
    pin_mut!(changed);
    loop {
        let update = tokio::select! {
            () = &mut changed => return true,
            event = stream.next() => match event {
                Some(Ok(event)) => news_of(event),
                Some(Err(error)) => Some(Update::Failed(chain(&error))),
                None => return true,
            },
        };
        if let Some(update) = update
            && news.send(update).await.is_err()
        {
            return false;
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
