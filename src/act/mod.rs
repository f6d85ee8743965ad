//! IO out: carries decisions out. Every action reads first and writes only what differs.

pub mod bus;
pub mod cgroup;
pub mod evict;
pub mod files;
pub mod memory;
pub mod node;
pub mod slices;
pub mod swap;
pub mod systemd;
pub mod tunables;

use std::{io, path::Path};

use crate::{
    failpoint, model::swap::SwapMax, observe::cgroup::CgroupError, report::messages, roots::Roots,
};

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

    /// Makes `path` a file that holds `text`, with its folder.
    fn replace_file(&self, path: &Path, text: &str, mode: u32) -> io::Result<Written>;

    fn remove_file(&self, path: &Path) -> io::Result<Written>;

    /// Has systemd hold the limit; the answer comes later.
    fn tell_systemd(&self, request: systemd::Request);

    /// Has systemd start the unit again; what comes of it shows in the unit.
    fn restart_unit(&self, unit: &'static str);
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

    fn replace_file(&self, path: &Path, text: &str, mode: u32) -> io::Result<Written> {
        if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
            return Ok(Written::Already);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        files::replace(path, text, mode)?;
        Ok(Written::Now)
    }

    fn remove_file(&self, path: &Path) -> io::Result<Written> {
        match std::fs::remove_file(path) {
            Ok(()) => failpoint::at("file.removed").map(|()| Written::Now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Written::Already),
            Err(error) => Err(error),
        }
    }

    fn tell_systemd(&self, request: systemd::Request) {
        // Fails only while the agent ends.
        let _ = self.systemd.send(request);
    }

    fn restart_unit(&self, unit: &'static str) {
        let roots = self.roots.clone();
        tokio::spawn(async move {
            if let Err(error) = bus::restart(&roots, unit).await {
                tracing::warn!(
                    message_id = messages::PROVISION_DIFFERS.id,
                    "cannot restart {unit}: {error}"
                );
            }
        });
    }
}

/// Does nothing.
#[derive(Debug)]
pub struct DryRun;

impl Actuator for DryRun {
    fn write_limit(&self, path: &Path, _inode: u64, to: SwapMax) -> Result<Written, CgroupError> {
        tracing::info!(message_id = messages::DRY_RUN.id, cgroup = %path.display(), swap_max = %to, "would set memory.swap.max");
        Ok(Written::Already)
    }

    fn replace_file(&self, path: &Path, text: &str, _mode: u32) -> io::Result<Written> {
        if std::fs::read_to_string(path).is_ok_and(|found| found != text) {
            tracing::info!(message_id = messages::DRY_RUN.id, path = %path.display(), "would write a file");
        }
        Ok(Written::Already)
    }

    fn remove_file(&self, path: &Path) -> io::Result<Written> {
        if path.exists() {
            tracing::info!(message_id = messages::DRY_RUN.id, path = %path.display(), "would remove a file");
        }
        Ok(Written::Already)
    }

    fn restart_unit(&self, unit: &'static str) {
        tracing::info!(message_id = messages::DRY_RUN.id, "would restart {unit}");
    }

    fn tell_systemd(&self, request: systemd::Request) {
        tracing::info!(message_id = messages::DRY_RUN.id, unit = %request.unit, swap_max = %request.to, "would set MemorySwapMax");
    }
}
