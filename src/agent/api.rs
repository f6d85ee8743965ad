//! What the API server says, and how well it can be reached.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use super::Agent;
use crate::{
    act::Actuator,
    decide::check::EXPIRES_SOON,
    model::{
        host::Owner,
        pod::{Pod, PodUid},
        published,
    },
    observe::kube::pods::Update,
    report::messages,
};

#[derive(Debug, Default)]
pub(super) struct Api {
    /// A complete list was received since the agent started.
    pub(super) synced: bool,
    /// Why the API server cannot be asked now.
    pub(super) failure: Option<String>,
    /// How often, since it could last be asked.
    failures: u64,
    /// Deleted, with containers still running.
    pub(super) deleted: BTreeSet<PodUid>,
    certificate_expires: Option<SystemTime>,
    server: Option<String>,
    /// While a list is being received: what it holds so far.
    listing: Option<BTreeSet<PodUid>>,
}

impl Api {
    /// What is known is what the API server says now.
    pub(super) fn is_fresh(&self) -> bool {
        self.synced && self.failure.is_none() && self.listing.is_none()
    }

    pub(super) fn published(&self, pods: usize) -> published::Api {
        published::Api {
            server: self.server.clone(),
            reachable: self.synced && self.failure.is_none(),
            failure: self.failure.clone(),
            certificate_expires: self.certificate_expires.map(rfc3339),
            pods,
        }
    }

    /// For the status line.
    pub(super) fn problem(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            let known =
                if self.synced { "going by what it said last" } else { "no list of pods yet" };
            return Some(format!("API server not reachable, {known} ({failure})"));
        }
        let left = self.certificate_expires?.duration_since(SystemTime::now());
        match left {
            Err(_) => Some("the kubelet's client certificate has expired".to_owned()),
            Ok(left) if left < EXPIRES_SOON => Some(format!(
                "the kubelet's client certificate expires in {} min",
                left.as_secs() / 60
            )),
            Ok(_) => None,
        }
    }
}

impl<A: Actuator> Agent<A> {
    pub(super) fn api_says(&mut self, update: Update) {
        match update {
            Update::Credentials { node_name, server, certificate_expires } => {
                let expires = certificate_expires.map_or_else(|| "never".to_owned(), rfc3339);
                tracing::info!(
                    message_id = messages::CREDENTIALS_READ.id,
                    node_name,
                    server,
                    certificate_expires = expires,
                    "read the credentials of {node_name} for {server}, certificate valid until {expires}"
                );
                self.api.certificate_expires = certificate_expires;
                self.api.server = Some(server);
                self.published_is_stale();
                return;
            }
            Update::Failed(failure) => {
                if self.api.failure.is_none() {
                    tracing::warn!(
                        message_id = messages::API_LOST.id,
                        "API server not reachable: {failure}"
                    );
                }
                self.api.failure = Some(failure);
                self.api.failures += 1;
                self.publisher.counters.api_errors += 1;
                self.published_is_stale();
                return;
            }
            Update::ListBegins => {
                self.api.listing = Some(BTreeSet::new());
                return;
            }
            Update::Listed(pod) => {
                if let Some(listing) = &mut self.api.listing {
                    listing.insert(pod.uid.clone());
                }
                self.applied(pod);
            }
            Update::ListEnds => self.list_ends(),
            Update::Applied(pod) => self.applied(pod),
            Update::Deleted(uid) => self.deleted(uid),
            Update::Granted => {}
        }
        if self.api.failure.take().is_some() {
            let failures = std::mem::take(&mut self.api.failures);
            tracing::info!(
                message_id = messages::API_BACK.id,
                failures,
                "API server reachable again, after {failures} failures"
            );
        }
    }

    fn applied(&mut self, pod: Arc<Pod>) {
        self.api.deleted.remove(&pod.uid);
        if self.pods.get(&pod.uid) == Some(&pod) {
            return;
        }
        self.record(&pod);
        self.dirty.extend(self.tree.of_pod(&pod.uid).cloned().map(Owner::Container));
        if self.tree.folder_of(&pod.uid).is_some() {
            self.dirty.insert(Owner::Pod(pod.uid.clone()));
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    fn list_ends(&mut self) {
        let listed = self.api.listing.take().unwrap_or_default();
        let missing: Vec<PodUid> =
            self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        missing.into_iter().for_each(|uid| self.deleted(uid));
        if !self.api.synced {
            tracing::info!(
                message_id = messages::PODS_LISTED.id,
                pods = listed.len(),
                "first list of this node's pods received"
            );
            self.api.synced = true;
        }
    }

    fn deleted(&mut self, uid: PodUid) {
        self.api.deleted.insert(uid);
        self.forget_pods_that_left();
    }
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|error| error.to_string(), |time| time.to_string())
}
