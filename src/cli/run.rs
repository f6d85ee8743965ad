//! `wasp-agent run`.

use crate::{agent, config::settings::Settings, report::log, roots::Roots};

/// `in_force` is `settings` as TOML.
pub fn run(
    roots: Roots,
    settings: Settings,
    in_force: String,
    dry_run: bool,
) -> anyhow::Result<()> {
    let verbosity = log::start(settings.verbosity);
    super::runtime()?.block_on(agent::run(roots, settings, in_force, verbosity, dry_run))
}
