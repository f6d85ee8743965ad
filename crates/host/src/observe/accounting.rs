//! Finds out if the kernel can limit swap: it counts swap by cgroup only with CONFIG_SWAP and
//! without `swapaccount=0`, and has no memory limits at all with `cgroup_disable=memory`.

use std::fs;

use crate::{model::swap::SwapControl, roots::Roots};

/// Reads the files of the top-level cgroups. Returns `Unknown` without cgroup v2.
pub fn swap_control(roots: &Roots) -> SwapControl {
    let root = roots.cgroup();
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else {
        return SwapControl::Unknown;
    };
    if !controllers.split_whitespace().any(|name| name == "memory") {
        return SwapControl::NoMemoryController;
    }
    let folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    // The root cgroup itself has neither file.
    let counted = folders.filter(|folder| folder.join("memory.max").exists());
    match counted.map(|folder| folder.join("memory.swap.max").exists()).max() {
        None => SwapControl::Unknown,
        Some(false) => SwapControl::NotCounted,
        Some(true) => SwapControl::Works,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_with_a_memory_controller_tells() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(swap_control(&roots), SwapControl::Unknown);
        let slice = roots.cgroup().join("system.slice");
        fs::create_dir_all(&slice).unwrap();
        assert_eq!(swap_control(&roots), SwapControl::Unknown);
        let controllers = roots.cgroup().join("cgroup.controllers");
        // The file's content with cgroup_disable=memory.
        for text in ["cpuset cpu io hugetlb pids rdma misc\n", "\n", "", "memory_recursiveprot\n"] {
            fs::write(&controllers, text).unwrap();
            assert_eq!(swap_control(&roots), SwapControl::NoMemoryController, "{text:?}");
        }
        fs::write(&controllers, "cpuset cpu io memory hugetlb pids\n").unwrap();
        assert_eq!(swap_control(&roots), SwapControl::Unknown);
        fs::write(slice.join("memory.max"), "max\n").unwrap();
        assert_eq!(swap_control(&roots), SwapControl::NotCounted);
        fs::write(slice.join("memory.swap.max"), "max\n").unwrap();
        assert_eq!(swap_control(&roots), SwapControl::Works);
    }
}
