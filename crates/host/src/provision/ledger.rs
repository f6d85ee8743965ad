//! Records the swap that the agent made, so that it can be removed when the configuration names
//! other swap, or none. Swap that should be removed and could not stays in the record.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::SwapKind,
    errors::FileError,
    roots::Roots,
    state::{Description, StateContent, StateFile, files},
};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub areas: Vec<OwnArea>,
}

impl StateContent for Provisioned {
    const FILE: Description = files::PROVISIONED;
}

/// Returns true if the record names swap of the agent's.
pub fn has_provisioned(roots: &Roots) -> Result<bool, FileError> {
    let record = StateFile::<Provisioned>::new(roots).load()?;
    Ok(record.is_some_and(|record| !record.areas.is_empty()))
}

/// A swap area that the agent made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnArea {
    pub kind: SwapKind,
    /// Unused for zram.
    pub path: PathBuf,
}
