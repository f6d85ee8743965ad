//! Asks the kernel to reclaim memory of a cgroup: the one place that writes to `memory.reclaim`.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "memory.reclaim".

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
};

use crate::{
    failpoint,
    observe::{
        cgroup::{Cgroup, is_gone},
        reclaim::RECLAIM_FILE,
    },
};

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel reclaimed the requested amount.
    All,
    /// The kernel reclaimed all that it could, and that was less (EAGAIN).
    Short,
    /// A signal ended the write early (EINTR).
    Interrupted,
    /// The cgroup does not exist any more.
    Gone,
}

/// A failed write, with its text.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {text:?} to {RECLAIM_FILE}: {source}")]
pub struct ReclaimError {
    pub text: String,
    pub source: io::Error,
}

/// The file `memory.reclaim` of one cgroup. It belongs to the open directory, so it never reaches
/// another cgroup that has got the same path.
#[derive(Debug)]
pub struct ReclaimFile(File);

impl ReclaimFile {
    /// `None` where the cgroup, or the file in it, does not exist.
    pub fn open(cgroup: &Cgroup) -> io::Result<Option<Self>> {
        match OpenOptions::new().write(true).open(cgroup.path_by_descriptor().join(RECLAIM_FILE)) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns true if the kernel accepts `swappiness=`. The write reclaims nothing; a kernel that
    /// does not support the key rejects it.
    pub fn takes_swappiness(&mut self) -> bool {
        self.0.write(b"0 swappiness=1").is_ok()
    }

    /// Makes the kernel reclaim `bytes`. The write blocks until the kernel has finished, so callers
    /// use a separate thread and small steps.
    pub fn reclaim(&mut self, bytes: u64, swappiness: Option<u8>) -> Result<Outcome, ReclaimError> {
        let text = match swappiness {
            Some(swappiness) => format!("{bytes} swappiness={swappiness}"),
            None => bytes.to_string(),
        };
        // One write, whole or not at all.
        let written = failpoint::at("reclaim.step").and_then(|()| self.0.write(text.as_bytes()));
        match written {
            Ok(_) => Ok(Outcome::All),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(Outcome::Short),
                Some(libc::EINTR) => Ok(Outcome::Interrupted),
                _ if is_gone(&error) => Ok(Outcome::Gone),
                _ => Err(ReclaimError { text, source: error }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_refuses_is_named_with_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::open(folder.path()).unwrap().unwrap();
        assert!(ReclaimFile::open(&cgroup).unwrap().is_none(), "a kernel without the file");
        let file = folder.path().join(RECLAIM_FILE);
        fs::write(&file, "").unwrap();
        let mut open = ReclaimFile::open(&cgroup).unwrap().unwrap();
        assert_eq!(open.reclaim(4096, None).unwrap(), Outcome::All);
        assert_eq!(open.reclaim(8192, Some(150)).unwrap(), Outcome::All);
        assert_eq!(fs::read_to_string(&file).unwrap(), "40968192 swappiness=150");
        let mut refused = ReclaimFile(File::open(&file).unwrap());
        let error = refused.reclaim(4096, Some(1)).unwrap_err().to_string();
        assert!(
            error.starts_with(r#"cannot write "4096 swappiness=1" to memory.reclaim: "#),
            "{error}"
        );
    }
}
