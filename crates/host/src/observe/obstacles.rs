//! Reads the properties of the host that keep pods from using their swap grant.

use std::{fs, path::Path};

use crate::{
    model::{
        obstacles::{Ancestor, Obstacles},
        swap::SwapMax,
    },
    roots::Roots,
};

/// The kubelet's cgroups for QoS classes, with the systemd and the cgroupfs driver.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

pub fn obstacles(roots: &Roots) -> Obstacles {
    let mut above_pods = Vec::new();
    for pods in roots.pods() {
        // With a cgroupRoot, there are more cgroups above it.
        let mut paths: Vec<&Path> =
            pods.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        paths.reverse();
        above_pods.extend(paths.into_iter().filter_map(|path| ancestor(roots, path)));
        for class in CLASSES {
            let name = pods.file_name().unwrap_or_default().to_string_lossy();
            let of_class = match name.strip_suffix(".slice") {
                Some(stem) => format!("{stem}-{class}.slice"),
                None => class.to_owned(),
            };
            above_pods.extend(ancestor(roots, &pods.join(of_class)));
        }
    }
    let number = |name: &str| fs::read_to_string(roots.proc(name)).ok()?.trim().parse().ok();
    Obstacles {
        above_pods,
        swappiness: number("sys/vm/swappiness"),
        overcommit_memory: number("sys/vm/overcommit_memory"),
    }
}

fn ancestor(roots: &Roots, path: &Path) -> Option<Ancestor> {
    let folder = roots.cgroup().join(path);
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let swap_max: SwapMax = text("memory.swap.max")?.trim().parse().ok()?;
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    Some(Ancestor {
        path: path.display().to_string(),
        swap_max,
        high: number("memory.high").zip(number("memory.current")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_above_pods_are_read_for_both_drivers_and_a_root_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &str| {
            let path = roots.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(obstacles(&roots), Obstacles::default());
        put("/sys/fs/cgroup/kubepods.slice/memory.swap.max", "max\n");
        put("/sys/fs/cgroup/kubepods.slice/memory.high", "max\n");
        put("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/memory.swap.max", "0\n");
        put("/sys/fs/cgroup/kubepods/besteffort/memory.swap.max", "4096\n");
        put("/proc/sys/vm/swappiness", "0\n");
        let found = obstacles(&roots);
        let shown: Vec<_> = found.above_pods.iter().map(|a| (&*a.path, a.swap_max)).collect();
        assert_eq!(
            shown,
            [
                ("kubepods.slice", SwapMax::Max),
                ("kubepods.slice/kubepods-burstable.slice", SwapMax::ZERO),
                ("kubepods/besteffort", SwapMax::Bytes(4096)),
            ]
        );
        assert_eq!((found.swappiness, found.overcommit_memory), (Some(0), None));
        put("/sys/fs/cgroup/kubelet.slice/memory.swap.max", "0\n");
        let below = roots.with_pods(&["kubelet.slice/kubelet-kubepods.slice".into()]);
        assert_eq!(obstacles(&below).above_pods[0].path, "kubelet.slice");
    }
}
