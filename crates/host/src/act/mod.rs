//! Output: carries decisions out. Every action reads first and writes only a difference.

pub mod cgroup;
pub mod cgroup_reclaim;
pub mod events;
pub mod evict;
pub mod freeze;
mod loans;
pub mod memory;
pub mod node;
pub mod offload;
pub mod reclaim;
pub mod records;
pub mod slices;
pub mod swap;
pub mod systemd;
pub mod tunables;

use std::{io, path::Path};

use crate::{
    bus,
    errors::FileError,
    failpoint, messages,
    model::swap::SwapMax,
    replace::replace,
    roots::Roots,
    state::{self, StateContent},
};

/// The result of writing a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Now,
    /// The limit was already right.
    Already,
    /// The cgroup is gone, or another cgroup has its path.
    Gone,
}

/// Carries decisions out, or only logs them.
pub trait Actuator {
    /// Writes `memory.swap.max` of the cgroup `inode` at `path` below the cgroup root.
    fn write_limit(&self, path: &Path, inode: u64, to: SwapMax) -> Result<Written, FileError>;

    /// Makes `path` a file that contains `text`, and creates its directory.
    fn replace_file(&self, path: &Path, text: &str, mode: u32) -> io::Result<Written>;

    fn remove_file(&self, path: &Path) -> io::Result<Written>;

    /// Asks systemd to hold the limit; the answer arrives later.
    fn tell_systemd(&self, request: systemd::UnitRequest);

    /// Asks systemd to restart the unit; the unit's state shows the result.
    fn restart_unit(&self, unit: &'static str);
}

/// Saves `state` to its file through `actuator`.
pub fn save<T: StateContent>(
    actuator: &impl Actuator,
    roots: &Roots,
    state: &T,
) -> Result<(), FileError> {
    let shown = Path::new(T::FILE.path);
    state::text(state)
        .and_then(|text| actuator.replace_file(&roots.path(shown), &text, 0o600))
        .map(drop)
        .map_err(FileError::of("write", shown))
}

/// Acts on the host itself.
#[derive(Debug)]
pub struct Host {
    pub roots: Roots,
    pub systemd: tokio::sync::mpsc::UnboundedSender<systemd::UnitRequest>,
}

impl Actuator for Host {
    fn write_limit(&self, path: &Path, inode: u64, to: SwapMax) -> Result<Written, FileError> {
        cgroup::write_limit(&self.roots.cgroup().join(path), inode, to)
    }

    fn replace_file(&self, path: &Path, text: &str, mode: u32) -> io::Result<Written> {
        if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
            return Ok(Written::Already);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        replace(path, text, mode)?;
        Ok(Written::Now)
    }

    fn remove_file(&self, path: &Path) -> io::Result<Written> {
        match std::fs::remove_file(path) {
            Ok(()) => failpoint::at("file.removed").map(|()| Written::Now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Written::Already),
            Err(error) => Err(error),
        }
    }

    fn tell_systemd(&self, request: systemd::UnitRequest) {
        // Fails only while the agent ends.
        let _ = self.systemd.send(request);
    }

    fn restart_unit(&self, unit: &'static str) {
        let roots = self.roots.clone();
        tokio::spawn(async move {
            if let Err(error) = bus::restart(&roots, unit).await {
                messages::ProvisionDiffers.emit(format_args!("cannot restart {unit}: {error}"));
            }
        });
    }
}

/// Changes nothing.
#[derive(Debug)]
pub struct DryRun;

impl Actuator for DryRun {
    fn write_limit(&self, path: &Path, _inode: u64, to: SwapMax) -> Result<Written, FileError> {
        messages::DryRun {
            cgroup: Some(&path.display()),
            swap_max: Some(&to),
            ..messages::DryRun::default()
        }
        .emit(format_args!("would set memory.swap.max"));
        Ok(Written::Already)
    }

    fn replace_file(&self, path: &Path, text: &str, _mode: u32) -> io::Result<Written> {
        if std::fs::read_to_string(path).is_ok_and(|found| found != text) {
            messages::DryRun { path: Some(&path.display()), ..messages::DryRun::default() }
                .emit(format_args!("would write a file"));
        }
        Ok(Written::Already)
    }

    fn remove_file(&self, path: &Path) -> io::Result<Written> {
        if path.exists() {
            messages::DryRun { path: Some(&path.display()), ..messages::DryRun::default() }
                .emit(format_args!("would remove a file"));
        }
        Ok(Written::Already)
    }

    fn restart_unit(&self, unit: &'static str) {
        messages::DryRun::default().emit(format_args!("would restart {unit}"));
    }

    fn tell_systemd(&self, request: systemd::UnitRequest) {
        messages::DryRun {
            unit: Some(&request.unit),
            swap_max: Some(&request.to),
            ..messages::DryRun::default()
        }
        .emit(format_args!("would set MemorySwapMax"));
    }
}
