//! Finds systemd's unit files as systemd does: the first directory counts, a unit can be masked or
//! another name of a unit, and drop-ins are those of all its names.
//!
//! Source: systemd.unit(5), `src/libsystemd/sd-path/path-lookup.c`, `src/basic/unit-file.c`,
//! `src/shared/dropin.c`, systemd-system.conf(5).

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
};

use crate::{bounded::read_lossy, roots::Roots};

/// The directories of units, the first takes precedence.
pub(crate) const FOLDERS: [&str; 13] = [
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

/// Where the manager's own configuration has drop-ins, the first takes precedence.
const MANAGER: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// Most links from one name of a unit to another.
const LINKS: u8 = 8;

/// A unit's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// The path on the host.
    pub path: PathBuf,
    /// Its own name, and the names by which it was found.
    names: Vec<String>,
    /// It starts nothing.
    pub masked: bool,
    pub text: String,
}

/// Finds the file of a unit; `None` if there is none.
pub(crate) fn find(roots: &Roots, name: &str) -> Option<UnitFile> {
    let mut names = vec![name.to_owned()];
    for _ in 0..LINKS {
        let name = names.last()?;
        let in_folder = |folder: &&str| {
            let path = Path::new(folder).join(name);
            roots.path(&path).symlink_metadata().is_ok().then_some(path)
        };
        let path = FOLDERS.iter().find_map(in_folder)?;
        let real = followed(roots, &path)?;
        let masked = is_empty(&roots.path(&real));
        let real_name = real.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        // A link to a file of another name in one of the directories is another name of that unit.
        let is_alias = !masked
            && FOLDERS.iter().any(|folder| real.parent() == Some(Path::new(folder)))
            && real_name.as_deref().is_some_and(|of| of != name && suffix(of) == suffix(name));
        match real_name.filter(|_| is_alias) {
            Some(of) if !names.contains(&of) => names.push(of),
            _ => {
                let text = read_lossy(&roots.path(&real)).ok().flatten().unwrap_or_default();
                return Some(UnitFile { path, names, masked, text });
            }
        }
    }
    None
}

/// Returns the path of a drop-in such as `system.slice.d/10.conf`, if it is not masked.
pub(crate) fn find_drop_in(roots: &Roots, name: &str) -> Option<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let path = paths.find(|path| roots.path(path).symlink_metadata().is_ok())?;
    is_in_effect(roots, &path).then_some(path)
}

/// Returns false for a file that is missing, or empty or a link to /dev/null.
pub(crate) fn is_in_effect(roots: &Roots, path: &Path) -> bool {
    roots.path(path).symlink_metadata().is_ok()
        && followed(roots, path).is_some_and(|real| !is_empty(&roots.path(real)))
}

impl UnitFile {
    /// Returns the paths on the host of the unit's file and its drop-ins.
    pub(crate) fn files(&self, roots: &Roots) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        files.extend(found(roots, self.folders().into_iter()).into_values());
        files
    }

    /// Returns the texts of the unit's drop-ins, in the order in which they count.
    pub(crate) fn drop_ins(&self, roots: &Roots) -> Vec<String> {
        texts(roots, self.folders().into_iter())
    }

    /// Returns the directories of the unit's drop-ins, the first takes precedence.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for name in &self.names {
            folders.push(format!("{name}.d"));
            // `a-b.service` also has `a-.service.d`.
            let Some((stem, suffix)) = name.rsplit_once('.') else { continue };
            let dashes = stem.rmatch_indices('-').map(|(at, _)| &stem[..=at]);
            folders.extend(
                dashes.filter(|stem| *stem != "-").map(|stem| format!("{stem}.{suffix}.d")),
            );
        }
        folders.extend(self.names.first().and_then(|name| Some(format!("{}.d", suffix(name)?))));
        let folders = folders
            .iter()
            .flat_map(|name| FOLDERS.iter().map(move |folder| Path::new(folder).join(name)));
        folders.collect()
    }
}

/// Returns the variables that systemd gives to all services, as assignments with quotes.
pub(crate) fn default_environment(roots: &Roots) -> Vec<String> {
    let main = read_lossy(&roots.path("/etc/systemd/system.conf")).ok().flatten();
    // Without it, that of the distribution.
    let main = main.or_else(|| read_lossy(&roots.path("/usr/lib/systemd/system.conf")).ok()?);
    let drop_ins = MANAGER.iter().map(|folder| Path::new(folder).join("system.conf.d"));
    main.into_iter().chain(texts(roots, drop_ins)).collect()
}

fn suffix(name: &str) -> Option<&str> {
    Some(name.rsplit_once('.')?.1)
}

/// Returns the texts of `*.conf` in `folders` by file name; the first directory counts, and an empty
/// file hides those of its name.
fn texts(roots: &Roots, folders: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let read = |path: PathBuf| read_lossy(&roots.path(followed(roots, &path)?)).ok().flatten();
    found(roots, folders).into_values().filter_map(read).collect()
}

/// Returns the paths on the host of `*.conf` in `folders`; the first directory counts.
fn found(roots: &Roots, folders: impl Iterator<Item = PathBuf>) -> BTreeMap<OsString, PathBuf> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        let entries = fs::read_dir(roots.path(&folder)).into_iter().flatten().flatten();
        for name in entries.map(|entry| entry.file_name()) {
            let path = folder.join(&name);
            if path.extension().is_some_and(|suffix| suffix == "conf") {
                found.entry(name).or_insert(path);
            }
        }
    }
    found
}

/// Follows the links of the last part of a path; `None` for too many. The result is a path on the
/// host, for a link may be absolute.
pub(super) fn followed(roots: &Roots, path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let Ok(target) = fs::read_link(roots.path(&path)) else { return Some(path) };
        let joined = path.parent()?.join(target);
        path = PathBuf::new();
        for part in joined.components() {
            match part {
                Component::ParentDir => {
                    path.pop();
                }
                Component::CurDir => {}
                part => path.push(part),
            }
        }
    }
    None
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
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        }
        (folder, roots)
    }

    #[test]
    fn a_unit_is_masked_in_each_way_that_systemd_has() {
        let (_folder, roots) = host(&[("/usr/lib/systemd/system/a.service", "[Service]\n")]);
        let masked = || find(&roots, "a.service").map(|unit| unit.masked);
        assert_eq!(masked(), Some(false));
        assert_eq!(find(&roots, "b.service"), None);
        for folder in ["/etc/systemd/system", "/run/systemd/system", "/etc/systemd/system.control"]
        {
            let place = roots.path(folder).join("a.service");
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            for target in ["/dev/null", "../../../dev/null"] {
                symlink(target, &place).unwrap();
                assert_eq!(masked(), Some(true), "{folder} {target}");
                fs::remove_file(&place).unwrap();
            }
            fs::write(&place, "").unwrap();
            assert_eq!(masked(), Some(true), "{folder}: an empty file");
            fs::write(&place, "[Service]\n").unwrap();
            assert_eq!(
                find(&roots, "a.service").unwrap().path,
                Path::new(folder).join("a.service")
            );
            fs::remove_file(&place).unwrap();
        }
        // A directory with lower precedence does not mask.
        fs::create_dir_all(roots.path("/run/systemd/generator.late")).unwrap();
        fs::write(roots.path("/run/systemd/generator.late/a.service"), "").unwrap();
        assert_eq!(masked(), Some(false));
    }

    #[test]
    fn drop_ins_are_those_of_all_names() {
        let unit = "/usr/lib/systemd/system/snap-kubelet-daemon.service";
        let (_folder, roots) = host(&[
            (unit, "main"),
            ("/etc/systemd/system/kubelet.service.d/30.conf", "30"),
            ("/run/systemd/system/snap-.service.d/10.conf", "10"),
            ("/etc/systemd/system/snap-kubelet-.service.d/20.conf", "20"),
            ("/usr/lib/systemd/system/service.d/05.conf", "05"),
            ("/usr/lib/systemd/system/service.d/30.conf", "of all services"),
            ("/usr/lib/systemd/system/snap-kubelet-daemon.service.d/40.conf", "40"),
            ("/etc/systemd/system/snap-kubelet-daemon.service.d/40.conf", ""),
            ("/etc/systemd/system/snap-kubelet-daemon.service.d/50", "no suffix"),
        ]);
        symlink(unit, roots.path("/etc/systemd/system/kubelet.service")).unwrap();
        let unit = find(&roots, "kubelet.service").unwrap();
        assert_eq!(unit.text, "main");
        assert_eq!(unit.drop_ins(&roots), ["05", "10", "20", "30", ""]);
        // A link to a file elsewhere is no other name.
        let (_folder, roots) = host(&[("/opt/x.service", "x"), ("/etc/systemd/system/y", "")]);
        symlink("/opt/x.service", roots.path("/etc/systemd/system/kubelet.service")).unwrap();
        assert_eq!(find(&roots, "kubelet.service").unwrap().names, ["kubelet.service"]);
        symlink("loop.service", roots.path("/etc/systemd/system/loop.service")).unwrap();
        assert_eq!(find(&roots, "loop.service"), None);
    }
}
