//! Sets what the kernel offers below `/proc/sys` and `/sys`, and puts back what was there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::files::replace;
use crate::{
    decide::tunables::{PATHS, Tunable},
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

/// What the kernel had before the agent changed it in this boot, by path.
pub type Before = BTreeMap<String, String>;

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
    let mut known = before(roots)?;
    if !known.contains_key(tunable.path) {
        known.insert(tunable.path.to_owned(), found.clone());
        // Before the change, so that it can be undone whatever happens in between.
        save(roots, &known)?;
    }
    write(&path, &tunable.value)?;
    Ok(Some(found))
}

/// Puts back all that [`set`] has changed in this boot; returns it.
pub fn restore(roots: &Roots) -> Result<Vec<(String, String)>, TunableError> {
    let mut known = before(roots)?;
    // Whatever the file says, only what is ours to set.
    known.retain(|path, _| PATHS.contains(&path.as_str()));
    let mut restored = Vec::new();
    for (path, value) in known {
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

/// What the kernel had, by path. What cannot be read is an error: it could not be undone.
pub fn before(roots: &Roots) -> Result<Before, TunableError> {
    let path = ledger(roots);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| failed("use", &path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Before::new()),
        Err(error) => Err(failed("read", &path)(error)),
    }
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
    fn what_cannot_be_read_is_kept_and_nothing_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(roots.runtime()).unwrap();
        fs::write(ledger(&roots), "{\"/proc/sys/vm/sw").unwrap();
        let error = restore(&roots).unwrap_err().to_string();
        assert!(error.contains("tunables.json"), "{error}");
        assert!(ledger(&roots).exists());
        let tunable = Tunable { path: "/proc/sys/vm/swappiness", value: "80".to_owned() };
        fs::create_dir_all(roots.path("/proc/sys/vm")).unwrap();
        fs::write(roots.path(tunable.path), "60\n").unwrap();
        set(&roots, &tunable).unwrap_err();
        assert_eq!(fs::read_to_string(roots.path(tunable.path)).unwrap(), "60\n");
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
