//! Finds room for pages that return from swap.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::super::{
    fields::{counter, read},
    node::Meminfo,
};
use crate::{
    errors::FileError,
    model::storage::{CgroupMemory, MemoryFacts},
    roots::Roots,
};

/// Returns the free memory of the node and of the cgroups; `kubelet_threshold` returns the kubelet's
/// threshold for a node with this RAM, both in bytes.
pub fn memory_facts(
    roots: &Roots,
    kubelet_threshold: impl FnOnce(u64) -> u64,
) -> Result<MemoryFacts, FileError> {
    let meminfo = Meminfo::read(roots)?;
    let mut cgroups = Vec::new();
    let root = roots.cgroup();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        cgroups.extend(cgroup(&root, &folder));
        // A cgroup that disappears meanwhile has no pages in swap any more.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        folders.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    let ram_bytes = meminfo.needed("MemTotal")?;
    Ok(MemoryFacts {
        ram_bytes,
        kubelet_threshold_bytes: kubelet_threshold(ram_bytes),
        // Exists since Linux 3.14; without it, count nothing as available.
        available_bytes: meminfo.bytes("MemAvailable").unwrap_or(0),
        cgroups,
    })
}

/// `None` for a cgroup without pages in swap or without a limit.
fn cgroup(root: &Path, folder: &Path) -> Option<CgroupMemory> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let swap_bytes = number("memory.swap.current").filter(|bytes| *bytes > 0)?;
    // "max" is not a number: no limit.
    let max_bytes = number("memory.max")?;
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    let inactive_file = counter(&stat, "inactive_file").unwrap_or(0);
    Some(CgroupMemory {
        path: folder.strip_prefix(root).map_or_else(|_| PathBuf::new(), Path::to_path_buf),
        max_bytes,
        working_set_bytes: number("memory.current")?.saturating_sub(inactive_file),
        swap_bytes,
    })
}
