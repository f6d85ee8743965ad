//! The node's container runtime, as far as hooks go.

use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// It reads hooks in these folders.
    Crio(Vec<PathBuf>),
    /// It reads none.
    Containerd,
    Unknown,
}
