//! The partition that `wasp-agent provision` did not find. The agent reads it, so that a device is used
//! that comes after the wait and before the agent's first look.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{Cleanup, Description, Lasts};

pub const FILE: Description = Description {
    path: "/run/wasp-agent/awaited-swap.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "the swap partition whose device did not exist",
};

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// As `swap.path` has it.
    pub path: PathBuf,
}
