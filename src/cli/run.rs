//! `wasp-agent run`.

use crate::{agent, config::settings::Settings, report::log, roots::Roots};

pub fn run(roots: Roots, settings: Settings, dry_run: bool) -> anyhow::Result<()> {
    let verbosity = log::start(settings.verbosity);
    super::runtime()?.block_on(agent::run(roots, settings, verbosity, dry_run))
}
