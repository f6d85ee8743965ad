//! Sets kernel parameters below `/proc/sys` and `/sys`, and restores their previous values.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    decide::tunables::{Before, PATHS, Tunable},
    errors::FileError,
    failpoint,
    roots::Roots,
    state::{Description, StateContent, StateFile, files, unversioned},
};

/// The kernel's values before the agent changed them in this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunablesBefore {
    /// Values by path.
    pub values: BTreeMap<String, String>,
}

impl StateContent for TunablesBefore {
    const FILE: Description = files::TUNABLES;

    fn convert(version: u64, old: serde_json::Value) -> Option<serde_json::Value> {
        unversioned(version, old, "values")
    }
}

/// Sets `tunable` if the kernel has another value, and returns that value.
pub fn set(roots: &Roots, tunable: &Tunable) -> Result<Option<String>, FileError> {
    let path = roots.path(tunable.path);
    let found = read(&path)?;
    if found == tunable.value {
        return Ok(None);
    }
    let file = StateFile::<TunablesBefore>::new(roots);
    let mut before = file.load()?.unwrap_or_default();
    if !before.values.contains_key(tunable.path) {
        before.values.insert(tunable.path.to_owned(), found.clone());
        // Save the value before the change, so that it can be undone after an interruption.
        file.save(&before)?;
    }
    write(&path, &tunable.value)?;
    Ok(Some(found))
}

/// Restores all values that [`set`] has changed in this boot, and returns them.
pub fn restore(roots: &Roots) -> Result<Vec<(String, String)>, FileError> {
    let ledger = StateFile::<TunablesBefore>::new(roots);
    let mut before = ledger.load()?.unwrap_or_default().values;
    // Restore only files that are ours to set, whatever the state file contains.
    before.retain(|path, _| PATHS.contains(&path.as_str()));
    let mut restored = Vec::new();
    for (path, value) in before {
        let file = roots.path(&path);
        if read(&file)? != value {
            write(&file, &value)?;
            restored.push((path, value));
        }
    }
    ledger.remove()?;
    Ok(restored)
}

fn read(path: &Path) -> Result<String, FileError> {
    let text = fs::read_to_string(path).map_err(FileError::of("read", path))?;
    Ok(text.trim_end().to_owned())
}

fn write(path: &Path, value: &str) -> Result<(), FileError> {
    failpoint::at("tunable.write")
        .and_then(|()| fs::write(path, value))
        .and_then(|()| failpoint::at("tunable.written"))
        .map_err(FileError::of("write", path))
}

/// Returns the kernel's values before [`set`] first changed them in this boot.
pub fn before(roots: &Roots) -> Result<Before, FileError> {
    Ok(StateFile::<TunablesBefore>::new(roots).load()?.unwrap_or_default().values)
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
    fn nothing_is_changed_and_nothing_removed_while_the_ledger_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let path = "/proc/sys/vm/swappiness";
        fs::create_dir_all(roots.path("/proc/sys/vm")).unwrap();
        fs::write(roots.path(path), "60\n").unwrap();
        fs::create_dir_all(roots.runtime()).unwrap();
        let ledger = roots.path(files::TUNABLES.path);
        let cut = r#"{"version":1,"values":{"/proc/sys/vm/swap"#;
        fs::write(&ledger, cut).unwrap();
        let error = set(&roots, &Tunable { path, value: "80".to_owned() }).unwrap_err();
        assert!(error.to_string().contains(files::TUNABLES.path), "{error}");
        restore(&roots).unwrap_err();
        assert_eq!(fs::read_to_string(roots.path(path)).unwrap(), "60\n");
        assert_eq!(fs::read_to_string(ledger).unwrap(), cut);
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
