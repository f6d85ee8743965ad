//! `/run/wasp-agent/pods/UID.json`: each pod of the node with its containers' grants. From these
//! files, an agent that starts without an API server restores its knowledge, and the OCI hook reads
//! the grants.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    bounded::read_bounded,
    errors::FileError,
    messages,
    model::{
        pod::{Pod, PodUid, Pods},
        swap::SwapMax,
    },
    roots::Roots,
    state::{self, Description, StateContent, StateFile, files},
};

/// The content of a pod's file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub(crate) pod: Arc<Pod>,
    /// Grants by container name.
    pub(crate) grants: BTreeMap<Arc<str>, SwapMax>,
}

impl StateContent for Record {
    const FILE: Description = files::RECORDS;
}

pub(crate) fn folder(roots: &Roots) -> PathBuf {
    roots.runtime().join("pods")
}

pub(crate) fn file(folder: &Path, uid: &PodUid) -> PathBuf {
    folder.join(format!("{uid}.json"))
}

/// Returns the pods that an agent has recorded.
pub fn pods(roots: &Roots) -> Pods {
    read(&folder(roots)).into_iter().map(|(pod, _)| (pod.uid.clone(), pod)).collect()
}

/// Returns the recorded pods, with their records' texts. Skips and logs invalid records.
pub(crate) fn read(folder: &Path) -> Vec<(Arc<Pod>, String)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let read = read_bounded(&entry.path())
            .and_then(|text| text.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .and_then(|text| Ok((state::parse::<Record>(&text)?.pod, text)));
        match read {
            Ok(record) => found.push(record),
            Err(reason) => {
                messages::RecordLeftOut { path: &entry.path().display(), reason: Some(&reason) }
                    .emit(format_args!("skipped a pod record"));
            }
        }
    }
    found
}

/// The part of a pod's record that the OCI hook reads.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Grants by container name.
    pub grants: BTreeMap<String, SwapMax>,
}

impl StateContent for Granted {
    const FILE: Description = files::RECORDS;
}

/// Returns the published grants of pod `uid`, for the OCI hook; `None` if there are none.
pub fn granted(roots: &Roots, uid: &PodUid) -> Result<Option<Granted>, FileError> {
    let path = file(&folder(roots), uid);
    let shown = roots.shown(&path).into_owned();
    StateFile::at(path, shown).load()
}
