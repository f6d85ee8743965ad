//! Files of ours, replaced as a whole.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::failpoint;

/// Ours alone: hooks folders are shared with others.
const UNFINISHED: &str = ".wasp-agent-new-";

/// Puts `text` at `path` at once: who reads meanwhile reads the old or the new. Not for keeps: a
/// power cut may lose it.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, false)
}

/// As [`replace`], and survives a power cut once it returns.
pub fn replace_for_keeps(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, true)
}

/// Removes what is left in `folder` of processes that were killed while they replaced a file.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, text: &str, mode: u32, sync: bool) -> io::Result<()> {
    failpoint::at("file.open")?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if sync {
        file.as_file().sync_all()?;
    }
    failpoint::at("file.rename")?;
    file.persist(path)?;
    failpoint::at("file.renamed")?;
    if sync { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_unfinished_goes_and_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".wasp-agent-new-a1b2c3", ".new-other.json", "hook.json"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".new-other.json", "hook.json"]);
    }
}
