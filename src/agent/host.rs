//! What the host lacks, and what on it works against the agent.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Agent, protection};
use crate::{
    act::Actuator,
    config::settings::{GrantSettings, Grants, Policy, Settings, SwapKind},
    decide::{
        kubelet::{fails_with_swap, grants_otherwise, in_force, memory_threshold, unusable},
        pods::{lost_pods, without_cgroup},
        provision::{Wanted, shortage},
        rivals::{daemonset, others_swap},
        tunables::swap_not_reached,
    },
    messages,
    model::{
        host::NodeMemory,
        kubelet::{KubeletConfig, Teller},
        plain::plain,
        pod::PodUid,
        published,
    },
    observe::{
        accounting::{NO_SWAP_CONTROLLER, limits_swap},
        hooks, kubelet,
        rivals::rivals,
        tree::Changes,
        zoneinfo,
    },
};

fn acted_on(config: &KubeletConfig) -> published::Kubelet {
    let values = config.values().into_iter().map(|(key, value, origin)| published::KubeletValue {
        key,
        value: plain(&value).into_owned(),
        from: origin.to_string(),
    });
    published::Kubelet {
        source: config.described(),
        values: values.collect(),
        ..Default::default()
    }
}

/// A pod's cgroup is there before the kubelet reports that it runs.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

impl<A: Actuator> Agent<A> {
    /// Looks again at what does not tell when it changes.
    pub(super) fn check_host(&mut self) {
        let cgroup2 = self.roots.cgroup().join("cgroup.controllers").exists();
        let missing = "cgroup v2 is not mounted at /sys/fs/cgroup, no limit can be set (boot with \
                       systemd.unified_cgroup_hierarchy=1)";
        let missing = match limits_swap(&self.roots) {
            _ if !cgroup2 => Some(missing),
            Some(false) => Some(NO_SWAP_CONTROLLER),
            _ => None,
        };
        self.problem("cgroup", missing.map(str::to_owned));
        let pressure = std::fs::read(self.roots.proc("pressure/memory")).is_ok();
        let missing = "no pressure-stall information (boot with psi=1)";
        self.problem("pressure", (!pressure).then(|| missing.to_owned()));
        self.check_swap();
        let others = rivals(&self.roots);
        let wanted =
            Wanted::new(self.settings.swap.size, self.node.ram_bytes, self.node.page_bytes);
        let configured = wanted.is_some() || self.settings.swap.kind == SwapKind::Partition;
        let swap = others_swap(&others, &self.settings).filter(|_| configured);
        // Known from the API server before its first container starts.
        let pods = self.pods.values().filter(|pod| {
            pod.name.starts_with("wasp-agent-") && pod.container("wasp-agent").is_some()
        });
        let daemonset = daemonset(pods.map(|pod| (&*pod.namespace, &*pod.name)));
        self.problem("rival", daemonset.or_else(|| hooks::rival(&self.roots)).or(swap));
        self.check_kubelet();
        self.check_pods();
        self.check_hook();
    }

    pub(super) fn check_swap(&mut self) {
        let late = self.check_late_swap();
        self.problem("swap", late.or_else(|| shortage(&self.settings.swap, &self.node)));
    }

    /// What the kubelet's configuration says about swap, which decides who grants.
    pub(super) fn check_kubelet(&mut self) {
        let unit = self.kubelet_unit.as_ref();
        let config = match kubelet::config_of(&self.roots, &self.settings, unit) {
            Ok(config) => config,
            Err(error) => {
                // Whoever granted before goes on. Who grants by the configuration of the agent alone needs
                // to ask nobody.
                if self.settings.grants == Grants::Auto && self.configured.0 == Grants::Agent {
                    self.grants_now(self.configured);
                }
                let text = match self.settings.grants {
                    Grants::Auto => format!(
                        "{error}; until it can be read nobody knows whether the kubelet grants swap, and \
                         the agent sets no limit"
                    ),
                    Grants::Agent | Grants::Kubelet => error,
                };
                self.problem("kubelet", Some(text));
                return;
            }
        };
        if let Some(config) = &config {
            self.look_below(&config.pods_roots());
        }
        let process = config.as_ref().and_then(|config| match config.told_by {
            Teller::Process(process) => Some(process),
            Teller::Unit(_) | Teller::Environment(_) | Teller::Nobody => None,
        });
        self.kubelet_swap.kubelet_is(process, self.node.swap_bytes, self.now());
        self.grants_now(in_force(self.configured, config.as_ref()));
        let known = config.as_ref().map(acted_on).unwrap_or_default();
        if self.publisher.kubelet != known {
            self.publisher.kubelet = known;
            self.published_is_stale();
        }
        let otherwise =
            config.as_ref().and_then(|config| grants_otherwise(self.configured, config));
        let fails = config.as_ref().and_then(fails_with_swap).filter(|_| self.node.swap_bytes > 0);
        let unusable = config.as_ref().and_then(unusable);
        self.problem("kubelet", otherwise.or(fails).or(unusable));
        self.check_kubelet_swap();
        let watermarks = zoneinfo::watermarks(&self.roots, self.node.page_bytes).ok();
        let threshold = memory_threshold(config.as_ref(), self.node.ram_bytes);
        let late = watermarks.and_then(|watermarks| swap_not_reached(&watermarks, threshold));
        self.problem("watermarks", late.filter(|_| self.node.swap_bytes > 0));
    }

    /// Who sets the limits from now on, and by which rule.
    fn grants_now(&mut self, (grants, grant): (Grants, GrantSettings)) {
        let Settings { grants: before, grant: rule, .. } = self.settings;
        if (before, rule) == (grants, grant) {
            return;
        }
        (self.settings.grants, self.settings.grant) = (grants, grant);
        self.everything_is_dirty();
        if before == grants {
            return;
        }
        messages::Grants { grants: &grants.word() }.emit(format_args!(
            "{} (grants = \"{}\")",
            match grants {
                Grants::Kubelet if grant.policy == Policy::None =>
                    "nobody grants swap: that is left to the kubelet, which does not",
                Grants::Kubelet =>
                    "the kubelet grants swap; the agent compares its limits and repairs them",
                Grants::Agent | Grants::Auto => "the agent grants swap",
            },
            self.configured.0.word()
        ));
        self.check_hook();
        self.published_is_stale();
    }

    /// The node as whoever grants counts it, and whether that is certain.
    pub(super) fn granted_from(&self) -> (NodeMemory, bool) {
        if self.settings.grants != Grants::Kubelet {
            return (self.node, true);
        }
        let (swap_bytes, certain) = self.kubelet_swap.bytes(self.node.swap_bytes);
        (NodeMemory { swap_bytes, ..self.node }, certain)
    }

    /// Whether the kubelet grants shares of what the node has, or of what it had.
    pub(super) fn check_kubelet_swap(&mut self) {
        let by_kubelet = self.settings.grants == Grants::Kubelet;
        let (NodeMemory { swap_bytes, .. }, _) = self.granted_from();
        if self.granted_from_bytes != swap_bytes {
            self.granted_from_bytes = swap_bytes;
            self.everything_is_dirty();
        }
        let outdated = self.kubelet_swap.is_outdated(self.node.swap_bytes);
        self.problem("kubelet-swap", outdated.filter(|_| by_kubelet));
    }

    /// Has pods' cgroups looked for where the kubelet makes them.
    fn look_below(&mut self, pods: &[PathBuf]) {
        if self.roots.pods() == pods {
            return;
        }
        self.roots = self.roots.with_pods(pods);
        let mut changes = Changes::default();
        self.tree.look_below(&self.roots, &mut changes);
        self.cgroups_changed(changes);
        self.everything_is_dirty();
    }

    /// Running pods whose cgroups are not where they should be, after a while.
    pub(super) fn check_pods(&mut self) {
        let now = self.now();
        let has_cgroup = |uid: &PodUid| self.tree.of_pod(uid).next().is_some();
        let lost: BTreeSet<PodUid> = match self.api.is_fresh() {
            // Not to know is not to have found: those that were lost stay, unless they are found.
            false => self.lost.keys().filter(|uid| !has_cgroup(uid)).cloned().collect(),
            true => without_cgroup(&self.pods, has_cgroup),
        };
        self.lost.retain(|uid, _| lost.contains(uid) && self.pods.contains_key(uid));
        let lost = lost.into_iter().filter(|uid| self.pods.contains_key(uid)).collect::<Vec<_>>();
        for uid in lost {
            self.lost.entry(uid).or_insert(now);
        }
        let count = self.lost.values().filter(|since| now.since(**since) >= LOST_AFTER).count();
        let text = (count > 0).then(|| lost_pods(count, self.roots.pods()));
        self.problem("lost-pods", text);
    }

    pub(super) fn protection_says(&mut self, report: protection::Report) {
        self.problem("protection", report.problem.clone());
        self.problem("oomd", report.oomd.clone());
        self.protection = report;
    }
}
