//! The partition that `wasp-agent provision` did not find. The agent reads it, so that it uses a
//! device that appears after provisioning gave up and before the agent's first look.

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

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// As in `swap.path`.
    pub path: PathBuf,
}
