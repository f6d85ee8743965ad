//! `wasp-agent run`.

use crate::{act::memory, agent, config::settings::Settings, messages, report::log, roots::Roots};

/// `in_force` is `settings` as TOML.
pub fn run(
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
    super::runtime()?.block_on(agent::run(roots, settings, in_force, verbosity, dry_run))
}
