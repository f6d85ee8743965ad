//! The partition that `wasp-agent provision` did not find. The agent reads it, so that it uses a
//! device that appears after provisioning gave up and before the agent's first look.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{Description, StateContent, files};

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// As in `swap.path`.
    pub path: PathBuf,
}

impl StateContent for Awaited {
    const FILE: Description = files::AWAITED;
}
