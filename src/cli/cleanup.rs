//! `wasp-agent cleanup`: what the agent leaves on the host, before it is removed.

use std::{fs, io, path::Path};

use anyhow::Context;

use crate::{
    act::freeze,
    decide::{hook::FILE_NAME, suspend::Suspensions},
    model::runtime::Runtime,
    observe::{bounded::read_bounded, crio, hooks::USUAL_FOLDERS},
    roots::Roots,
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
    for name in [
        "hook.json",
        "evictions.json",
        "status.json",
        "metrics.sock",
        "suspended.json",
        "control.sock",
    ] {
        remove(roots, &Path::new("/run/wasp-agent").join(name))?;
    }
    let pods = roots.runtime().join("pods");
    match fs::remove_dir_all(&pods) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", pods.display()));
        }
        _ => {}
    }
    // What others have put there stays: configuration, what undoes the protection.
    let _ = fs::remove_dir(roots.runtime());
    Ok(())
}

/// Pods that a killed agent has left suspended: nobody else would let them run.
fn wake(roots: &Roots) -> anyhow::Result<()> {
    let path = roots.suspended();
    let Some(text) = read_bounded(&path)? else { return Ok(()) };
    let pods: Suspensions = serde_json::from_str(&text)
        .with_context(|| format!("cannot read {}", roots.shown(&path).display()))?;
    for pod in pods.iter().filter(|pod| !pod.vm) {
        for sleeper in &pod.containers {
            freeze::thaw(roots, sleeper).map_err(anyhow::Error::msg)?;
        }
        super::print(&format!("resumed {}/{}\n", pod.namespace, pod.name))?;
    }
    Ok(())
}

fn remove(roots: &Roots, path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(roots.path(path)) {
        Ok(()) => super::print(&format!("removed {}\n", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}
