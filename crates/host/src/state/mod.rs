//! The agent's state files: one type and one policy for all of them.
//!
//! A state file is JSON with a `version`. The agent replaces it as a whole, so a reader sees the
//! old or the new content. **A file that cannot be read is not an absent file**:
//! [`StateFile::load`] returns an error, and no caller removes or overwrites its content.
//! Module `convert` converts content of older versions.

mod convert;
pub(crate) mod files;

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    bounded::read_bounded,
    errors::FileError,
    replace::{replace, replace_for_keeps, sweep},
    roots::Roots,
};

pub use convert::StateContent;
pub(crate) use convert::unversioned;
pub use files::{ALL, Cleanup, Description, Lasts};

/// Only root has a reason to read them.
const MODE: u32 = 0o600;

/// The state file of `T` on one host.
#[derive(Debug)]
pub struct StateFile<T> {
    path: PathBuf,
    shown: PathBuf,
    of: PhantomData<T>,
}

impl<T: StateContent> StateFile<T> {
    pub fn new(roots: &Roots) -> Self {
        Self::at(roots.path(T::FILE.path), T::FILE.path.into())
    }

    /// One of several files of this kind; `shown` is its path on the host.
    pub fn at(path: PathBuf, shown: PathBuf) -> Self {
        Self { path, shown, of: PhantomData }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state; `None` if there is no file. An unreadable file is an error, never `None`.
    pub fn load(&self) -> Result<Option<T>, FileError> {
        let read = read_bounded(&self.path).map_err(FileError::of("read", &self.shown))?;
        read.map(|text| parse(&text).map_err(FileError::of("use", &self.shown))).transpose()
    }

    /// Writes `state`, unless the file contains it already.
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

/// Returns the text of a state file with `state`.
pub fn text<T: StateContent>(state: &T) -> io::Result<String> {
    Ok(serde_json::to_string(&Versioned { version: T::FILE.version, state })?)
}

/// Parses the text of a state file. Errors describe the fault.
pub fn parse<T: StateContent>(text: &str) -> io::Result<T> {
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
