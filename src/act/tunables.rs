//! Sets what the kernel offers below `/proc/sys` and `/sys`, and puts back what was there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::files::replace;
use crate::{
    decide::tunables::{Before, PATHS, Tunable},
    failpoint,
    roots::Roots,
};

/// A kernel setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct TunableError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn ledger(roots: &Roots) -> PathBuf {
    roots.runtime().join("tunables.json")
}

/// Sets `tunable` if the kernel has another value, which is returned.
pub fn set(roots: &Roots, tunable: &Tunable) -> Result<Option<String>, TunableError> {
    let path = roots.path(tunable.path);
    let found = read(&path)?;
    if found == tunable.value {
        return Ok(None);
    }
    let mut before = before(roots);
    if !before.contains_key(tunable.path) {
        before.insert(tunable.path.to_owned(), found.clone());
        // Before the change, so that it can be undone whatever happens in between.
        save(roots, &before)?;
    }
    write(&path, &tunable.value)?;
    Ok(Some(found))
}

/// Puts back all that [`set`] has changed in this boot; returns it.
pub fn restore(roots: &Roots) -> Result<Vec<(String, String)>, TunableError> {
    let mut before = before(roots);
    // Whatever the file says, only what is ours to set.
    before.retain(|path, _| PATHS.contains(&path.as_str()));
    let mut restored = Vec::new();
    for (path, value) in before {
        let file = roots.path(&path);
        if read(&file)? != value {
            write(&file, &value)?;
            restored.push((path, value));
        }
    }
    let ledger = ledger(roots);
    match fs::remove_file(&ledger) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &ledger)(error))
        }
        _ => Ok(restored),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> TunableError {
    move |source| TunableError { operation, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<String, TunableError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    Ok(text.trim_end().to_owned())
}

fn write(path: &Path, value: &str) -> Result<(), TunableError> {
    failpoint::at("tunable.write")
        .and_then(|()| fs::write(path, value))
        .and_then(|()| failpoint::at("tunable.written"))
        .map_err(failed("write", path))
}

/// What the kernel had before [`set`] first changed it in this boot.
pub fn before(roots: &Roots) -> Before {
    let text = fs::read_to_string(ledger(roots)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn save(roots: &Roots, before: &Before) -> Result<(), TunableError> {
    let path = ledger(roots);
    let text =
        serde_json::to_string(before).map_err(|error| failed("write", &path)(error.into()))?;
    let saved = fs::create_dir_all(roots.runtime()).and_then(|()| replace(&path, &text, 0o600));
    saved.map_err(failed("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_first_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let path = "/proc/sys/vm/swappiness";
        fs::create_dir_all(roots.path("/proc/sys/vm")).unwrap();
        fs::write(roots.path(path), "60\n").unwrap();
        let text = || fs::read_to_string(roots.path(path)).unwrap();
        let set = |value: &str| set(&roots, &Tunable { path, value: value.to_owned() }).unwrap();
        assert_eq!(set("60"), None);
        assert_eq!(text(), "60\n", "nothing is written");
        assert_eq!(set("80").as_deref(), Some("60"));
        assert_eq!(set("90").as_deref(), Some("80"));
        assert_eq!(text(), "90");
        assert_eq!(restore(&roots).unwrap(), [(path.to_owned(), "60".to_owned())]);
        assert_eq!(text(), "60");
        assert_eq!(restore(&roots).unwrap(), []);
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let tunable = Tunable { path: crate::decide::tunables::ZSWAP, value: "Y".to_owned() };
        let error = set(&roots, &tunable).unwrap_err().to_string();
        assert!(error.contains("/sys/module/zswap/parameters/enabled"), "{error}");
    }
}
