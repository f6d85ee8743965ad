//! Writes swap limits into cgroupfs.

use std::{error::Error, io, path::Path};

use cgroups_rs::fs::memory::MemController;

use super::Written;
use crate::{
    errors::FileError,
    failpoint,
    model::swap::SwapMax,
    observe::cgroup::{Cgroup, LIMIT_FILE, is_gone},
};

/// Sets `memory.swap.max` of the cgroup at `path`, if the cgroup still has this inode and another
/// limit.
pub fn write_limit(path: &Path, inode: u64, to: SwapMax) -> Result<Written, FileError> {
    let Some(cgroup) = Cgroup::open(path)? else { return Ok(Written::Gone) };
    if cgroup.inode()? != inode {
        return Ok(Written::Gone);
    }
    match cgroup.swap_max()? {
        None => return Ok(Written::Gone),
        Some(found) if found == to => return Ok(Written::Already),
        Some(_) => {}
    }
    // Use the open directory, so that the write cannot be redirected.
    let folder = cgroup.path_by_descriptor();
    let limit = match to {
        SwapMax::Bytes(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
        SwapMax::Max => -1,
    };
    let failed = |error| FileError::of("write", &path.join(LIMIT_FILE))(error);
    failpoint::at("limit.write").map_err(failed)?;
    match MemController::new(folder.clone(), folder, true).set_memswap_limit(limit) {
        Ok(()) => failpoint::at("limit.written").map_err(failed).map(|()| Written::Now),
        Err(error) => {
            let source = io_error(&error);
            // cgroups-rs opens the file with O_CREAT. cgroupfs creates no files, so one that has
            // disappeared since (the memory controller was disabled) gives EACCES instead of
            // ENOENT.
            if is_gone(&source) || matches!(cgroup.swap_max(), Ok(None)) {
                return Ok(Written::Gone);
            }
            Err(failed(source))
        }
    }
}

/// Returns the system error inside an error of cgroups-rs.
fn io_error(error: &cgroups_rs::fs::error::Error) -> io::Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.and_then(io::Error::raw_os_error) {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn writes_on_change_only_and_to_the_same_cgroup_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LIMIT_FILE);
        fs::write(&file, "max\n").unwrap();
        let inode = fs::metadata(folder.path()).unwrap().ino();
        let write = |inode, to| write_limit(folder.path(), inode, to).unwrap();
        let text = || fs::read_to_string(&file).unwrap();

        assert_eq!(write(inode + 1, SwapMax::ZERO), Written::Gone);
        assert_eq!(text(), "max\n", "another cgroup's limit is not touched");
        assert_eq!(write(inode, SwapMax::Max), Written::Already);
        assert_eq!(text(), "max\n");
        assert_eq!(write(inode, SwapMax::Bytes(4096)), Written::Now);
        assert_eq!(text(), "4096");
        assert_eq!(write(inode, SwapMax::Max), Written::Now);
        assert_eq!(text(), "max");
        assert_eq!(
            write_limit(&folder.path().join("gone"), inode, SwapMax::ZERO).unwrap(),
            Written::Gone
        );
    }
}
