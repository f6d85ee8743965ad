//! Records the swap that the agent made, so that it can be removed when the configuration names
//! other swap, or none. Swap that should be removed and could not stays in the record.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::SwapKind,
    state::{Description, StateContent, files},
};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub areas: Vec<OwnArea>,
}

impl StateContent for Provisioned {
    const FILE: Description = files::PROVISIONED;
}

/// A swap area that the agent made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnArea {
    pub kind: SwapKind,
    /// Unused for zram.
    pub path: PathBuf,
}
