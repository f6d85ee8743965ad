//! `wasp-agent cleanup`: removes the agent's files from the host, before the agent is removed.

use std::{fs, io, path::Path};

use anyhow::anyhow;

use super::suspend;
use crate::{
    decide::{hook::FILE_NAME, suspend::Suspensions},
    errors::FileError,
    history,
    model::{runtime::Runtime, unknown::sentence},
    observe::{crio, hooks::USUAL_FOLDERS, published::in_force, settings::load},
    roots::Roots,
    state::{self, Cleanup, StateContent},
};

/// Continues after a failure, so that removing the package cleans up as much as possible. The error
/// names all failures.
pub(crate) fn cleanup(roots: &Roots) -> anyhow::Result<()> {
    let mut failed: Vec<String> = Vec::new();
    let mut tried = |result: anyhow::Result<()>| {
        failed.extend(result.err().map(|error| sentence(error.as_ref())));
    };
    let mut folders: Vec<_> =
        USUAL_FOLDERS.iter().map(|folder| Path::new(folder).to_owned()).collect();
    // A configuration that CRI-O cannot read names no directory.
    if let Ok(Runtime::Crio(configured)) = crio::runtime(roots) {
        folders.extend(configured);
    }
    for folder in folders {
        tried(remove(roots, &folder.join(FILE_NAME)));
    }
    // Resume pods that a killed agent has left suspended, because no other program would resume
    // them.
    let woken = suspend::wake_left(roots);
    let asleep = woken.is_err();
    tried(woken);
    for file in state::ALL.iter().filter(|file| file.cleanup == Cleanup::Removes) {
        // Keep this file while pods are still frozen: it is the only record of them.
        if !(asleep && file.path == Suspensions::FILE.path) {
            tried(remove(roots, Path::new(file.path)));
        }
    }
    tried(remove(roots, Path::new(history::FOLDER)));
    let (in_force, on_disk) = (in_force(roots), load(roots, |_| None).ok());
    for (settings, _) in in_force.into_iter().chain(on_disk) {
        // A directory that is configured by mistake holds files of others.
        let textfile = settings.metrics.textfile.filter(|file| roots.path(file).is_file());
        if let Some(textfile) = textfile {
            tried(remove(roots, &textfile));
        }
    }
    for name in ["in-force.toml", "metrics.sock", "control.sock"] {
        tried(remove(roots, &Path::new("/run/wasp-agent").join(name)));
    }
    // Other files in the directory stay: configuration, and the record that undoes the protection.
    let _ = fs::remove_dir(roots.runtime());
    if failed.is_empty() { Ok(()) } else { Err(anyhow!(failed.join("; "))) }
}

fn remove(roots: &Roots, path: &Path) -> anyhow::Result<()> {
    let found = roots.path(path);
    let removed = match found.is_dir() {
        true => fs::remove_dir_all(found),
        false => fs::remove_file(found),
    };
    match removed {
        Ok(()) => super::print(&format!("removed {}\n", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::of("remove", path)(error).into()),
    }
}
