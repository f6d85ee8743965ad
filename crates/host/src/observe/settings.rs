//! Reads the layers of the configuration, as systemd reads its own (`systemd-system.conf(5)`).
//!
//! The order is: one main file, from the highest directory that has it; then all drop-ins of all
//! directories, sorted by file name, where a name in a higher directory replaces the same name in a
//! lower one and a link to `/dev/null` masks it; then `/etc/sysconfig/wasp-agent`; then the
//! environment.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        layers::{Layers, Resolved},
        settings::Settings,
        value::{Problems, SettingOrigin},
    },
    roots::Roots,
};

/// Lowest priority first.
const DIRECTORIES: [&str; 3] = ["/usr/lib/wasp-agent", "/run/wasp-agent", "/etc/wasp-agent"];
const MAIN_FILE: &str = "wasp-agent.toml";
const DROP_INS: &str = "config.d";
const SYSCONFIG: &str = "/etc/sysconfig/wasp-agent";

/// Loads the settings of the host at `roots`, with their origins; `environment` is the process's
/// own.
pub fn load(
    roots: &Roots,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(Settings, Resolved), Problems> {
    let mut layers = Layers::defaults();
    let directories = DIRECTORIES.map(|directory| roots.path(directory));
    let main = directories.iter().rev().map(|directory| directory.join(MAIN_FILE));
    if let Some(file) = main.into_iter().find(|file| file.symlink_metadata().is_ok()) {
        take_toml(&mut layers, roots, &file);
    }
    for file in liboverdrop::scan(&directories, DROP_INS, &["toml"], true).values() {
        take_toml(&mut layers, roots, file);
    }
    match std::fs::read_to_string(roots.path(SYSCONFIG)) {
        Ok(text) => layers.take_sysconfig(Path::new(SYSCONFIG), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => layers.take_unreadable(Path::new(SYSCONFIG), &error),
    }
    layers.take_environment(environment);
    Settings::valid(layers.resolved()?)
}

/// Returns where the value of `key` comes from now.
pub fn origin(roots: &Roots, key: &str) -> Option<SettingOrigin> {
    let (_, resolved) = load(roots, |name| std::env::var(name).ok()).ok()?;
    resolved.get(key).map(|(_, origin)| origin.clone())
}

/// Returns files in the drop-in folders that the agent does not read, because their names do not
/// end in `.toml`: an administrator may expect them to apply.
pub fn not_read(roots: &Roots) -> Vec<PathBuf> {
    let folders = DIRECTORIES.iter().map(|directory| roots.path(directory).join(DROP_INS));
    let entries =
        folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let files = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let meant = [".conf", ".tml", ".TOML", ".ini", ".cfg", ".yaml", ".yml", ".json"];
        let aside = name.starts_with('.') || name.starts_with("README");
        let suffix = path.extension().is_none() || meant.iter().any(|end| name.ends_with(end));
        path.is_file() && !aside && suffix
    });
    let mut files: Vec<PathBuf> = files.map(|path| roots.shown(&path).into_owned()).collect();
    files.sort();
    files
}

fn take_toml(layers: &mut Layers, roots: &Roots, file: &Path) {
    let shown = roots.shown(file);
    match std::fs::read_to_string(file) {
        Ok(text) => layers.take_toml(&shown, &text),
        Err(error) => layers.take_unreadable(&shown, &error),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
