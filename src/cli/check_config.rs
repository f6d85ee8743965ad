//! `wasp-agent check-config`.

use crate::config::{layers::Resolved, show};

pub(crate) fn check_config(resolved: &Resolved) -> anyhow::Result<()> {
    super::print(&show::effective(resolved))
}
