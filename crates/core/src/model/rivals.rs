//! Other programs that do the agent's work on this node: OpenShift's own swap, for example.

use std::path::PathBuf;

/// The owner of a program.
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

/// The work of such a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Creates swap and switches it on.
    Swap,
    /// Sets the kernel's watermarks.
    Watermarks,
    /// Sets latency targets and weights of slices.
    Slices,
    /// Configures the kubelet for swap.
    Kubelet,
    /// Removes the remains of the wasp-agent DaemonSet.
    Cleanup,
    /// Sets swap limits of containers.
    Limits,
}

impl Job {
    /// Returns the name of its row in docs/comparison.md.
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

/// A file of such a program, and a description of its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    pub who: Who,
    pub path: PathBuf,
    pub job: Job,
    pub does: &'static str,
}
