//! Samples the node, decides whether a pod must leave, asks for it, and sees it leave.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::Agent;
use crate::{
    act::{Actuator, evict},
    config::settings::EvictionMode,
    decide::evict::{
        machine::{Answer, Evictions, InFlight, Inputs, Stage, Verdict, Victim, decide},
        signals::{Signal, Signals},
    },
    model::{
        host::{Monotonic, Role},
        pod::PodUid,
        pressure::PodUsage,
    },
    observe::pressure::{sample, usage},
};

/// So often while anything is swapped, or on its way.
const SOON: Duration = Duration::from_secs(1);
/// So often while nothing is.
const LATER: Duration = Duration::from_secs(5);

/// An eviction's answer.
#[derive(Debug)]
pub(super) struct Answered {
    uid: PodUid,
    answer: Answer,
}

/// All about evictions.
#[derive(Debug)]
pub(super) struct Eviction {
    signals: Signals,
    evictions: Evictions,
    active: Vec<Signal>,
    next: Monotonic,
    answers: mpsc::UnboundedSender<Answered>,
    acts: bool,
}

impl Eviction {
    pub(super) fn new(
        roots: &crate::roots::Roots,
        acts: bool,
    ) -> (Self, mpsc::UnboundedReceiver<Answered>) {
        let (answers, receive) = mpsc::unbounded_channel();
        let evictions = std::fs::read_to_string(roots.evictions())
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let (signals, active, next) = (Signals::default(), Vec::new(), Monotonic::default());
        (Self { signals, evictions, active, next, answers, acts }, receive)
    }

    /// Something that counts has changed.
    pub(super) fn look_now(&mut self) {
        self.next = Monotonic::default();
    }

    /// When to come again, by the agent's clock.
    pub(super) fn next(&self) -> Monotonic {
        self.next
    }
}

/// Since boot, suspended or not: what is remembered outlives the agent.
fn since_boot() -> Monotonic {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    Monotonic(time.unwrap_or_default())
}

impl<A: Actuator> Agent<A> {
    /// Looks at the node, if it is time to.
    pub(super) fn watch_pressure(&mut self) {
        let now = self.now();
        if now < self.eviction.next {
            return;
        }
        if self.settings.eviction.mode == EvictionMode::Off || self.node.swap_bytes == 0 {
            self.eviction.next = now + self.settings.limits.resync;
            self.problem("eviction", None);
            return;
        }
        match sample(&self.roots, since_boot()) {
            Ok(sample) => {
                let busy =
                    sample.swap_used_bytes > 0 || !self.eviction.evictions.in_flight().is_empty();
                self.eviction.next = now + if busy { SOON } else { LATER };
                self.problem("signals", None);
                self.see_who_left(sample.at);
                // Everybody's use is read only when it matters.
                let usage = if self.eviction.active.is_empty() { Vec::new() } else { self.usage() };
                let inputs = Inputs {
                    sample,
                    pods: &self.pods,
                    usage: &usage,
                    pods_are_fresh: self.api.is_fresh(),
                };
                let mut settings = self.settings.eviction.clone();
                if !self.eviction.acts && settings.mode == EvictionMode::Enforce {
                    settings.mode = EvictionMode::Observe;
                }
                let Eviction { signals, evictions, .. } = &mut self.eviction;
                let before = evictions.clone();
                let verdict = decide(&settings, inputs, signals, evictions);
                let changed = *evictions != before;
                self.act_on(verdict);
                if changed {
                    self.remember_evictions();
                }
            }
            Err(error) => {
                self.eviction.next = now + LATER;
                self.eviction.signals.clear();
                self.problem("signals", Some(format!("{error}; no eviction")));
            }
        }
    }

    fn act_on(&mut self, verdict: Verdict) {
        let active: Vec<Signal> =
            verdict.readings.iter().filter(|r| r.active).map(|r| r.signal).collect();
        if active != self.eviction.active {
            for reading in &verdict.readings {
                let signal = reading.signal.to_string();
                match (reading.active, self.eviction.active.contains(&reading.signal)) {
                    (true, false) => {
                        tracing::warn!(signal, ratio = reading.ratio, "{signal}: {}", reading.text);
                    }
                    (false, true) => {
                        tracing::info!(
                            signal,
                            ratio = reading.ratio,
                            "{signal} is over: {}",
                            reading.text
                        );
                    }
                    _ => {}
                }
            }
            self.eviction.active = active;
            // Who uses what was not read for this verdict.
            self.eviction.next = self.now();
        }
        for InFlight { uid, stage, .. } in &verdict.overdue {
            let (namespace, name) = self.names_of(uid);
            tracing::warn!(
                pod_namespace = namespace,
                pod_name = name,
                pod_uid = %uid,
                stage = ?stage,
                "pod {namespace}/{name} did not leave in time"
            );
        }
        let status = match (&verdict.evict, self.eviction.active.is_empty()) {
            (Some(victim), _) => {
                Some(format!("evicting {}/{}", victim.ranked.namespace, victim.ranked.name))
            }
            (None, false) => {
                let texts: Vec<&str> = verdict
                    .readings
                    .iter()
                    .filter(|reading| reading.active)
                    .map(|reading| reading.text.as_str())
                    .collect();
                let held = verdict.held_back.as_deref().unwrap_or("choosing a pod");
                Some(format!("swap hurts: {} ({held})", texts.join("; ")))
            }
            (None, true) => None,
        };
        self.eviction_status = status;
        if let Some(victim) = verdict.evict {
            self.evict(victim);
        }
    }

    fn evict(&self, victim: Victim) {
        let Victim { ranked, why } = victim;
        let (namespace, name) = (ranked.namespace.clone(), ranked.name.clone());
        let enforced = self.eviction.acts && self.settings.eviction.mode == EvictionMode::Enforce;
        let verb = if enforced { "evicting" } else { "would evict" };
        tracing::warn!(
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = %ranked.uid,
            "{verb} {namespace}/{name}: {why}; of all pods it comes first: {}",
            ranked.why()
        );
        if !enforced {
            return;
        }
        let (roots, settings) = (self.roots.clone(), self.settings.clone());
        let answers = self.eviction.answers.clone();
        tokio::spawn(async move {
            let answer = evict::evict(&roots, &settings, &namespace, &name, &ranked.uid).await;
            // Fails only while the agent ends.
            let _ = answers.send(Answered { uid: ranked.uid, answer });
        });
    }

    pub(super) fn eviction_answered(&mut self, answered: Answered) {
        let Answered { uid, answer } = answered;
        let (namespace, name) = self.names_of(&uid);
        match &answer {
            Answer::Accepted => tracing::info!("{namespace}/{name} is being evicted"),
            Answer::Migrating => tracing::info!("{namespace}/{name} migrates to another node"),
            Answer::Gone => tracing::info!("{namespace}/{name} is gone already"),
            Answer::Budget { .. } => tracing::warn!(
                "{namespace}/{name} may not be evicted now: its PodDisruptionBudget is used up"
            ),
            Answer::Refused(why) => {
                tracing::error!("the API server refuses to evict {namespace}/{name}: {why}");
            }
            Answer::Unreachable(why) => {
                tracing::error!("cannot ask the API server to evict {namespace}/{name}: {why}");
            }
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
    fn see_who_left(&mut self, at: Monotonic) {
        let left: Vec<PodUid> = self
            .eviction
            .evictions
            .in_flight()
            .iter()
            .filter(|pod| pod.stage != Stage::Asked && self.tree.of_pod(&pod.uid).next().is_none())
            .map(|pod| pod.uid.clone())
            .collect();
        for uid in left {
            tracing::info!(pod_uid = %uid, "the evicted pod {uid} has left");
            if self.eviction.evictions.left(&self.settings.eviction, &uid, at) {
                self.eviction.signals.clear();
            }
            self.remember_evictions();
        }
    }

    fn usage(&mut self) -> Vec<PodUsage> {
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
            all.push(PodUsage { uid: uid.clone(), containers });
        }
        all
    }

    fn names_of(&self, uid: &PodUid) -> (String, String) {
        self.pods.get(uid).map_or_else(
            || ("unknown".to_owned(), uid.to_string()),
            |pod| (pod.namespace.to_string(), pod.name.to_string()),
        )
    }

    fn remember_evictions(&mut self) {
        let path = self.roots.evictions();
        let saved = serde_json::to_string(&self.eviction.evictions)
            .map_err(std::io::Error::from)
            .and_then(|text| self.actuator.replace_file(&path, &text, 0o600));
        let failed = saved.err().map(|error| format!("cannot write {}: {error}", path.display()));
        self.problem("evictions", failed);
    }
}
