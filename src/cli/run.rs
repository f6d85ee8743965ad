//! `wasp-agent run`.

use std::{
    fs::{self, File, TryLockError},
    thread,
    time::{Duration, Instant},
};

use super::suspend;
use crate::{
    act::memory, agent, config::settings::Settings, messages, model::unknown::sentence,
    report::log, roots::Roots,
};

/// An agent that is stopping ends within this time.
const STOPPING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// `in_force` is `settings` as TOML.
pub(crate) fn run(
    roots: Roots,
    settings: Settings,
    in_force: String,
    dry_run: bool,
) -> anyhow::Result<()> {
    let verbosity = log::start(settings.verbosity);
    if !dry_run && let Err(error) = memory::lock() {
        messages::MemoryNotLocked.emit(format_args!(
            "cannot lock the agent's memory (mlockall: {error}): while pods thrash, the agent may be slow; \
             set LimitMEMLOCK=infinity for wasp-agent.service"
        ));
    }
    let _alone = if dry_run { None } else { alone(&roots)? };
    let ran = super::runtime()?.block_on(agent::run(
        roots.clone(),
        settings,
        in_force,
        verbosity,
        dry_run,
    ));
    // This includes containers that it could not thaw.
    if !dry_run {
        wake_left(&roots);
    }
    ran
}

/// Locks the agent's directory as long as the result lives: two agents would evict twice as many pods,
/// and remove each other's sockets. `None` if the directory cannot be locked.
///
/// # Errors
/// Another agent holds the lock for longer than one that is stopping.
fn alone(roots: &Roots) -> anyhow::Result<Option<File>> {
    let folder = roots.runtime();
    let Ok(file) = fs::create_dir_all(&folder).and_then(|()| File::open(&folder)) else {
        return Ok(None);
    };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if started.elapsed() < STOPPING => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another wasp-agent runs on this node and holds the lock of {}: see systemctl status \
                 wasp-agent",
                roots.shown(&folder).display()
            ),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Resumes suspended pods: if the agent does not start, or fails, no other program would resume
/// them.
pub(crate) fn wake_left(roots: &Roots) {
    // Another running agent handles its own pods.
    if suspend::is_served(roots) {
        return;
    }
    if let Err(error) = suspend::wake_left(roots) {
        super::warn(&sentence(error.as_ref()));
    }
}
