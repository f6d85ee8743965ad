//! `wasp-agent cleanup`: what the agent leaves on the host, before it is removed.

use std::{fs, io, path::Path};

use anyhow::Context;

use crate::{
    act::freeze,
    decide::{hook::FILE_NAME, suspend::Suspensions},
    history,
    model::runtime::Runtime,
    observe::{crio, hooks::USUAL_FOLDERS},
    roots::Roots,
    state::{self, Cleanup, StateFile},
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
    wake(roots)?;
    for file in state::ALL.iter().filter(|file| file.cleanup == Cleanup::Removes) {
        remove(roots, Path::new(file.path))?;
    }
    remove(roots, Path::new(history::FOLDER))?;
    for name in ["in-force.toml", "metrics.sock", "control.sock"] {
        remove(roots, &Path::new("/run/wasp-agent").join(name))?;
    }
    // What others have put there stays: configuration, what undoes the protection.
    let _ = fs::remove_dir(roots.runtime());
    Ok(())
}

/// Pods that a killed agent has left suspended: nobody else would let them run.
fn wake(roots: &Roots) -> anyhow::Result<()> {
    let Some(pods) = StateFile::<Suspensions>::new(roots).load()? else { return Ok(()) };
    for pod in pods.iter().filter(|pod| !pod.vm) {
        for sleeper in &pod.containers {
            freeze::thaw(roots, sleeper).map_err(anyhow::Error::msg)?;
        }
        super::print(&format!("resumed {}/{}\n", pod.namespace, pod.name))?;
    }
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
