//! Which hooks folders CRI-O reads, by its own configuration.
//!
//! Source: crio.conf(5) `hooks_dir`, crio.conf.d(5): files of the folder in the order of their
//! names, the later wins; oci-hooks(5).

use std::{fs, io, path::PathBuf};

use serde::Deserialize;

use crate::{model::runtime::Runtime, roots::Roots};

const FOLDER: &str = "/etc/crio";
const MAIN_FILE: &str = "/etc/crio/crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";
/// What CRI-O reads unless configured.
const DEFAULT: &str = "/usr/share/containers/oci/hooks.d";
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Errors name the file; what CRI-O cannot read either is its problem, and said.
pub fn runtime(roots: &Roots) -> Result<Runtime, String> {
    if !roots.path(FOLDER).is_dir() {
        let containerd = roots.path(CONTAINERD).exists();
        return Ok(if containerd { Runtime::Containerd } else { Runtime::Unknown });
    }
    let folders = configured(roots)?.hooks_dir.unwrap_or_else(|| vec![PathBuf::from(DEFAULT)]);
    Ok(Runtime::Crio(folders.into_iter().filter(|folder| folder.is_absolute()).collect()))
}

/// `default_runtime`; `None` where it is CRI-O's own default.
pub fn default_runtime(roots: &Roots) -> Result<Option<String>, String> {
    Ok(configured(roots)?.default_runtime)
}

/// What all of CRI-O's files say in the end.
fn configured(roots: &Roots) -> Result<RuntimeTable, String> {
    let mut files = vec![roots.path(MAIN_FILE)];
    let mut drop_ins: Vec<PathBuf> = fs::read_dir(roots.path(DROP_INS))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    drop_ins.sort();
    files.extend(drop_ins);
    let mut configured = RuntimeTable::default();
    for file in files {
        let failed =
            |error: String| format!("cannot read {}: {error}", roots.shown(&file).display());
        match fs::read_to_string(&file) {
            Ok(text) => {
                let said = parsed(&text).map_err(failed)?;
                configured.hooks_dir = said.hooks_dir.or(configured.hooks_dir);
                configured.default_runtime = said.default_runtime.or(configured.default_runtime);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Ok(configured)
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    crio: Table,
}

#[derive(Default, Deserialize)]
struct Table {
    #[serde(default)]
    runtime: RuntimeTable,
}

#[derive(Default, Deserialize)]
struct RuntimeTable {
    hooks_dir: Option<Vec<PathBuf>>,
    default_runtime: Option<String>,
}

fn parsed(text: &str) -> Result<RuntimeTable, String> {
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(file.crio.runtime)
}

#[cfg(test)]
mod tests {
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

    fn crio(folders: &[&str]) -> Result<Runtime, String> {
        Ok(Runtime::Crio(folders.iter().map(PathBuf::from).collect()))
    }

    #[test]
    fn the_last_file_that_says_it_wins() {
        let (_folder, roots) = host(&[
            ("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/a\"]\n"),
            ("/etc/crio/crio.conf.d/00-default", "[crio.runtime]\ndefault_runtime = \"crun\"\n"),
            (
                "/etc/crio/crio.conf.d/10-x.conf",
                "[crio]\nruntime.hooks_dir = [\"/b\", 'c', \"/d\"]\n",
            ),
        ]);
        assert_eq!(runtime(&roots), crio(&["/b", "/d"]));
        assert_eq!(default_runtime(&roots), Ok(Some("crun".to_owned())));
    }

    #[test]
    fn without_a_word_it_is_the_default_and_without_crio_none() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf", "[crio.image]\n")]);
        assert_eq!(runtime(&roots), crio(&[DEFAULT]));
        let (_folder, roots) = host(&[]);
        assert_eq!(runtime(&roots), Ok(Runtime::Unknown));
        let (_folder, roots) = host(&[(CONTAINERD, "")]);
        assert_eq!(runtime(&roots), Ok(Runtime::Containerd));
    }

    #[test]
    fn a_broken_file_is_named() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf.d/50-x.conf", "hooks_dir = [\n")]);
        let error = runtime(&roots).unwrap_err();
        assert!(error.starts_with("cannot read /etc/crio/crio.conf.d/50-x.conf: "), "{error}");
    }
}
