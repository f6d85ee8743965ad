//! What a pass has seen and what it yields: plain data.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::suspend::Suspensions;
use crate::model::{
    host::{ContainerFacts, Holder, Level, Monotonic, NodeMemory, PodFacts},
    pod::Pods,
    swap::SwapMax,
};

/// What a pass has seen. `containers` are those that may have changed, or all; `slices` are at least
/// the cgroups of their pods.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub node: NodeMemory,
    pub pods: &'a Pods,
    pub containers: &'a [ContainerFacts],
    pub slices: &'a [PodFacts],
    pub suspensions: &'a Suspensions,
    /// `node.swap_bytes` is certain. Where the kubelet grants, it is what the kubelet counts as swap, and
    /// a kubelet that counts less than the agent expects gives less.
    pub swap_is_certain: bool,
    /// Also ask systemd about limits that look right.
    pub thorough: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Write `memory.swap.max`, if `path` below the cgroup root is still the cgroup `inode`.
    WriteLimit {
        #[serde(flatten)]
        owner: Holder,
        path: PathBuf,
        level: Level,
        inode: u64,
        from: SwapMax,
        to: SwapMax,
        cause: Cause,
    },
    /// Have systemd hold `MemorySwapMax` for the unit, whose cgroup is at `path`, so that a
    /// daemon-reload keeps it.
    TellSystemd {
        #[serde(flatten)]
        owner: Holder,
        unit: Arc<str>,
        path: PathBuf,
        to: SwapMax,
    },
}

crate::vocabulary! {
    /// Why a limit is written.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum Cause {
        /// First seen with another limit: the runtime or the kubelet wrote it.
        Found = "found",
        GrantChanged = "grant-changed",
        /// Somebody changed what we had set.
        Drift = "drift",
        /// Follows the use down to the grant.
        StepDown = "step-down",
    }
}

/// What an operator should hear of, once, when it begins or ends.
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
    /// Another writer keeps changing the limit; `found` is what it writes.
    Contended {
        #[serde(flatten)]
        owner: Holder,
        found: SwapMax,
        wanted: SwapMax,
    },
    /// The kubelet grants: the limit is not what LimitedSwap gives, and the agent does not repair it.
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
    /// What to look at again at a time, though nothing may have changed.
    #[serde(skip)]
    pub again: Vec<(Monotonic, Holder)>,
    /// What not to watch until then: a writer is fighting us.
    #[serde(skip)]
    pub deaf_until: Vec<(Monotonic, Holder)>,
}
