//! Handles the API server's updates, and tracks its availability.

use crate::model::counted::counted;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Agent, effects::Effects};
use crate::{
    act::events::{EventSubject, PodReference},
    config::value::SettingOrigin,
    decide::{
        check::{EXPIRES_SOON, node_name_remedy, renew},
        wish,
    },
    messages,
    model::{
        clock::SinceStart,
        event::EventReason,
        failure::{Failure, FailureKind},
        host::Holder,
        pod::{Pod, PodUid},
        published,
        trouble::{Problem, Trouble},
    },
    observe::kube::{
        decode::OddPod,
        errors::wrong_clock,
        pods::{Seen, Update},
    },
    observe::settings::origin,
};

/// A list of pods takes less, also from a busy server.
const SILENT: Duration = Duration::from_secs(20);

/// Number of unreadable pods that the status names, and length of each reason.
const NAMED: usize = 3;
const SAID: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Api {
    /// The agent has received a complete list since it started.
    pub(super) synced: bool,
    /// The reason why the API server is unavailable now.
    pub(super) failure: Option<Failure>,
    /// The time of the server's last answer, event or bookmark; before the first one, the start of
    /// the agent.
    pub(super) heard: SinceStart,
    /// Number of failures since the last success.
    failures: u64,
    /// Deleted pods with containers that still run.
    pub(super) deleted: BTreeSet<PodUid>,
    certificate_expires: Option<SystemTime>,
    /// The certificate had expired, by this node's clock, before the connection was made.
    expired_when_read: bool,
    certificate_begins: Option<SystemTime>,
    /// The node's name in requests, and the one in the certificate.
    node_name: String,
    certificate_name: Option<String>,
    server: Option<String>,
    /// Pods of the list that is arriving; `None` between lists.
    listing: Option<BTreeSet<PodUid>>,
    /// Unreadable pods by their label, and those of the list that is arriving.
    unreadable: BTreeMap<String, OddPod>,
    unreadable_listed: BTreeMap<String, OddPod>,
}

impl Api {
    /// Returns true if the known pods match the API server's.
    pub(super) fn is_fresh(&self) -> bool {
        self.synced && self.failure.is_none() && self.listing.is_none()
    }

    pub(super) fn published(&self, pods: usize) -> published::ApiStatus {
        published::ApiStatus {
            server: self.server.clone(),
            reachable: self.synced && self.failure.is_none(),
            failure: self.failure.as_ref().map(Failure::short),
            certificate_expires: self.certificate_expires.map(rfc3339),
            pods,
            unreadable_pods: self.unreadable.len(),
        }
    }

    /// Adds context to a failure: a slow clock, a name that differs from the certificate's.
    fn judged(
        &self,
        failure: Failure,
        name_origin: impl FnOnce() -> Option<SettingOrigin>,
    ) -> Failure {
        let Failure { kind, text, remedy } = failure;
        if let Some(text) = wrong_clock(&text, self.certificate_begins, SystemTime::now()) {
            return Failure { kind: FailureKind::Clock, text, remedy };
        }
        let other = self.certificate_name.as_ref().filter(|name| **name != self.node_name);
        match (kind, other) {
            (FailureKind::Refused, Some(other)) => {
                let asked = &self.node_name;
                let text = format!(
                    "node.name = {asked:?}, but the certificate is for node {other}: {text}"
                );
                Failure { kind, text, remedy: node_name_remedy(other, name_origin().as_ref()) }
            }
            _ => Failure { kind, text, remedy },
        }
    }

    /// Describes the pods that cannot be read.
    pub(super) fn unreadable(&self) -> Option<String> {
        let count = self.unreadable.len();
        let mut named: Vec<String> = self
            .unreadable
            .values()
            .take(NAMED)
            .map(|odd| match odd.reason.char_indices().nth(SAID) {
                Some((end, _)) => format!("{}: {}…", odd.label(), &odd.reason[..end]),
                None => odd.to_string(),
            })
            .collect();
        if count > NAMED {
            named.push(format!("and {} more", count - NAMED));
        }
        (count > 0).then(|| {
            format!(
                "{} ({})",
                counted(
                    count,
                    "pod cannot be read: it gets no swap and is not evicted",
                    "pods cannot be read: they get no swap and are not evicted"
                ),
                named.join("; ")
            )
        })
    }

    /// Records that the pod can be read, or is gone.
    fn readable(&mut self, uid: &PodUid, name: Option<(&str, &str)>) {
        self.unreadable.retain(|_, odd| {
            let same = name == Some((&*odd.namespace, &*odd.name)) && !odd.name.is_empty();
            odd.uid.as_ref() != Some(uid) && !same
        });
    }

    /// Returns the problem with the API server or the credentials.
    pub(super) fn problem(&self, now: SinceStart) -> Option<Problem> {
        let expired = is_past(self.certificate_expires);
        if expired && self.expired_when_read && self.synced && self.failure.is_none() {
            let shown = rfc3339(SystemTime::now());
            let text = format!(
                "this node's clock is wrong: it shows {shown}, after the end of the kubelet's client \
                 certificate, which the API server accepts"
            );
            let clock = Failure { kind: FailureKind::Clock, ..Failure::default() };
            return Some(Problem::new(Trouble::Certificate, text).with_remedy(clock.remedy()));
        }
        let known = if self.synced { "using its last list of pods" } else { "no list of pods yet" };
        // An expired certificate is the cause of whatever fails.
        if let Some(failure) = self.failure.as_ref().filter(|_| !expired) {
            let problem = Problem::new(Trouble::Api, failure.sentence(known));
            return Some(problem.with_remedy(failure.remedy()));
        }
        let silent = now.since(self.heard);
        if !self.synced && silent > SILENT {
            let text = format!(
                "the API server has not answered the request for this node's pods for {} s, no list \
                 of pods yet",
                silent.as_secs()
            );
            return Some(Problem::new(Trouble::Api, text));
        }
        let text = match self.certificate_expires?.duration_since(SystemTime::now()) {
            Err(_) => match &self.failure {
                None => "the kubelet's client certificate has expired".to_owned(),
                Some(failure) => format!(
                    "the kubelet's client certificate has expired, {known} ({})",
                    failure.short()
                ),
            },
            Ok(left) if left < EXPIRES_SOON => {
                format!("the kubelet's client certificate expires in {} min", left.as_secs() / 60)
            }
            Ok(_) => return None,
        };
        Some(Problem::new(Trouble::Certificate, text).with_remedy(renew(&self.node_name)))
    }
}

impl<E: Effects> Agent<E> {
    pub(super) fn api_says(&mut self, update: Update) {
        match update {
            Update::Credentials {
                node_name,
                server,
                certificate_expires,
                certificate_begins,
                certificate_name,
            } => {
                let expires = certificate_expires.map_or_else(|| "never".to_owned(), rfc3339);
                messages::CredentialsRead { node_name: &node_name, server: &server, certificate_expires: &expires }.emit(format_args!("read the credentials of {node_name} for {server}, certificate valid until {expires}"));
                self.api.expired_when_read = is_past(certificate_expires);
                self.api.certificate_expires = certificate_expires;
                self.api.certificate_begins = certificate_begins;
                self.api.certificate_name = certificate_name;
                self.api.node_name = node_name;
                self.api.server = Some(server);
                self.publisher.mark_stale();
                return;
            }
            Update::Failed(failure) => {
                let origin = || origin(&self.roots, |name| std::env::var(name).ok(), "node.name");
                let failure = self.api.judged(failure, origin);
                // The kind may change during one outage.
                if self.api.failure.as_ref().is_none_or(|before| before.kind != failure.kind) {
                    let text = failure.short();
                    messages::ApiLost.emit(format_args!("API server: {text}"));
                }
                self.api.failure = Some(failure);
                self.api.failures += 1;
                self.publisher.counters.api_errors += 1;
                self.publisher.mark_stale();
                return;
            }
            Update::ListBegins => {
                self.api.heard = self.now();
                self.api.listing = Some(BTreeSet::new());
                self.api.unreadable_listed.clear();
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
            Update::Deleted(uid) => {
                self.api.readable(&uid, None);
                self.deleted(uid);
            }
            Update::Unreadable(seen, odd) => self.unreadable(seen, odd),
            Update::Granted | Update::Alive => {}
        }
        self.api.heard = self.now();
        if self.api.failure.take().is_some() {
            let failures = std::mem::take(&mut self.api.failures);
            messages::ApiBack { failures: &failures }.emit(format_args!(
                "API server reachable again, after {}",
                counted(failures, "failure", "failures")
            ));
        }
    }

    fn applied(&mut self, pod: Arc<Pod>) {
        self.api.readable(&pod.uid, Some((&pod.namespace, &pod.name)));
        self.api.deleted.remove(&pod.uid);
        if self.pods.get(&pod.uid) == Some(&pod) {
            return;
        }
        let rules = &self.settings.grant_rules().wishes;
        let known = self.pods.get(&pod.uid).map(|known| wish::problems(rules, known));
        self.report_wishes(&pod, &known.unwrap_or_default());
        self.record(&pod);
        self.limits.dirty.extend(self.tree.of_pod(&pod.uid).cloned().map(Holder::Container));
        if self.tree.folder_of(&pod.uid).is_some() {
            self.limits.dirty.insert(Holder::Pod(pod.uid.clone()));
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Reports annotations for swap that cannot be parsed, once for each change; `known` has been
    /// reported.
    pub(super) fn report_wishes(&self, pod: &Pod, known: &[String]) {
        let problems = wish::problems(&self.settings.grant_rules().wishes, pod);
        if problems.is_empty() || known == problems {
            return;
        }
        let reason = problems.join("; ");
        messages::SwapLimitInvalid {
            pod_namespace: &pod.namespace,
            pod_name: &pod.name,
            pod_uid: &pod.uid,
            reason: &reason,
        }
        .emit(format_args!("{}/{}: {reason}", pod.namespace, pod.name));
        let about = PodReference {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
        };
        self.effects.tell(EventSubject::Pod(about), true, EventReason::SwapLimitInvalid, reason);
    }

    fn list_ends(&mut self) {
        let listed = self.api.listing.take().unwrap_or_default();
        self.api.unreadable = std::mem::take(&mut self.api.unreadable_listed);
        let missing: Vec<PodUid> =
            self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        missing.into_iter().for_each(|uid| self.deleted(uid));
        if !self.api.synced {
            messages::PodsListed { pods: &listed.len() }
                .emit(format_args!("first list of this node's pods received"));
            self.api.synced = true;
        }
    }

    /// Treats an unreadable pod like an unknown one: its earlier state no longer justifies
    /// anything.
    fn unreadable(&mut self, seen: Seen, odd: OddPod) {
        let OddPod { uid, namespace, name, reason } = &odd;
        if seen == Seen::Deleted {
            self.api.unreadable.retain(|_, known| known.label() != odd.label());
            if let Some(uid) = self.lookup().find(&odd) {
                self.deleted(uid);
            }
            return;
        }
        if let Some(uid) = self.lookup().find(&odd) {
            self.limits.dirty.extend(self.tree.of_pod(&uid).cloned().map(Holder::Container));
            if self.tree.folder_of(&uid).is_some() {
                self.limits.dirty.insert(Holder::Pod(uid.clone()));
            }
            self.forget_pod(&uid);
        }
        let key = odd.label();
        if self.api.unreadable.get(&key) != Some(&odd) {
            messages::PodUnreadable {
                pod_namespace: &namespace,
                pod_name: &name,
                reason: &reason,
                pod_uid: messages::optional(uid),
            }
            .emit(format_args!("{odd}; it gets no swap and is not evicted"));
        }
        if seen == Seen::Listed {
            self.api.unreadable_listed.insert(key.clone(), odd.clone());
        }
        self.api.unreadable.insert(key, odd);
        self.publisher.mark_stale();
    }

    fn deleted(&mut self, uid: PodUid) {
        self.api.deleted.insert(uid);
        self.forget_pods_that_left();
    }
}

fn is_past(time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| time < SystemTime::now())
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|error| error.to_string(), |time| time.to_string())
}
