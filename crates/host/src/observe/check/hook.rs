//! Facts about the installed OCI hook.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    decide::hook::FILE_NAME,
    model::{
        check::{FolderState, HookFacts},
        runtime::Runtime,
    },
    observe::{crio, hooks, program},
    roots::Roots,
};

/// The directories in which the package, and the first boot of RHEL CoreOS, install the programs.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

pub(super) fn facts(roots: &Roots) -> HookFacts {
    let folders = match crio::runtime(roots) {
        Ok(Runtime::Crio(folders)) => folders,
        _ => Vec::new(),
    };
    let definition = folders.iter().map(|folder| folder.join(FILE_NAME)).find_map(|path| {
        let text = fs::read_to_string(roots.path(&path)).ok()?;
        Some((path, text))
    });
    let installed = FOLDERS
        .map(|folder| Path::new(folder).join("wasp-agent"))
        .into_iter()
        .find(|agent| roots.path(agent).exists());
    let agent = installed.clone().unwrap_or_else(|| Path::new(FOLDERS[0]).join("wasp-agent"));
    let program = definition
        .as_ref()
        .and_then(|(_, text)| named(text))
        .unwrap_or_else(|| agent.with_file_name("wasp-hook"));
    let foreign = hooks::foreign(roots, &folders);
    HookFacts {
        folders: folders
            .into_iter()
            .map(|folder| (folder.clone(), state(&roots.path(folder))))
            .collect(),
        definition,
        foreign,
        program: program::facts(roots, &roots.path(&program), &program, &roots.path(&agent)),
        agent_installed: installed.is_some(),
        published: crate::state::StateFile::<crate::model::hook::EstimateSettings>::new(roots)
            .path()
            .exists(),
    }
}

fn state(folder: &Path) -> FolderState {
    match folder.is_dir() {
        false => FolderState::Missing,
        true => match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
            Ok(()) => FolderState::Writable,
            Err(_) => FolderState::ReadOnly,
        },
    }
}

/// Returns the program that a definition names.
fn named(definition: &str) -> Option<PathBuf> {
    let definition: serde_json::Value = serde_json::from_str(definition).ok()?;
    Some(definition["hook"]["path"].as_str()?.into())
}
