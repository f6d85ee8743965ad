//! The node's container runtime, as far as hooks are concerned.

use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// It reads hooks from these directories.
    Crio(Vec<PathBuf>),
    /// It does not read hooks.
    Containerd,
    Unknown,
}
