//! Input and output of one pass, as plain data.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::suspend::Suspensions;
use crate::model::{
    clock::SinceStart,
    host::{CgroupLevel, ContainerFacts, Holder, NodeMemory, PodFacts},
    pod::Pods,
    swap::SwapMax,
};

/// The input of a pass. `containers` are all, or those that may have changed; `slices` include at
/// least the cgroups of their pods.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub node: NodeMemory,
    pub pods: &'a Pods,
    pub containers: &'a [ContainerFacts],
    pub slices: &'a [PodFacts],
    pub suspensions: &'a Suspensions,
    /// `node.swap_bytes` is certain. In kubelet mode it is the swap that the kubelet counts. A
    /// kubelet that counts less than the agent expects grants less.
    pub swap_is_certain: bool,
    /// Also query systemd about limits that look right.
    pub thorough: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Write `memory.swap.max` if the cgroup at `path`, below the cgroup root, still has this
    /// `inode`.
    WriteLimit {
        #[serde(flatten)]
        owner: Holder,
        path: PathBuf,
        level: CgroupLevel,
        inode: u64,
        from: SwapMax,
        to: SwapMax,
        cause: Cause,
    },
    /// Set `MemorySwapMax` of the unit whose cgroup is at `path`, so that a daemon-reload keeps the
    /// limit.
    TellSystemd {
        #[serde(flatten)]
        owner: Holder,
        unit: Arc<str>,
        path: PathBuf,
        to: SwapMax,
    },
}

crate::vocabulary! {
    /// The reason for a write.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum Cause {
        /// First seen with another limit, which the runtime or the kubelet wrote.
        Found = "found",
        GrantChanged = "grant-changed",
        /// Another program changed the limit that the agent had set.
        Drift = "drift",
        /// The limit follows the container's use down to the grant.
        StepDown = "step-down",
    }
}

/// An event that the agent reports once, when it begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "notice")]
pub enum Notice {
    AboveGrant {
        #[serde(flatten)]
        owner: Holder,
        used_bytes: u64,
        grant: SwapMax,
    },
    BackWithinGrant {
        #[serde(flatten)]
        owner: Holder,
    },
    /// Another program keeps changing the limit; `found` is the value that it writes.
    Contended {
        #[serde(flatten)]
        owner: Holder,
        found: SwapMax,
        wanted: SwapMax,
    },
    /// In kubelet mode: the limit differs from LimitedSwap, and the agent does not repair it.
    Differs {
        #[serde(flatten)]
        owner: Holder,
        found: SwapMax,
        expected: SwapMax,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub actions: Vec<Action>,
    pub notices: Vec<Notice>,
    /// Cgroups to look at again at this time, even if no event arrives.
    #[serde(skip)]
    pub again: Vec<(SinceStart, Holder)>,
    /// Cgroups to stop watching until this time, because another program keeps changing their
    /// limit.
    #[serde(skip)]
    pub deaf_until: Vec<(SinceStart, Holder)>,
}
