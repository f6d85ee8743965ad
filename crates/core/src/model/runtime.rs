//! The node's container runtime, as far as hooks are concerned.

use std::{fmt, path::PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// It reads hooks from these directories.
    Crio(Vec<PathBuf>),
    /// It does not read hooks.
    Containerd,
    Unknown,
}

/// Where CRI-O reads files that override its main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrioDropIns {
    pub folder: PathBuf,
    /// The name of the last entry, which CRI-O reads last.
    pub last: Option<String>,
}

/// The OCI runtime that CRI-O starts containers with, unless a pod asks for another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultRuntime {
    pub name: String,
    /// Its program; `None`: CRI-O looks for the name.
    pub path: Option<PathBuf>,
}

impl DefaultRuntime {
    /// Returns the name of its program, by which its processes are known.
    pub fn program(&self) -> &str {
        let path = self.path.as_ref().and_then(|path| path.file_name()?.to_str());
        path.unwrap_or(&self.name)
    }
}

impl fmt::Display for DefaultRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) if self.program() != self.name => {
                write!(f, "{} ({})", self.name, path.display())
            }
            _ => f.write_str(&self.name),
        }
    }
}
