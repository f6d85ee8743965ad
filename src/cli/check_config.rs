//! `wasp-agent check-config`.

use crate::config::{layers::Resolved, show};

pub fn check_config(resolved: &Resolved) -> anyhow::Result<()> {
    super::print(&show::effective(resolved))
}
