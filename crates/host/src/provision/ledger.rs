//! Records the swap that the agent made, so that it can be removed when the configuration names
//! other swap, or none. Swap that should be removed and could not stays in the record.

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
    holds: "the swap that the agent created",
};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub areas: Vec<OwnArea>,
}

/// A swap area that the agent made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnArea {
    pub kind: SwapKind,
    /// Unused for zram.
    pub path: PathBuf,
}
