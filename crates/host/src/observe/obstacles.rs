//! Reads the properties of the host that keep pods from using their swap grant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::units;
use crate::{
    model::{
        obstacles::{Ancestor, Obstacles},
        swap::SwapMax,
    },
    roots::Roots,
};

/// The kubelet's cgroups for QoS classes, with the systemd and the cgroupfs driver.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// Returns the paths that the cgroups above pods may have, outermost first, without the root's.
pub fn above_pods(roots: &Roots) -> Vec<PathBuf> {
    let mut above = Vec::new();
    for pods in roots.pods() {
        // With a cgroupRoot, there are more cgroups above it.
        let mut paths: Vec<&Path> =
            pods.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        paths.reverse();
        above.extend(paths.into_iter().map(Path::to_owned));
        for class in CLASSES {
            let name = pods.file_name().unwrap_or_default().to_string_lossy();
            let of_class = match name.strip_suffix(".slice") {
                Some(stem) => format!("{stem}-{class}.slice"),
                None => class.to_owned(),
            };
            above.push(pods.join(of_class));
        }
    }
    above
}

pub fn obstacles(roots: &Roots) -> Obstacles {
    let above = above_pods(roots);
    let above_pods = above.iter().filter_map(|path| ancestor(roots, path)).collect();
    let number = |name: &str| fs::read_to_string(roots.proc(name)).ok()?.trim().parse().ok();
    Obstacles {
        above_pods,
        swappiness: number("sys/vm/swappiness"),
        overcommit_memory: number("sys/vm/overcommit_memory"),
    }
}

/// The drop-ins of `systemctl set-property`: by name, the last of all directories counts.
const BY_SET_PROPERTY: [&str; 2] = ["50-MemorySwapMax.conf", "50-MemoryHigh.conf"];

/// Returns the drop-ins of the slice at `path` that override `systemctl set-property`.
fn overriding(roots: &Roots, path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let is_later = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default();
        BY_SET_PROPERTY.iter().all(|own| *name > **own)
    };
    let sets = |file: &PathBuf| {
        let mut sets = false;
        units::in_section(&units::text(roots, file).unwrap_or_default(), "Slice", |key, _| {
            sets |= matches!(key, "MemorySwapMax" | "MemoryHigh");
        });
        sets
    };
    let mut found = units::drop_ins(roots, name);
    found.retain(|file| is_later(file) && sets(file));
    found
}

fn ancestor(roots: &Roots, path: &Path) -> Option<Ancestor> {
    let folder = roots.cgroup().join(path);
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let swap_max: SwapMax = text("memory.swap.max")?.trim().parse().ok()?;
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let swap_is_tight = swap_max != SwapMax::Max;
    let high = number("memory.high").zip(number("memory.current"));
    let is_tight = swap_is_tight || high.is_some();
    Some(Ancestor {
        drop_ins: if is_tight { overriding(roots, path) } else { Vec::new() },
        path: path.display().to_string(),
        swap_max,
        high,
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
        let drop_ins = "/etc/systemd/system/kubepods-burstable.slice.d";
        put(&format!("{drop_ins}/10-x.conf"), "[Slice]\nMemorySwapMax=0\n");
        put(&format!("{drop_ins}/99-x.conf"), "[Slice]\n MemorySwapMax = 0\n");
        put(&format!("{drop_ins}/99-y.conf"), "[Slice]\n#MemorySwapMax=0\n");
        let later = &obstacles(&roots).above_pods[1].drop_ins;
        assert_eq!(*later, [Path::new(drop_ins).join("99-x.conf")]);
        // A mask of the same name hides it; the drop-ins of a prefix and of all slices count too.
        put("/etc/systemd/system.control/kubepods-burstable.slice.d/99-x.conf", "");
        put("/etc/systemd/system/kubepods-.slice.d/98-x.conf", "[Slice]\nMemoryHigh=1G\n");
        put("/run/systemd/transient/slice.d/99-z.conf", "[Slice]\nMemorySwapMax=0\n");
        put("/etc/systemd/system/slice.d/97-x.conf", "[Service]\nMemorySwapMax=0\n");
        let names = |found: &Obstacles| -> Vec<String> {
            let files = found.above_pods[1].drop_ins.iter();
            files.map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            names(&obstacles(&roots)),
            [
                "/etc/systemd/system/kubepods-.slice.d/98-x.conf",
                "/run/systemd/transient/slice.d/99-z.conf"
            ]
        );
        put("/sys/fs/cgroup/kubelet.slice/memory.swap.max", "0\n");
        let below = roots.with_pods(&["kubelet.slice/kubelet-kubepods.slice".into()]);
        assert_eq!(obstacles(&below).above_pods[0].path, "kubelet.slice");
    }
}
