//! Plans the removal of swap that is no longer configured, when its pages fit elsewhere.

use super::{ProvisionPlan, ProvisionRefusal, ProvisionStep, fits};
use crate::{
    config::settings::SwapKind,
    model::{
        host::SwapDevice,
        storage::{Area, MemoryFacts, ZramDevice},
    },
};

/// Plans the removal of an area that the agent made at `path`, from its current state. An area that
/// is no longer ours stays.
pub fn plan_retirement(
    kind: SwapKind,
    path: &std::path::Path,
    found: &Area,
    active: Option<&SwapDevice>,
    other_free: u64,
    memory: &MemoryFacts,
) -> ProvisionPlan {
    let mut steps = Vec::new();
    if kind == SwapKind::File && *found == Area::Nothing && active.is_some() {
        return ProvisionPlan {
            steps,
            kept: Some(ProvisionRefusal::Lost { path: path.to_owned() }),
        };
    }
    if !matches!(found, Area::Ours { .. }) {
        return ProvisionPlan::default();
    }
    if let Some(active) = active {
        if let Err(refusal) = fits(path, active.used_bytes, other_free, memory) {
            return ProvisionPlan { steps, kept: Some(refusal) };
        }
        steps.push(ProvisionStep::SwapOff { path: path.to_owned() });
    }
    let path = path.to_owned();
    steps.push(match kind {
        SwapKind::File => ProvisionStep::RemoveFile { path },
        SwapKind::Partition => ProvisionStep::Erase { path },
        SwapKind::Zram => ProvisionStep::RemoveZram { path },
    });
    ProvisionPlan { steps, kept: None }
}

/// Plans the removal of all the agent's zram devices.
pub fn plan_zram_retirement(
    devices: &[ZramDevice],
    other_free: u64,
    memory: &MemoryFacts,
) -> ProvisionPlan {
    let mut plan = ProvisionPlan::default();
    for ZramDevice { path, bytes, active } in devices {
        let found = Area::Ours { bytes: *bytes, allocated_bytes: 0 };
        let one =
            plan_retirement(SwapKind::Zram, path, &found, active.as_ref(), other_free, memory);
        plan.steps.extend(one.steps);
        plan.kept = plan.kept.or(one.kept);
    }
    plan
}
