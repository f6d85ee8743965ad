//! Reads the agent's publication, and checks that the agent still runs.

use std::time::{Duration, SystemTime};

use crate::{
    bounded::read_bounded,
    config::layers::{Layers, Resolved},
    config::settings::Settings,
    errors::FileError,
    model::published::Published,
    roots::Roots,
    state::StateFile,
};

/// Returns the last publication; `None` if there is none.
pub fn published(roots: &Roots) -> Result<Option<Published>, FileError> {
    StateFile::new(roots).load()
}

/// Returns true if the agent that has published this still runs.
pub fn is_running(roots: &Roots, published: &Published) -> bool {
    let name = roots.proc(&format!("{}/comm", published.pid));
    std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "wasp-agent")
}

/// Returns the age of the publication.
pub fn age(published: &Published) -> Option<Duration> {
    let written = SystemTime::from(published.written.parse::<jiff::Timestamp>().ok()?);
    SystemTime::now().duration_since(written).ok()
}

/// Returns the settings in effect of the running agent, as it has saved them; `None` if there are
/// none, or none that are valid.
pub fn in_force(roots: &Roots) -> Option<(Settings, Resolved)> {
    let path = roots.settings_in_force();
    let text = read_bounded(&path).ok()??;
    let mut layers = Layers::defaults();
    layers.take_toml(&roots.shown(&path), &text);
    Settings::valid(layers).ok()
}
