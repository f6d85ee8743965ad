//! What the host lacks, and what on it works against the agent.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Agent, protection};
use crate::{
    act::Actuator,
    config::settings::{EvictionMode, Grants, SchedulingGuard, SwapKind},
    decide::{
        kubelet::{commands_to_set, fails_with_swap, grants_too, memory_threshold, unusable},
        obstacles::{limit_above_pods, overcommit, swappiness, throttled},
        pods::{lost_pods, without_cgroup},
        provision::{Wanted, shortage},
        rivals::{others_swap, others_watermarks},
        tunables::swap_not_reached,
    },
    model::{
        kubelet::KubeletConfig,
        plain::plain,
        pod::PodUid,
        published,
        runtime::Runtime,
        trouble::{Problem, Trouble},
    },
    observe::{
        accounting::{NO_SWAP_CONTROLLER, limits_swap},
        crio, hooks, kubelet,
        obstacles::obstacles,
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
    published::Kubelet { source: config.described(), values: values.collect() }
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
        self.problem(Trouble::Cgroup, missing.map(str::to_owned));
        let pressure = std::fs::read(self.roots.proc("pressure/memory")).is_ok();
        let missing = "no pressure-stall information (boot with psi=1)";
        self.problem(Trouble::Pressure, (!pressure).then(|| missing.to_owned()));
        self.check_swap();
        let others = rivals(&self.roots);
        let wanted =
            Wanted::new(self.settings.swap.size, self.node.ram_bytes, self.node.page_bytes);
        let configured = wanted.is_some() || self.settings.swap.kind == SwapKind::Partition;
        let swap = others_swap(&others, &self.settings).filter(|_| configured);
        let others = swap.or_else(|| others_watermarks(&others, &self.settings));
        let foreign = match crio::runtime(&self.roots) {
            Ok(Runtime::Crio(folders)) => hooks::foreign(&self.roots, &folders),
            _ => Vec::new(),
        };
        let foreign = foreign.first().map(|(file, why)| {
            let file = file.display();
            Problem::new(Trouble::Rival, format!("another hook, {file}: {why}"))
                .with_remedy(vec![format!("mv {file} {file}.off")])
        });
        let left = hooks::rival(&self.roots).map(|text| {
            let files = hooks::rival_files(&self.roots);
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let remedy = [
                "oc delete daemonset -n wasp wasp-agent".to_owned(),
                format!("rm {}", files.join(" ")),
            ];
            Problem::new(Trouble::Rival, text).with_remedy(remedy.into())
        });
        let others = others.map(|text| Problem::new(Trouble::Rival, text));
        self.problem_is(Trouble::Rival, left.or(foreign).or(others));
        self.check_guard();
        let found = obstacles(&self.roots);
        let above = limit_above_pods(&found, self.node.swap_bytes).or_else(|| throttled(&found));
        self.problem_is(Trouble::PodsLimit, above);
        self.problem_is(Trouble::Swappiness, swappiness(&found));
        self.problem_is(Trouble::OvercommitMemory, overcommit(&found));
        self.check_kubelet();
        self.check_pods();
        self.check_hook();
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
    }

    /// What the kubelet's configuration says to swap. Where it grants swap itself, its limits stay.
    pub(super) fn check_kubelet(&mut self) {
        let unit = self.kubelet_unit.as_ref();
        let config = match kubelet::config_of(&self.roots, &self.settings, unit) {
            Ok(config) => config,
            Err(error) => {
                self.problem(Trouble::Kubelet, Some(error));
                return;
            }
        };
        if let Some(config) = &config {
            self.look_below(&config.pods_roots());
        }
        let known = config.as_ref().map(acted_on).unwrap_or_default();
        if self.publisher.kubelet != known {
            self.publisher.kubelet = known;
            self.published_is_stale();
        }
        let conflict = config.as_ref().and_then(|config| grants_too(config, self.grants));
        let grants = if conflict.is_some() { Grants::Kubelet } else { self.grants };
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
                conflict
                    .clone()
                    .map(|text| {
                        problem(text, "memorySwap.swapBehavior", &behavior.origin, "NoSwap", "")
                    })
                    .or_else(|| {
                        let flag = "--fail-swap-on";
                        Some(problem(fails?, "failSwapOn", &fail_swap_on.origin, "false", flag))
                    })
                    .or_else(|| Some(Problem::new(Trouble::Kubelet, unusable?)))
            }),
        );
        if grants != self.settings.grants {
            self.settings.grants = grants;
            self.everything_is_dirty();
        }
        let watermarks = zoneinfo::watermarks(&self.roots, self.node.page_bytes).ok();
        let threshold = memory_threshold(config.as_ref(), self.node.ram_bytes);
        let late = watermarks.and_then(|watermarks| swap_not_reached(&watermarks, threshold));
        self.problem(Trouble::Watermarks, late.filter(|_| self.node.swap_bytes > 0));
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
        self.problem(Trouble::Oomd, report.oomd.clone());
        self.protection = report;
    }
}
