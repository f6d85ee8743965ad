//! Asks for a pod's eviction, handles the answer, and sees the pod leave.

use super::{Agent, effects::Effects, eviction::Answered};
use crate::{
    act::events::{EventSubject, PodReference},
    config::settings::EvictionMode,
    decide::evict::{
        answer::EvictionAnswer,
        flight::{FlightStage, InFlight},
        select::Ranked,
        verdict::Victim,
    },
    messages,
    model::{clock::SinceBoot, event::EventReason, history::What, host::Role, pressure::PodUsage},
    observe::{
        clock::since_boot,
        pressure::{pod_usage, usage},
    },
};

impl<E: Effects> Agent<E> {
    pub(super) fn evict(&mut self, victim: Victim) {
        let Ranked { namespace, name, uid, .. } = &victim.ranked;
        let enforced = self.settings.eviction.mode == EvictionMode::Enforce;
        let text = text_of(&victim, enforced);
        match enforced {
            true => messages::Evicting { pod_namespace: namespace, pod_name: name, pod_uid: uid }
                .emit(format_args!("{text}")),
            false => {
                messages::WouldEvict { pod_namespace: namespace, pod_name: name, pod_uid: uid }
                    .emit(format_args!("{text}"))
            }
        }
        if !enforced {
            self.effects.tell(
                EventSubject::Pod(self.lookup().reference(uid)),
                true,
                EventReason::WouldEvict,
                text.clone(),
            );
            self.effects.tell(
                EventSubject::PodOfNode(self.lookup().reference(uid)),
                true,
                EventReason::WouldEvict,
                text,
            );
            let pod = format!("{namespace}/{name}");
            self.recorder.tell(What::eviction(&pod, "observed", &victim.why, ""));
            self.publisher.evicted(pod, "observed", victim.why, "");
            return;
        }
        self.effects.evict(&self.settings, victim, self.eviction.wanted.subscribe());
    }

    pub(super) fn eviction_answered(&mut self, answered: Answered) {
        let Answered { victim, answer } = answered;
        let uid = victim.ranked.uid.clone();
        let (namespace, name) = (&victim.ranked.namespace, &victim.ranked.name);
        let pod = format!("{namespace}/{name}");
        let outcome = answer.outcome().word();
        self.recorder.tell(What::eviction(&pod, outcome, &victim.why, answer.text()));
        self.publisher.evicted(
            pod.clone(),
            answer.outcome().word(),
            victim.why.clone(),
            answer.text(),
        );
        let AnswerReport { warning, reason, text } = told_of(&pod, &answer);
        if warning {
            messages::EvictionRefused {
                pod_namespace: &namespace,
                pod_name: &name,
                pod_uid: &uid,
                outcome: &answer.outcome().word(),
            }
            .emit(format_args!("{text}"));
        } else {
            messages::EvictionAccepted {
                pod_namespace: &namespace,
                pod_name: &name,
                pod_uid: &uid,
                outcome: &answer.outcome().word(),
            }
            .emit(format_args!("{text}"));
        }
        if let Some(reason) = reason {
            // The events of the pod and of the Node give the reason, and only for an eviction that
            // the server accepted.
            let leaves =
                matches!(answer, EvictionAnswer::Accepted | EvictionAnswer::Migrating { .. });
            let text = if leaves { format!("{text}: {}", because(&victim)) } else { text };
            // The pod may be gone by now: use the victim's names.
            let pod = PodReference {
                namespace: namespace.clone(),
                name: name.clone(),
                uid: uid.to_string(),
            };
            self.effects.tell(EventSubject::Pod(pod.clone()), true, reason, text.clone());
            self.effects.tell(EventSubject::PodOfNode(pod), true, reason, text);
        }
        let now = since_boot();
        self.eviction.evictions.answered(&self.settings.eviction, &uid, &answer, now);
        self.save_evictions();
        self.eviction.next = self.now();
    }

    /// A pod has left when the last of its cgroups is gone; its object may disappear earlier or
    /// later.
    pub(super) fn see_who_left(&mut self, at: SinceBoot) {
        let left: Vec<InFlight> = self
            .eviction
            .evictions
            .in_flight()
            .iter()
            .filter(|pod| {
                !matches!(pod.stage, FlightStage::Asked)
                    && self.tree.of_pod(&pod.uid).next().is_none()
            })
            .cloned()
            .collect();
        for InFlight { uid, namespace, name, .. } in left {
            self.recorder.tell(What::Left { pod: format!("{namespace}/{name}") });
            messages::PodLeft { pod_namespace: &namespace, pod_name: &name, pod_uid: &uid }
                .emit(format_args!("the evicted pod {namespace}/{name} has left"));
            if self.eviction.evictions.left(&self.settings.eviction, &uid, at) {
                self.eviction.signals.clear();
            }
            self.save_evictions();
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
            // The kubelet creates it before the first container, and removes it after the last.
            let Some(folder) = self.tree.folder_of(uid) else { continue };
            all.push(pod_usage(&self.roots.cgroup().join(folder), uid.clone(), containers));
        }
        all
    }
}

/// Returns the reason for the victim, in words.
fn because(victim: &Victim) -> String {
    let ranked = &victim.ranked;
    format!("{}; it comes first of all pods: {}; {}", victim.why, ranked.why(), ranked.cost())
}

fn text_of(victim: &Victim, enforced: bool) -> String {
    let verb = match (enforced, victim.last_resort) {
        (true, false) => "asking the API server to evict",
        (true, true) => "as the last resort, asking the API server to delete",
        (false, false) => "would evict",
        (false, true) => "would delete, as the last resort,",
    };
    let Ranked { namespace, name, .. } = &victim.ranked;
    format!("{verb} {namespace}/{name}: {}", because(victim))
}

/// The report of an answer.
struct AnswerReport {
    warning: bool,
    /// The reason of the events, if there are any.
    reason: Option<EventReason>,
    text: String,
}

fn told_of(pod: &str, answer: &EvictionAnswer) -> AnswerReport {
    let words = answer.text();
    let (warning, reason, text) = match answer {
        EvictionAnswer::Accepted => {
            (false, Some(EventReason::SwapEviction), format!("evicted {pod}"))
        }
        EvictionAnswer::Migrating { .. } => (
            false,
            Some(EventReason::SwapMigration),
            format!("{pod} migrates to another node (the API server: {words})"),
        ),
        EvictionAnswer::Gone => (false, None, format!("{pod} is gone already, or is leaving")),
        EvictionAnswer::Withdrawn { .. } => {
            (false, None, format!("did not ask to evict {pod}: {words}"))
        }
        EvictionAnswer::Budget { .. } => (
            true,
            Some(EventReason::SwapEvictionRefused),
            format!("a PodDisruptionBudget refuses the eviction of {pod} now: {words}"),
        ),
        EvictionAnswer::Unwilling { .. } => (
            true,
            Some(EventReason::SwapEvictionRefused),
            format!("KubeVirt does not move {pod}; the agent asks again after an hour: {words}"),
        ),
        EvictionAnswer::Refused { .. } => (
            true,
            Some(EventReason::SwapEvictionRefused),
            format!("the API server refuses to evict {pod}: {words}"),
        ),
        EvictionAnswer::Busy { .. } => (
            true,
            None,
            format!("the API server could not evict {pod}, and the pod is not the cause: {words}"),
        ),
        EvictionAnswer::Unreachable { .. } => {
            (true, None, format!("the agent could not send the request to evict {pod}: {words}"))
        }
        EvictionAnswer::Unknown { .. } => (
            true,
            None,
            format!(
                "it is not known whether {pod} was evicted; the agent evicts no other pod until \
                 it is: {words}"
            ),
        ),
    };
    AnswerReport { warning, reason, text }
}
