//! Files in which the agent keeps state: one type, one policy for all of them.
//!
//! A state file is JSON with a `version`. It is replaced as a whole, so a reader sees the old content or the
//! new. **A file that cannot be read is not an absent file**: [`StateFile::load`] returns an error, and nobody
//! removes or overwrites what it may hold. Content of older versions is converted in [`convert`].

mod convert;

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    act::files::{replace, replace_for_keeps, sweep},
    observe::bounded::read_bounded,
    roots::Roots,
};

pub use convert::State;

/// Nobody but root has a reason to read them.
const MODE: u32 = 0o600;

/// A file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct FileError {
    pub operation: &'static str,
    /// As the host names it.
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, path: path.to_owned(), source }
    }
}

/// How long a file's content counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Until the next boot: below `/run`, not synced.
    UntilBoot,
    /// Over boots and power cuts: below `/var/lib`, synced.
    OverBoots,
}

/// What `wasp-agent cleanup` does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Removes,
    /// The file says what must be undone first, by this command.
    LeavesTo(&'static str),
}

/// What is the same for every state file of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As the host names it.
    pub path: &'static str,
    pub version: u64,
    pub lasts: Lasts,
    pub cleanup: Cleanup,
    /// For docs/security.md.
    pub holds: &'static str,
}

/// Every state file. Pods' records are one file for each pod in the folder that is named here.
pub const ALL: &[Description] = &[
    crate::provision::ledger::FILE,
    crate::provision::awaited::FILE,
    crate::act::tunables::FILE,
    crate::act::slices::FILE,
    crate::act::slices::RESERVES_FILE,
    convert::EVICTIONS,
    convert::HOOK_SETTINGS,
    convert::STATUS,
    convert::SUSPENDED,
    convert::WORKING_SETS,
    crate::act::records::FOLDER,
];

/// The state file of `T` on one host.
#[derive(Debug)]
pub struct StateFile<T> {
    path: PathBuf,
    shown: PathBuf,
    of: PhantomData<T>,
}

impl<T: State> StateFile<T> {
    pub fn new(roots: &Roots) -> Self {
        Self::at(roots.path(T::FILE.path), T::FILE.path.into())
    }

    /// One of several files of this kind; `shown` is how the host names it.
    pub fn at(path: PathBuf, shown: PathBuf) -> Self {
        Self { path, shown, of: PhantomData }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state; `None` where there is no file. Unreadable is an error, never `None`.
    pub fn load(&self) -> Result<Option<T>, FileError> {
        let read = read_bounded(&self.path).map_err(FileError::of("read", &self.shown))?;
        read.map(|text| parse(&text).map_err(FileError::of("use", &self.shown))).transpose()
    }

    /// Writes `state`, unless the file holds it already.
    pub fn save(&self, state: &T) -> Result<(), FileError> {
        let text = text(state).map_err(FileError::of("write", &self.shown))?;
        if read_bounded(&self.path).is_ok_and(|found| found.as_deref() == Some(&text)) {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let write = match T::FILE.lasts {
            Lasts::UntilBoot => replace,
            Lasts::OverBoots => replace_for_keeps,
        };
        sweep(folder);
        fs::create_dir_all(folder)
            .and_then(|()| write(&self.path, &text, MODE))
            .map_err(FileError::of("write", &self.shown))
    }

    /// Removes the file, if there is one.
    pub fn remove(&self) -> Result<(), FileError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::of("remove", &self.shown)(error))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    state: &'a T,
}

/// What a state file of `state` holds.
pub fn text<T: State>(state: &T) -> io::Result<String> {
    Ok(serde_json::to_string(&Versioned { version: T::FILE.version, state })?)
}

/// The state that a file with this text holds. Errors tell what is wrong with it.
pub fn parse<T: State>(text: &str) -> io::Result<T> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        version: u64,
    }
    let Version { version } = serde_json::from_str(text)?;
    if version == T::FILE.version {
        return Ok(serde_json::from_str(text)?);
    }
    let old: Value = serde_json::from_str(text)?;
    let converted = T::convert(version, old).ok_or_else(|| {
        let known = T::FILE.version;
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its version is {version}, but this program supports {known}"),
        )
    })?;
    Ok(serde_json::from_value(converted)?)
}

#[cfg(test)]
mod tests;
