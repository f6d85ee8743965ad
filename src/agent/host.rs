//! What the host lacks, and what on it works against the agent.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Agent, late_swap::SERVICE, protection};
use crate::{
    act::{Actuator, tunables},
    config::settings::{EvictionMode, GrantSettings, Grants, Policy, SchedulingGuard, SwapKind},
    decide::{
        devices::{failing, order},
        kubelet::{
            commands_to_set, fails_with_swap, grants_otherwise, in_force, memory_threshold,
            unusable,
        },
        obstacles::{limit_above_pods, overcommit, swappiness, throttled},
        pods::{lost_pods, without_cgroup, without_limit},
        provision::{Wanted, shortage},
        rivals::{daemonset, others_swap, others_watermarks},
        tunables::{alignment, swap_not_reached},
    },
    messages,
    model::{
        host::NodeMemory,
        kubelet::{KubeletConfig, Teller},
        plain::plain,
        pod::{ContainerId, PodUid},
        published,
        runtime::Runtime,
        trouble::{Problem, Trouble},
        watermarks::Watermarks,
    },
    observe::{
        accounting::swap_control, check::swap::areas, crio, hooks, kubelet, obstacles::obstacles,
        rivals::rivals, tree::Changes, zoneinfo,
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
        let missing = if cgroup2 { swap_control(&self.roots).lacks() } else { Some(missing) };
        // A cgroup that is being made has none for a moment.
        let lacking: BTreeSet<ContainerId> = self.tree.without_limit().cloned().collect();
        let for_long = lacking.intersection(&self.without_limit).count();
        self.without_limit = lacking;
        let missing = missing.map(str::to_owned).or_else(|| without_limit(for_long));
        self.problem(Trouble::Cgroup, missing);
        let pressure = std::fs::read(self.roots.proc("pressure/memory")).is_ok();
        let missing = "no pressure-stall information (boot with psi=1)";
        self.problem(Trouble::Pressure, (!pressure).then(|| missing.to_owned()));
        self.check_swap();
        self.check_rivals();
        self.check_guard();
        let found = obstacles(&self.roots);
        let above = limit_above_pods(&found, self.node.swap_bytes).or_else(|| throttled(&found));
        self.problem_is(Trouble::PodsLimit, above);
        self.problem_is(Trouble::Swappiness, swappiness(&found));
        self.problem_is(Trouble::OvercommitMemory, overcommit(&found));
        self.check_kubelet();
        // A kubelet that runs tells itself.
        if self.kubelet.is_by_unit() {
            self.ask_for_kubelet();
        }
        self.check_pods();
        self.check_hook();
    }

    /// Who else sets swap limits or makes swap.
    pub(super) fn check_rivals(&mut self) {
        let runtime = crio::runtime(&self.roots);
        let folders = match &runtime {
            Ok(Runtime::Crio(folders)) => &folders[..],
            _ => &[],
        };
        // Before the folders are read: what comes meanwhile is noticed.
        self.installed.watch_others(&self.roots, folders);
        let others = rivals(&self.roots);
        let wanted =
            Wanted::new(self.settings.swap.size, self.node.ram_bytes, self.node.page_bytes);
        let configured = wanted.is_some() || self.settings.swap.kind == SwapKind::Partition;
        let swap = others_swap(&others, &self.settings).filter(|_| configured);
        // Known from the API server before its first container starts.
        let pods = self.pods.values().filter(|pod| {
            let trusted = &*pod.namespace == "wasp" || pod.namespace.starts_with("openshift-");
            trusted && pod.name.starts_with("wasp-agent-") && pod.container("wasp-agent").is_some()
        });
        let daemonset = daemonset(pods.map(|pod| (&*pod.namespace, &*pod.name)));
        let daemonset = daemonset.map(|text| Problem::new(Trouble::Rival, text));
        let foreign = hooks::foreign(&self.roots, folders);
        let foreign = foreign.first().map(|(file, why)| {
            let file = file.display();
            Problem::new(Trouble::Rival, format!("another hook, {file}: {why}"))
                .with_remedy(vec![format!("mv {file} {file}.off")])
        });
        let left = hooks::rival(&self.roots).map(|text| {
            let files = hooks::rival_files(&self.roots);
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let remedy = [
                "# first: oc delete daemonset -n wasp wasp-agent".to_owned(),
                format!("rm {}", files.join(" ")),
            ];
            Problem::new(Trouble::Rival, text).with_remedy(remedy.into())
        });
        let others = swap.map(|text| Problem::new(Trouble::Rival, text));
        self.problem_is(Trouble::Rival, daemonset.or(left).or(foreign).or(others));
    }

    /// A cordon or a taint that is configured, and not applied.
    fn check_guard(&mut self) {
        let eviction = &self.settings.eviction;
        let guard = match eviction.guard {
            SchedulingGuard::Cordon => "cordon",
            SchedulingGuard::Taint => "taint",
            SchedulingGuard::None | SchedulingGuard::Condition => "",
        };
        let mode = match eviction.mode {
            EvictionMode::Enforce => "",
            EvictionMode::Observe => "observe",
            EvictionMode::Off => "off",
        };
        let problem = (!guard.is_empty() && !mode.is_empty()).then(|| {
            let text = format!(
                "eviction.scheduling-guard = {guard:?} has no effect, since eviction.mode = {mode:?}"
            );
            let drop_in = "/etc/wasp-agent/config.d/99-check-guard.toml";
            let remedy = vec![
                format!(r#"printf '[eviction]\nscheduling-guard = "condition"\n' > {drop_in}"#),
                "systemctl reload wasp-agent".to_owned(),
            ];
            Problem::new(Trouble::Guard, text).with_remedy(remedy)
        });
        self.problem_is(Trouble::Guard, problem);
    }

    pub(super) fn check_swap(&mut self) {
        let late = self.check_late_swap();
        self.problem(Trouble::Swap, late.or_else(|| shortage(&self.settings.swap, &self.node)));
        let areas = areas(&self.roots);
        self.problem_is(Trouble::SwapDisk, failing(&areas));
        self.problem_is(Trouble::SwapDevices, order(&areas));
    }

    /// What the kubelet's configuration says about swap, which decides who grants.
    pub(super) fn check_kubelet(&mut self) {
        let config = match self.kubelet.config(&self.roots, &self.settings) {
            Ok(config) => config,
            Err(error) => {
                // Whoever granted before goes on. Who grants by the configuration of the agent alone needs
                // to ask nobody.
                if self.settings.grants == Grants::Auto && self.configured.0 == Grants::Agent {
                    self.grants_now(self.configured.clone());
                }
                let text = match self.settings.grants {
                    Grants::Auto => format!(
                        "{error}; until it can be read nobody knows whether the kubelet grants swap, and \
                         the agent raises no limit"
                    ),
                    Grants::Agent | Grants::Kubelet => error,
                };
                self.problem(Trouble::Kubelet, Some(text));
                return;
            }
        };
        if let Some(config) = &config {
            self.look_below(&config.pods_roots());
        }
        let process = config.as_ref().and_then(|config| match config.told_by {
            Teller::Process(process) => Some(process),
            Teller::LastProcess(_) | Teller::Unit(_) | Teller::Environment(_) | Teller::Nobody => {
                None
            }
        });
        self.kubelet_swap.kubelet_is(process, self.node.swap_bytes, self.now());
        self.grants_now(in_force(self.configured.clone(), config.as_ref()));
        let known = config.as_ref().map(acted_on).unwrap_or_default();
        if self.publisher.kubelet != known {
            self.publisher.kubelet = known;
            self.published_is_stale();
        }
        let otherwise =
            config.as_ref().and_then(|config| grants_otherwise(self.configured.clone(), config));
        let fails = config.as_ref().and_then(fails_with_swap).filter(|_| self.node.swap_bytes > 0);
        let unusable = config.as_ref().and_then(unusable);
        self.problem_is(
            Trouble::Kubelet,
            config.as_ref().and_then(|config| {
                let problem = |text, key: &str, origin, value, flag| {
                    Problem::new(Trouble::Kubelet, text)
                        .with_remedy(commands_to_set(config, origin, key, value, flag))
                };
                let (behavior, fail_swap_on) = (&config.swap_behavior, &config.fail_swap_on);
                let wanted = match self.configured.0 {
                    Grants::Kubelet => "LimitedSwap",
                    Grants::Agent | Grants::Auto => "NoSwap",
                };
                otherwise
                    .clone()
                    .map(|text| {
                        problem(text, "memorySwap.swapBehavior", &behavior.origin, wanted, "")
                    })
                    .or_else(|| {
                        let flag = "--fail-swap-on";
                        Some(problem(fails?, "failSwapOn", &fail_swap_on.origin, "false", flag))
                    })
                    .or_else(|| Some(Problem::new(Trouble::Kubelet, unusable?)))
            }),
        );
        self.check_kubelet_swap();
        let threshold = memory_threshold(config.as_ref(), self.node.ram_bytes);
        let watermarks = zoneinfo::watermarks(&self.roots, self.node.page_bytes).ok();
        let late = watermarks.and_then(|watermarks| self.align_watermarks(&watermarks, threshold));
        self.problem(Trouble::Watermarks, late);
    }

    /// Has the watermarks aligned where the kubelet's threshold or the swap has changed; what is to be
    /// told where the kubelet evicts first.
    fn align_watermarks(&mut self, watermarks: &Watermarks, threshold: u64) -> Option<String> {
        if self.node.swap_bytes == 0 {
            return None;
        }
        let kernel = self.settings.kernel;
        let others = others_watermarks(&rivals(&self.roots), &self.settings);
        if kernel.align_watermarks && others.is_none() {
            // Where the file cannot be read, wasp-swap.service reports it.
            let before = tunables::before(&self.roots).ok();
            let changes = before.and_then(|before| alignment(watermarks, threshold, &before));
            let changes = changes.unwrap_or_default();
            // Once for each change: if it does not help, asking again does not either.
            if !changes.is_empty() && self.alignment != changes {
                messages::ProvisionStep.emit(format_args!(
                    "the kernel's watermarks do not fit the kubelet's threshold: {SERVICE} is restarted to \
                     align them"
                ));
                self.actuator.restart_unit(SERVICE);
            }
            self.alignment = changes;
        }
        swap_not_reached(&kernel, watermarks, threshold)
    }

    /// Asks systemd for the kubelet's unit; the answer comes later.
    pub(super) fn ask_for_kubelet(&self) {
        let (roots, send) = (self.roots.clone(), self.kubelet_units.clone());
        tokio::spawn(async move {
            // Fails only while the agent ends.
            let _ = send.send(kubelet::service(&roots).await);
        });
    }

    pub(super) fn kubelet_unit_is(&mut self, unit: Option<kubelet::Service>) {
        if self.kubelet.unit != unit {
            self.kubelet.unit = unit;
            self.check_kubelet();
        }
    }

    /// Who sets the limits from now on, and by which rule.
    fn grants_now(&mut self, (grants, grant): (Grants, GrantSettings)) {
        let before = self.settings.grants;
        if before == grants && self.settings.grant == grant {
            return;
        }
        let nobody = grant.policy == Policy::None;
        (self.settings.grants, self.settings.grant) = (grants, grant);
        self.everything_is_dirty();
        if before == grants {
            return;
        }
        messages::Grants { grants: &grants.word() }.emit(format_args!(
            "{} (grants = \"{}\")",
            match grants {
                Grants::Kubelet if nobody =>
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
        self.problem(Trouble::KubeletSwap, outdated.filter(|_| by_kubelet));
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
        self.problem(Trouble::LostPods, text);
    }

    pub(super) fn protection_says(&mut self, report: protection::Report) {
        self.problem(Trouble::Protection, report.problem.clone());
        self.problem_is(Trouble::Oomd, report.oomd.clone());
        // Whoever tells systemd of limits reports the same.
        if report.bus.is_some() || self.protection.bus.is_some() {
            self.problem(Trouble::Systemd, report.bus.clone());
        }
        self.protection = report;
    }
}
