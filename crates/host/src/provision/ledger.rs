//! The swap that the agent made, so that it can be undone when it is configured elsewhere or not at all.
//! What was to go and could not stays in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::SwapKind,
    state::{Cleanup, Description, Lasts},
};

pub const FILE: Description = Description {
    path: "/var/lib/wasp-agent/provisioned.json",
    version: 1,
    lasts: Lasts::OverBoots,
    cleanup: Cleanup::LeavesTo("wasp-agent deprovision"),
    holds: "the swap that the agent made",
};

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub areas: Vec<OwnArea>,
}

/// A swap area that the agent made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnArea {
    pub kind: SwapKind,
    /// Of no meaning for zram.
    pub path: PathBuf,
}
