//! Checks the host: its missing features, and programs that work against the agent.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Agent, effects::Effects, events::Event, late_swap::SERVICE, protection};
use crate::{
    act::tunables,
    config::settings::{
        EvictionMode, EvictionSettings, GrantSettings, Grants, Policy, SchedulingGuard, Settings,
        SwapKind,
    },
    decide::{
        check::swap_control_remedy,
        devices::{failing, full, order},
        grant::swap_for_pods,
        hook::{put_aside, unknown_runtime},
        kubelet::{
            by_journal, commands_to_set, fails_with_swap, grants_otherwise, grants_remedy,
            hides_pods, in_force, memory_threshold,
        },
        kubelet_refuses::refuses,
        leftovers::remains,
        obstacles::{limit_above_pods, overcommit, swappiness, throttled},
        pods::{lost_pods, without_cgroup, without_limit},
        provision::{ProvisionRefusal, device_remedy, is_configured, shortage, shortage_remedy},
        remedy::{boot_with, set},
        rivals::{OthersSwap, daemonset, others_swap, others_watermarks},
        tunables::{Tunable, alignment, swap_not_reached},
        unreadable::unreadable_state,
    },
    messages,
    model::{
        host::NodeMemory,
        kubelet::{KubeletConfig, Teller},
        origin::Origins,
        plain::plain,
        pod::{ContainerId, PodUid},
        published,
        runtime::Runtime,
        shell,
        trouble::{Problem, Trouble},
        watermarks::Watermarks,
    },
    observe::{
        accounting::swap_control, check::swap::areas_again, crio, disks::device_number, hooks,
        kubelet, node, obstacles::obstacles, rivals::rivals, settings::origins, tree::Changes,
        zoneinfo,
    },
    provision::{Provisioning, alone::Alone, ledger::has_provisioned},
    roots::Roots,
    state,
};

fn acted_on(config: &KubeletConfig) -> published::KubeletStatus {
    let values = config.values().into_iter().map(|(key, value, origin)| published::KubeletValue {
        key,
        value: plain(&value).into_owned(),
        from: origin.to_string(),
    });
    published::KubeletStatus {
        source: config.described(),
        values: values.collect(),
        minor: config.minor,
        ..Default::default()
    }
}

/// Time from the appearance of a pod's cgroup to the kubelet's report that the pod runs.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

/// The changes of watermarks last requested from wasp-swap.service.
#[derive(Debug, Default)]
pub(super) struct Alignment(Vec<Tunable>);

impl Alignment {
    /// Makes wasp-swap.service align the watermarks if the kubelet's threshold or the swap has
    /// changed; returns a problem if the kubelet evicts before the kernel swaps.
    fn check(
        &mut self,
        effects: &impl Effects,
        roots: &Roots,
        settings: &Settings,
        watermarks: &Watermarks,
        threshold: u64,
        node: &NodeMemory,
    ) -> Option<String> {
        let kernel = settings.kernel;
        let rivals = rivals(roots);
        let others = others_watermarks(&rivals, settings);
        // The restart would make swap again that an administrator has removed, beside other swap.
        let makes_swap = is_configured(&settings.swap, node)
            && others_swap(&rivals, settings, node).is_none()
            && (settings.swap.kind != SwapKind::Partition
                || device_number(roots, &settings.swap.path).is_some())
            && !has_provisioned(roots).unwrap_or(true);
        if kernel.align_watermarks && others.is_none() && !makes_swap {
            // wasp-swap.service reports a file that cannot be read.
            let before = tunables::before(roots).ok();
            let changes = before.and_then(|before| alignment(watermarks, threshold, &before));
            let changes = changes.unwrap_or_default();
            // Once for each change: if it does not help, repeating it does not either.
            if !changes.is_empty() && self.0 != changes {
                messages::ProvisionStep.emit(format_args!(
                    "the kernel's watermarks do not fit the kubelet's threshold: restarting \
                     {SERVICE} to align them"
                ));
                effects.restart_unit(SERVICE);
            }
            self.0 = changes;
        }
        swap_not_reached(&kernel, watermarks, threshold)
    }
}

/// Reports a configured cordon or taint that is not in place.
fn idle_guard(eviction: &EvictionSettings, origins: &Origins) -> Option<Problem> {
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
    (!guard.is_empty() && !mode.is_empty()).then(|| {
        let text = format!(
            "eviction.scheduling-guard = {guard:?} has no effect, because eviction.mode = \
             {mode:?}"
        );
        let keys = [("eviction.scheduling-guard", "\"condition\"")];
        Problem::new(Trouble::Guard, text).with_remedy(set(origins, "guard", &keys))
    })
}

impl<E: Effects> Agent<E> {
    /// Checks the parts of the host that give no notification.
    pub(super) fn check_host(&mut self) {
        let cgroup2 = self.roots.cgroup().join("cgroup.controllers").exists();
        let missing = "cgroup v2 is not mounted at /sys/fs/cgroup, so the agent cannot set limits \
            (boot with systemd.unified_cgroup_hierarchy=1)";
        let origins = origins(&self.roots);
        let control = swap_control(&self.roots);
        let boot = |argument| boot_with(&self.system, argument);
        let missing = match (cgroup2, control.lacks()) {
            (false, _) => Some(
                Problem::new(Trouble::Cgroup, missing)
                    .with_remedy(boot("systemd.unified_cgroup_hierarchy=1")),
            ),
            (true, lacks) => lacks.map(|text| {
                Problem::new(Trouble::Cgroup, text)
                    .with_remedy(swap_control_remedy(&self.system, control))
            }),
        };
        // A new cgroup has no such file for a moment.
        let lacking: BTreeSet<ContainerId> = self.tree.without_limit().cloned().collect();
        let for_long = lacking.intersection(&self.limits.without_limit).count();
        self.limits.without_limit = lacking;
        let missing = missing.or_else(|| {
            let remedy = swap_control_remedy(&self.system, control);
            Some(Problem::new(Trouble::Cgroup, without_limit(for_long)?).with_remedy(remedy))
        });
        self.health.problem_is(Trouble::Cgroup, missing);
        let pressure = std::fs::read(self.roots.proc("pressure/memory")).is_ok();
        let missing = "no pressure stall information (boot with psi=1)";
        let missing = (!pressure)
            .then(|| Problem::new(Trouble::Pressure, missing).with_remedy(boot("psi=1")));
        self.health.problem_is(Trouble::Pressure, missing);
        self.check_settings();
        self.check_swap();
        self.check_rivals();
        self.health.problem_is(Trouble::State, unreadable_state(&state::unreadable(&self.roots)));
        let runtime = crio::default_runtime(&self.roots).ok().flatten();
        let drop_ins = crio::drop_ins(&self.roots);
        let unknown =
            runtime.as_ref().and_then(|found| unknown_runtime(&self.system, &drop_ins, found));
        self.health.problem_is(Trouble::Runtime, unknown);
        self.health.problem_is(Trouble::Guard, idle_guard(&self.settings.eviction, &origins));
        let found = obstacles(&self.roots);
        let swap_bytes = swap_for_pods(&self.settings.grant_rules(), &self.node);
        let above = limit_above_pods(&found, swap_bytes).or_else(|| throttled(&found));
        self.health.problem_is(Trouble::PodsLimit, above);
        self.health
            .problem_is(Trouble::Swappiness, swappiness(&found, self.settings.kernel.swappiness));
        self.health.problem_is(Trouble::OvercommitMemory, overcommit(&found));
        self.check_kubelet();
        // A running kubelet is its own source.
        if self.granting.kubelet.is_by_unit() {
            self.ask_for_kubelet();
        }
        self.check_pods();
        self.check_hook();
    }

    /// Finds other programs that set swap limits or make swap.
    pub(super) fn check_rivals(&mut self) {
        let runtime = crio::runtime(&self.roots);
        let folders = match &runtime {
            Ok(Runtime::Crio(folders)) => &folders[..],
            _ => &[],
        };
        // Watch before reading the directories, so that no change in between is missed.
        self.installed.watch_others(&self.roots, folders);
        let others = rivals(&self.roots);
        let swap = match others_swap(&others, &self.settings, &self.node) {
            Some(OthersSwap::Contradicts(why)) => Some(why),
            Some(OthersSwap::Serves) | None => None,
        };
        self.health.problem(Trouble::OtherSwap, swap);
        // The agent knows the pod from the API server before its first container starts.
        let pods = self.pods.values().filter(|pod| {
            let trusted = &*pod.namespace == "wasp" || pod.namespace.starts_with("openshift-");
            trusted && pod.name.starts_with("wasp-agent-") && pod.container("wasp-agent").is_some()
        });
        let daemonset = daemonset(pods.map(|pod| (&*pod.namespace, &*pod.name)));
        let daemonset = daemonset.map(|text| Problem::new(Trouble::Rival, text));
        let foreign = hooks::foreign(&self.roots, folders);
        let foreign = foreign.iter().map(|(file, why)| {
            Problem::new(Trouble::Rival, format!("another hook, {}: {why}", file.display()))
                .with_remedy(vec![put_aside(file)])
        });
        let left = hooks::leftovers(&self.roots, &self.settings.swap.path);
        let areas = areas_again(&self.roots, &mut self.swapfiles);
        let left = remains(&left, &self.system, &areas, node::available_bytes(&self.roots));
        self.health.problem_is(Trouble::Leftovers, left);
        let left = hooks::rival(&self.roots).map(|text| {
            let files = hooks::rival_files(&self.roots);
            let files: Vec<String> = files.iter().map(|file| shell::path(file)).collect();
            let remedy = [
                "# first: oc delete daemonset -n wasp wasp-agent".to_owned(),
                format!("rm {}", files.join(" ")),
            ];
            Problem::new(Trouble::Rival, text).with_remedy(remedy.into())
        });
        let all = daemonset.into_iter().chain(left).chain(foreign).collect();
        self.health.problem_is(Trouble::Rival, Problem::joined(all));
    }

    pub(super) fn check_swap(&mut self) {
        let late = self.late_swap.check(&self.effects, &self.roots, &self.settings.swap);
        let missing = late.map_or_else(
            || self.swap_missing(),
            |text| {
                let remedy = device_remedy(&self.system, &self.settings.swap.path);
                Some(Problem::new(Trouble::Swap, text).with_remedy(remedy))
            },
        );
        for about in [Trouble::Swap, Trouble::NoSwap] {
            self.health.problem_is(about, missing.clone().filter(|found| found.about == about));
        }
        let areas = areas_again(&self.roots, &mut self.swapfiles);
        let available = node::available_bytes(&self.roots);
        self.health.problem_is(Trouble::SwapFull, full(&areas));
        self.health.problem_is(Trouble::SwapDisk, failing(&areas, available));
        self.health.problem_is(Trouble::SwapDevices, order(&areas, available));
    }

    /// Reports swap that is missing, by the reason why it cannot be made, if there is one.
    fn swap_missing(&self) -> Option<Problem> {
        let text = shortage(&self.settings.swap, &self.node)?;
        let is_asked_for =
            self.node.swap_bytes > 0 || is_configured(&self.settings.swap, &self.node);
        let about = if is_asked_for { Trouble::Swap } else { Trouble::NoSwap };
        let remedy = shortage_remedy(&self.settings.swap, &self.node, &origins(&self.roots));
        let problem = Problem::new(about, text).with_remedy(remedy);
        // The kubelet's configuration is a problem of its own.
        if self.health.has(Trouble::Kubelet) {
            return Some(problem);
        }
        let provisioning = Provisioning {
            roots: &self.roots,
            settings: &self.settings,
            kubelet_unit: None,
            dry_run: true,
            progress: &|_, _| {},
        };
        let refusal = match provisioning.preview() {
            Ok(None) => None,
            // The unit's own /dev has no disks: `late_swap` reports a device that is missing.
            Ok(Some(plan)) => plan
                .kept
                .filter(|refusal| !matches!(refusal, ProvisionRefusal::NoDevice { .. }))
                .map(|refusal| refusal.to_string()),
            Err(error) => Some(error.to_string()),
        };
        Some(match refusal {
            None => problem,
            Some(text) => {
                let remedy = vec!["wasp-agent provision --dry-run".to_owned()];
                Problem { text, ..problem }.with_remedy(remedy)
            }
        })
    }

    /// Reads the kubelet's configuration for swap, which decides which program grants.
    pub(super) fn check_kubelet(&mut self) {
        let config = self.granting.kubelet.config(&self.roots, &self.settings);
        let config = config
            .map_err(|error| (error.to_string(), error.remedy(&self.system)))
            .map(|config| config.map(|config| config.of_version(self.eviction.node.kubelet_minor)));
        let refused = config.as_ref().ok().and_then(Option::as_ref).and_then(refuses);
        let refused = refused.map(|why| Err((why, by_journal(&self.system))));
        let config = match refused.unwrap_or(config) {
            Ok(config) => config,
            Err((error, remedy)) => {
                // The granting program stays the same.
                let text = match self.settings.grants {
                    Grants::Auto => format!(
                        "{error}; until the agent can read a configuration with which the kubelet \
                         starts, it does not know whether the kubelet sets swap limits, and raises \
                         no limit"
                    ),
                    Grants::Agent | Grants::Kubelet if self.granting.kubelet_was_read => format!(
                        "{error}; until the agent can read a configuration with which the kubelet \
                         starts, the agent applies and shows what it read last"
                    ),
                    Grants::Agent | Grants::Kubelet => error,
                };
                let problem = Problem::new(Trouble::Kubelet, text).with_remedy(remedy);
                self.health.problem_is(Trouble::Kubelet, Some(problem));
                return;
            }
        };
        self.granting.kubelet_was_read |= config.is_some();
        if let Some(config) = &config {
            self.look_below(&config.pods_roots());
        }
        let process = config.as_ref().and_then(|config| match config.told_by {
            Teller::Process(process) => Some(process),
            Teller::LastProcess(_) | Teller::Unit(_) | Teller::Environment(_) | Teller::Nobody => {
                None
            }
        });
        let now = self.now();
        self.granting.kubelet_swap.kubelet_is(process, &self.node, now);
        self.grants_now(in_force(self.granting.configured.clone(), config.as_ref()));
        let known = config.as_ref().map(acted_on).unwrap_or_default();
        if self.publisher.kubelet != known {
            self.publisher.kubelet = known;
            self.publisher.mark_stale();
        }
        let otherwise = config
            .as_ref()
            .and_then(|config| grants_otherwise(self.granting.configured.clone(), config));
        let fails = config
            .as_ref()
            .and_then(fails_with_swap)
            .filter(|_| self.node.swap_bytes > 0 || is_configured(&self.settings.swap, &self.node));
        let hides_pods = config.as_ref().and_then(hides_pods);
        self.health.problem_is(
            Trouble::Kubelet,
            config.as_ref().and_then(|config| {
                let (system, origin) = (&self.system, &config.fail_swap_on.origin);
                let allow_swap = || {
                    let flag = "--fail-swap-on";
                    commands_to_set(system, config, origin, "failSwapOn", "false", flag)
                };
                let by_journal = by_journal(&self.system);
                let all = [
                    hides_pods
                        .map(|text| Problem::new(Trouble::Kubelet, text).with_remedy(by_journal)),
                    fails
                        .map(|text| Problem::new(Trouble::Kubelet, text).with_remedy(allow_swap())),
                    otherwise.map(|text| {
                        let grants = self.granting.configured.0;
                        Problem::new(Trouble::Kubelet, text)
                            .with_remedy(grants_remedy(system, grants, config))
                    }),
                ];
                Problem::joined(all.into_iter().flatten().collect())
            }),
        );
        self.check_kubelet_swap();
        self.check_watermarks(memory_threshold(config.as_ref(), self.node.ram_bytes));
    }

    fn check_watermarks(&mut self, threshold: u64) {
        // Provisioning sets the watermarks after the swap is on, and deprovisioning restores them after
        // it is off. The next look comes later.
        let Some(_alone) = Alone::now(&self.roots) else { return };
        let watermarks = zoneinfo::watermarks(&self.roots, self.node.page_bytes).ok();
        let watermarks = watermarks.filter(|_| !node::swap_devices(&self.roots).is_empty());
        let late = watermarks.and_then(|watermarks| {
            let (effects, roots, settings) = (&self.effects, &self.roots, &self.settings);
            self.alignment.check(effects, roots, settings, &watermarks, threshold, &self.node)
        });
        self.health.problem(Trouble::Watermarks, late);
    }

    /// Asks systemd for the kubelet's unit; the answer arrives later.
    pub(super) fn ask_for_kubelet(&self) {
        let (roots, events) = (self.roots.clone(), self.events.clone());
        tokio::spawn(async move {
            events.send(Event::KubeletUnit(kubelet::service(&roots).await));
        });
    }

    pub(super) fn kubelet_unit_is(&mut self, unit: Option<kubelet::Service>) {
        if self.granting.kubelet.unit != unit {
            self.granting.kubelet.unit = unit;
            self.check_kubelet();
        }
    }

    /// Sets which program grants from now on, and by which rule.
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
                    "no program sets swap limits: grants = \"kubelet\", but the kubelet does not \
                     set them",
                Grants::Kubelet =>
                    "the kubelet sets swap limits; the agent compares and repairs them",
                Grants::Agent | Grants::Auto => "the agent sets swap limits",
            },
            self.granting.configured.0.word()
        ));
        self.check_hook();
        self.publisher.mark_stale();
    }

    /// Checks if the kubelet counts the node's current swap, or an earlier amount.
    pub(super) fn check_kubelet_swap(&mut self) {
        let by_kubelet = self.settings.grants == Grants::Kubelet;
        let (counted, _) = self.granting.granted_from(self.settings.grants, self.node);
        if self.granting.granted_from != counted {
            self.granting.granted_from = counted;
            self.everything_is_dirty();
        }
        let outdated = self.granting.kubelet_swap.is_outdated(&self.node);
        self.health.problem(Trouble::KubeletSwap, outdated.filter(|_| by_kubelet));
    }

    /// Searches for pods' cgroups at the kubelet's places.
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

    /// Finds running pods whose cgroups are missing for a while.
    pub(super) fn check_pods(&mut self) {
        let now = self.now();
        let has_cgroup = |uid: &PodUid| self.tree.of_pod(uid).next().is_some();
        let lost: BTreeSet<PodUid> = match self.api.is_fresh() {
            // Without a current list of pods, lost pods stay lost until their cgroup is found.
            false => self.limits.lost.keys().filter(|uid| !has_cgroup(uid)).cloned().collect(),
            true => without_cgroup(&self.pods, has_cgroup),
        };
        self.limits.lost.retain(|uid, _| lost.contains(uid) && self.pods.contains_key(uid));
        let lost = lost.into_iter().filter(|uid| self.pods.contains_key(uid)).collect::<Vec<_>>();
        for uid in lost {
            self.limits.lost.entry(uid).or_insert(now);
        }
        let count =
            self.limits.lost.values().filter(|since| now.since(**since) >= LOST_AFTER).count();
        let text = (count > 0).then(|| lost_pods(count, self.roots.pods()));
        self.health.problem(Trouble::LostPods, text);
    }

    pub(super) fn protection_says(&mut self, report: protection::SliceReport) {
        self.health.problem(Trouble::Protection, report.problem.clone());
        self.health.problem_is(Trouble::Oomd, report.oomd.clone());
        // The code that sets limits in systemd reports the same.
        if report.bus.is_some() || self.protection.bus.is_some() {
            self.health.problem(Trouble::Systemd, report.bus.clone());
        }
        self.protection = report;
    }
}
