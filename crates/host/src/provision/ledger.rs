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

    /// Empty where nothing was provisioned. What cannot be read is an error: there may be swap of ours.
    pub fn load(&self) -> Result<Vec<Provisioned>, ProvisionError> {
        let unreadable = |why: String| ProvisionError::Unreadable { path: self.path.clone(), why };
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        match serde_json::from_str::<Wire>(&text) {
            Ok(wire) if wire.version == VERSION => Ok(wire.areas),
            Ok(wire) => Err(unreadable(format!("version {} is not known", wire.version))),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// As [`Ledger::load`]; a file that cannot be read is kept under another name, and swap is made
    /// without it: the node needs its swap at boot.
    pub fn load_or_set_aside(&self) -> Result<Vec<Provisioned>, ProvisionError> {
        self.load().or_else(|error| {
            let aside = self.path.with_extension("json.unreadable");
            fs::rename(&self.path, &aside).map_err(|error| self.failed(error))?;
            tracing::warn!(
                message_id = crate::messages::RECORD_LEFT_OUT.id,
                path = %self.path.display(),
                "{error}; it is kept as {}",
                aside.display()
            );
            Ok(Vec::new())
        })
    }

    pub fn save(&self, areas: &[Provisioned]) -> Result<(), ProvisionError> {
        if self.load().is_ok_and(|known| known == areas) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A power cut may leave an empty file or half a file.
    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&Roots::at(folder.path()));
        assert_eq!(ledger.load().unwrap(), []);
        let path = folder.path().join("var/lib/wasp-agent/provisioned.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (text, why) in [
            ("", "EOF"),
            ("{\"version\":1,\"ar", "EOF"),
            ("{\"version\":2,\"areas\":[]}", "version 2"),
        ] {
            fs::write(&path, text).unwrap();
            let error = ledger.load().unwrap_err().to_string();
            assert!(error.contains("provisioned.json") && error.contains(why), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(ledger.load_or_set_aside().unwrap(), []);
        assert!(!path.exists() && path.with_extension("json.unreadable").exists());
    }
}
