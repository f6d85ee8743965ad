//! `wasp-agent run`.

use super::{alone::alone, suspend};
use crate::{
    act::memory, agent, config::settings::Settings, messages, model::unknown::sentence,
    report::log, roots::Roots,
};

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
    if !dry_run {
        // The lock is of this directory; without it, there is none.
        let _ = std::fs::create_dir_all(roots.runtime());
    }
    let _alone = if dry_run { None } else { alone(&roots, "see systemctl status wasp-agent")? };
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
