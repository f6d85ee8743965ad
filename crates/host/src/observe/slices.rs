//! Reads the kernel's values for a slice.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::fields::{counter, digits};
use crate::{
    model::{
        protection::{DeviceNumber, ServiceMemory, SliceFacts},
        swap::SwapMax,
    },
    roots::Roots,
};

/// The files to watch for changes.
pub const FILES: [&str; 2] = ["memory.swap.max", "io.latency"];

/// Returns the slice's cgroup: `a-b.slice` is in `a.slice` (systemd.slice(5)).
pub fn folder(roots: &Roots, unit: &str) -> PathBuf {
    let mut folder = roots.cgroup();
    let stem = unit.strip_suffix(".slice").unwrap_or(unit);
    for (index, _) in stem.match_indices('-') {
        folder.push(format!("{}.slice", &stem[..index]));
    }
    folder.join(unit)
}

/// Returns the slice whose cgroup is at `path`.
pub fn unit(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.ends_with(".slice").then(|| name.to_owned())
}

/// Reads the slice from the kernel; does not query systemd.
pub fn facts(roots: &Roots, unit: &str) -> SliceFacts {
    SliceFacts {
        unit: unit.to_owned(),
        properties: None,
        swap_max: swap_max(roots, unit),
        io_latency: io_latency(roots, unit),
    }
}

/// Reads `memory.swap.max`; `None` if it is missing or invalid.
pub fn swap_max(roots: &Roots, unit: &str) -> Option<SwapMax> {
    fs::read_to_string(folder(roots, unit).join(FILES[0])).ok()?.parse().ok()
}

/// Reads `io.latency`, in microseconds by device: lines like `254:0 target=50000`.
pub fn io_latency(roots: &Roots, unit: &str) -> Option<BTreeMap<DeviceNumber, u64>> {
    let text = fs::read_to_string(folder(roots, unit).join(FILES[1])).ok()?;
    let target = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let micros = rest.split_whitespace().find_map(|word| word.strip_prefix("target="))?;
        Some((device.parse().ok()?, micros.parse().ok()?))
    };
    Some(text.lines().filter_map(target).collect())
}

/// Reads the memory of `unit`, whose cgroup is `group` below the root (systemd's `ControlGroup`).
/// `None` if it does not run or is in no slice.
pub fn service_memory(roots: &Roots, unit: &str, group: &str) -> Option<ServiceMemory> {
    let group = group.trim_start_matches('/');
    let mut slices: Vec<String> = group.split('/').map(str::to_owned).collect();
    if slices.pop()? != unit || slices.iter().any(|slice| !slice.ends_with(".slice")) {
        return None;
    }
    let folder = roots.cgroup().join(group);
    let current = fs::read_to_string(folder.join("memory.current")).ok()?;
    let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let field = |name| counter(&stat, name).unwrap_or(0);
    Some(ServiceMemory {
        unit: unit.to_owned(),
        slices,
        current_bytes: digits(current.trim())?,
        file_bytes: field("file"),
        active_file_bytes: field("active_file"),
        mapped_file_bytes: field("file_mapped"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_memory_is_read_with_its_slices() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        let group = "/system.slice/kubelet.service";
        assert_eq!(service_memory(&roots, "kubelet.service", group), None, "it does not run");
        let folder = roots.cgroup().join("system.slice/kubelet.service");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("memory.current"), "200000\n").unwrap();
        // As a 6.1 kernel writes it, shortened.
        let stat = "anon 40960\nfile 150000\nkernel 9000\nfile_mapped 90000\nfile_dirty 0\n\
                    inactive_file 30000\nactive_file 120000\n";
        fs::write(folder.join("memory.stat"), stat).unwrap();
        let memory = service_memory(&roots, "kubelet.service", group).unwrap();
        assert_eq!(memory.slices, ["system.slice"]);
        assert_eq!((memory.current_bytes, memory.file_bytes), (200_000, 150_000));
        assert_eq!((memory.active_file_bytes, memory.mapped_file_bytes), (120_000, 90_000));
        assert_eq!(service_memory(&roots, "kubelet.service", ""), None);
        assert_eq!(service_memory(&roots, "kubelet.service", "/kubepods.slice/x.scope"), None);
    }

    #[test]
    fn slices_are_found_by_their_name_and_read() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        assert!(folder(&roots, "a-b.slice").ends_with("sys/fs/cgroup/a.slice/a-b.slice"));
        let system = folder(&roots, "system.slice");
        assert!(system.ends_with("sys/fs/cgroup/system.slice"));
        assert_eq!(swap_max(&roots, "system.slice"), None);
        assert_eq!(io_latency(&roots, "system.slice"), None);
        fs::create_dir_all(&system).unwrap();
        fs::write(system.join("memory.swap.max"), "0\n").unwrap();
        fs::write(system.join("io.latency"), "254:0 target=50000\nodd\n8:16 target=75\n").unwrap();
        assert_eq!(swap_max(&roots, "system.slice"), Some(SwapMax::ZERO));
        let latency = io_latency(&roots, "system.slice").unwrap();
        let shown: Vec<_> = latency.iter().map(|(d, micros)| (d.to_string(), *micros)).collect();
        assert_eq!(shown, [("8:16".to_owned(), 75), ("254:0".to_owned(), 50_000)]);
    }
}
