//! Others that do on this node what the agent does: OpenShift's own swap.

use std::path::PathBuf;

/// What a rival does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Makes swap and switches it on.
    Swap,
    /// Sets the kernel's watermarks.
    Watermarks,
    /// Sets latency targets and weights of slices.
    Slices,
    /// Configures the kubelet for swap.
    Kubelet,
    /// Removes what the wasp-agent DaemonSet has left.
    Cleanup,
}

/// A file that was found, and what it does in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    pub path: PathBuf,
    pub job: Job,
    pub does: &'static str,
}
