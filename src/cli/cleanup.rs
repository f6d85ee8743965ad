//! `wasp-agent cleanup`: what the agent leaves on the host, before it is removed.

use std::{fs, io, path::Path};

use anyhow::Context;

use crate::{
    decide::hook::FILE_NAME,
    history,
    model::runtime::Runtime,
    observe::{crio, hooks::USUAL_FOLDERS},
    roots::Roots,
    state::{self, Cleanup},
};

pub fn cleanup(roots: &Roots) -> anyhow::Result<()> {
    let mut folders: Vec<_> =
        USUAL_FOLDERS.iter().map(|folder| Path::new(folder).to_owned()).collect();
    // A configuration that CRI-O cannot read names no folder.
    if let Ok(Runtime::Crio(configured)) = crio::runtime(roots) {
        folders.extend(configured);
    }
    for folder in folders {
        remove(roots, &folder.join(FILE_NAME))?;
    }
    for file in state::ALL.iter().filter(|file| file.cleanup == Cleanup::Removes) {
        remove(roots, Path::new(file.path))?;
    }
    remove(roots, Path::new(history::FOLDER))?;
    remove(roots, Path::new("/run/wasp-agent/metrics.sock"))?;
    // What others have put there stays: configuration, what undoes the protection.
    let _ = fs::remove_dir(roots.runtime());
    Ok(())
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
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}
