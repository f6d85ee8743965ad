//! Reads the properties of the host that keep pods from using their swap grant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::bounded::read_lossy;
use crate::{
    model::{
        obstacles::{Ancestor, Obstacles},
        swap::SwapMax,
    },
    roots::Roots,
};

/// The kubelet's cgroups for QoS classes, with the systemd and the cgroupfs driver.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// Where systemd reads drop-ins that people and packages write (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 5] = [
    "/usr/lib/systemd/system",
    "/run/systemd/system",
    "/etc/systemd/system",
    "/run/systemd/system.control",
    "/etc/systemd/system.control",
];

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
        set_by: set_by(roots, &path.file_name().unwrap_or_default().to_string_lossy()),
    })
}

/// Finds the drop-ins of a unit that set a limit of its memory or swap.
fn set_by(roots: &Roots, unit: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for folder in UNIT_FOLDERS.map(|folder| roots.path(folder).join(format!("{unit}.d"))) {
        for file in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Ok(Some(text)) = read_lossy(&file) else { continue };
            for property in ["MemorySwapMax", "MemoryHigh"] {
                let sets = |line: &str| {
                    let value = line.trim_start().strip_prefix(property).map(str::trim_start);
                    value
                        .and_then(|rest| rest.strip_prefix('='))
                        .is_some_and(|v| v.trim() != "infinity")
                };
                if text.lines().any(sets) {
                    found.push((property.to_owned(), roots.shown(&file).into_owned()));
                }
            }
        }
    }
    found.sort();
    found
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
        let drop_in = "/etc/systemd/system/kubepods.slice.d/99-x.conf";
        put(drop_in, "[Slice]\n MemorySwapMax = 0\n#MemoryHigh=1G\n");
        put("/run/systemd/system/kubepods.slice.d/10-x.conf", "[Slice]\nMemorySwapMax=infinity\n");
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
        assert_eq!(found.above_pods[0].set_by, [("MemorySwapMax".to_owned(), drop_in.into())]);
        assert_eq!((found.swappiness, found.overcommit_memory), (Some(0), None));
        put("/sys/fs/cgroup/kubelet.slice/memory.swap.max", "0\n");
        let below = roots.with_pods(&["kubelet.slice/kubelet-kubepods.slice".into()]);
        assert_eq!(obstacles(&below).above_pods[0].path, "kubelet.slice");
    }
}
