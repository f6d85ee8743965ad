//! Determines the configuration that the kubelet uses: defaults, its file, its drop-ins, its flags.
//!
//! Source: Kubernetes `cmd/kubelet/app/server.go`; "Kubelet Configuration Directory Merging"
//! (KEP-3983). Only the command line has the places of the files.

mod bus;
mod command;
mod document;
mod error;
mod flags;
mod glob;
mod layer;
mod merge;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod tests;
mod unit;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use bus::service;
pub use command::{Kubelet, UNIT, command_line, files_of_unit, of_unit};
use command::{KubeletCommand, kubeadm};
use document::Document;
use error::KIND;
pub use error::KubeletError;
use flags::Flags;
use merge::{Texts, effective};
pub use unit::Service;
use unit::assignment;

use crate::{
    bounded::read_bounded,
    config::settings::Settings,
    errors::FileError,
    model::kubelet::{KubeletConfig, Origin, Teller},
    roots::Roots,
};

/// Places to search without a command line: OpenShift's, then kubeadm's (where the first is a
/// kubeconfig).
const USUAL_PLACES: [&str; 2] = ["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"];

/// For OpenShift's file: the `--config-dir` of its kubelets, on workers from 4.21 on
/// (machine-config-operator, templates/worker/01-worker-kubelet). In earlier versions, nothing of
/// OpenShift writes there.
const USUAL_DROP_INS: &str = "/etc/openshift/kubelet.conf.d";

/// As [`config_of`], without an answer of systemd.
pub fn config(roots: &Roots, settings: &Settings) -> Result<Option<KubeletConfig>, KubeletError> {
    config_of(roots, settings, None)
}

/// Returns the configuration in effect. `None`: this host appears to have no kubelet. `Err`: it has
/// one, but its configuration cannot be determined, or the kubelet would not start with it.
/// `by_systemd` is systemd's answer about the kubelet's unit; it counts if no kubelet runs.
pub fn config_of(
    roots: &Roots,
    settings: &Settings,
    by_systemd: Option<&Service>,
) -> Result<Option<KubeletConfig>, KubeletError> {
    Kubelet::by(by_systemd.cloned()).config(roots, settings)
}

/// As [`config_of`], for the kubelet with the command line `known`.
fn config_by(
    roots: &Roots,
    settings: &Settings,
    known: Option<KubeletCommand>,
) -> Result<Option<KubeletConfig>, KubeletError> {
    let Some(KubeletCommand { words, told_by, folders }) = known else {
        return usual(roots, settings);
    };
    let mut flags = parsed(&words, &told_by)?;
    flags.config = flags.config.map(|path| folders.place(&path));
    flags.config_dir = flags.config_dir.map(|path| folders.place(&path));
    if let Some(path) = &settings.kubelet_config {
        flags.config = Some(path.clone());
    }
    by_flags(roots, &flags, &told_by).map(Some)
}

/// Where the kubelet takes its credentials from, as paths on the host. `None` where its command
/// line does not name the place, or is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialPlaces {
    pub kubeconfig: Option<PathBuf>,
    pub certificates: Option<PathBuf>,
}

/// Reads the command line of the running kubelet, else that of its unit.
///
/// The kubelet's first credentials (--bootstrap-kubeconfig) are not the node's; the kubelet writes
/// --kubeconfig when it has the node's.
pub fn credential_places(roots: &Roots) -> CredentialPlaces {
    let command = Kubelet::default().command(roots).ok().flatten();
    let Some(KubeletCommand { words, told_by, folders }) = command else {
        return CredentialPlaces::default();
    };
    // The agent may not read files below the root directory of another process.
    if !folders.is_host() {
        return CredentialPlaces::default();
    }
    let flags = parsed(&words, &told_by).unwrap_or_default();
    let place = |path: Option<PathBuf>| path.map(|path| folders.place(&path));
    CredentialPlaces { kubeconfig: place(flags.kubeconfig), certificates: place(flags.cert_dir) }
}

fn parsed(words: &[String], told_by: &Teller) -> Result<Flags, KubeletError> {
    flags::parse(words).map_err(|source| KubeletError::Flags { told_by: told_by.clone(), source })
}

fn by_flags(roots: &Roots, flags: &Flags, told_by: &Teller) -> Result<KubeletConfig, KubeletError> {
    let texts = Texts {
        file: match &flags.config {
            None => None,
            Some(path) => Some((path.clone(), required(roots, path, told_by)?)),
        },
        drop_ins: match &flags.config_dir {
            None => None,
            Some(folder) => Some(drop_ins(roots, folder)?),
        },
    };
    let mut config = effective(&texts, flags, told_by)?;
    config.drop_in_folder = flags.config_dir.clone().filter(|folder| is_walked(roots, folder));
    let fails = &config.fail_swap_on;
    if fails.value && matches!(fails.origin, Origin::Flag(_)) {
        config.flag_files = command::files_with(roots, "--fail-swap-on");
    }
    Ok(config)
}

/// Searches the usual places, without a kubelet or a unit.
fn usual(roots: &Roots, settings: &Settings) -> Result<Option<KubeletConfig>, KubeletError> {
    let configured = settings.kubelet_config.clone();
    let places = configured.map_or_else(|| USUAL_PLACES.map(PathBuf::from).to_vec(), |p| vec![p]);
    for path in places {
        let Some(text) = text(roots, &path)? else { continue };
        if settings.kubelet_config.is_none() && is_kubeconfig(&text) {
            continue;
        }
        let told = kubeadm(roots).filter(|_| path != Path::new(USUAL_PLACES[0]));
        let (words, told_by) =
            told.map_or((Vec::new(), Teller::Nobody), |told| (told.words, told.told_by));
        let mut flags = parsed(&words, &told_by)?;
        let drop_ins_of_openshift =
            path == Path::new(USUAL_PLACES[0]) && roots.path(USUAL_DROP_INS).is_dir();
        if drop_ins_of_openshift {
            flags.config_dir = Some(USUAL_DROP_INS.into());
        }
        flags.config = Some(path);
        return by_flags(roots, &flags, &told_by).map(Some);
    }
    Ok(None)
}

/// On kubeadm's nodes /etc/kubernetes/kubelet.conf is one.
fn is_kubeconfig(text: &str) -> bool {
    let Ok(document) = Document::parse(text) else { return false };
    merge::declared(&document.content, "kind") != KIND
}

fn required(roots: &Roots, path: &Path, told_by: &Teller) -> Result<String, KubeletError> {
    text(roots, path)?
        .ok_or_else(|| KubeletError::Missing { path: path.to_owned(), told_by: told_by.clone() })
}

/// `None` if there is no such file.
fn text(roots: &Roots, path: &Path) -> Result<Option<String>, FileError> {
    read_bounded(&roots.path(path)).map_err(FileError::of("read", path))
}

/// Returns all `*.conf` below `folder`, in the order of Go's `filepath.WalkDir`: directories among
/// files, by name.
fn drop_ins(roots: &Roots, folder: &Path) -> Result<Vec<(PathBuf, String)>, KubeletError> {
    let mut found = Vec::new();
    if is_walked(roots, folder) {
        walk(roots, folder, 0, &mut found)?;
    } else if folder.file_name().is_some_and(is_drop_in) {
        found.push((folder.to_owned(), text(roots, folder)?.unwrap_or_default()));
    }
    Ok(found)
}

/// Returns false for a link: `filepath.WalkDir` follows one only if a slash is behind its name.
/// Recorded with Go 1.19.
fn is_walked(roots: &Roots, folder: &Path) -> bool {
    folder.as_os_str().as_encoded_bytes().ends_with(b"/")
        || !fs::symlink_metadata(roots.path(folder)).is_ok_and(|of| of.is_symlink())
}

fn walk(
    roots: &Roots,
    folder: &Path,
    depth: usize,
    found: &mut Vec<(PathBuf, String)>,
) -> Result<(), KubeletError> {
    let failed = |error| KubeletError::DropIns(FileError::of("read", folder)(error));
    let mut entries = Vec::new();
    for entry in fs::read_dir(roots.path(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())));
    }
    entries.sort();
    for (name, is_folder) in entries {
        let path = folder.join(&name);
        if is_folder {
            // A path cannot have more levels.
            if depth < 64 {
                walk(roots, &path, depth + 1, found)?;
            }
        } else if is_drop_in(&name) {
            let text = text(roots, &path)?;
            found.push((path, text.unwrap_or_default()));
        }
    }
    Ok(())
}

/// Like Go's `filepath.Ext`: from the last dot on, even at the start of the name.
fn is_drop_in(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().ends_with(b".conf")
}
