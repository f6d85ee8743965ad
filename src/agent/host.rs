//! What the host lacks, and what on it works against the agent.

use super::{Agent, protection};
use crate::{
    act::Actuator,
    config::settings::Grants,
    decide::{
        kubelet::{fails_with_swap, grants_too, memory_threshold},
        provision::shortage,
        tunables::swap_not_reached,
    },
    observe::{hooks, kubelet, zoneinfo},
};

impl<A: Actuator> Agent<A> {
    /// Looks again at what does not tell when it changes.
    pub(super) fn check_host(&mut self) {
        let cgroup2 = self.roots.cgroup().join("cgroup.controllers").exists();
        let missing = "cgroup v2 is not mounted at /sys/fs/cgroup, no limit can be set (boot with \
                       systemd.unified_cgroup_hierarchy=1)";
        self.problem("cgroup", (!cgroup2).then(|| missing.to_owned()));
        let pressure = std::fs::read(self.roots.proc("pressure/memory")).is_ok();
        let missing = "no pressure-stall information (boot with psi=1)";
        self.problem("pressure", (!pressure).then(|| missing.to_owned()));
        self.check_swap();
        self.problem("rival", hooks::rival(&self.roots));
        self.check_kubelet();
        self.check_hook();
    }

    pub(super) fn check_swap(&mut self) {
        let late = self.check_late_swap();
        self.problem("swap", late.or_else(|| shortage(&self.settings.swap, &self.node)));
    }

    /// What the kubelet's configuration says to swap. Where it grants swap itself, its limits stay.
    pub(super) fn check_kubelet(&mut self) {
        let config = match kubelet::config(&self.roots, &self.settings) {
            Ok(config) => config,
            Err(error) => {
                self.problem("kubelet", Some(error));
                return;
            }
        };
        let conflict = config.as_ref().and_then(|config| grants_too(config, self.grants));
        let grants = if conflict.is_some() { Grants::Kubelet } else { self.grants };
        let fails = config.as_ref().and_then(fails_with_swap).filter(|_| self.node.swap_bytes > 0);
        self.problem("kubelet", conflict.or(fails));
        if grants != self.settings.grants {
            self.settings.grants = grants;
            self.everything_is_dirty();
        }
        let watermarks = zoneinfo::watermarks(&self.roots, self.node.page_bytes).ok();
        let threshold = memory_threshold(config.as_ref(), self.node.ram_bytes);
        let late = watermarks.and_then(|watermarks| swap_not_reached(&watermarks, threshold));
        self.problem("watermarks", late.filter(|_| self.node.swap_bytes > 0));
    }

    pub(super) fn protection_says(&mut self, report: protection::Report) {
        self.problem("protection", report.problem.clone());
        self.problem("oomd", report.oomd.clone());
        self.protection = report;
    }
}
