//! IO out: carries decisions out. Every action reads first and writes only what differs.

pub mod bus;
pub mod cgroup;
pub mod files;
pub mod slices;
pub mod swap;
pub mod systemd;
pub mod tunables;

use std::path::Path;

use crate::{model::swap::SwapMax, observe::cgroup::CgroupError, roots::Roots};

/// What became of a limit that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Now,
    /// It was right already.
    Already,
    /// The cgroup is gone, or another has its path.
    Gone,
}

/// Does what was decided, or only says so.
pub trait Actuator {
    /// Writes `memory.swap.max` of the cgroup `inode` at `path` below the cgroup root.
    fn write_limit(&self, path: &Path, inode: u64, to: SwapMax) -> Result<Written, CgroupError>;

    /// Has systemd hold the limit; the answer comes later.
    fn tell_systemd(&self, request: systemd::Request);
}

/// The host itself.
#[derive(Debug)]
pub struct Host {
    pub roots: Roots,
    pub systemd: tokio::sync::mpsc::UnboundedSender<systemd::Request>,
}

impl Actuator for Host {
    fn write_limit(&self, path: &Path, inode: u64, to: SwapMax) -> Result<Written, CgroupError> {
        cgroup::write_limit(&self.roots.cgroup().join(path), inode, to)
    }

    fn tell_systemd(&self, request: systemd::Request) {
        // Fails only while the agent ends.
        let _ = self.systemd.send(request);
    }
}

/// Does nothing.
#[derive(Debug)]
pub struct DryRun;

impl Actuator for DryRun {
    fn write_limit(&self, path: &Path, _inode: u64, to: SwapMax) -> Result<Written, CgroupError> {
        tracing::info!(cgroup = %path.display(), swap_max = %to, "would set memory.swap.max");
        Ok(Written::Already)
    }

    fn tell_systemd(&self, request: systemd::Request) {
        tracing::info!(unit = %request.unit, swap_max = %request.to, "would set MemorySwapMax");
    }
}
