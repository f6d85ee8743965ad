//! Provisioning: observe → decide → act for the node's swap and the kernel's settings.

pub mod alone;
pub mod awaited;
pub mod ledger;
mod retire;

use std::path::Path;

use crate::{
    act::{
        swap::{Provisioner, StepError},
        tunables,
    },
    config::settings::{KernelSettings, Settings, Share, SwapKind},
    decide::{
        kubelet::{disk_reserve, fails_with_swap, memory_threshold},
        provision::{
            ProvisionPlan, ProvisionRefusal, ProvisionStep, WantedSwap, plan_file, plan_partition,
            plan_zram,
        },
        rivals::{OthersSwap, others_swap, others_watermarks},
        tunables::{explained, tunables},
    },
    errors::FileError,
    messages,
    model::{
        host::{NodeMemory, SwapDevice},
        kubelet::KubeletConfig,
        swap::human_bytes,
    },
    observe::{
        accounting::swap_control,
        kubelet::{self, KubeletError},
        node,
        rivals::rivals,
        swap::{
            area::file_place, memory::memory_facts, partition::partition_place, zram::zram_devices,
        },
        zoneinfo,
    },
    roots::Roots,
    state::StateFile,
};
use alone::Alone;
use awaited::Awaited;
use ledger::{OwnArea, Provisioned};

/// The result of successful provisioning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvisionOutcome {
    /// As configured; the text describes it.
    AsConfigured(String),
    /// Swap exists, but differs from the configuration.
    Kept(String),
}

/// The error of provisioning. The node is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Swap as configured would do more harm than good.
    #[error("no swap: {0}")]
    Conflict(String),
    #[error("no swap: {0}")]
    Kubelet(#[from] KubeletError),
    #[error(transparent)]
    Refused(#[from] ProvisionRefusal),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Step(#[from] StepError),
}

/// The inputs of provisioning.
pub struct Provisioning<'a> {
    pub roots: &'a Roots,
    pub settings: &'a Settings,
    /// systemd's answer about the kubelet's unit; without it, the unit's files are read.
    pub kubelet_unit: Option<&'a kubelet::Service>,
    pub dry_run: bool,
    pub progress: &'a dyn Fn(u64, u64),
}

/// The agent creates no swap in addition to another program's.
fn beside(others: OthersSwap) -> ProvisionPlan {
    let kept = match others {
        OthersSwap::Serves => None,
        OthersSwap::Contradicts(why) => Some(ProvisionRefusal::Others(why)),
    };
    ProvisionPlan { kept, ..ProvisionPlan::default() }
}

impl std::fmt::Debug for Provisioning<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provisioning").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl Provisioning<'_> {
    /// Brings swap and the kernel's settings to the configured state.
    pub fn provision(&self) -> Result<ProvisionOutcome, ProvisionError> {
        let _alone = self.alone();
        let kubelet = kubelet::config_of(self.roots, self.settings, self.kubelet_unit)?;
        let node = node::memory(self.roots)?;
        // Remove the record first, so that the agent does not repeat a failing request.
        self.note_awaited(None);
        let swap = self.swap(kubelet.as_ref(), node)?;
        if let Some(ProvisionRefusal::NoDevice { path }) = &swap.kept {
            self.note_awaited(Some(path));
        }
        // A dry run switches nothing on.
        let will_have_swap = self.dry_run && !swap.steps.is_empty();
        let unmet = self.tune(kubelet.as_ref(), node, will_have_swap)?;
        let kept = swap.kept.map(|refusal| refusal.to_string());
        Ok(match [kept, unmet].into_iter().flatten().reduce(|a, b| format!("{a}; {b}")) {
            Some(why) => ProvisionOutcome::Kept(why),
            None => ProvisionOutcome::AsConfigured(self.summary(node)),
        })
    }

    /// A dry run neither waits nor makes others wait.
    fn alone(&self) -> Option<Alone> {
        (!self.dry_run).then(|| Alone::wait(self.roots))
    }

    /// Records the missing device for the agent, or removes that record.
    fn note_awaited(&self, path: Option<&Path>) {
        if self.dry_run {
            return;
        }
        let note = StateFile::<Awaited>::new(self.roots);
        let noted = match path {
            Some(path) => note.save(&Awaited { path: path.to_owned() }),
            None => note.remove(),
        };
        if let Err(error) = noted {
            messages::ProvisionStep.emit_at(
                messages::LogLevel::Warn,
                format_args!(
                    "{error}; if the device appears before the agent starts, it is not \
                    used"
                ),
            );
        }
    }

    fn swap(
        &self,
        kubelet: Option<&KubeletConfig>,
        node: NodeMemory,
    ) -> Result<ProvisionPlan, ProvisionError> {
        let Self { roots, settings, .. } = self;
        let swap = &settings.swap;
        let wanted = self.wanted(node);
        if wanted.is_none() && swap.kind != SwapKind::Partition {
            for area in self.earlier().unwrap_or_default().areas {
                messages::ProvisionDiffers.emit(format_args!(
                    "no swap is configured (overcommit-percent, swap.size), but {} was \
                     provisioned earlier: `wasp-agent deprovision` removes it",
                    area.path.display()
                ));
            }
            return Ok(ProvisionPlan::default());
        }
        self.no_conflict(kubelet)?;
        if let Some(others) = others_swap(&rivals(roots), settings, &node) {
            return Ok(beside(others));
        }
        let plan = self.plan(wanted, kubelet, node, None)?;
        if matches!(plan.kept, Some(ProvisionRefusal::NoDevice { .. })) {
            // Swap that was provisioned elsewhere stays until the new one exists.
            return Ok(plan);
        }
        let now = OwnArea { kind: swap.kind, path: swap.path.clone() };
        let mut before = self.earlier();
        if let Some(before) = &mut before {
            before.areas.retain(|area| *area != now);
            before.areas.push(now.clone());
            // Record it as ours before it is made, so that it can be undone after an interruption.
            self.record(before)?;
        }
        let plan = match self.carry_out(&plan, node.page_bytes) {
            Ok(()) => plan,
            Err((failed, error)) => {
                let anew = self.made_anew(&plan, failed, &error, (wanted, kubelet, node))?;
                let anew = anew.ok_or(error)?;
                self.carry_out(&anew, node.page_bytes).map_err(|(_, error)| error)?;
                anew
            }
        };
        let mut kept = None;
        if let Some(before) = &mut before {
            before.areas.retain(|area| !area.is_same(roots, &now));
            kept = self.retire_all(&mut before.areas, node.page_bytes)?;
            before.areas.push(now);
            self.record(before)?;
        }
        Ok(ProvisionPlan { kept: plan.kept.or(kept), ..plan })
    }

    /// Returns the swap that was provisioned before; `None` if its record cannot be read. Swap of ours is
    /// known by its label too: only the places of earlier swap are unknown then.
    fn earlier(&self) -> Option<Provisioned> {
        let loaded = StateFile::<Provisioned>::new(self.roots).load();
        let warn = |error: &FileError| {
            messages::ProvisionStep.emit_at(
                messages::LogLevel::Warn,
                format_args!("{error}; swap that was provisioned elsewhere stays"),
            );
        };
        loaded.inspect_err(warn).ok().map(Option::unwrap_or_default)
    }

    fn record(&self, areas: &Provisioned) -> Result<(), FileError> {
        if self.dry_run { Ok(()) } else { StateFile::new(self.roots).save(areas) }
    }

    /// Returns a plan for a well-formed swapfile of the agent's that the kernel rejects; `None` if
    /// something else has failed, or the plan itself made the file.
    fn made_anew(
        &self,
        plan: &ProvisionPlan,
        failed: &ProvisionStep,
        error: &StepError,
        (wanted, kubelet, node): (Option<WantedSwap>, Option<&KubeletConfig>, NodeMemory),
    ) -> Result<Option<ProvisionPlan>, ProvisionError> {
        let ProvisionStep::SwapOn { path } = failed else { return Ok(None) };
        let is_made = |step: &ProvisionStep| matches!(step, ProvisionStep::MakeFile { path: made, .. } if made == path);
        let is_file = self.settings.swap.kind == SwapKind::File;
        if !is_file || !error.is_refused() || plan.steps.iter().any(is_made) {
            return Ok(None);
        }
        messages::ProvisionStep
            .emit_at(messages::LogLevel::Warn, format_args!("{error}: the agent creates it again"));
        self.plan(wanted, kubelet, node, Some(path)).map(Some)
    }

    fn wanted(&self, node: NodeMemory) -> Option<WantedSwap> {
        WantedSwap::new(self.settings.swap.size, node.ram_bytes, node.page_bytes)
    }

    /// Returns an error for a configuration that would harm the node.
    fn no_conflict(&self, kubelet: Option<&KubeletConfig>) -> Result<(), ProvisionError> {
        if !self.roots.cgroup().join("cgroup.controllers").exists() {
            let why = "the node has cgroup v1, which cannot limit swap separately: boot with \
                systemd.unified_cgroup_hierarchy=1";
            return Err(ProvisionError::Conflict(why.to_owned()));
        }
        if let Some(why) = swap_control(self.roots).lacks() {
            return Err(ProvisionError::Conflict(why.to_owned()));
        }
        kubelet.and_then(fails_with_swap).map_or(Ok(()), |why| Err(ProvisionError::Conflict(why)))
    }

    /// Returns the steps that provisioning would take now; `None` if no swap is configured. Leaves
    /// out swap that was configured earlier.
    pub fn preview(&self) -> Result<Option<ProvisionPlan>, ProvisionError> {
        let kubelet = kubelet::config_of(self.roots, self.settings, self.kubelet_unit)?;
        let node = node::memory(self.roots)?;
        let wanted = self.wanted(node);
        if wanted.is_none() && self.settings.swap.kind != SwapKind::Partition {
            return Ok(None);
        }
        self.no_conflict(kubelet.as_ref())?;
        if let Some(others) = others_swap(&rivals(self.roots), self.settings, &node) {
            return Ok(Some(beside(others)));
        }
        self.plan(wanted, kubelet.as_ref(), node, None).map(Some)
    }

    fn plan(
        &self,
        wanted: Option<WantedSwap>,
        kubelet: Option<&KubeletConfig>,
        node: NodeMemory,
        refused: Option<&Path>,
    ) -> Result<ProvisionPlan, ProvisionError> {
        let Self { roots, settings, .. } = self;
        let swap = &settings.swap;
        let devices = node::swap_devices(roots);
        let memory = memory_facts(roots, |ram_bytes| memory_threshold(kubelet, ram_bytes))?;
        let page_bytes = node.page_bytes;
        match (swap.kind, wanted) {
            (SwapKind::Partition, _) => {
                let place = match partition_place(roots, &swap.path, page_bytes, &devices) {
                    Err(error) if error.is_gone() => {
                        let kept = Some(ProvisionRefusal::NoDevice { path: swap.path.clone() });
                        return Ok(ProvisionPlan { steps: Vec::new(), kept });
                    }
                    place => place?,
                };
                if let Some(wanted) = wanted.filter(|wanted| place.bytes < wanted.bytes) {
                    messages::ProvisionDiffers.emit(format_args!(
                        "{} has {}, but {} of swap are configured",
                        swap.path.display(),
                        human_bytes(place.bytes),
                        human_bytes(wanted.bytes)
                    ));
                }
                Ok(plan_partition(&place)?)
            }
            (SwapKind::File, Some(wanted)) => {
                let mut place = file_place(roots, &swap.path, page_bytes, &devices)?;
                if let Some(path) = refused {
                    place.refused(path);
                }
                let total = place.filesystem.total_bytes;
                let by_kubelet = || disk_reserve(kubelet, total, place.filesystem.holds_images);
                let reserve = swap.reserve.map_or_else(by_kubelet, |share: Share| share.of(total));
                let ours = [&place.active, &place.next_active];
                let others = free_beside(&devices, &ours.map(Option::as_ref));
                Ok(plan_file(wanted, &place, reserve, others, &memory)?)
            }
            (SwapKind::Zram, Some(wanted)) => {
                let ours = zram_devices(roots, page_bytes, &devices);
                let active: Vec<_> = ours.iter().map(|device| device.active.as_ref()).collect();
                Ok(plan_zram(wanted, &ours, free_beside(&devices, &active), &memory))
            }
            (SwapKind::File | SwapKind::Zram, None) => Ok(ProvisionPlan::default()),
        }
    }

    /// Carries out a plan. An error names the step that failed.
    fn carry_out<'a>(
        &self,
        plan: &'a ProvisionPlan,
        page_bytes: u64,
    ) -> Result<(), (&'a ProvisionStep, StepError)> {
        let swap = &self.settings.swap;
        let provisioner = Provisioner {
            roots: self.roots,
            page_bytes,
            priority: swap.priority,
            discard: swap.discard,
            progress: self.progress,
        };
        for step in &plan.steps {
            if self.dry_run {
                messages::DryRun::default().emit(format_args!("would {step}"));
                continue;
            }
            messages::ProvisionStep.emit(format_args!("{step}"));
            provisioner.carry_out(step).map_err(|error| (step, error))?;
        }
        Ok(())
    }

    /// Sets the kernel's settings; returns those that are impossible.
    fn tune(
        &self,
        kubelet: Option<&KubeletConfig>,
        node: NodeMemory,
        will_have_swap: bool,
    ) -> Result<Option<String>, ProvisionError> {
        let watermarks = zoneinfo::watermarks(self.roots, node.page_bytes)?;
        let threshold = memory_threshold(kubelet, node.ram_bytes);
        let others = others_watermarks(&rivals(self.roots), self.settings);
        if let Some(why) = &others {
            messages::ProvisionStep.emit(format_args!("{why}"));
        }
        // The current state, whichever program has switched swap on.
        let has_swap = will_have_swap || node::memory(self.roots)?.swap_bytes > 0;
        let align_watermarks =
            self.settings.kernel.align_watermarks && others.is_none() && has_swap;
        let kernel = KernelSettings { align_watermarks, ..self.settings.kernel };
        let before = tunables::before(self.roots)?;
        let (wanted, unmet) = tunables(&kernel, &watermarks, threshold, &before);
        if align_watermarks && unmet.is_none() && !wanted.is_empty() {
            let why = explained(&watermarks, threshold);
            messages::ProvisionStep.emit(format_args!("{why}"));
        }
        for tunable in wanted {
            if self.dry_run {
                messages::DryRun::default()
                    .emit(format_args!("would set {} to {}", tunable.path, tunable.value));
            } else if let Some(before) = tunables::set(self.roots, &tunable)? {
                messages::ProvisionStep
                    .emit(format_args!("set {} from {before} to {}", tunable.path, tunable.value));
            }
        }
        Ok(unmet)
    }

    fn summary(&self, node: NodeMemory) -> String {
        let devices = node::swap_devices(self.roots);
        let shown: Vec<String> = devices
            .iter()
            .map(|device| format!("{} ({})", device.path, human_bytes(device.size_bytes)))
            .collect();
        match &shown[..] {
            [] => format!("RAM {}, no swap", human_bytes(node.ram_bytes)),
            _ => format!("RAM {}, swap {}", human_bytes(node.ram_bytes), shown.join(", ")),
        }
    }
}

/// Returns the free bytes in active swap other than `ours`. Room on zram does not count: its pages
/// are in RAM.
fn free_beside(devices: &[SwapDevice], ours: &[Option<&SwapDevice>]) -> u64 {
    let is_ours = |path: &str| ours.iter().flatten().any(|own| own.path == path);
    let others = devices
        .iter()
        .filter(|device| !is_ours(&device.path) && !device.path.starts_with("/dev/zram"));
    others.map(|device| device.size_bytes.saturating_sub(device.used_bytes)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_our_own_swap_nor_zram_has_room_for_pages() {
        let device = |path: &str, used_bytes| SwapDevice {
            path: path.to_owned(),
            kind: "partition".to_owned(),
            size_bytes: 100,
            used_bytes,
            priority: 0,
        };
        let devices = [device("/dev/zram0", 10), device("/dev/vdb", 20), device("/srv/swap", 30)];
        // Its use has changed since it was read.
        let ours = device("/srv/swap", 0);
        assert_eq!(free_beside(&devices, &[Some(&ours), None]), 80);
    }
}
