//! Logs and reports what a look at the node has found.

use super::{DRAINED_RECENTLY, Eviction};
use crate::{
    act::events::{EventSubject, PodReference},
    agent::{announce::AnnounceWanted, effects::Effects, lookup::Lookup},
    config::settings::{EvictionMode, EvictionSettings, SchedulingGuard, Signal},
    decide::evict::{
        condition::{ConditionValue, SwapCondition},
        flight::InFlight,
        verdict::MachineVerdict,
        workload::Returned,
    },
    messages,
    model::{
        clock::SinceStart,
        event::EventReason,
        trouble::{Problem, Trouble},
    },
    observe::clock::since_boot,
};

impl Eviction {
    /// Reports the condition to the cluster, and logs changes.
    pub(super) fn announce(
        &mut self,
        effects: &impl Effects,
        settings: &EvictionSettings,
        condition: Option<SwapCondition>,
    ) {
        let enforced = settings.mode == EvictionMode::Enforce;
        let is_true = |condition: &Option<SwapCondition>| {
            condition.as_ref().is_some_and(|condition| condition.status == ConditionValue::True)
        };
        let (now, before) = (is_true(&condition), is_true(&self.condition));
        if now != before {
            const OFF: &str =
                "the agent does not measure it any more, because eviction.mode = \"off\"";
            let text = condition.as_ref().map_or(OFF, |condition| condition.message.as_str());
            let (reason, what) = match now {
                true => (EventReason::SwapPressure, "the node is under swap pressure"),
                false if condition.is_none() => {
                    (EventReason::NoSwapPressure, "swap pressure of the node is unknown")
                }
                false => (EventReason::NoSwapPressure, "the node is no longer under swap pressure"),
            };
            match now {
                true => messages::PressureBegan.emit(format_args!("{what}: {text}")),
                false => messages::PressureOver.emit(format_args!("{what}: {text}")),
            }
            effects.tell(EventSubject::Node, now, reason, format!("{what}: {text}"));
        }
        let told = settings.guard != SchedulingGuard::None;
        let others_leave =
            self.drained.is_some_and(|seen| since_boot().since(seen) < DRAINED_RECENTLY);
        effects.announce(AnnounceWanted {
            condition: condition.clone().filter(|_| told),
            keep_away: now && enforced,
            others_leave,
            drained: others_leave && self.emptied,
        });
        self.condition = condition;
    }

    /// Logs and reports what has changed, and follows what is active.
    pub(super) fn see_verdict(
        &mut self,
        effects: &impl Effects,
        known: Lookup<'_>,
        verdict: &MachineVerdict,
        now: SinceStart,
    ) {
        let active: Vec<Signal> =
            verdict.readings.iter().filter(|r| r.active).map(|r| r.signal).collect();
        if active != self.active {
            for reading in &verdict.readings {
                let (signal, name) = (reading.signal.to_string(), reading.signal.word());
                match (reading.active, self.active.contains(&reading.signal)) {
                    (true, false) => {
                        messages::SignalBegan {
                            signal: &name,
                            ratio: &reading.ratio,
                            value: &reading.value,
                            threshold: &reading.threshold,
                        }
                        .emit(format_args!("{signal}: {}", reading.text));
                    }
                    (false, true) => {
                        messages::SignalOver {
                            signal: &name,
                            ratio: &reading.ratio,
                            value: &reading.value,
                            threshold: &reading.threshold,
                        }
                        .emit(format_args!("{signal} is over: {}", reading.text));
                    }
                    _ => {}
                }
            }
            self.active = active;
            // The next look reads the pods, which this verdict did not have.
            self.next = now;
        }
        for InFlight { uid, namespace, name, stage, .. } in &verdict.overdue {
            messages::PodOverdue {
                pod_namespace: &namespace,
                pod_name: &name,
                pod_uid: &uid,
                stage: &stage.word(),
            }
            .emit(format_args!("pod {namespace}/{name} did not leave in time"));
            let pod = PodReference {
                namespace: namespace.clone(),
                name: name.clone(),
                uid: uid.to_string(),
            };
            let text = format!("{namespace}/{name} did not leave in time");
            effects.tell(EventSubject::Pod(pod), true, EventReason::SwapEvictionOverdue, text);
        }
        for Returned { workload, pod, name } in &verdict.returned {
            let text = format!(
                "{name} is back on this node: evicting pods of {workload} does not relieve it; \
                 the agent evicts none for an hour"
            );
            let (pod_namespace, pod_name) = known.names_of(pod);
            messages::WorkloadReturned {
                pod_namespace: &pod_namespace,
                pod_name: &pod_name,
                pod_uid: &pod,
                workload: &workload,
            }
            .emit(format_args!("{text}"));
            effects.tell(
                EventSubject::PodOfNode(known.reference(pod)),
                true,
                EventReason::SwapEvictionInVain,
                text,
            );
        }
        let status = match (&verdict.evict, self.active.is_empty()) {
            (Some(victim), _) => {
                let pod = format!("{}/{}", victim.ranked.namespace, victim.ranked.name);
                let explain = format!("wasp-agent explain {pod}");
                Some(
                    Problem::new(Trouble::Eviction, format!("asking to evict {pod}"))
                        .with_remedy(vec![explain]),
                )
            }
            (None, false) => {
                let texts: Vec<&str> = verdict
                    .readings
                    .iter()
                    .filter(|reading| reading.active)
                    .map(|reading| reading.text.as_str())
                    .collect();
                let held = verdict.held_back.as_deref().unwrap_or("choosing a pod");
                let text = format!("swap pressure: {} ({held})", texts.join("; "));
                let problem = Problem::new(Trouble::Eviction, text);
                Some(match verdict.look.is_empty() {
                    true => problem,
                    false => problem.with_remedy(verdict.look.clone()),
                })
            }
            (None, true) => None,
        };
        self.status = status;
    }
}
