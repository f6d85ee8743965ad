//! One process at a time acts as the agent.

use std::{
    fs::{File, TryLockError},
    thread,
    time::{Duration, Instant},
};

use crate::roots::Roots;

/// An agent that is stopping ends within this time.
const STOPPING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Locks the agent's directory as long as the result lives: two agents would evict twice as many pods,
/// and remove each other's sockets. `None` if the directory cannot be locked, or does not exist.
///
/// # Errors
/// Another agent holds the lock for longer than one that is stopping.
pub(super) fn alone(roots: &Roots, remedy: &str) -> anyhow::Result<Option<File>> {
    let folder = roots.runtime();
    let Ok(file) = File::open(&folder) else { return Ok(None) };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if started.elapsed() < STOPPING => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another wasp-agent runs on this node and holds the lock of {}: {remedy}",
                roots.shown(&folder).display()
            ),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}
