//! Replaces the agent's own files atomically.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::failpoint;

/// A prefix that only the agent uses, because other programs share the hooks directories. The PID of
/// the writer and a dash follow.
const UNFINISHED: &str = ".wasp-agent-new-";

/// Replaces the file at `path` by `text`: concurrent readers see the old or the new content. A
/// power cut may lose the change.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, false)
}

/// Like [`replace`], but the new content survives a power cut once this returns.
pub fn replace_for_keeps(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write(path, text, mode, true)
}

/// Removes unfinished files in `folder`, left by processes that were killed during a replacement.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)) else {
            continue;
        };
        let writer = rest.split_once('-').and_then(|(pid, _)| pid.parse().ok());
        if !writer.is_some_and(is_running) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_running(pid: i32) -> bool {
    use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

fn write(path: &Path, text: &str, mode: u32, sync: bool) -> io::Result<()> {
    failpoint::at("file.open")?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let prefix = format!("{UNFINISHED}{}-", std::process::id());
    let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder);
    let mut file = file.map_err(without_name)?;
    file.write_all(text.as_bytes()).map_err(without_name)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if sync {
        file.as_file().sync_all()?;
    }
    failpoint::at("file.rename")?;
    file.persist(path)?;
    failpoint::at("file.renamed")?;
    if sync { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes the random name of the unfinished file, so that the same problem always has the same
/// text.
fn without_name(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((why, _)) => io::Error::new(error.kind(), why.to_owned()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_has_the_same_words() {
        let folder = tempfile::tempdir().unwrap();
        let failed = || replace(&folder.path().join("missing/x"), "", 0o600).unwrap_err();
        assert_eq!(failed().kind(), io::ErrorKind::NotFound);
        assert_eq!(failed().to_string(), failed().to_string());
        assert!(!failed().to_string().contains(UNFINISHED));
    }

    #[test]
    fn what_was_left_unfinished_goes_and_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("{UNFINISHED}{}-a1b2c3", std::process::id());
        // No PID is as large (PID_MAX_LIMIT in include/linux/threads.h).
        let killed = format!("{UNFINISHED}{}-a1b2c3", 1 << 23);
        for name in [&killed, ".wasp-agent-new-a1b2c3", ".new-other.json", "hook.json", &own] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".new-other.json", own.as_str(), "hook.json"]);
    }
}
