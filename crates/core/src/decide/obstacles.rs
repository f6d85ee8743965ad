//! Finds limits that keep pods from using their swap grant, and their fixes.

use std::path::Path;

use super::grant::swap_for_pods;
use crate::{
    config::settings::{GrantSettings, Policy},
    model::{
        host::NodeMemory,
        obstacles::{Ancestor, Obstacles},
        shell::quoted,
        swap::{SwapMax, human_bytes},
        trouble::{Problem, Trouble},
    },
};

/// Reports a limit above the pods that is smaller than what they may swap together; the pods' own
/// limits do not count.
pub fn limit_above_pods(
    obstacles: &Obstacles,
    rules: &GrantSettings,
    node: &NodeMemory,
) -> Option<Problem> {
    let swap_bytes = swap_for_pods(rules, node);
    let may_swap = |ancestor: &Ancestor| rules.policy == Policy::Max || !ancestor.is_besteffort();
    let tight = |ancestor: &&Ancestor| match ancestor.swap_max {
        SwapMax::Max => false,
        SwapMax::Bytes(bytes) => bytes < swap_bytes && may_swap(ancestor),
    };
    let found = obstacles.above_pods.iter().filter(tight).min_by_key(|a| a.swap_max)?;
    let (name, limit) = (found.name(), found.swap_max);
    let may = match limit {
        SwapMax::Bytes(bytes) if bytes > 0 => format!("no more than {}", human_bytes(bytes)),
        _ => "nothing".to_owned(),
    };
    let text = format!(
        "memory.swap.max of {name} is {limit}: its pods together may swap {may}, even if their \
         grants are larger"
    );
    let remedy = match found.is_unit() {
        true => set_in_unit(found, "MemorySwapMax"),
        false => vec![format!("echo max > /sys/fs/cgroup/{}/memory.swap.max", found.path)],
    };
    Some(Problem::new(Trouble::PodsLimit, text).with_remedy(remedy))
}

/// Reports a `memory.high` below use: all pods below it are throttled permanently.
pub fn throttled(obstacles: &Obstacles) -> Option<Problem> {
    let found = obstacles.above_pods.iter().find_map(|ancestor| {
        let (high, current) = ancestor.high?;
        (current > high).then_some((ancestor, high, current))
    });
    let (ancestor, high, current) = found?;
    let name = ancestor.name();
    let text = format!(
        "{name} uses {}, above its memory.high of {}: the kernel slows its pods down",
        human_bytes(current),
        human_bytes(high)
    );
    let remedy = match ancestor.is_unit() {
        true => set_in_unit(ancestor, "MemoryHigh"),
        false => vec![format!("echo max > /sys/fs/cgroup/{}/memory.high", ancestor.path)],
    };
    Some(Problem::new(Trouble::PodsLimit, text).with_remedy(remedy))
}

/// Returns commands that lift a limit of a unit. `systemctl set-property` alone does not override a
/// drop-in whose name sorts after its own.
fn set_in_unit(ancestor: &Ancestor, property: &str) -> Vec<String> {
    let files = ancestor.set_by.iter().filter(|(name, _)| name == property);
    let mut commands: Vec<String> = files
        .map(|(_, file)| {
            let file = quoted(&file.display().to_string());
            format!("sed -i --follow-symlinks 's/^[ \\t]*{property}[ \\t]*=/# &/' {file}")
        })
        .collect();
    if !commands.is_empty() {
        commands.push("systemctl daemon-reload".to_owned());
    }
    commands.push(format!("systemctl set-property {} {property}=infinity", ancestor.name()));
    commands
}

/// Returns the lowest limit for the cgroup at `path`, and the cgroup that has it unless it is `path`
/// itself: of its own, its pod's, and those of the cgroups above.
pub fn effective(
    own: SwapMax,
    pod: Option<SwapMax>,
    path: &Path,
    above: &[Ancestor],
) -> (SwapMax, Option<String>) {
    let above = above.iter().filter(|ancestor| path.starts_with(&ancestor.path));
    let above = above.map(|ancestor| (ancestor.swap_max, ancestor.name().to_owned()));
    let pod = pod.map(|limit| (limit, "the pod".to_owned()));
    match above.chain(pod).min_by_key(|(limit, _)| *limit) {
        Some((limit, name)) if limit < own => (limit, Some(name)),
        _ => (own, None),
    }
}

pub fn swappiness(obstacles: &Obstacles) -> Option<Problem> {
    (obstacles.swappiness == Some(0)).then(|| {
        let text = "vm.swappiness is 0: the kernel drops the file cache of the kubelet and of all \
            pods before it swaps";
        let remedy = vec!["sysctl -w vm.swappiness=60".to_owned()];
        Problem::new(Trouble::Swappiness, text).with_remedy(remedy)
    })
}

pub fn overcommit(obstacles: &Obstacles) -> Option<Problem> {
    (obstacles.overcommit_memory == Some(2)).then(|| {
        let text = "vm.overcommit_memory is 2: the kernel refuses memory that programs would \
            never use, even to VMs with less than half of RAM in use";
        let remedy = vec!["sysctl -w vm.overcommit_memory=0".to_owned()];
        Problem::new(Trouble::OvercommitMemory, text).with_remedy(remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    fn ancestor(path: &str, swap_max: SwapMax) -> Ancestor {
        Ancestor { path: path.to_owned(), swap_max, high: None, set_by: Vec::new() }
    }

    fn above(found: &Obstacles, swap_bytes: u64) -> Option<Problem> {
        let node = NodeMemory { ram_bytes: 8 << 30, swap_bytes, page_bytes: 4096 };
        limit_above_pods(found, &Settings::defaults().grant, &node)
    }

    #[test]
    fn the_tightest_limit_above_the_pods_is_named() {
        let mut found = Obstacles {
            above_pods: vec![
                ancestor("kubepods.slice", SwapMax::Max),
                ancestor("kubepods.slice/kubepods-burstable.slice", SwapMax::Bytes(1 << 30)),
            ],
            ..Obstacles::default()
        };
        let problem = above(&found, 8 << 30).unwrap();
        assert!(problem.text.contains("kubepods-burstable.slice is 1073741824"), "{problem:?}");
        assert!(problem.text.contains("no more than 1.0 GiB"), "{problem:?}");
        // A limit above the node's swap limits no pod.
        assert_eq!(above(&found, 1 << 30), None);
        found.above_pods[0].swap_max = SwapMax::ZERO;
        let problem = above(&found, 8 << 30).unwrap();
        assert!(problem.text.contains("of kubepods.slice is 0"), "{problem:?}");
        let remedy = "systemctl set-property kubepods.slice MemorySwapMax=infinity";
        assert_eq!(problem.remedy, [remedy]);
        let file = "/etc/systemd/system/kubepods.slice.d/99-no swap.conf";
        found.above_pods[0].set_by = vec![("MemorySwapMax".to_owned(), file.into())];
        assert_eq!(
            above(&found, 8 << 30).unwrap().remedy,
            [
                &*format!(
                    "sed -i --follow-symlinks 's/^[ \\t]*MemorySwapMax[ \\t]*=/# &/' '{file}'"
                ),
                "systemctl daemon-reload",
                remedy
            ]
        );
        // BestEffort pods get no swap in any case.
        found.above_pods = vec![ancestor("kubepods/besteffort", SwapMax::ZERO)];
        assert_eq!(above(&found, 8 << 30), None);
        found.above_pods = vec![ancestor("kubepods/burstable", SwapMax::ZERO)];
        let problem = above(&found, 8 << 30).unwrap();
        assert_eq!(
            problem.remedy,
            ["echo max > /sys/fs/cgroup/kubepods/burstable/memory.swap.max"]
        );
    }

    #[test]
    fn the_smallest_limit_counts_and_is_named() {
        let path = Path::new("kubepods.slice/kubepods-burstable.slice/pod1/c");
        let named = |name: &str| Some(name.to_owned());
        let own = SwapMax::Bytes(100);
        let all = [
            ancestor("kubepods.slice", SwapMax::Bytes(40)),
            ancestor("kubepods.slice/kubepods-besteffort.slice", SwapMax::ZERO),
        ];
        assert_eq!(effective(own, None, path, &[]), (own, None));
        assert_eq!(effective(own, Some(own), path, &[]), (own, None));
        assert_eq!(effective(own, None, path, &all), (SwapMax::Bytes(40), named("kubepods.slice")));
        let pod = Some(SwapMax::Bytes(30));
        assert_eq!(effective(own, pod, path, &all), (SwapMax::Bytes(30), named("the pod")));
        assert_eq!(effective(SwapMax::Bytes(20), pod, path, &all), (SwapMax::Bytes(20), None));
    }

    #[test]
    fn a_bound_below_use_and_odd_tunables_are_told() {
        let mut found = Obstacles { swappiness: Some(0), ..Obstacles::default() };
        found.overcommit_memory = Some(2);
        let high = |high| Ancestor { high: Some(high), ..ancestor("kubepods.slice", SwapMax::Max) };
        found.above_pods = vec![high((10 << 30, 9 << 30))];
        assert_eq!(throttled(&found), None);
        found.above_pods = vec![high((9 << 30, 10 << 30))];
        assert!(throttled(&found).unwrap().text.contains("10.0 GiB, above its memory.high of 9.0"));
        assert_eq!(swappiness(&found).unwrap().remedy, ["sysctl -w vm.swappiness=60"]);
        assert_eq!(overcommit(&found).unwrap().remedy, ["sysctl -w vm.overcommit_memory=0"]);
        assert_eq!(
            (swappiness(&Obstacles::default()), overcommit(&Obstacles::default())),
            (None, None)
        );
    }
}
