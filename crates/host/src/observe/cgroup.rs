//! Reads cgroup v2 files by an open directory, so that a reused path causes no mix-up.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use crate::{
    errors::FileError,
    failpoint,
    model::{
        host::{CgroupLevel, LevelFacts},
        swap::SwapMax,
    },
};

/// `memory.swap.max`.
pub const LIMIT_FILE: &str = "memory.swap.max";
const USE_FILE: &str = "memory.swap.current";
const PROCESSES_FILE: &str = "cgroup.procs";
const EVENTS_FILE: &str = "cgroup.events";
/// Files with limits hold one line, and a few processes are enough.
const LONGEST_BYTES: usize = 128;

/// An open cgroup directory.
#[derive(Debug)]
pub struct Cgroup {
    folder: File,
    path: PathBuf,
}

/// Returns true if `error` means that the cgroup is gone: its directory (ENOENT), or the state
/// behind an open file (ENODEV).
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

impl Cgroup {
    /// Opens the cgroup; `None` if it does not exist.
    pub fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(folder) => Ok(Some(Self { folder, path: path.to_owned() })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(FileError::of("open", path)(error)),
        }
    }

    /// The inode distinguishes two cgroups that had the same path at different times.
    pub fn inode(&self) -> Result<u64, FileError> {
        let metadata = self.folder.metadata().map_err(FileError::of("stat", &self.path))?;
        Ok(metadata.ino())
    }

    /// Returns a path to this very cgroup, even if its name leads elsewhere by now.
    pub fn path_by_descriptor(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    /// Reads `memory.swap.max`; `None` if the cgroup is gone or has no memory controller (yet).
    pub fn swap_max(&self) -> Result<Option<SwapMax>, FileError> {
        self.parse(LIMIT_FILE)
    }

    /// Reads the current limit and use; `None` as for [`Cgroup::swap_max`].
    pub fn level(&self, level: CgroupLevel) -> Result<Option<LevelFacts>, FileError> {
        let Some(swap_max) = self.swap_max()? else { return Ok(None) };
        let Some(swap_used_bytes) = self.parse(USE_FILE)? else { return Ok(None) };
        Ok(Some(LevelFacts { level, inode: self.inode()?, swap_max, swap_used_bytes }))
    }

    /// Returns the first few processes in the cgroup itself; none if it is gone.
    pub fn processes(&self) -> Vec<u32> {
        let text = self.read(PROCESSES_FILE).unwrap_or_default();
        // The last line may be truncated.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Returns true if there is a process in the cgroup or below (`cgroup.events`); false if it is
    /// gone.
    pub fn is_populated(&self) -> bool {
        self.read(EVENTS_FILE).is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    fn parse<T>(&self, name: &str) -> Result<Option<T>, FileError>
    where
        T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let failed = |operation, error| FileError::of(operation, &self.path.join(name))(error);
        let text = match self.read(name) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failed("read", error)),
        };
        match text.trim_end().parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(failed("parse", io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }

    fn read(&self, name: &str) -> io::Result<String> {
        failpoint::at("cgroup.read")?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = File::from(openat(self.folder.as_fd(), name, flags, Mode::empty())?);
        let mut text = String::with_capacity(LONGEST_BYTES);
        file.take(LONGEST_BYTES as u64).read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn cgroup(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let cgroup = Cgroup::open(folder.path()).unwrap().unwrap();
        (folder, cgroup)
    }

    #[test]
    fn reads_a_level() {
        let (_folder, cgroup) = cgroup(&[(LIMIT_FILE, "max\n"), (USE_FILE, "4096\n")]);
        let level = cgroup.level(CgroupLevel::Container).unwrap().unwrap();
        assert_eq!((level.swap_max, level.swap_used_bytes), (SwapMax::Max, 4096));
        assert_eq!(level.inode, cgroup.inode().unwrap());
    }

    #[test]
    fn what_is_missing_is_none_and_what_is_malformed_an_error() {
        let (_folder, empty) = cgroup(&[]);
        assert_eq!(empty.level(CgroupLevel::Container).unwrap(), None);
        let (folder, odd) = cgroup(&[(LIMIT_FILE, "lots\n"), (USE_FILE, "0\n")]);
        let error = odd.level(CgroupLevel::Container).unwrap_err().to_string();
        let path = folder.path().join(LIMIT_FILE);
        assert_eq!(
            error,
            format!(
                "cannot parse {}: \"lots\" is neither \"max\" nor a number of bytes",
                path.display()
            )
        );
        assert!(Cgroup::open(&folder.path().join("gone")).unwrap().is_none());
    }

    #[test]
    fn symlinks_are_not_followed() {
        let (folder, _cgroup) = cgroup(&[(LIMIT_FILE, "0\n"), (USE_FILE, "0\n")]);
        symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(Cgroup::open(&folder.path().join("link")).is_err());
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        symlink(folder.path().join(LIMIT_FILE), inner.join(LIMIT_FILE)).unwrap();
        let opened = Cgroup::open(&inner).unwrap().unwrap();
        assert!(opened.swap_max().is_err());
    }
}
