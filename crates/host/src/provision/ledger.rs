//! `/var/lib/wasp-agent/provisioned.json`: the swap that the agent made, so that it can be undone
//! when it is configured elsewhere or not at all. What was to go and could not stays in it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::ProvisionError;
use crate::{
    act::files::{replace_for_keeps, sweep},
    config::settings::SwapKind,
    roots::Roots,
};

const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub kind: SwapKind,
    /// Of no meaning for zram.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    areas: Vec<Provisioned>,
}

pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    pub fn new(roots: &Roots) -> Self {
        Self { path: roots.path("/var/lib/wasp-agent/provisioned.json") }
    }

    /// Empty where nothing was provisioned, or by a version whose words are not known.
    pub fn load(&self) -> Vec<Provisioned> {
        let Ok(text) = fs::read_to_string(&self.path) else { return Vec::new() };
        match serde_json::from_str::<Wire>(&text) {
            Ok(wire) if wire.version == VERSION => wire.areas,
            Ok(_) | Err(_) => {
                crate::messages::RecordLeftOut { path: &self.path.display(), reason: None }
                    .emit(format_args!("not understood, left out"));
                Vec::new()
            }
        }
    }

    pub fn save(&self, areas: &[Provisioned]) -> Result<(), ProvisionError> {
        if self.load() == areas {
            return Ok(());
        }
        let wire = Wire { version: VERSION, areas: areas.to_vec() };
        let text = serde_json::to_string(&wire).map_err(|error| self.failed(error.into()))?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        sweep(folder);
        fs::create_dir_all(folder)
            .and_then(|()| replace_for_keeps(&self.path, &text, 0o600))
            .map_err(|error| self.failed(error))
    }

    pub fn remove(&self) -> Result<(), ProvisionError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> ProvisionError {
        ProvisionError::Ledger { path: self.path.clone(), source }
    }
}
