//! Asks for a pod's eviction, takes the answer, and sees the pod leave.

use std::time::Duration;

use super::{
    Agent,
    eviction::{Answered, since_boot},
};
use crate::{
    act::{Actuator, evict, node::About},
    config::settings::EvictionMode,
    decide::evict::{
        machine::{Answer, InFlight, Stage, Victim},
        select::Ranked,
    },
    model::{
        host::{Monotonic, Role},
        pod::PodUid,
        pressure::PodUsage,
    },
    observe::pressure::{pod_usage, usage},
    report::messages,
};

impl<A: Actuator> Agent<A> {
    pub(super) fn evict(&mut self, victim: Victim) {
        let Ranked { namespace, name, uid, .. } = &victim.ranked;
        let enforced = self.eviction.acts && self.settings.eviction.mode == EvictionMode::Enforce;
        let (verb, reason) = match (enforced, victim.last_resort) {
            (true, false) => ("evicting", "SwapEviction"),
            (true, true) => ("deleting, as the last resort,", "SwapEviction"),
            (false, false) => ("would evict", "WouldEvict"),
            (false, true) => ("would delete, as the last resort,", "WouldEvict"),
        };
        let text = format!(
            "{verb} {namespace}/{name}: {}; of all pods it comes first: {}",
            victim.why,
            victim.ranked.why()
        );
        let message = if enforced { messages::EVICTING } else { messages::WOULD_EVICT };
        tracing::warn!(
            message_id = message.id,
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = %uid,
            "{text}"
        );
        self.note_of_pod(uid, true, reason, text.clone());
        self.note(About::Node, true, reason, text);
        if !enforced {
            self.publisher.evicted(format!("{namespace}/{name}"), "observed", victim.why);
            return;
        }
        let (roots, settings) = (self.roots.clone(), self.settings.clone());
        let answers = self.eviction.answers.clone();
        tokio::spawn(async move {
            let answer = evict::evict(&roots, &settings, &victim).await;
            let Victim { ranked, why, .. } = victim;
            // Fails only while the agent ends.
            let _ = answers.send(Answered { uid: ranked.uid, why, answer });
        });
    }

    pub(super) fn eviction_answered(&mut self, answered: Answered) {
        let Answered { uid, why, answer } = answered;
        let (namespace, name) = self.names_of(&uid);
        let pod = format!("{namespace}/{name}");
        self.publisher.evicted(pod.clone(), answer.name(), why);
        let (warning, reason, text) = match &answer {
            Answer::Accepted => (false, None, format!("{pod} is being evicted")),
            Answer::Migrating => {
                (false, Some("SwapMigration"), format!("{pod} migrates to another node"))
            }
            Answer::Gone => (false, None, format!("{pod} is gone already")),
            Answer::Budget { .. } => (
                true,
                Some("SwapEvictionRefused"),
                format!("{pod} may not be evicted now: its PodDisruptionBudget is used up"),
            ),
            Answer::Refused(why) => (
                true,
                Some("SwapEvictionRefused"),
                format!("the API server refuses to evict {pod}: {why}"),
            ),
            Answer::Unreachable(why) => {
                (true, None, format!("cannot ask the API server to evict {pod}: {why}"))
            }
            Answer::Unknown(why) => (
                true,
                None,
                format!("whether {pod} leaves is not known, no other is evicted meanwhile: {why}"),
            ),
        };
        if warning {
            tracing::warn!(
                message_id = messages::EVICTION_REFUSED.id,
                pod_namespace = namespace,
                pod_name = name,
                pod_uid = %uid,
                outcome = answer.name(),
                "{text}"
            );
        } else {
            tracing::info!(
                message_id = messages::EVICTION_ACCEPTED.id,
                pod_namespace = namespace,
                pod_name = name,
                pod_uid = %uid,
                outcome = answer.name(),
                "{text}"
            );
        }
        if let Some(reason) = reason {
            self.note_of_pod(&uid, warning, reason, text);
        }
        let grace = self.pods.get(&uid).map_or(30, |pod| pod.grace_seconds);
        self.eviction.evictions.answered(
            &self.settings.eviction,
            &uid,
            &answer,
            Duration::from_secs(grace),
            since_boot(),
        );
        self.remember_evictions();
        self.eviction.next = self.now();
    }

    /// A pod has left when the last of its cgroups is gone: its object goes sooner or later.
    pub(super) fn see_who_left(&mut self, at: Monotonic) {
        let left: Vec<InFlight> = self
            .eviction
            .evictions
            .in_flight()
            .iter()
            .filter(|pod| pod.stage != Stage::Asked && self.tree.of_pod(&pod.uid).next().is_none())
            .cloned()
            .collect();
        for InFlight { uid, namespace, name, .. } in left {
            tracing::info!(
                message_id = messages::POD_LEFT.id,
                pod_namespace = namespace,
                pod_name = name,
                pod_uid = %uid,
                "the evicted pod {namespace}/{name} has left"
            );
            if self.eviction.evictions.left(&self.settings.eviction, &uid, at) {
                self.eviction.signals.clear();
            }
            self.remember_evictions();
        }
    }

    pub(super) fn usage(&mut self) -> Vec<PodUsage> {
        let mut all = Vec::with_capacity(self.pods.len());
        for (uid, pod) in &self.pods {
            let ids: Vec<_> = self.tree.of_pod(uid).cloned().collect();
            let mut containers = Vec::with_capacity(ids.len());
            for id in ids {
                // A container that ends meanwhile uses nothing.
                let Ok(Some(facts)) = self.tree.facts(&id, Some(pod)) else { continue };
                let name = match facts.role {
                    Role::Container(name) => Some(name),
                    Role::Helper | Role::Unknown => None,
                };
                containers.extend(usage(&self.roots.cgroup().join(facts.path), name));
            }
            // The kubelet makes it before the first container, and removes it after the last.
            let Some(folder) = self.tree.folder_of(uid) else { continue };
            all.push(pod_usage(&self.roots.cgroup().join(folder), uid.clone(), containers));
        }
        all
    }

    pub(super) fn names_of(&self, uid: &PodUid) -> (String, String) {
        self.pods.get(uid).map_or_else(
            || ("unknown".to_owned(), uid.to_string()),
            |pod| (pod.namespace.to_string(), pod.name.to_string()),
        )
    }
}
