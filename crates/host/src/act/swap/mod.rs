//! Carries out the steps of a provisioning plan.

mod file;
mod syscalls;
pub mod zram;

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use uuid::Uuid;

use crate::{
    config::settings::Discard,
    decide::provision::ProvisionStep,
    failpoint,
    model::{
        storage::Area,
        swap_header::{LARGEST_PAGE, SwapHeader},
    },
    observe::swap::area::{area, open_beneath},
    roots::Roots,
};

/// A failed step; the steps before it are done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct StepError {
    step: String,
    #[source]
    source: io::Error,
}

impl StepError {
    /// Returns true if the kernel rejects the area as swap: it has holes, shares blocks with a
    /// snapshot or a copy, or is compressed.
    pub fn is_refused(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EINVAL)
    }
}

/// Creates swap and switches it on.
pub struct Provisioner<'a> {
    pub roots: &'a Roots,
    pub page_bytes: u64,
    pub priority: u16,
    pub discard: Discard,
    /// Receives the progress of a long step: bytes done and bytes in total.
    pub progress: &'a dyn Fn(u64, u64),
}

impl std::fmt::Debug for Provisioner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provisioner").field("roots", self.roots).finish_non_exhaustive()
    }
}

impl Provisioner<'_> {
    /// Carries out one step. A failed step changes nothing.
    pub fn carry_out(&self, step: &ProvisionStep) -> Result<(), StepError> {
        let failed = |source| StepError { step: step.to_string(), source };
        failpoint::at("swap.step").map_err(failed)?;
        self.do_step(step).and_then(|()| failpoint::at("swap.stepped")).map_err(failed)
    }

    fn do_step(&self, step: &ProvisionStep) -> io::Result<()> {
        match step {
            ProvisionStep::MakeFile { path, bytes } => self.make_file(path, *bytes),
            ProvisionStep::Format { path, bytes } => self.format(path, *bytes),
            ProvisionStep::MakeZram { bytes } => self.make_zram(*bytes),
            ProvisionStep::SwapOn { path } => self.swap_on(path),
            ProvisionStep::SwapOff { path } => syscalls::swapoff(&self.roots.path(path)),
            ProvisionStep::RemoveFile { path } => self.remove_file(path),
            ProvisionStep::Rename { from, to } => {
                let (from, to) = (self.roots.path(from), self.roots.path(to));
                let flags = RenameFlags::RENAME_NOREPLACE;
                renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags).map_err(io::Error::from)
            }
            ProvisionStep::RemoveZram { path } => zram::remove(self.roots, path),
            ProvisionStep::Erase { path } => self.erase(path),
        }
    }

    fn header(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let header = SwapHeader::ours(bytes, self.page_bytes, Uuid::new_v4());
        let page = usize::try_from(self.page_bytes).unwrap_or(4096);
        header.map(|header| header.to_page(page)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a swap area has 10 to 2^32 pages")
        })
    }

    /// Formats a device that no other program has open.
    fn format(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let device = exclusively(&self.roots.path(path))?;
        device.write_all_at(&self.header(bytes)?, 0)?;
        device.sync_all()
    }

    fn erase(&self, path: &Path) -> io::Result<()> {
        let device = exclusively(&self.roots.path(path))?;
        let mut page = vec![0; usize::try_from(LARGEST_PAGE).unwrap_or(65536)];
        device.read_exact_at(&mut page, 0)?;
        let Some((_, bytes)) =
            SwapHeader::of_any_page(&page).filter(|(header, _)| header.is_ours())
        else {
            return Err(io::Error::other("it is no longer a swap area of the agent"));
        };
        page.truncate(usize::try_from(bytes).unwrap_or(4096));
        page.fill(0);
        device.write_all_at(&page, 0)?;
        device.sync_all()
    }

    /// Removes only a swap area of the agent: another program may have put another file there
    /// meanwhile.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let found = area(self.roots, path, self.page_bytes).map_err(io::Error::other)?;
        if !matches!(found, Area::Ours { .. }) {
            return Err(io::Error::other("it is no longer a swap area of the agent"));
        }
        std::fs::remove_file(self.roots.path(path))
    }

    /// Switches on the file that was examined, by its descriptor: its path may name another file by now.
    fn swap_on(&self, path: &Path) -> io::Result<()> {
        let real = self.roots.path(path);
        if path.starts_with("/dev") {
            return syscalls::swapon(&real, self.priority, self.discard);
        }
        let file = File::from(open_beneath(self.roots, path, OFlag::O_RDONLY)?);
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        match syscalls::swapon(&by_descriptor, self.priority, self.discard) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                // The swap is on already, under a name that exists only in another mount namespace.
                let file = open_beneath(self.roots, path, OFlag::O_RDWR)?;
                match syscalls::is_swap(&file) {
                    true => Ok(()),
                    false => Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!("{error} (btrfs refuses during a balance, a resize or a replace)"),
                    )),
                }
            }
            switched_on => switched_on,
        }
    }

    fn make_zram(&self, bytes: u64) -> io::Result<()> {
        let path = zram::add(self.roots, bytes)?;
        let made = self.format(&path, bytes).and_then(|()| self.swap_on(&path));
        if made.is_err() {
            let _ = zram::remove(self.roots, &path);
        }
        made
    }
}

fn exclusively(device: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(device)
}
