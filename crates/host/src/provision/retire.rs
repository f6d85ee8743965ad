//! Switches off and removes swap that the agent made.

use super::{
    ProvisionError, ProvisionOutcome, Provisioning, free_beside,
    ledger::{OwnArea, Provisioned},
};
use crate::{
    act::tunables,
    config::settings::SwapKind,
    decide::{
        kubelet::memory_threshold,
        provision::{ProvisionPlan, ProvisionRefusal, plan_retirement, plan_zram_retirement},
    },
    messages,
    model::{host::SwapDevice, storage::Area},
    observe::{
        kubelet, node,
        swap::{
            active, area::file_place, memory::memory_facts, partition::is_ours, zram::zram_devices,
        },
    },
    state::StateFile,
};

impl Provisioning<'_> {
    /// Switches off and removes provisioned swap, and restores the kernel's settings.
    pub fn deprovision(&self) -> Result<ProvisionOutcome, ProvisionError> {
        let _alone = self.alone();
        self.remove_all()
    }

    fn remove_all(&self) -> Result<ProvisionOutcome, ProvisionError> {
        let ledger = StateFile::<Provisioned>::new(self.roots);
        let mut before = ledger.load()?.unwrap_or_default();
        let page_bytes = node::memory(self.roots)?.page_bytes;
        if let Some(refusal) = self.retire_all(&mut before.areas, page_bytes)? {
            return Err(refusal.into());
        }
        if !self.dry_run {
            ledger.remove()?;
            self.note_awaited(None);
        }
        self.restore_kernel()?;
        Ok(ProvisionOutcome::AsConfigured(
            "the swap that wasp-agent provisioned is gone".to_owned(),
        ))
    }

    fn restore_kernel(&self) -> Result<(), ProvisionError> {
        if self.dry_run {
            return Ok(());
        }
        for (path, value) in tunables::restore(self.roots)? {
            messages::ProvisionStep.emit(format_args!("restore {path} to {value}"));
        }
        Ok(())
    }

    /// Like [`Self::deprovision`], but only if no page is in swap: removing a package must not slow
    /// VMs down. Restores the kernel's settings in any case, because no program adapts them from
    /// then on.
    pub fn deprovision_unused(&self) -> Result<ProvisionOutcome, ProvisionError> {
        let _alone = self.alone();
        match node::swap_devices(self.roots).into_iter().find(|device| device.used_bytes > 0) {
            Some(device) => {
                self.restore_kernel()?;
                Err(ProvisionRefusal::InUse { path: device.path.into(), used: device.used_bytes }
                    .into())
            }
            None => self.remove_all(),
        }
    }

    pub(super) fn retire(
        &self,
        what: &OwnArea,
        page_bytes: u64,
    ) -> Result<ProvisionPlan, ProvisionError> {
        let Self { roots, .. } = self;
        let OwnArea { kind, path } = what;
        let devices = node::swap_devices(roots);
        // An unreadable configuration must not keep the swap on.
        let kubelet = kubelet::config_of(roots, self.settings, self.kubelet_unit).ok().flatten();
        let threshold = |ram_bytes| memory_threshold(kubelet.as_ref(), ram_bytes);
        let memory = memory_facts(roots, threshold)?;
        let areas = match kind {
            // A disk that no longer exists has no swap to switch off.
            SwapKind::Partition if !roots.path(path).exists() => {
                return Ok(ProvisionPlan::default());
            }
            SwapKind::File => {
                let place = file_place(roots, path, page_bytes, &devices)?;
                vec![
                    (place.next_path, place.next, place.next_active),
                    (place.path, place.found, place.active),
                ]
            }
            SwapKind::Partition => {
                // An area that was swap before does not change.
                let found = match is_ours(roots, path)? {
                    true => Area::Ours { bytes: 0, allocated_bytes: 0 },
                    false => Area::Nothing,
                };
                vec![(path.clone(), found, active(roots, path, &devices).cloned())]
            }
            SwapKind::Zram => {
                let ours = zram_devices(roots, page_bytes, &devices);
                let active: Vec<_> = ours.iter().map(|device| device.active.as_ref()).collect();
                let plan = plan_zram_retirement(&ours, free_beside(&devices, &active), &memory);
                self.carry_out(&plan, page_bytes).map_err(|(_, error)| error)?;
                return Ok(plan);
            }
        };
        let mut whole = ProvisionPlan::default();
        let ours: Vec<SwapDevice> =
            areas.iter().filter_map(|(.., active)| active.clone()).collect();
        let ours: Vec<Option<&SwapDevice>> = ours.iter().map(Some).collect();
        for (path, found, active) in areas {
            // The area before this one is off: its pages are in RAM, or in this one.
            let devices = node::swap_devices(roots);
            let memory = memory_facts(roots, threshold)?;
            let others = free_beside(&devices, &ours);
            let active = active.and_then(|before| {
                devices.iter().find(|device| device.path == before.path).cloned()
            });
            if *kind == SwapKind::Partition && found == Area::Nothing && active.is_some() {
                messages::ProvisionDiffers.emit(format_args!(
                    "{0} stays on, because the agent did not make its swap header: `swapoff {0}` \
                     switches it off",
                    path.display()
                ));
            }
            let plan = plan_retirement(*kind, &path, &found, active.as_ref(), others, &memory);
            self.carry_out(&plan, page_bytes).map_err(|(_, error)| error)?;
            whole.kept = whole.kept.or(plan.kept);
        }
        Ok(whole)
    }

    /// Retires `areas`, except those whose pages fit nowhere: they remain in the list.
    pub(super) fn retire_all(
        &self,
        areas: &mut Vec<OwnArea>,
        page_bytes: u64,
    ) -> Result<Option<ProvisionRefusal>, ProvisionError> {
        let mut kept = None;
        for area in std::mem::take(areas) {
            if let Some(refusal) = self.retire(&area, page_bytes)?.kept {
                kept = kept.or(Some(refusal));
                areas.push(area);
            }
        }
        Ok(kept)
    }
}
