//! One pass over the containers that may have changed.

use std::{collections::BTreeSet, time::Duration};

use super::Agent;
use crate::{
    act::{Actuator, Written, systemd},
    decide::{
        decision::{Action, Cause, Decision, Notice, Snapshot},
        grant::grant,
        limits::decide,
    },
    model::{
        host::{ContainerFacts, Level, Role},
        plain::plain,
        pod::{ContainerId, Pod},
        published::{Counters, TROUBLES},
        swap::{SwapMax, human_bytes},
    },
    observe::node,
    report::{messages, status},
};

/// When a limit that could not be read or written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A limit that could not be read or set.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was said of it.
    text: String,
    times: u64,
    /// `None` where it could not be read.
    to: Option<SwapMax>,
}

impl<A: Actuator> Agent<A> {
    /// Observes the dirty containers, decides, and acts.
    pub(super) fn pass(&mut self, thorough: bool) {
        if self.dirty.is_empty() {
            return;
        }
        let facts = self.observe();
        let snapshot = Snapshot { node: self.node, pods: &self.pods, containers: &facts, thorough };
        let now = self.now();
        let new: Vec<ContainerId> = facts
            .iter()
            .filter(|facts| !thorough && matches!(facts.role, Role::Container(_)))
            .filter(|facts| self.state.get(&facts.id).is_none())
            .map(|facts| facts.id.clone())
            .collect();
        let state = std::mem::take(&mut self.state);
        let (state, decision) = decide(&self.settings, snapshot, state, now);
        self.state = state;
        tracing::debug!(
            containers = facts.len(),
            actions = decision.actions.len(),
            micros = u64::try_from(self.now().since(now).as_micros()).unwrap_or(u64::MAX),
            "pass"
        );
        self.count_starts(&new, &decision);
        self.act(decision);
        let took = self.started.elapsed().saturating_sub(now.0);
        self.publisher.counters.passed(took.as_secs_f64());
    }

    /// Whether the hook has left containers that began just now as they should be.
    fn count_starts(&mut self, new: &[ContainerId], decision: &Decision) {
        let corrected = |id: &&ContainerId| {
            decision.actions.iter().any(
                |action| matches!(action, Action::WriteLimit { container, .. } if container == *id),
            )
        };
        let corrected = new.iter().filter(corrected).count() as u64;
        let counters = &mut self.publisher.counters;
        counters.starts_corrected += corrected;
        counters.starts_right += new.len() as u64 - corrected;
    }

    fn observe(&mut self) -> Vec<ContainerFacts> {
        let mut facts = Vec::with_capacity(self.dirty.len());
        for id in std::mem::take(&mut self.dirty) {
            // What it is to be looked at for again, this look says anew.
            self.timers.again.forget(&id);
            let pod = self.tree.pod_of(&id).and_then(|uid| self.pods.get(uid)).cloned();
            match self.tree.facts(&id, pod.as_deref()) {
                Ok(found) => {
                    if self.failures.get(&id).is_some_and(|failure| failure.to.is_none()) {
                        self.limit_works(&id);
                    }
                    facts.extend(found);
                }
                Err(error) => {
                    let text = format!("{error}; its limit is not known, trying again");
                    self.limit_failed(&id, None, text);
                    self.timers.again.at(self.now() + RETRY, id);
                }
            }
        }
        facts
    }

    fn act(&mut self, decision: Decision) {
        for action in decision.actions {
            match action {
                Action::TellSystemd { container, unit, path, to } => {
                    self.actuator.tell_systemd(systemd::Request { container, unit, path, to });
                }
                Action::WriteLimit { container, path, level, inode, from, to, cause } => match self
                    .actuator
                    .write_limit(&path, inode, to)
                {
                    Ok(Written::Now) => {
                        self.limit_works(&container);
                        self.tell_written(&container, level, from, to, cause);
                    }
                    Ok(Written::Already | Written::Gone) => self.limit_works(&container),
                    Err(error) => {
                        self.limit_failed(&container, Some(to), format!("{error}; trying again"));
                        self.timers.again.at(self.now() + RETRY, container);
                    }
                },
            }
        }
        for notice in decision.notices {
            self.tell(&notice);
        }
        for (at, id) in decision.again {
            self.timers.again.at(at, id);
        }
        for (until, id) in decision.deaf_until {
            self.tree.deafen(&id);
            self.timers.deaf.at(until, id);
        }
    }

    /// Said once, and counted from then on.
    fn limit_failed(&mut self, id: &ContainerId, to: Option<SwapMax>, text: String) {
        let times = self.failures.get(id).map_or(0, |failure| failure.times) + 1;
        let failure = Failure { text: text.clone(), times, to };
        let before = self.failures.insert(id.clone(), failure);
        if before.is_some_and(|before| before.text == text) {
            return;
        }
        let pod = self.pod_of(id);
        let (namespace, name) = names(pod.as_deref());
        tracing::error!(
            message_id = messages::LIMIT_FAILED.id,
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = pod.as_ref().map(|pod| pod.uid.as_str()),
            container_id = %id,
            swap_max = to.map(tracing::field::display),
            "{text}"
        );
    }

    fn limit_works(&mut self, id: &ContainerId) {
        let Some(Failure { times: failures, .. }) = self.failures.remove(id) else { return };
        let pod = self.pod_of(id);
        let (namespace, name) = names(pod.as_deref());
        tracing::info!(
            message_id = messages::LIMIT_WORKS.id,
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = pod.as_ref().map(|pod| pod.uid.as_str()),
            container_id = %id,
            failures,
            "the limit of a container of {namespace}/{name} works again, after {failures} failures"
        );
    }

    fn tell_written(
        &mut self,
        id: &ContainerId,
        level: Level,
        from: SwapMax,
        to: SwapMax,
        cause: Cause,
    ) {
        Counters::add(&mut self.publisher.counters.limits_written, cause.name());
        let pod = self.pod_of(id);
        let (namespace, name) = names(pod.as_deref());
        let state = self.state.get(id);
        if cause == Cause::Drift && state.is_some_and(|state| state.contended) {
            tracing::debug!(container_id = %id, swap_max = %to, "repaired again");
            return;
        }
        let why = state.map(|state| state.grant.reason.to_string()).unwrap_or_default();
        tracing::info!(
            message_id = messages::LIMIT_SET.id,
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = pod.as_ref().map(|pod| pod.uid.as_str()),
            container_id = %id,
            swap_max = %to,
            swap_max_before = %from,
            cause = ?cause,
            "set memory.swap.max of {namespace}/{name}'s {level} from {from} to {to}: {why}",
        );
    }

    fn pod_of(&self, id: &ContainerId) -> Option<std::sync::Arc<Pod>> {
        self.tree.pod_of(id).and_then(|uid| self.pods.get(uid)).cloned()
    }

    fn tell(&self, notice: &Notice) {
        let (Notice::AboveGrant { container, .. }
        | Notice::BackWithinGrant { container }
        | Notice::Contended { container, .. }
        | Notice::Differs { container, .. }) = notice;
        let pod = self.pod_of(container);
        let (namespace, name) = names(pod.as_deref());
        let text = match notice {
            Notice::AboveGrant { used_bytes, grant, .. } => format!(
                "uses {used_bytes} bytes of swap, above its grant of {grant}; its limit follows its \
                 use down, since a lower one would get it OOM-killed"
            ),
            Notice::BackWithinGrant { .. } => {
                tracing::info!(
                    message_id = messages::WITHIN_GRANT.id,
                    pod_namespace = namespace,
                    pod_name = name,
                    pod_uid = pod.as_ref().map(|pod| pod.uid.as_str()),
                    container_id = %container,
                    "container of {namespace}/{name} is within its swap grant again"
                );
                return;
            }
            Notice::Contended { found, wanted, .. } => format!(
                "another writer keeps setting its memory.swap.max to {found} instead of {wanted} \
                 (a second agent? a swap hook? the kubelet's own LimitedSwap?); now repaired once a \
                 second"
            ),
            Notice::Differs { found, expected, .. } => format!(
                "has memory.swap.max {found}, LimitedSwap gives {expected}; left alone, since \
                 grants = \"kubelet\""
            ),
        };
        let message = match notice {
            Notice::Contended { .. } => messages::LIMIT_FOUGHT,
            Notice::Differs { .. } => messages::LIMIT_DIFFERS,
            Notice::AboveGrant { .. } | Notice::BackWithinGrant { .. } => messages::ABOVE_GRANT,
        };
        tracing::warn!(
            message_id = message.id,
            pod_namespace = namespace,
            pod_name = name,
            pod_uid = pod.as_ref().map(|pod| pod.uid.as_str()),
            container_id = %container,
            "container of {namespace}/{name}: {text}"
        );
    }

    pub(super) fn systemd_answered(&mut self, answer: systemd::Answer) {
        let systemd::Answer { container, asked, outcome } = answer;
        let now = self.now();
        match &outcome {
            Ok(held) => {
                if let systemd::Held::Instead { of } = held {
                    tracing::debug!(container_id = %container, swap_max = %asked, before = %of, "systemd told");
                }
                self.problem("systemd", None);
            }
            Err(error) => self.problem("systemd", Some(error.clone())),
        }
        self.state.systemd_answered(&container, asked, outcome.is_ok(), now);
        // What systemd made of it is verified in cgroupfs, and a refusal has its next try.
        if self.state.get(&container).is_some() {
            self.dirty.insert(container);
        }
    }

    /// Reads RAM and swap; a change of either changes every grant.
    pub(super) fn read_node(&mut self) {
        match node::memory(&self.roots) {
            Ok(memory) => {
                self.problem("memory", None);
                if memory != self.node {
                    let devices: Vec<String> = node::swap_devices(&self.roots)
                        .iter()
                        .map(|swap| format!("{} {}", swap.path, human_bytes(swap.size_bytes)))
                        .collect();
                    tracing::info!(
                        message_id = messages::SWAP_CHANGED.id,
                        swap_bytes = memory.swap_bytes,
                        swap_bytes_before = self.node.swap_bytes,
                        "the node's swap changed from {} to {}: {}",
                        human_bytes(self.node.swap_bytes),
                        human_bytes(memory.swap_bytes),
                        if devices.is_empty() {
                            "no device".to_owned()
                        } else {
                            devices.join(", ")
                        }
                    );
                    self.node = memory;
                    self.everything_is_dirty();
                    self.check_hook();
                    self.eviction.look_now();
                }
            }
            Err(error) => self.problem("memory", Some(error.to_string())),
        }
    }

    pub(super) fn everything_is_dirty(&mut self) {
        self.dirty.extend(self.tree.ids().cloned());
        for pod in self.pods.values().cloned().collect::<Vec<_>>() {
            self.record(&pod);
        }
    }

    /// Publishes a pod's grants.
    pub(super) fn record(&mut self, pod: &std::sync::Arc<Pod>) {
        let grants = pod
            .containers
            .iter()
            .map(|container| {
                let grant = grant(&self.settings.grant, &self.node, pod, container);
                (container.name.clone(), grant.swap_max)
            })
            .collect();
        // It is said of all of them together.
        let _ = self.records.save(pod, grants);
        self.problem("records", self.records.trouble());
    }

    /// Publishes what could not be published before.
    pub(super) fn record_the_rest(&mut self) {
        let rest: Vec<_> =
            self.records.unwritten().filter_map(|uid| self.pods.get(uid)).cloned().collect();
        rest.iter().for_each(|pod| self.record(pod));
    }

    /// A problem comes (`Some`) or goes; each is logged once.
    pub(super) fn problem(&mut self, about: &'static str, problem: Option<String>) {
        // It may quote files, systemd and the API server.
        match problem.map(|text| plain(&text).into_owned()) {
            Some(text) if self.problems.get(about) == Some(&text) => {}
            Some(text) => {
                self.published_is_stale();
                tracing::warn!(message_id = messages::TROUBLE_BEGAN.id, about, "{text}");
                self.problems.insert(about, text);
            }
            None => {
                if let Some(text) = self.problems.remove(about) {
                    self.published_is_stale();
                    tracing::info!(
                        message_id = messages::TROUBLE_OVER.id,
                        about,
                        "no longer: {text}"
                    );
                }
            }
        }
    }

    pub(super) fn report(&mut self) {
        // Each pod is logged by itself.
        match self.api.unreadable() {
            Some(text) => drop(self.problems.insert("pods", text)),
            None => drop(self.problems.remove("pods")),
        }
        let mut problems: Vec<String> = self.eviction_status.clone().into_iter().collect();
        problems.extend(self.api.problem());
        let troubles: Vec<&'static str> =
            TROUBLES.into_iter().filter(|about| self.problems.contains_key(about)).collect();
        problems.extend(troubles.iter().filter_map(|about| self.problems.get(about).cloned()));
        let facts = status::Facts {
            protected: &self.protection.protected,
            settings: &self.settings,
            node: self.node,
            state: &self.state,
            pods: self.pods.len(),
            problems,
        };
        let line = status::line(&facts);
        let problems = facts.problems;
        self.timers.status = self.notifier.status(&line, self.now());
        self.publish(&line, &problems, &troubles);
    }

    /// Pods that the API has deleted are kept while their containers run: what is leaving keeps
    /// what it had.
    pub(super) fn forget_pods_that_left(&mut self) {
        let left: BTreeSet<_> = self
            .api
            .deleted
            .iter()
            .filter(|uid| self.tree.of_pod(uid).next().is_none())
            .cloned()
            .collect();
        for uid in left {
            self.api.deleted.remove(&uid);
            self.pods.remove(&uid);
            let failed = self.records.remove(&uid).err().map(|error| error.to_string());
            self.problem("records", failed.or_else(|| self.records.trouble()));
        }
    }
}

fn names(pod: Option<&Pod>) -> (&str, &str) {
    pod.map_or(("unknown", "unknown"), |pod| (&*pod.namespace, &*pod.name))
}
