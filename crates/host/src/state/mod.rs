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
use serde_json::{Value, error::Category};

use crate::{
    bounded::read_bounded,
    errors::FileError,
    json_fault::described,
    model::{check::UnreadableFile, counted::counted},
    replace::{replace, replace_for_keeps, sweep},
    roots::Roots,
};

pub use convert::StateContent;
pub(crate) use convert::unversioned;
pub use files::{ALL, Cleanup, Description, Lasts};

/// Only root has a reason to read them.
const MODE: u32 = 0o600;

/// Returns the files that cannot be read, other than those that a problem of their own reports.
pub fn unreadable(roots: &Roots) -> Vec<UnreadableFile> {
    let own = [files::EVICTIONS.path, files::SUSPENDED.path, files::STATUS.path];
    let files = ALL.iter().filter(|file| file.path.ends_with(".json") && !own.contains(&file.path));
    let read = |file: &Description| {
        let shown = Path::new(file.path);
        let text = read_bounded(&roots.path(file.path)).map_err(FileError::of("read", shown))?;
        text.map_or(Ok(()), |text| {
            version(&text)
                .and_then(|version| known(version, file.version))
                .map_err(FileError::of("use", shown))
        })
    };
    let failed = files.filter_map(|file| Some((file, read(file).err()?)));
    failed
        .map(|(file, error)| UnreadableFile {
            path: file.path.to_owned(),
            text: error.to_string(),
            holds: file.holds,
        })
        .collect()
}

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
    let version = version(text)?;
    let fault = |error| fault(text, &error);
    if version == T::FILE.version {
        return serde_json::from_str(text).map_err(fault);
    }
    let old: Value = serde_json::from_str(text).map_err(fault)?;
    let converted = T::convert(version, old).ok_or_else(|| unknown(version, T::FILE.version))?;
    serde_json::from_value(converted).map_err(fault)
}

/// Returns the version of a state file's text.
fn version(text: &str) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        version: u64,
    }
    let Version { version } = serde_json::from_str(text).map_err(|error| fault(text, &error))?;
    Ok(version)
}

/// A program reads older versions, and not newer ones.
fn known(version: u64, newest: u64) -> io::Result<()> {
    if version > newest { Err(unknown(version, newest)) } else { Ok(()) }
}

fn unknown(version: u64, newest: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("its version is {version}, but this program supports {newest}"),
    )
}

/// Describes what is wrong with the text.
fn fault(text: &str, error: &serde_json::Error) -> io::Error {
    let text = match error.classify() {
        _ if text.trim().is_empty() => "it is empty".to_owned(),
        Category::Eof => format!("it is cut off after {}", counted(text.len(), "byte", "bytes")),
        Category::Syntax | Category::Data | Category::Io => described(error),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
