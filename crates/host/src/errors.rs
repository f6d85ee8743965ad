//! The error of every failed operation on a file of the host.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::decide::remedy::unwritable;

/// A failed operation on a file, a directory or a cgroup.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct FileError {
    /// A verb: `read`, `write`, `remove`.
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For use with `map_err`.
    pub fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, path: path.to_owned(), source }
    }

    /// Returns true if the file or device does not exist (yet).
    pub fn is_gone(&self) -> bool {
        let code = self.source.raw_os_error();
        matches!(code, Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM))
    }

    /// Returns commands for a file of the agent that could not be written.
    pub fn remedy_of_write(&self) -> Vec<String> {
        unwritable(&self.path, self.source.kind())
    }

    /// The error for a file that can be read, but has invalid content.
    pub fn invalid(
        path: &Path,
        fault: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::of("read", path)(io::Error::new(io::ErrorKind::InvalidData, fault))
    }
}
