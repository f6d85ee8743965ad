//! Finds limits that keep pods from using their swap grant, and their fixes.

use crate::model::{
    obstacles::{Ancestor, Obstacles},
    swap::{SwapMax, human_bytes},
    trouble::{Problem, Trouble},
};

/// Reports a limit above the pods that is smaller than the node's swap; the pods' own limits do not
/// count.
pub fn limit_above_pods(obstacles: &Obstacles, swap_bytes: u64) -> Option<Problem> {
    let tight = |ancestor: &&Ancestor| match ancestor.swap_max {
        SwapMax::Max => false,
        SwapMax::Bytes(bytes) => bytes < swap_bytes,
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
    // set-property also overrides what `systemctl set-property` has left in
    // /etc/systemd/system.control.
    let remedy = match found.is_unit() {
        true => format!("systemctl set-property {name} MemorySwapMax=infinity"),
        false => format!("echo max > /sys/fs/cgroup/{}/memory.swap.max", found.path),
    };
    Some(Problem::new(Trouble::PodsLimit, text).with_remedy(vec![remedy]))
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
        true => format!("systemctl set-property {name} MemoryHigh=infinity"),
        false => format!("echo max > /sys/fs/cgroup/{}/memory.high", ancestor.path),
    };
    Some(Problem::new(Trouble::PodsLimit, text).with_remedy(vec![remedy]))
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

    fn ancestor(path: &str, swap_max: SwapMax) -> Ancestor {
        Ancestor { path: path.to_owned(), swap_max, high: None }
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
        let problem = limit_above_pods(&found, 8 << 30).unwrap();
        assert!(problem.text.contains("kubepods-burstable.slice is 1073741824"), "{problem:?}");
        assert!(problem.text.contains("no more than 1.0 GiB"), "{problem:?}");
        // A limit above the node's swap limits no pod.
        assert_eq!(limit_above_pods(&found, 1 << 30), None);
        found.above_pods[0].swap_max = SwapMax::ZERO;
        let problem = limit_above_pods(&found, 8 << 30).unwrap();
        assert!(problem.text.contains("of kubepods.slice is 0"), "{problem:?}");
        let remedy = "systemctl set-property kubepods.slice MemorySwapMax=infinity";
        assert_eq!(problem.remedy, [remedy]);
        found.above_pods = vec![ancestor("kubepods/burstable", SwapMax::ZERO)];
        let problem = limit_above_pods(&found, 8 << 30).unwrap();
        assert_eq!(
            problem.remedy,
            ["echo max > /sys/fs/cgroup/kubepods/burstable/memory.swap.max"]
        );
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
