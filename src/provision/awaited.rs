//! `/run/wasp-agent/awaited-swap`: the partition that `wasp-agent provision` did not find. The agent
//! reads it, so that a device is used that comes after the wait and before the agent's first look.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{act::files::replace, roots::Roots};

/// The file on this host.
pub fn file(roots: &Roots) -> PathBuf {
    roots.runtime().join("awaited-swap")
}

/// The partition that was not found; `None` where nothing is awaited.
pub fn awaited(roots: &Roots) -> Option<PathBuf> {
    let text = fs::read_to_string(file(roots)).ok()?;
    Some(text.trim_end_matches('\n').into())
}

pub(super) fn set(roots: &Roots, path: &Path) -> io::Result<()> {
    fs::create_dir_all(roots.runtime())?;
    replace(&file(roots), &format!("{}\n", path.display()), 0o600)
}

pub(super) fn clear(roots: &Roots) -> io::Result<()> {
    match fs::remove_file(file(roots)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
