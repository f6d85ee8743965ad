//! Checks of limits that keep pods from using their grant, and of the order of the swap devices.

use super::{CheckOutcome, outcome, skip};
use crate::{
    config::settings::Settings,
    decide::devices::{failing, order, rotating},
    decide::grant::swap_for_pods,
    decide::obstacles::{limit_above_pods, overcommit, swappiness as swappiness_of, throttled},
    model::check::HostFacts,
};

pub(super) fn above_pods(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let obstacles = &facts.obstacles;
    if obstacles.above_pods.is_empty() {
        return skip("no cgroup of pods has such a limit");
    }
    let rules = settings.grant_rules();
    let swap_bytes = facts.node.as_ref().map_or(0, |node| swap_for_pods(&rules, node));
    let problem = limit_above_pods(obstacles, swap_bytes.max(1)).or_else(|| throttled(obstacles));
    outcome(problem, "no limit is lower than the pods' own")
}

pub(super) fn swappiness(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    match facts.obstacles.swappiness {
        None => skip("vm.swappiness cannot be read"),
        Some(value) => {
            outcome(swappiness_of(&facts.obstacles, settings.kernel.swappiness), value.to_string())
        }
    }
}

pub(super) fn overcommit_memory(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match facts.obstacles.overcommit_memory {
        None => skip("vm.overcommit_memory cannot be read"),
        Some(value) => outcome(overcommit(&facts.obstacles), value.to_string()),
    }
}

/// Reports a disk that fails, the order in which the kernel fills the devices, and any that is full or rotates.
pub(super) fn devices(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let areas = &facts.swap.areas;
    if areas.is_empty() {
        return skip("no swap is on");
    }
    let shown: Vec<String> = areas
        .iter()
        .map(|area| format!("{} at priority {}", area.device.path, area.device.priority))
        .collect();
    let room = facts.available_bytes;
    let problem = failing(areas, room).or_else(|| order(areas, room)).or_else(|| rotating(areas));
    outcome(problem, shown.join(", "))
}
