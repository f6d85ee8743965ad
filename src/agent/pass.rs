//! One pass over the containers and pods that may have changed.

use std::{collections::BTreeSet, time::Duration};

use super::{Agent, effects::Effects, limit_news::tell_notice, lookup::Lookup};
use crate::{
    act::{Written, systemd},
    decide::{
        decision::{Action, Decision, Snapshot},
        grant::grant,
        limits::decide,
    },
    errors::FileError,
    messages,
    model::{
        host::{ContainerFacts, Holder, PodFacts, Role},
        pod::{Pod, PodUid},
        published::Counters,
        swap::{SwapMax, human_bytes},
        trouble::{Problem, Trouble},
    },
    observe::node,
};

/// Interval for retrying a limit that could not be read or written.
const RETRY: Duration = Duration::from_secs(1);

impl<E: Effects> Agent<E> {
    /// Observes the holders that may have changed (the dirty ones), decides, and acts.
    pub(super) fn pass(&mut self, thorough: bool) {
        if self.limits.dirty.is_empty() {
            return;
        }
        let began = self.now();
        let (facts, slices) = self.observe();
        let levels = facts.iter().map(|facts| facts.levels.len()).sum::<usize>();
        self.recorder.verified(levels + slices.len());
        self.limits.pass_began = began;
        let (node, swap_is_certain) = self.granting.granted_from(self.settings.grants, self.node);
        let snapshot = Snapshot {
            node,
            pods: &self.pods,
            containers: &facts,
            slices: &slices,
            suspensions: self.suspend.pods(),
            swap_is_certain,
            thorough,
        };
        let now = self.now();
        let new: Vec<Holder> = facts
            .iter()
            .filter(|facts| !thorough && matches!(facts.role, Role::Container(_)))
            .map(|facts| Holder::Container(facts.id.clone()))
            .filter(|owner| self.limits.state.get(owner).is_none())
            .collect();
        let state = std::mem::take(&mut self.limits.state);
        let (state, decision) = decide(&self.settings, snapshot, state, now);
        self.limits.state = state;
        tracing::debug!(
            containers = facts.len(),
            pods = slices.len(),
            actions = decision.actions.len(),
            micros = u64::try_from(self.now().since(now).as_micros()).unwrap_or(u64::MAX),
            "pass"
        );
        self.publisher.count_starts(&new, &decision);
        self.act(decision);
        let took = self.now().since(now);
        self.publisher.counters.passed(took.as_secs_f64());
    }

    /// Reads the dirty holders, and the pods of dirty containers.
    fn observe(&mut self) -> (Vec<ContainerFacts>, Vec<PodFacts>) {
        let (mut containers, mut pods) = (Vec::new(), Vec::new());
        let mut of_pods: BTreeSet<PodUid> = BTreeSet::new();
        for owner in std::mem::take(&mut self.limits.dirty) {
            match &owner {
                Holder::Container(id) => {
                    let uid = self.tree.pod_of(id).cloned();
                    let pod = uid.as_ref().and_then(|uid| self.pods.get(uid)).cloned();
                    let found = self.tree.facts(id, pod.as_deref());
                    containers.extend(self.observed(owner, found));
                    of_pods.extend(uid);
                }
                Holder::Pod(uid) => {
                    of_pods.insert(uid.clone());
                }
            }
        }
        for uid in of_pods {
            let found = self.tree.pod_facts(&uid);
            pods.extend(self.observed(Holder::Pod(uid), found));
        }
        (containers, pods)
    }

    fn observed<T>(&mut self, owner: Holder, found: Result<Option<T>, FileError>) -> Option<T> {
        // This look schedules the next one again if needed.
        self.limits.again.forget(&owner);
        match found {
            Ok(found) => {
                if self.limits.is_unread(&owner) {
                    let known = Lookup { pods: &self.pods, tree: &self.tree };
                    self.limits.limit_works(known, &owner);
                }
                found
            }
            Err(error) => {
                let text = format!("{error}; its limit is not known, trying again");
                let known = Lookup { pods: &self.pods, tree: &self.tree };
                self.limits.limit_failed(known, &owner, None, &text);
                self.limits.again.at(self.now() + RETRY, owner);
                None
            }
        }
    }

    fn act(&mut self, decision: Decision) {
        let now = self.now();
        let known = Lookup { pods: &self.pods, tree: &self.tree };
        for action in decision.actions {
            match action {
                Action::TellSystemd { owner, unit, path, to } => {
                    self.effects.tell_systemd(systemd::UnitRequest { owner, unit, path, to });
                }
                Action::WriteLimit { owner, path, level, inode, from, to, cause } => {
                    match self.effects.write_limit(&path, inode, to) {
                        Ok(Written::Now) => {
                            self.limits.limit_works(known, &owner);
                            Counters::add(
                                &mut self.publisher.counters.limits_written,
                                cause.word(),
                            );
                            let took = self.clock.now().since(self.limits.pass_began);
                            let contended = self.limits.is_contended(&owner);
                            let pod = known.name_of(&owner);
                            let what = (&*pod, &*level.to_string(), from);
                            self.recorder.written(cause, what, took, contended);
                            self.limits.tell_written(known, &owner, level, (from, to), cause);
                        }
                        Ok(Written::Already | Written::Gone) => {
                            self.limits.limit_works(known, &owner);
                        }
                        Err(error) => {
                            let text = format!("{error}; trying again");
                            self.limits.limit_failed(known, &owner, Some(to), &text);
                            self.limits.again.at(now + RETRY, owner);
                        }
                    }
                }
            }
        }
        for notice in decision.notices {
            tell_notice(known, &notice, self.settings.limits.repair);
        }
        for (at, owner) in decision.again {
            self.limits.again.at(at, owner);
        }
        for (until, owner) in decision.deaf_until {
            self.tree.deafen(&owner);
            self.limits.deaf.at(until, owner);
        }
    }

    pub(super) fn systemd_answered(&mut self, answer: systemd::UnitAnswer) {
        let systemd::UnitAnswer { owner, asked, outcome } = answer;
        let now = self.now();
        match &outcome {
            Ok(held) => {
                if let systemd::HeldLimit::Instead { of } = held {
                    tracing::debug!(?owner, swap_max = %asked, before = %of, "systemd has the limit");
                }
                self.health.problem(Trouble::Systemd, None);
            }
            Err(error) => self.health.problem(Trouble::Systemd, Some(error.to_string())),
        }
        self.limits.state.systemd_answered(&owner, asked, outcome.is_ok(), now);
        // cgroupfs shows the effect of systemd's answer, and a rejection is retried later.
        if self.limits.state.get(&owner).is_some() {
            self.limits.dirty.insert(owner);
        }
    }

    /// Reads RAM and swap; a change of either changes every grant.
    pub(super) fn read_node(&mut self) {
        match node::memory(&self.roots) {
            Ok(memory) => {
                self.health.problem(Trouble::Memory, None);
                if memory != self.node {
                    let devices: Vec<String> = node::swap_devices(&self.roots)
                        .iter()
                        .map(|swap| format!("{} {}", swap.path, human_bytes(swap.size_bytes)))
                        .collect();
                    messages::SwapChanged {
                        swap_bytes: &memory.swap_bytes,
                        swap_bytes_before: &self.node.swap_bytes,
                    }
                    .emit(format_args!(
                        "the node's swap changed from {} to {}: {}",
                        human_bytes(self.node.swap_bytes),
                        human_bytes(memory.swap_bytes),
                        if devices.is_empty() {
                            "no device".to_owned()
                        } else {
                            devices.join(", ")
                        }
                    ));
                    self.node = memory;
                    self.everything_is_dirty();
                    self.check_swap();
                    self.check_kubelet();
                    self.check_hook();
                    self.eviction.look_now();
                }
            }
            Err(error) => self.health.problem(Trouble::Memory, Some(error.to_string())),
        }
    }

    pub(super) fn everything_is_dirty(&mut self) {
        self.limits.dirty.extend(self.tree.owners());
        for pod in self.pods.values().cloned().collect::<Vec<_>>() {
            self.record(&pod);
        }
    }

    /// Publishes a pod's grants.
    pub(super) fn record(&mut self, pod: &std::sync::Arc<Pod>) {
        let (node, _) = self.granting.granted_from(self.settings.grants, self.node);
        // Even an old hook that could not be removed must give no swap.
        let in_doubt = self.settings.grants == crate::config::settings::Grants::Auto;
        let grants = pod
            .containers
            .iter()
            .map(|container| {
                let grant = grant(&self.settings.grant_rules(), &node, pod, container);
                let swap_max = if in_doubt { SwapMax::ZERO } else { grant.swap_max };
                (container.name.clone(), swap_max)
            })
            .collect();
        // All failed records give one problem.
        let _ = self.limits.records.save(&self.effects, pod, grants);
        self.report_records(None);
    }

    /// Publishes records that could not be written before.
    pub(super) fn record_the_rest(&mut self) {
        let rest: Vec<_> =
            self.limits.records.unwritten().filter_map(|uid| self.pods.get(uid)).cloned().collect();
        rest.iter().for_each(|pod| self.record(pod));
    }

    /// Keeps pods that the API server has deleted while they have cgroups: a pod that is leaving
    /// keeps its grants.
    pub(super) fn forget_pods_that_left(&mut self) {
        let left: BTreeSet<_> = self
            .api
            .deleted
            .iter()
            .filter(|uid| self.tree.of_pod(uid).next().is_none())
            .filter(|uid| self.tree.folder_of(uid).is_none())
            .cloned()
            .collect();
        for uid in left {
            self.forget_pod(&uid);
        }
    }

    /// Forgets a pod that has left, or that cannot be read any more, and removes its record.
    pub(super) fn forget_pod(&mut self, uid: &PodUid) {
        self.api.deleted.remove(uid);
        self.pods.remove(uid);
        let failed = self.limits.records.remove(&self.effects, uid);
        self.report_records(failed.err().as_ref());
    }

    /// Reports records that could not be written, or the one that could not be removed.
    fn report_records(&mut self, failed: Option<&FileError>) {
        let records = &self.limits.records;
        let failed = failed.map(|error| (error.to_string(), error.remedy_of_write()));
        let problem = failed
            .or_else(|| records.trouble())
            .map(|(text, remedy)| Problem::new(Trouble::Records, text).with_remedy(remedy));
        self.health.problem_is(Trouble::Records, problem);
    }
}
