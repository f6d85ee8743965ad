//! Whether the kernel can limit swap: it counts swap for each cgroup only with CONFIG_SWAP and
//! without `swapaccount=0`.

use std::fs;

use crate::roots::Roots;

/// Why nothing can be done where the kernel cannot.
pub const NO_SWAP_CONTROLLER: &str = "the kernel does not count swap for cgroups (no \
     memory.swap.max): no limit can be set; remove swapaccount=0 from the kernel's command line";

/// `None` where no cgroup has a memory controller yet, which would tell.
pub fn limits_swap(roots: &Roots) -> Option<bool> {
    let folders = fs::read_dir(roots.cgroup()).ok()?.flatten().map(|entry| entry.path());
    // The root itself has neither file.
    let counted = folders.filter(|folder| folder.join("memory.max").exists());
    counted.map(|folder| folder.join("memory.swap.max").exists()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_with_a_memory_controller_tells() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(limits_swap(&roots), None);
        let slice = roots.cgroup().join("system.slice");
        fs::create_dir_all(&slice).unwrap();
        assert_eq!(limits_swap(&roots), None);
        fs::write(slice.join("memory.max"), "max\n").unwrap();
        assert_eq!(limits_swap(&roots), Some(false));
        fs::write(slice.join("memory.swap.max"), "max\n").unwrap();
        assert_eq!(limits_swap(&roots), Some(true));
    }
}
