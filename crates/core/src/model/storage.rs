//! What was seen of the places where swap is or could be, and of the memory it would move to.

use std::path::{Path, PathBuf};

use super::host::SwapDevice;

/// What is at a swapfile's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Area {
    Nothing,
    /// A swap area with our label.
    Ours {
        bytes: u64,
        /// What removing it gives back.
        allocated_bytes: u64,
    },
    /// Anything else, in words.
    Other(String),
}

/// The file system that would hold a swapfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub total_bytes: u64,
    /// For users without privileges, as the kubelet counts.
    pub available_bytes: u64,
    /// Why it cannot hold swap.
    pub obstacle: Option<String>,
}

/// A swapfile's place. A file that was exchanged for one of another size while in use is at `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    pub path: PathBuf,
    pub found: Area,
    pub active: Option<SwapDevice>,
    pub next_path: PathBuf,
    pub next: Area,
    pub next_active: Option<SwapDevice>,
    pub filesystem: FileSystem,
}

impl FilePlace {
    /// The kernel does not take our file at `path`: it is of no use, but for what removing it frees.
    pub fn refused(&mut self, path: &Path) {
        let areas = [
            (&self.path, &mut self.found, &self.active),
            (&self.next_path, &mut self.next, &self.next_active),
        ];
        for (at, area, active) in areas {
            if let (Area::Ours { bytes, .. }, None, true) = (area, active, at == path) {
                *bytes = 0;
            }
        }
    }
}

/// What is on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A swap area, whoever made it.
    Swap,
    /// Zeros where anything would begin or end.
    Blank,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPlace {
    pub path: PathBuf,
    pub bytes: u64,
    pub content: Content,
    pub active: Option<SwapDevice>,
}

/// A compressed RAM disk that holds our swap area, or once did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZramDevice {
    pub path: PathBuf,
    pub bytes: u64,
    pub active: Option<SwapDevice>,
}

/// Where swapped pages can go when a swap area is switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    pub ram_bytes: u64,
    /// `MemAvailable`.
    pub available_bytes: u64,
    /// Cgroups that have pages in swap and a limit of memory.
    pub cgroups: Vec<CgroupMemory>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Below the cgroup root.
    pub path: PathBuf,
    /// `memory.max`.
    pub max_bytes: u64,
    /// `memory.current` without `inactive_file`.
    pub working_set_bytes: u64,
    /// `memory.swap.current`.
    pub swap_bytes: u64,
}
