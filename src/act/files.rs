//! Files of ours, replaced as a whole.

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Puts `text` at `path` at once: who reads meanwhile reads the old or the new. Not for keeps: a
/// power cut may lose it.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, false)
}

/// As [`replace`], and survives a power cut once it returns.
pub fn replace_for_keeps(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, true)
}

fn write(path: &Path, text: &str, mode: u32, sync: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if sync {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    if sync { std::fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
