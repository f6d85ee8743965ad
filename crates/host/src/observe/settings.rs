//! Reads the layers of the configuration, as systemd reads its own (`systemd-system.conf(5)`).
//!
//! The order is: one main file, from the highest directory that has it; all drop-ins of all
//! directories, sorted by file name; `/etc/sysconfig/wasp-agent`; the environment. A drop-in in a
//! higher directory replaces the same name in a lower one, and a link to `/dev/null` masks it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::units::{followed, place};
use crate::{
    bounded::read_bounded,
    config::{
        layers::{Layers, Resolved},
        settings::Settings,
        value::{Problems, SettingOrigin},
    },
    decide::check::aside,
    model::{check::NotRead, origin::Origins},
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
    Settings::valid(layers(roots, environment))
}

/// Returns where each value is set now, even if some are invalid.
pub fn origins(roots: &Roots) -> Origins {
    layers(roots, |name| std::env::var(name).ok()).origins()
}

fn layers(roots: &Roots, environment: impl Fn(&str) -> Option<String>) -> Layers {
    let mut layers = Layers::defaults();
    for source in sources(roots) {
        source.take(&mut layers, roots, &environment);
    }
    layers
}

/// Returns where the value of `key` comes from now; `None` where the layer that may set it is not
/// valid. Reads the layers from the highest down to the one that sets it.
pub fn origin(
    roots: &Roots,
    environment: impl Fn(&str) -> Option<String>,
    key: &str,
) -> Option<SettingOrigin> {
    for source in sources(roots).iter().rev() {
        let mut layer = Layers::defaults();
        source.take(&mut layer, roots, &environment);
        match layer.resolved().ok()?.get(key)? {
            (_, SettingOrigin::Default) => {}
            (_, origin) => return Some(origin.clone()),
        }
    }
    Some(SettingOrigin::Default)
}

/// A layer of the configuration above the defaults.
enum LayerPlace {
    Toml(PathBuf),
    /// A directory of drop-ins that cannot be listed.
    Unlisted(PathBuf, UnreadError),
    Sysconfig,
    Environment,
}

/// Returns the layers of the host, lowest first; a file among them may be missing.
fn sources(roots: &Roots) -> Vec<LayerPlace> {
    let directories = DIRECTORIES.map(|directory| roots.path(directory));
    let mut mains = directories.iter().rev().map(|directory| directory.join(MAIN_FILE));
    let main = mains.find(|file| !is_missing(file));
    let (drop_ins, unlisted) = drop_ins(&directories);
    let files = main.into_iter().chain(drop_ins.into_values());
    let unlisted = unlisted.into_iter().map(|(folder, why)| LayerPlace::Unlisted(folder, why));
    let last = [LayerPlace::Sysconfig, LayerPlace::Environment];
    files.map(LayerPlace::Toml).chain(unlisted).chain(last).collect()
}

/// Returns true only if it is certain that nothing is there.
fn is_missing(file: &Path) -> bool {
    file.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl LayerPlace {
    fn take(
        &self,
        layers: &mut Layers,
        roots: &Roots,
        environment: &impl Fn(&str) -> Option<String>,
    ) {
        match self {
            Self::Toml(file) => take_toml(layers, roots, file),
            Self::Unlisted(folder, why) => layers.take_unreadable(&roots.shown(folder), why),
            Self::Sysconfig => match read(roots, &roots.path(SYSCONFIG)) {
                Ok(Some(text)) => layers.take_sysconfig(Path::new(SYSCONFIG), &text),
                Ok(None) => {}
                Err(why) => layers.take_unreadable(Path::new(SYSCONFIG), &why),
            },
            Self::Environment => layers.take_environment(environment),
        }
    }
}

type Unlisted = Vec<(PathBuf, UnreadError)>;

/// Returns the drop-ins by name, each from the highest directory that has the name, and the
/// directories that cannot be listed.
fn drop_ins(directories: &[PathBuf]) -> (BTreeMap<OsString, PathBuf>, Unlisted) {
    let (mut files, mut unlisted) = (BTreeMap::new(), Vec::new());
    for folder in directories.iter().map(|directory| directory.join(DROP_INS)) {
        match listed(&folder) {
            Ok(found) => files.extend(
                found
                    .into_iter()
                    .filter(|file| has_suffix(file, "toml") && !name_of(file).starts_with('.'))
                    .filter_map(|file| Some((file.file_name()?.to_owned(), file))),
            ),
            Err(why) => unlisted.push((folder, why)),
        }
    }
    (files, unlisted)
}

/// Returns the paths in a directory; none if there is no directory.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, UnreadError> {
    let listed = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>());
    match listed {
        Err(_) if is_missing(folder) => Ok(Vec::new()),
        // As for a file: a link to it masks the directory.
        Err(_) if fs::canonicalize(folder).is_ok_and(|real| real == Path::new("/dev/null")) => {
            Ok(Vec::new())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(UnreadError::Dangling(fs::read_link(folder)?))
        }
        listed => Ok(listed?),
    }
}

/// Like [`listed`], where a directory that cannot be listed has no consequence.
fn entries(folder: &Path) -> Vec<PathBuf> {
    listed(folder).unwrap_or_default()
}

fn has_suffix(file: &Path, suffix: &str) -> bool {
    file.extension().is_some_and(|end| end == suffix)
}

fn name_of(file: &Path) -> Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

fn take_toml(layers: &mut Layers, roots: &Roots, file: &Path) {
    let shown = roots.shown(file);
    match read(roots, file) {
        Ok(text) => layers.take_toml(&shown, &text.unwrap_or_default()),
        Err(why) => layers.take_unreadable(&shown, &why),
    }
}

/// The reason why a file of the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
enum UnreadError {
    #[error("it is a chain of too many links")]
    Links,
    #[error("it is a link to {}, which does not exist", .0.display())]
    Dangling(PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a file of the configuration, which may be a link. `None` if there is none, or if it is
/// masked by a link to `/dev/null`.
fn read(roots: &Roots, file: &Path) -> Result<Option<String>, UnreadError> {
    let shown = roots.shown(file);
    let Some(target) = followed(roots, &shown) else {
        return Err(UnreadError::Links);
    };
    if target == Path::new("/dev/null") {
        return Ok(None);
    }
    match read_bounded(&roots.path(&target)) {
        Ok(None) if place(roots, &shown).is_symlink() => Err(UnreadError::Dangling(target)),
        read => Ok(read?),
    }
}

/// Returns files beside the configuration that the agent does not read, though an administrator may
/// expect it: with another suffix than `.toml`, or outside of `config.d`.
pub fn not_read(roots: &Roots) -> Vec<NotRead> {
    let etc = roots.path(DIRECTORIES[2]);
    let drop_ins =
        DIRECTORIES.iter().flat_map(|folder| entries(&roots.path(folder).join(DROP_INS)));
    let named = drop_ins
        .filter(|file| !has_suffix(file, "toml"))
        .map(|file| (file, "its name does not end in .toml"));
    let above = entries(&etc).into_iter().filter(|file| name_of(file) != MAIN_FILE);
    let beside = entries(&etc).into_iter().filter(|file| name_of(file) != DROP_INS);
    let beside =
        beside.filter(|folder| has_suffix(folder, "d")).flat_map(|folder| entries(&folder));
    let misplaced = above
        .chain(beside)
        .filter(|file| has_suffix(file, "toml") || has_suffix(file, "conf"))
        .map(|file| (file, "it is not in /etc/wasp-agent/config.d"));
    let mut files: Vec<_> =
        named.chain(misplaced).filter(|(file, _)| file.is_file() && !is_aside(file)).collect();
    files.sort();
    let mut taken = BTreeSet::new();
    let mut files: Vec<NotRead> = files
        .into_iter()
        .map(|(file, why)| {
            let target = etc.join(DROP_INS).join(name_of(&file).as_ref()).with_extension("toml");
            let is_free = target.symlink_metadata().is_err() && taken.insert(target.clone());
            let target = if is_free && is_valid(roots, &file) { target } else { aside(&file) };
            let [path, target] = [&file, &target].map(|path| roots.shown(path).into_owned());
            NotRead { path, why, target }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// True for names by which editors, package managers and administrators mark a file that does not
/// count.
fn is_aside(file: &Path) -> bool {
    const ASIDE: [&str; 13] = [
        "~",
        ".off",
        ".bak",
        ".orig",
        ".old",
        ".disabled",
        ".swp",
        ".tmp",
        ".rpmnew",
        ".rpmsave",
        ".rpmorig",
        ".md",
        ".sample",
    ];
    let name = name_of(file);
    name.starts_with(['.', '#'])
        || name.starts_with("README")
        || name.contains(".dpkg-")
        || ASIDE.iter().any(|end| name.ends_with(end))
}

fn is_valid(roots: &Roots, file: &Path) -> bool {
    let mut layers = Layers::defaults();
    take_toml(&mut layers, roots, file);
    layers.resolved().is_ok()
}

#[cfg(test)]
#[path = "settings_fix_tests.rs"]
mod fix_tests;
#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
