//! What becomes of the container when the hook cannot do its work: it starts with no swap. Its cgroup
//! is that of the state's process, or, where the runtime's words are not to be had, that of the only
//! process in a pod that the runtime made beside the hook.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::{Target, write};
use crate::{model::swap::SwapMax, roots::Roots};

/// How far the hook has come, for who has to end it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Reached>);

#[derive(Debug, Default)]
pub enum Reached {
    #[default]
    Nothing,
    Container(Target),
    Limits,
}

impl Progress {
    /// Nobody else writes limits meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the container no swap unless its limits are written, or are being written. Says what was
/// done, for the log; `None` where there was nothing to do.
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

/// The runtime makes the container's process as it makes us: as its child. Where that is not
/// beyond doubt, none.
fn beside_us(roots: &Roots, parent: u32) -> Option<Target> {
    // Orphans of all kinds are children of the first process.
    (parent > 1).then_some(())?;
    let mut found = Vec::new();
    for thread in fs::read_dir(roots.proc(&format!("{parent}/task"))).ok()?.flatten() {
        let Ok(children) = fs::read_to_string(thread.path().join("children")) else { continue };
        let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(|pid| Target::of(roots, pid).ok()));
    }
    let target = found.pop()?;
    found.iter().all(|other| *other == target).then_some(target)
}
