//! Others that do on this node what the agent does: OpenShift's own swap.

use std::path::PathBuf;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// OpenShift's own operator, by a MachineConfig.
    Autopilot,
    /// The wasp-agent DaemonSet.
    DaemonSet,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Self::Autopilot => "virt-platform-autopilot",
            Self::DaemonSet => "the DaemonSet wasp-agent",
        }
    }
}

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
    /// Sets swap limits of containers.
    Limits,
}

impl Job {
    /// As a row of the table in docs/comparison.md has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Watermarks => "watermarks",
            Self::Slices => "slices",
            Self::Kubelet => "kubelet",
            Self::Cleanup => "removal of old hooks",
            Self::Limits => "swap limits",
        }
    }
}

/// A file that was found, and what it does in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    pub who: Who,
    pub path: PathBuf,
    pub job: Job,
    pub does: &'static str,
}
