//! The reasons why a pod is not suspended, or not resumed.

use crate::{act::freeze::FreezeError, errors::FileError};

#[derive(Debug, thiserror::Error)]
pub(in crate::agent) enum SuspendError {
    #[error(
        "the API server is not reachable, so the agent would not see when it must resume the pod; \
         try again later"
    )]
    ApiUnreachable,
    #[error("there is no pod {namespace}/{name} on this node")]
    NoPod { namespace: String, name: String },
    /// The sentence of [`crate::decide::suspend::refuse`].
    #[error("{0}")]
    Refused(String),
    #[error(
        "an eviction signal is near its threshold (see wasp-agent status): what the agent would \
         write to swap could cause the eviction of another pod; try again later"
    )]
    SignalNear,
    #[error(
        "the agent suspends no more pods at the same time ({0}); try again when one is suspended"
    )]
    Busy(usize),
    #[error("the kernel has no memory.reclaim (it needs Linux 5.19 or RHEL 9.2)")]
    NoReclaim,
    #[error("the pod is not suspended")]
    NotSuspended,
    #[error("it was stopped")]
    Stopped,
    /// The state of an earlier agent cannot be read.
    #[error("{0}; the agent suspends nothing until all frozen containers run")]
    StateLost(String),
    /// The problem of each container that is still frozen.
    #[error("{}", .0.join("; "))]
    StillFrozen(Vec<String>),
    #[error(transparent)]
    Freeze(#[from] Box<FreezeError>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}
