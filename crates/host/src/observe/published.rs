//! What the agent has published, and whether it still runs.

use std::time::{Duration, SystemTime};

use super::bounded::read_bounded;
use crate::{
    config::layers::{Layers, Resolved},
    config::settings::Settings,
    model::published::Published,
    roots::Roots,
    state::StateFile,
};

/// What the agent has published last; `None` where there is nothing.
pub fn published(roots: &Roots) -> Result<Option<Published>, String> {
    StateFile::new(roots).load().map_err(|error| error.to_string())
}

/// Whether the agent that has published this is still there.
pub fn is_running(roots: &Roots, published: &Published) -> bool {
    let name = roots.proc(&format!("{}/comm", published.pid));
    std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "wasp-agent")
}

/// How long ago it was published.
pub fn age(published: &Published) -> Option<Duration> {
    let written = SystemTime::from(published.written.parse::<jiff::Timestamp>().ok()?);
    SystemTime::now().duration_since(written).ok()
}

/// The settings that the running agent goes by, as it has left them; `None` where there are none that can
/// be used.
pub fn in_force(roots: &Roots) -> Option<(Settings, Resolved)> {
    let path = roots.settings_in_force();
    let text = read_bounded(&path).ok()??;
    let mut layers = Layers::defaults();
    layers.take_toml(&roots.shown(&path), &text);
    Settings::valid(layers.resolved().ok()?).ok()
}
