//! Finds systemd's unit files as systemd does: the first directory counts, a unit can be masked or
//! another name of a unit, and drop-ins are those of all its names.
//!
//! Source: systemd.unit(5), `src/libsystemd/sd-path/path-lookup.c`, `src/basic/unit-file.c`,
//! `src/shared/dropin.c`, `src/shared/conf-parser.c`, systemd-system.conf(5).

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
};

use crate::{bounded::read_lossy, roots::Roots};

/// The directories of units, the first takes precedence.
const FOLDERS: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Where the manager's own configuration is, the first takes precedence.
const MANAGER: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// The types of units that can have other names.
const WITH_ALIASES: [&str; 6] = ["service", "socket", "target", "device", "timer", "path"];

/// Most links from one name of a unit to another (`FOLLOW_MAX`).
const LINKS: u8 = 8;

/// A unit's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// Its own name, to which its other names lead.
    pub name: String,
    /// The path on the host.
    pub path: PathBuf,
    /// It starts nothing.
    pub masked: bool,
    pub text: String,
}

/// Finds the file of a unit; `None` if there is none.
pub(crate) fn find(roots: &Roots, name: &str) -> Option<UnitFile> {
    let mut name = name.to_owned();
    for _ in 0..LINKS {
        let path = match entry(roots, &name)? {
            UnitEntry::File(path) => path,
            UnitEntry::Alias(of) => {
                name = of;
                continue;
            }
        };
        let real = followed(roots, &path)?;
        let masked = is_empty(&roots.path(&real));
        let text = match read_lossy(&roots.path(&real)) {
            // A link that leads nowhere.
            Ok(None) if !masked => return None,
            text => text.ok().flatten().unwrap_or_default(),
        };
        return Some(UnitFile { name, path, masked, text });
    }
    None
}

/// The entry of a unit's name in one of the directories.
enum UnitEntry {
    File(PathBuf),
    /// A unit of this name.
    Alias(String),
}

/// Returns the entry of the first directory that has one.
fn entry(roots: &Roots, name: &str) -> Option<UnitEntry> {
    FOLDERS.iter().find_map(|folder| {
        let path = Path::new(folder).join(name);
        if !place(roots, &path).symlink_metadata().ok()?.is_symlink() {
            return Some(UnitEntry::File(path));
        }
        match target(roots, &path) {
            // A link out of the directories is the file of a unit, or masks one.
            None => Some(UnitEntry::File(path)),
            // systemd ignores a link to the same name, and one between units of two types.
            Some(of) => is_alias(name, &of).then_some(UnitEntry::Alias(of)),
        }
    })
}

/// Returns the name that a link in one of the directories gives to another unit in them.
fn target(roots: &Roots, link: &Path) -> Option<String> {
    let folder = followed(roots, link.parent()?)?;
    let to = folder.join(fs::read_link(place(roots, link)).ok()?);
    let in_folder = followed(roots, to.parent()?)?;
    let is_there = |known: &str| {
        let known = Path::new(known);
        in_folder == known || followed(roots, known).is_some_and(|real| real == in_folder)
    };
    if !FOLDERS.iter().any(|known| is_there(known)) {
        return None;
    }
    to.file_name()?.to_str().map(str::to_owned)
}

fn is_alias(name: &str, of: &str) -> bool {
    name != of
        && suffix(name) == suffix(of)
        && suffix(of).is_some_and(|kind| WITH_ALIASES.contains(&kind))
}

/// Returns the path of a drop-in such as `system.slice.d/10.conf`, if it is not masked.
pub(crate) fn find_drop_in(roots: &Roots, name: &str) -> Option<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let path = paths.find(|path| place(roots, path).symlink_metadata().is_ok())?;
    is_in_effect(roots, &path).then_some(path)
}

/// Returns false for a file that is missing, or empty or a link to /dev/null.
pub(crate) fn is_in_effect(roots: &Roots, path: &Path) -> bool {
    place(roots, path).symlink_metadata().is_ok()
        && followed(roots, path).is_some_and(|real| !is_empty(&roots.path(real)))
}

impl UnitFile {
    /// Returns the paths on the host of the unit's file and its drop-ins.
    pub(crate) fn files(&self, roots: &Roots) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        files.extend(drop_ins(roots, &self.name));
        files
    }

    /// Returns the texts of the unit's drop-ins, in the order in which they count.
    pub(crate) fn drop_ins(&self, roots: &Roots) -> Vec<String> {
        drop_ins(roots, &self.name).iter().filter_map(|path| text(roots, path)).collect()
    }

    /// Returns the directories that can have drop-ins of the unit, whether they exist or not.
    pub(crate) fn drop_in_folders(&self, roots: &Roots) -> Vec<PathBuf> {
        folders_of(&names_of(roots, &self.name))
    }
}

/// Returns the paths on the host of a unit's drop-ins, in the order in which they count. A masked one
/// is among them. The unit needs no file of its own, and `name` is its own name.
pub(crate) fn drop_ins(roots: &Roots, name: &str) -> Vec<PathBuf> {
    let folders = folders_of(&names_of(roots, name));
    found(roots, folders.into_iter()).into_values().collect()
}

/// Returns the directories of drop-ins that exist, each with the name that it serves: a unit, a
/// prefix of units that ends in a dash, or a type of units.
pub(crate) fn all_drop_in_folders(roots: &Roots) -> Vec<(String, PathBuf)> {
    let folders = FOLDERS.iter().flat_map(|folder| {
        let names = entries(roots, Path::new(folder)).into_iter();
        names.map(move |name| (name, Path::new(folder)))
    });
    let served = folders.filter_map(|(name, folder)| {
        let of = name.to_str()?.strip_suffix(".d")?.to_owned();
        Some((of, folder.join(name)))
    });
    served.collect()
}

/// Returns the files in a directory of drop-ins, as paths on the host.
pub(crate) fn conf_files(roots: &Roots, folder: &Path) -> Vec<PathBuf> {
    found(roots, std::iter::once(folder.to_owned())).into_values().collect()
}

/// Returns the text of a unit's file or drop-in; `None` if it cannot be read.
pub(crate) fn text(roots: &Roots, path: &Path) -> Option<String> {
    let real = followed(roots, path)?;
    if is_empty(&roots.path(&real)) {
        return Some(String::new());
    }
    read_lossy(&roots.path(real)).ok().flatten()
}

/// Returns all names of a unit, its own first.
fn names_of(roots: &Roots, own: &str) -> Vec<String> {
    let mut names = vec![own.to_owned()];
    if !suffix(own).is_some_and(|kind| WITH_ALIASES.contains(&kind)) {
        return names;
    }
    let mut links: Vec<(String, String)> = Vec::new();
    for folder in FOLDERS {
        let entries = followed(roots, Path::new(folder)).map(|real| fs::read_dir(roots.path(real)));
        for entry in entries.and_then(Result::ok).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if suffix(&name) != suffix(own)
                || !entry.file_type().is_ok_and(|kind| kind.is_symlink())
            {
                continue;
            }
            let to = fs::read_link(entry.path()).ok();
            if let Some(of) = to.as_deref().and_then(Path::file_name).and_then(OsStr::to_str) {
                links.push((name, of.to_owned()));
            }
        }
    }
    // A link may lead to another one.
    for _ in 0..LINKS {
        let known = names.len();
        for (name, of) in &links {
            // The first directory counts.
            let leads = || matches!(entry(roots, name), Some(UnitEntry::Alias(to)) if to == *of);
            if names.contains(of) && !names.contains(name) && leads() {
                names.push(name.clone());
            }
        }
        if names.len() == known {
            break;
        }
    }
    names
}

/// Returns the directories of the drop-ins of a unit with these names, the first takes precedence.
fn folders_of(names: &[String]) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for name in names {
        let mut levels = Vec::new();
        push_levels(name, &mut levels);
        for folder in FOLDERS {
            folders.extend(levels.iter().map(|of| Path::new(folder).join(format!("{of}.d"))));
        }
    }
    if let Some(kind) = names.first().and_then(|name| suffix(name)) {
        folders.extend(FOLDERS.map(|folder| Path::new(folder).join(format!("{kind}.d"))));
    }
    folders
}

/// Adds a name, the template of an instance, and the prefixes that end in a dash. `a-b@c.service` has
/// `a-b@.service`, `a-.service`, `a-@c.service` and `a-@.service`, in this order (systemd 252,
/// `systemd-analyze verify`).
fn push_levels(name: &str, levels: &mut Vec<String>) {
    levels.push(name.to_owned());
    let Some((stem, kind)) = name.rsplit_once('.') else { return };
    let (prefix, instance) = match stem.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance)),
        None => (stem, None),
    };
    let instance = instance.filter(|instance| !instance.is_empty());
    if instance.is_some() {
        push_levels(&format!("{prefix}@.{kind}"), levels);
    }
    let dash = prefix.strip_suffix('-').unwrap_or(prefix).rfind('-').filter(|at| *at > 0);
    if let Some(at) = dash {
        let instance = instance.map(|of| format!("@{of}")).unwrap_or_default();
        push_levels(&format!("{}{instance}.{kind}", &prefix[..=at]), levels);
    }
}

/// Returns the variables that systemd gives to all services, as assignments with quotes.
pub(crate) fn default_environment(roots: &Roots) -> Vec<String> {
    let mut mains = MANAGER.iter().map(|folder| Path::new(folder).join("system.conf"));
    let main = mains.find_map(|path| text(roots, &path));
    let drop_ins = MANAGER.iter().map(|folder| Path::new(folder).join("system.conf.d"));
    let drop_ins = found(roots, drop_ins).into_values();
    main.into_iter().chain(drop_ins.filter_map(|path| text(roots, &path))).collect()
}

/// Calls `each` for every key in the sections of this name.
pub(crate) fn in_section(text: &str, wanted: &str, mut each: impl FnMut(&str, &str)) {
    let mut section = String::new();
    for line in logical_lines(text) {
        let line = line.trim();
        // systemd ignores a line that is not UTF-8.
        if line.contains(char::REPLACEMENT_CHARACTER) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if section == wanted
            && let Some((key, value)) = line.split_once('=')
        {
            each(key.trim(), value.trim());
        }
    }
}

/// Removes comments, and joins lines that end with a backslash.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun: Option<String> = None;
    // A mark of the byte order may come first.
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let whole = begun.take().unwrap_or_default() + line;
        // Two backslashes are one that is meant.
        let backslashes = whole.len() - whole.trim_end_matches('\\').len();
        match whole.strip_suffix('\\') {
            Some(start) if backslashes % 2 == 1 => begun = Some(format!("{start} ")),
            _ => lines.push(whole),
        }
    }
    lines.extend(begun);
    lines
}

fn suffix(name: &str) -> Option<&str> {
    Some(name.rsplit_once('.')?.1)
}

/// Returns the paths on the host of `*.conf` in `folders` by file name; the first directory counts.
fn found(roots: &Roots, folders: impl Iterator<Item = PathBuf>) -> BTreeMap<OsString, PathBuf> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        for name in entries(roots, &folder) {
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if !is_hidden && Path::new(&name).extension() == Some(OsStr::new("conf")) {
                let path = folder.join(&name);
                found.entry(name).or_insert(path);
            }
        }
    }
    found
}

fn entries(roots: &Roots, folder: &Path) -> Vec<OsString> {
    let real = followed(roots, folder).map(|real| fs::read_dir(roots.path(real)));
    let entries = real.and_then(Result::ok).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Returns the place on this machine of a path on the host, and follows the links above its last
/// part.
pub(super) fn place(roots: &Roots, path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| followed(roots, folder));
    match folder.zip(path.file_name()) {
        Some((folder, name)) => roots.path(folder.join(name)),
        None => roots.path(path),
    }
}

/// Follows the links of all parts of a path below the root; `None` for too many. The result is a
/// path on the host, for a link may be absolute.
pub(super) fn followed(roots: &Roots, path: &Path) -> Option<PathBuf> {
    let mut real = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = reversed(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.components().next() {
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(Component::Normal(name)) => {
                let at = real.join(name);
                let Ok(target) = fs::read_link(roots.path(&at)) else {
                    real = at;
                    continue;
                };
                links += 1;
                if links > 40 {
                    return None;
                }
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                rest.extend(reversed(&target));
            }
            _ => {}
        }
    }
    Some(real)
}

fn reversed(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| Path::new(&part).to_owned()).collect()
}

/// systemd's `null_or_empty`: an empty file, a device such as /dev/null, or nothing.
fn is_empty(path: &Path) -> bool {
    if path.ends_with("dev/null") {
        return true;
    }
    fs::metadata(path).is_ok_and(|of| {
        let kind = of.file_type();
        (kind.is_file() && of.len() == 0) || kind.is_char_device() || kind.is_block_device()
    })
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
