//! Handles a hook that cannot do its work: the container starts without swap. Its cgroup is that of
//! the process in the state or, without a state, that of the only process in a pod among the
//! runtime's children.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::{HookTarget, write};
use crate::{model::swap::SwapMax, roots::Roots};

/// The hook's progress, for the watchdog that ends it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Reached>);

#[derive(Debug, Default)]
pub(crate) enum Reached {
    #[default]
    Nothing,
    Container(HookTarget),
    Limits,
}

impl Progress {
    /// Locks the progress, so that only one thread writes limits.
    pub(super) fn lock(&self) -> MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the limit to 0, unless the hook has written the limits or is writing them. Returns a text
/// for the log; `None` if there was nothing to do.
pub fn give_up(roots: &Roots, progress: &Progress) -> Option<String> {
    let mut reached = match progress.0.try_lock() {
        Ok(reached) => reached,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Some("its limit was being written".to_owned()),
    };
    let target = match std::mem::replace(&mut *reached, Reached::Limits) {
        Reached::Nothing => beside_us(roots, std::os::unix::process::parent_id()),
        Reached::Container(target) => Some(target),
        Reached::Limits => return None,
    };
    let Some(target) = target else {
        return Some("its cgroup is not known, so its swap limit is the runtime's".into());
    };
    let failed = write(roots, &target, SwapMax::ZERO);
    let what = format!("container {} of pod {} starts with no swap", target.id, target.pod);
    Some(if failed.is_empty() { what } else { format!("{what} not set: {}", failed.join("; ")) })
}

/// Finds the container's process, which is a child of the runtime like the hook. Returns `None` if
/// that is ambiguous.
fn beside_us(roots: &Roots, parent: u32) -> Option<HookTarget> {
    // Orphans of all kinds are children of process 1.
    (parent > 1).then_some(())?;
    let mut found = Vec::new();
    for thread in fs::read_dir(roots.proc(&format!("{parent}/task"))).ok()?.flatten() {
        let Ok(children) = fs::read_to_string(thread.path().join("children")) else { continue };
        let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(|pid| HookTarget::of(roots, pid).ok()));
    }
    let target = found.pop()?;
    found.iter().all(|other| *other == target).then_some(target)
}
