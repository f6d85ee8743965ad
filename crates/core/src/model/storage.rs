//! Facts about the places of existing or possible swap, and about the memory that its pages would
//! move to.

use std::path::{Path, PathBuf};

use super::host::SwapDevice;

/// The content of a swapfile's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Area {
    Nothing,
    /// A swap area with the agent's label.
    Ours {
        bytes: u64,
        /// Bytes that its removal frees.
        allocated_bytes: u64,
    },
    /// Any other content, described in words.
    Other(String),
}

/// The file system that would hold a swapfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub total_bytes: u64,
    /// Free bytes for users without privileges, as the kubelet counts them.
    pub available_bytes: u64,
    /// The runtime keeps its images here, so that the kubelet's `imagefs` is this file system.
    pub holds_images: bool,
    /// The reason why it cannot hold swap.
    pub obstacle: Option<String>,
}

/// The place of a swapfile. A file that replaced another one in use is at `next`.
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
    /// Records that the kernel rejects our file at `path`: it is useless, except for the space that
    /// its removal frees.
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

/// The content of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A swap area, ours or not.
    Swap,
    /// Zeros at the places of all known signatures.
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

/// A compressed RAM disk that holds our swap area, or held it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZramDevice {
    pub path: PathBuf,
    pub bytes: u64,
    pub active: Option<SwapDevice>,
}

/// Memory for the pages of a swap area that is switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    pub ram_bytes: u64,
    /// `MemAvailable`.
    pub available_bytes: u64,
    /// The kubelet evicts pods below this, by `memory.available`.
    pub kubelet_threshold_bytes: u64,
    /// Cgroups that have pages in swap and a memory limit.
    pub cgroups: Vec<CgroupMemory>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Path below the cgroup root.
    pub path: PathBuf,
    /// `memory.max`.
    pub max_bytes: u64,
    /// `memory.current` without `inactive_file`.
    pub working_set_bytes: u64,
    /// `memory.swap.current`.
    pub swap_bytes: u64,
}
