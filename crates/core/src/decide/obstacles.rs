//! Finds limits that keep pods from using their swap grant, and their fixes.

use std::path::PathBuf;

use crate::model::{
    obstacles::{Ancestor, Obstacles},
    shell,
    swap::{SwapMax, human_bytes},
    trouble::{Problem, Trouble},
};

/// Reports the limits above the pods that are smaller than the node's swap, the smallest first. The
/// pods' own limits do not count, and neither does that of BestEffort pods, whose grants are 0.
pub fn limit_above_pods(obstacles: &Obstacles, swap_bytes: u64) -> Option<Problem> {
    let tight = |ancestor: &&Ancestor| match ancestor.swap_max {
        SwapMax::Max => false,
        SwapMax::Bytes(bytes) => bytes < swap_bytes && !ancestor.is_best_effort(),
    };
    let mut found: Vec<&Ancestor> = obstacles.above_pods.iter().filter(tight).collect();
    found.sort_by_key(|ancestor| ancestor.swap_max);
    let text = |ancestor: &&Ancestor| {
        let (name, limit) = (ancestor.name(), ancestor.swap_max);
        let may = match limit {
            SwapMax::Bytes(bytes) if bytes > 0 => format!("no more than {}", human_bytes(bytes)),
            _ => "nothing".to_owned(),
        };
        format!(
            "memory.swap.max of {name} is {limit}: its pods together may swap {may}, even if \
             their grants are larger"
        )
    };
    // set-property also overrides what `systemctl set-property` has left in
    // /etc/systemd/system.control.
    problem(&found, text, "MemorySwapMax", "memory.swap.max")
}

/// Reports each `memory.high` below use: all pods below it are throttled permanently.
pub fn throttled(obstacles: &Obstacles) -> Option<Problem> {
    let over = |ancestor: &&Ancestor| ancestor.high.is_some_and(|(high, current)| current > high);
    let found: Vec<&Ancestor> = obstacles.above_pods.iter().filter(over).collect();
    let text = |ancestor: &&Ancestor| {
        let (high, current) = ancestor.high.unwrap_or_default();
        format!(
            "{} uses {}, above its memory.high of {}: the kernel slows its pods down",
            ancestor.name(),
            human_bytes(current),
            human_bytes(high)
        )
    };
    problem(&found, text, "MemoryHigh", "memory.high")
}

/// One problem for all cgroups that have it, with a command for each that removes the limit.
fn problem(
    found: &[&Ancestor],
    text: impl Fn(&&Ancestor) -> String,
    property: &str,
    file: &str,
) -> Option<Problem> {
    let remedy = |ancestor: &&Ancestor| -> Vec<String> {
        if !ancestor.is_unit() {
            return vec![format!("echo max > /sys/fs/cgroup/{}/{file}", ancestor.path)];
        }
        let comment = |drop_in: &PathBuf| {
            let drop_in = shell::path(drop_in);
            format!(r"sed -i --follow-symlinks -E 's/^\s*{property}\s*=/# &/' {drop_in}")
        };
        let reload = (!ancestor.drop_ins.is_empty()).then(|| "systemctl daemon-reload".to_owned());
        let set = format!("systemctl set-property {} {property}=infinity", ancestor.name());
        ancestor.drop_ins.iter().map(comment).chain(reload).chain([set]).collect()
    };
    let texts: Vec<String> = found.iter().map(text).collect();
    (!texts.is_empty()).then(|| {
        Problem::new(Trouble::PodsLimit, texts.join("; "))
            .with_remedy(found.iter().flat_map(remedy).collect())
    })
}

/// Reports a `vm.swappiness` of 0, or another one than the configured value `wanted`.
pub fn swappiness(obstacles: &Obstacles, wanted: Option<u64>) -> Option<Problem> {
    if let (Some(found), Some(wanted)) = (obstacles.swappiness, wanted)
        && found != wanted
    {
        let text = format!(
            "vm.swappiness is {found}, but kernel.swappiness is {wanted}: wasp-swap has not set it, or \
             another program has changed it since (TuneD, sysctl)"
        );
        let places = "/etc/tuned /usr/lib/tuned /etc/sysctl.d";
        let remedy = vec![
            "systemctl restart wasp-swap".to_owned(),
            "systemctl status wasp-swap".to_owned(),
            format!("# if it changes again, change it there too: grep -rs swappiness {places}"),
        ];
        return Some(Problem::new(Trouble::Swappiness, text).with_remedy(remedy));
    }
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
        Ancestor { path: path.to_owned(), swap_max, high: None, drop_ins: Vec::new() }
    }

    #[test]
    fn the_limits_above_the_pods_are_named_the_tightest_first() {
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
        assert!(problem.text.contains("; memory.swap.max of kubepods-burstable.slice is 1073"));
        let remedy = |slice: &str| format!("systemctl set-property {slice} MemorySwapMax=infinity");
        assert_eq!(problem.remedy, ["kubepods.slice", "kubepods-burstable.slice"].map(remedy));
        found.above_pods[0].drop_ins =
            vec!["/etc/systemd/system/kubepods.slice.d/99-x.conf".into()];
        let remedy = limit_above_pods(&found, 8 << 30).unwrap().remedy;
        assert!(
            remedy[0].ends_with(
                "MemorySwapMax\\s*=/# &/' /etc/systemd/system/kubepods.slice.d/99-x.conf"
            )
        );
        assert_eq!(remedy[1], "systemctl daemon-reload");
        for of_best_effort in ["kubepods.slice/kubepods-besteffort.slice", "kubepods/besteffort"] {
            found.above_pods = vec![ancestor(of_best_effort, SwapMax::ZERO)];
            assert_eq!(limit_above_pods(&found, 8 << 30), None, "these pods get no swap");
        }
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
        found.above_pods.push(Ancestor { path: "kubepods/burstable".into(), ..high((1, 2)) });
        let remedy = &throttled(&found).unwrap().remedy;
        assert_eq!(remedy[0], "systemctl set-property kubepods.slice MemoryHigh=infinity");
        assert_eq!(remedy[1], "echo max > /sys/fs/cgroup/kubepods/burstable/memory.high");
        assert_eq!(swappiness(&found, None).unwrap().remedy, ["sysctl -w vm.swappiness=60"]);
        found.swappiness = Some(10);
        assert_eq!((swappiness(&found, None), swappiness(&found, Some(10))), (None, None));
        let changed = swappiness(&found, Some(80)).unwrap();
        assert!(changed.text.starts_with("vm.swappiness is 10, but kernel.swappiness is 80"));
        assert_eq!(changed.remedy[0], "systemctl restart wasp-swap");
        assert_eq!(overcommit(&found).unwrap().remedy, ["sysctl -w vm.overcommit_memory=0"]);
        assert_eq!(
            (swappiness(&Obstacles::default(), Some(80)), overcommit(&Obstacles::default())),
            (None, None)
        );
    }
}
