//! Checks of limits that keep pods from using their grant, and of the order of the swap devices.

use super::{Outcome, fail, ok, skip, warn};
use crate::{
    config::settings::Settings,
    decide::obstacles::{limit_above_pods, overcommit, swappiness as swappiness_of, throttled},
    model::{
        check::{Facts, SwapArea},
        trouble::{Problem, Severity},
    },
};

fn outcome(problem: Option<Problem>, well: impl Into<String>) -> Outcome {
    match problem {
        None => ok(well),
        Some(Problem { about, text, remedy, .. }) => match about.severity() {
            Severity::Fail => fail(text, []).with(remedy),
            _ => warn(text, []).with(remedy),
        },
    }
}

pub(super) fn above_pods(facts: &Facts, _: &Settings) -> Outcome {
    let obstacles = &facts.obstacles;
    if obstacles.above_pods.is_empty() {
        return skip("no cgroup of pods has such a limit");
    }
    let swap_bytes = facts.node.as_ref().map_or(0, |node| node.swap_bytes);
    let problem = limit_above_pods(obstacles, swap_bytes.max(1)).or_else(|| throttled(obstacles));
    outcome(problem, "no limit is lower than the pods' own")
}

pub(super) fn swappiness(facts: &Facts, _: &Settings) -> Outcome {
    match facts.obstacles.swappiness {
        None => skip("vm.swappiness cannot be read"),
        Some(value) => outcome(swappiness_of(&facts.obstacles), value.to_string()),
    }
}

pub(super) fn overcommit_memory(facts: &Facts, _: &Settings) -> Outcome {
    match facts.obstacles.overcommit_memory {
        None => skip("vm.overcommit_memory cannot be read"),
        Some(value) => outcome(overcommit(&facts.obstacles), value.to_string()),
    }
}

/// Reports which device the kernel fills first, and any that is full.
pub(super) fn devices(facts: &Facts, _: &Settings) -> Outcome {
    let areas = &facts.swap.areas;
    let Some(first) = areas.iter().max_by_key(|area| area.device.priority) else {
        return skip("no swap is on");
    };
    let path = |area: &SwapArea| area.device.path.clone();
    let slow_first = areas.iter().find(|slow| {
        slow.rotating
            && areas
                .iter()
                .any(|fast| !fast.rotating && fast.device.priority <= slow.device.priority)
    });
    if let Some(slow) = slow_first {
        let (slow, priority) = (path(slow), slow.device.priority);
        return warn(
            format!(
                "{slow} rotates and is filled first (priority {priority}), although there is a \
                 faster device"
            ),
            [&*format!("swapoff {slow}"), &format!("swapon -p 0 {slow}")],
        );
    }
    let is_full = |area: &SwapArea| {
        area.device.size_bytes > 0 && area.device.used_bytes >= area.device.size_bytes / 100 * 99
    };
    if areas.len() > 1 && is_full(first) {
        return warn(
            format!("{} is full: from now on the kernel swaps to a slower device", path(first)),
            ["wasp-agent status --all"],
        );
    }
    if let Some(slow) = areas.iter().find(|area| area.rotating) {
        return warn(
            format!("{} rotates: a VM stalls for each page that it reads from there", path(slow)),
            ["lsblk -d -o NAME,ROTA,SIZE,MODEL", "wasp-agent provision --dry-run"],
        );
    }
    ok(areas
        .iter()
        .map(|area| format!("{} at priority {}", area.device.path, area.device.priority))
        .collect::<Vec<_>>()
        .join(", "))
}
