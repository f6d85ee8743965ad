//! One pass over the containers and pods that may have changed.

use crate::model::counted::counted;
use std::{collections::BTreeSet, time::Duration};

use super::{Agent, effects::Effects};
use crate::{
    act::{Written, systemd},
    decide::{
        decision::{Action, Cause, Decision, Notice, Snapshot},
        grant::grant,
        limits::decide,
    },
    errors::FileError,
    messages,
    model::{
        clock::SinceStart,
        host::{CgroupLevel, ContainerFacts, Holder, PodFacts, Role},
        pod::{Pod, PodUid},
        published::Counters,
        swap::{SwapMax, human_bytes},
        trouble::Trouble,
    },
    observe::node,
};

/// Interval for retrying a limit that could not be read or written.
const RETRY: Duration = Duration::from_secs(1);

impl<E: Effects> Agent<E> {
    /// Observes the dirty holders, decides, and acts.
    pub(super) fn pass(&mut self, thorough: bool) {
        if self.limits.dirty.is_empty() {
            return;
        }
        let began = self.started.elapsed();
        let (facts, slices) = self.observe();
        let levels = facts.iter().map(|facts| facts.levels.len()).sum::<usize>();
        self.recorder.verified(levels + slices.len());
        self.limits.pass_began = SinceStart(began);
        let (node, swap_is_certain) = self.granted_from();
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
        self.count_starts(&new, &decision);
        self.act(decision);
        let took = self.started.elapsed().saturating_sub(now.0);
        self.publisher.counters.passed(took.as_secs_f64());
    }

    /// Counts new containers by whether the hook had set the right limit.
    fn count_starts(&mut self, new: &[Holder], decision: &Decision) {
        let corrected = |new: &&Holder| {
            decision
                .actions
                .iter()
                .any(|action| matches!(action, Action::WriteLimit { owner, .. } if owner == *new))
        };
        let corrected = new.iter().filter(corrected).count() as u64;
        let counters = &mut self.publisher.counters;
        counters.starts_corrected += corrected;
        counters.starts_right += new.len() as u64 - corrected;
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
                    self.limit_works(&owner);
                }
                found
            }
            Err(error) => {
                let text = format!("{error}; its limit is not known, trying again");
                self.limit_failed(&owner, None, text);
                self.limits.again.at(self.now() + RETRY, owner);
                None
            }
        }
    }

    fn act(&mut self, decision: Decision) {
        for action in decision.actions {
            match action {
                Action::TellSystemd { owner, unit, path, to } => {
                    self.effects.tell_systemd(systemd::UnitRequest { owner, unit, path, to });
                }
                Action::WriteLimit { owner, path, level, inode, from, to, cause } => {
                    match self.effects.write_limit(&path, inode, to) {
                        Ok(Written::Now) => {
                            self.limit_works(&owner);
                            self.tell_written(&owner, level, from, to, cause);
                        }
                        Ok(Written::Already | Written::Gone) => self.limit_works(&owner),
                        Err(error) => {
                            self.limit_failed(&owner, Some(to), format!("{error}; trying again"));
                            self.limits.again.at(self.now() + RETRY, owner);
                        }
                    }
                }
            }
        }
        for notice in decision.notices {
            self.tell(&notice);
        }
        for (at, owner) in decision.again {
            self.limits.again.at(at, owner);
        }
        for (until, owner) in decision.deaf_until {
            self.tree.deafen(&owner);
            self.limits.deaf.at(until, owner);
        }
    }

    /// Logs a failure once, and counts it from then on.
    fn limit_failed(&mut self, owner: &Holder, to: Option<SwapMax>, text: String) {
        if !self.limits.failed(owner, to, &text) {
            return;
        }
        let pod = self.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        messages::LimitFailed {
            pod_namespace: &namespace,
            pod_name: &name,
            pod_uid: messages::optional(&self.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
            swap_max: messages::optional(&to),
        }
        .emit(format_args!("{text}"));
    }

    fn limit_works(&mut self, owner: &Holder) {
        let Some(failures) = self.limits.works(owner) else { return };
        let pod = self.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        let whose = match owner {
            Holder::Container(_) => "a container of",
            Holder::Pod(_) => "pod",
        };
        messages::LimitWorks {
            pod_namespace: &namespace,
            pod_name: &name,
            failures: &failures,
            pod_uid: messages::optional(&self.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
        }
        .emit(format_args!(
            "the limit of {whose} {namespace}/{name} can be read and set again, after {}",
            counted(failures, "failure", "failures")
        ));
    }

    fn tell_written(
        &mut self,
        owner: &Holder,
        level: CgroupLevel,
        from: SwapMax,
        to: SwapMax,
        cause: Cause,
    ) {
        Counters::add(&mut self.publisher.counters.limits_written, cause.word());
        let pod = self.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        let state = self.limits.state.get(owner);
        let contended = state.is_some_and(|state| state.contended);
        let took = self.started.elapsed().saturating_sub(self.limits.pass_began.0);
        let whose = (&*format!("{namespace}/{name}"), &*level.to_string(), from);
        self.recorder.written(cause, whose, took, contended);
        if cause == Cause::Drift && state.is_some_and(|state| state.contended) {
            tracing::debug!(?owner, swap_max = %to, "repaired again");
            return;
        }
        // Every pod's cgroup begins without a limit.
        if cause == Cause::Found && level == CgroupLevel::Pod {
            tracing::debug!(?owner, swap_max = %to, "limited a pod's cgroup");
            return;
        }
        let why = state.map(|state| state.grant.reason.to_string()).unwrap_or_default();
        messages::LimitSet {
            pod_namespace: &namespace,
            pod_name: &name,
            swap_max: &to,
            swap_max_before: &from,
            cause: &cause.word(),
            pod_uid: messages::optional(&self.uid_of(owner)),
            container_id: messages::optional(&owner.container()),
        }
        .emit(format_args!(
            "set memory.swap.max of {namespace}/{name}'s {level} from {from} to {to}: {why}"
        ));
    }

    fn uid_of<'a>(&'a self, owner: &'a Holder) -> Option<&'a str> {
        let uid = owner.pod().or_else(|| self.tree.pod_of(owner.container()?));
        uid.map(PodUid::as_str)
    }

    pub(super) fn pod_of(&self, owner: &Holder) -> Option<std::sync::Arc<Pod>> {
        let uid = owner.pod().or_else(|| self.tree.pod_of(owner.container()?));
        uid.and_then(|uid| self.pods.get(uid)).cloned()
    }

    fn tell(&self, notice: &Notice) {
        let (Notice::AboveGrant { owner, .. }
        | Notice::BackWithinGrant { owner }
        | Notice::Contended { owner, .. }
        | Notice::Differs { owner, .. }) = notice;
        let pod = self.pod_of(owner);
        let (namespace, name) = names(pod.as_deref());
        let whose = whose(owner);
        let text = match (notice, owner) {
            (Notice::AboveGrant { used_bytes, grant, .. }, Holder::Container(_)) => format!(
                "uses {used_bytes} bytes of swap, above its grant of {grant}; its limit follows \
                 its use down, because with a lower limit the kernel would kill it"
            ),
            (Notice::AboveGrant { used_bytes, grant, .. }, Holder::Pod(_)) => format!(
                "holds {used_bytes} bytes of swap, more than the {grant} that its containers may \
                 have together: memory that outlived a container; its limit follows its use \
                 down, because with a lower limit the kernel would kill its containers"
            ),
            (Notice::BackWithinGrant { .. }, _) => {
                messages::WithinGrant {
                    pod_namespace: &namespace,
                    pod_name: &name,
                    pod_uid: messages::optional(&self.uid_of(owner)),
                    container_id: messages::optional(&owner.container()),
                }
                .emit(format_args!("{whose} {namespace}/{name} is within its swap grant again"));
                return;
            }
            (Notice::Contended { found, wanted, .. }, _) => format!(
                "another writer keeps setting its memory.swap.max to {found} instead of {wanted} \
                 (a second agent? a swap hook? the kubelet's own LimitedSwap?); the agent now \
                 repairs it once a second"
            ),
            (Notice::Differs { found, expected, .. }, _) => format!(
                "has memory.swap.max {found}, but the kubelet's LimitedSwap gives {expected}; the \
                 agent does not change it ({})",
                if self.settings.limits.repair {
                    "the swap that the kubelet counts is not known for certain"
                } else {
                    "limits.repair = false"
                }
            ),
        };
        let (pod_uid, container_id) = (self.uid_of(owner), owner.container());
        let (pod_namespace, pod_name): (&dyn std::fmt::Display, &dyn std::fmt::Display) =
            (&namespace, &name);
        let (pod_uid, container_id) =
            (messages::optional(&pod_uid), messages::optional(&container_id));
        let text = format_args!("{whose} {namespace}/{name}: {text}");
        match notice {
            Notice::Contended { .. } => {
                messages::LimitFought { pod_namespace, pod_name, pod_uid, container_id }.emit(text);
            }
            Notice::Differs { .. } => {
                messages::LimitDiffers { pod_namespace, pod_name, pod_uid, container_id }
                    .emit(text);
            }
            Notice::AboveGrant { .. } | Notice::BackWithinGrant { .. } => {
                messages::AboveGrant { pod_namespace, pod_name, pod_uid, container_id }.emit(text);
            }
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
                self.problem(Trouble::Systemd, None);
            }
            Err(error) => self.problem(Trouble::Systemd, Some(error.to_string())),
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
                self.problem(Trouble::Memory, None);
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
            Err(error) => self.problem(Trouble::Memory, Some(error.to_string())),
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
        let (node, _) = self.granted_from();
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
        self.problem(Trouble::Records, self.limits.records.trouble());
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
        let failed = failed.err().map(|error| error.to_string());
        self.problem(Trouble::Records, failed.or_else(|| self.limits.records.trouble()));
    }
}

/// Words before the pod's name.
fn whose(owner: &Holder) -> &'static str {
    match owner {
        Holder::Container(_) => "container of",
        Holder::Pod(_) => "pod",
    }
}

fn names(pod: Option<&Pod>) -> (&str, &str) {
    pod.map_or(("unknown", "unknown"), |pod| (&*pod.namespace, &*pod.name))
}
