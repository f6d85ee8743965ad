//! Samples the node, decides whether a pod must leave, asks for it, and sees it leave.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::{
    Agent,
    announce::{Announcer, Wanted},
};
use crate::{
    act::{
        Actuator, evict,
        node::{About, Note},
    },
    config::settings::EvictionMode,
    decide::evict::{
        condition::{Condition, Pressed, Status, no_swap, unknown},
        machine::{Answer, Evictions, InFlight, Inputs, Stage, Verdict, Victim, decide},
        select::Ranked,
        signals::{Reading, Signal, Signals},
    },
    model::{
        host::{Monotonic, Role},
        pod::PodUid,
        pressure::PodUsage,
    },
    observe::{
        bounded::read_bounded,
        pressure::{sample, usage},
        trigger::StallTrigger,
    },
    report::messages,
};

/// So often while a signal is near, something is on its way, or nobody else would tell.
const CLOSELY: Duration = Duration::from_secs(1);
const IN_BETWEEN: Duration = Duration::from_secs(5);
/// So often while nothing is swapped and the kernel tells of stalls.
const SELDOM: Duration = Duration::from_secs(10);
/// A signal above this part of its threshold is near.
const NEAR: f64 = 0.5;
/// How long it is looked at closely after the kernel has told of stalls.
const ALERT: Duration = Duration::from_secs(15);

/// An eviction's answer.
#[derive(Debug)]
pub(super) struct Answered {
    uid: PodUid,
    why: String,
    answer: Answer,
}

/// All about evictions.
#[derive(Debug)]
pub(super) struct Eviction {
    signals: Signals,
    evictions: Evictions,
    active: Vec<Signal>,
    next: Monotonic,
    /// The kernel has told of stalls: until then it is looked at closely.
    alert_until: Monotonic,
    trigger: StallTrigger,
    pressed: Pressed,
    /// `None` in a dry run.
    pub(super) announcer: Option<Announcer>,
    /// As announced last.
    condition: Option<Condition>,
    answers: mpsc::UnboundedSender<Answered>,
    acts: bool,
}

impl Eviction {
    pub(super) fn new(
        roots: &crate::roots::Roots,
        acts: bool,
    ) -> (Self, mpsc::UnboundedReceiver<Answered>) {
        let (answers, receive) = mpsc::unbounded_channel();
        let evictions = read_bounded(&roots.evictions()).ok().flatten();
        let evictions = evictions.and_then(|text| serde_json::from_str(&text).ok());
        let eviction = Self {
            signals: Signals::default(),
            evictions: evictions.unwrap_or_default(),
            active: Vec::new(),
            next: Monotonic::default(),
            alert_until: Monotonic::default(),
            trigger: StallTrigger::default(),
            pressed: Pressed::default(),
            announcer: None,
            condition: None,
            answers,
            acts,
        };
        (eviction, receive)
    }

    /// Returns when the kernel tells that processes begin to wait for memory.
    pub(super) async fn stalled(&self) -> std::io::Result<()> {
        self.trigger.fired().await
    }

    /// When to look again.
    fn pause(&self, now: Monotonic, swapped: bool, readings: &[Reading]) -> Duration {
        let near = readings.iter().any(|reading| reading.active || reading.ratio > NEAR);
        let busy = near || !self.evictions.in_flight().is_empty() || now < self.alert_until;
        match (busy, swapped, self.trigger.is_armed()) {
            (true, ..) | (_, true, false) => CLOSELY,
            (_, false, true) => SELDOM,
            _ => IN_BETWEEN,
        }
    }

    /// Something that counts has changed.
    pub(super) fn look_now(&mut self) {
        self.next = Monotonic::default();
    }

    pub(super) fn in_flight(&self) -> &[InFlight] {
        self.evictions.in_flight()
    }

    pub(super) fn in_the_last_hour(&self) -> usize {
        self.evictions.in_the_last_hour()
    }

    pub(super) fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
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
    /// The kernel has told of stalls.
    pub(super) fn stalls_begin(&mut self) {
        self.eviction.alert_until = self.now() + ALERT;
        self.eviction.look_now();
    }

    pub(super) fn arm_trigger(&mut self) {
        self.eviction.trigger.arm(&self.roots);
    }

    /// Looks at the node, if it is time to.
    pub(super) fn watch_pressure(&mut self) {
        let now = self.now();
        if now < self.eviction.next {
            return;
        }
        if self.settings.eviction.mode == EvictionMode::Off {
            self.eviction.next = now + self.settings.limits.resync;
            self.eviction_status = None;
            self.announce(None);
            return;
        }
        if self.node.swap_bytes == 0 {
            self.eviction.next = now + self.settings.limits.resync;
            self.eviction_status = None;
            self.announce(Some(no_swap()));
            return;
        }
        // The first pod makes the cgroup that it is armed on.
        if !self.eviction.trigger.is_armed() {
            self.arm_trigger();
        }
        match sample(&self.roots, since_boot()) {
            Ok(sample) => {
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
                let Eviction { signals, evictions, pressed, .. } = &mut self.eviction;
                let before = evictions.clone();
                let verdict = decide(&settings, inputs, signals, evictions);
                let changed = *evictions != before;
                let condition =
                    pressed.condition(&verdict.readings, settings.transition, sample.at);
                self.announce(Some(condition));
                let swapped = sample.swap_used_bytes > 0;
                self.eviction.next = now + self.eviction.pause(now, swapped, &verdict.readings);
                let held_back = verdict.held_back.clone();
                self.publisher.sampled(sample, verdict.readings.clone(), held_back);
                self.act_on(verdict);
                if changed {
                    self.remember_evictions();
                }
            }
            Err(error) => {
                self.eviction.next = now + IN_BETWEEN;
                self.eviction.signals.clear();
                let text = format!("{error}; no eviction");
                self.announce(Some(unknown(&text)));
                self.problem("signals", Some(text));
            }
        }
    }

    /// Has the cluster told, and says in the journal what is news.
    fn announce(&mut self, condition: Option<Condition>) {
        let enforced = self.settings.eviction.mode == EvictionMode::Enforce;
        let is_true = |condition: &Option<Condition>| {
            condition.as_ref().is_some_and(|condition| condition.status == Status::True)
        };
        let (now, before) = (is_true(&condition), is_true(&self.eviction.condition));
        if now != before {
            let text = condition.as_ref().map_or("", |condition| condition.message.as_str());
            let (reason, what) = match now {
                true => ("SwapPressure", "the node is under swap pressure"),
                false => ("NoSwapPressure", "the node is no longer under swap pressure"),
            };
            let message = if now { messages::PRESSURE_BEGAN } else { messages::PRESSURE_OVER };
            tracing::info!(message_id = message.id, "{what}: {text}");
            self.note(About::Node, now, reason, format!("{what}: {text}"));
        }
        if let Some(announcer) = &self.eviction.announcer {
            let keep_away = now && enforced;
            announcer.want(Wanted { condition: condition.clone(), keep_away });
        }
        self.eviction.condition = condition;
    }

    fn note(&self, about: About, warning: bool, reason: &'static str, text: String) {
        if let Some(announcer) = &self.eviction.announcer {
            announcer.note(Note { about, warning, reason, text });
        }
    }

    fn note_of_pod(&self, uid: &PodUid, warning: bool, reason: &'static str, text: String) {
        let (namespace, name) = self.names_of(uid);
        let about = About::Pod { namespace, name, uid: uid.to_string() };
        self.note(about, warning, reason, text);
    }

    fn act_on(&mut self, verdict: Verdict) {
        let active: Vec<Signal> =
            verdict.readings.iter().filter(|r| r.active).map(|r| r.signal).collect();
        if active != self.eviction.active {
            for reading in &verdict.readings {
                let signal = reading.signal.to_string();
                match (reading.active, self.eviction.active.contains(&reading.signal)) {
                    (true, false) => {
                        tracing::warn!(
                            message_id = messages::SIGNAL_BEGAN.id,
                            signal,
                            ratio = reading.ratio,
                            value = reading.value,
                            threshold = reading.threshold,
                            "{signal}: {}",
                            reading.text
                        );
                    }
                    (false, true) => {
                        tracing::info!(
                            message_id = messages::SIGNAL_OVER.id,
                            signal,
                            ratio = reading.ratio,
                            value = reading.value,
                            threshold = reading.threshold,
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
        for InFlight { uid, namespace, name, stage, .. } in &verdict.overdue {
            tracing::warn!(
                message_id = messages::POD_OVERDUE.id,
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

    fn evict(&mut self, victim: Victim) {
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
    fn see_who_left(&mut self, at: Monotonic) {
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

    pub(super) fn names_of(&self, uid: &PodUid) -> (String, String) {
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
