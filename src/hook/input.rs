//! Reads the runtime's input: state and configuration. Both may be hostile, because a pod's author
//! writes the annotations; the hook trusts only the parts that it needs.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    bounded::{LARGEST_BYTES, read_bounded},
    decide::{estimate::Annotated, wish},
    json_fault::described,
    model::pod::PodUid,
};

/// The needed part of the state.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct OciState {
    /// The container's ID; empty if the runtime does not give it.
    #[serde(default)]
    pub id: String,
    pub pid: i32,
    pub bundle: PathBuf,
}

/// The reason why the runtime's input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}", described(.0))]
    State(serde_json::Error),
    #[error("pid {0} is not a process")]
    Pid(i32),
    #[error("config.json is missing")]
    NoConfig,
    #[error("config.json: {0}")]
    Unreadable(#[source] io::Error),
    #[error("config.json: {}", described(.0))]
    Config(serde_json::Error),
}

impl OciState {
    /// Reads to the end of the object: a runtime may forget to close the pipe.
    pub fn read(stdin: impl Read) -> Result<Self, InputError> {
        let mut state = serde_json::Deserializer::from_reader(stdin.take(LARGEST_BYTES));
        let state = Self::deserialize(&mut state).map_err(InputError::State)?;
        if state.pid <= 0 {
            return Err(InputError::Pid(state.pid));
        }
        Ok(state)
    }
}

/// `config.json`; any part may be missing or have the wrong type.
#[derive(Debug, Default, Deserialize)]
pub struct OciConfig {
    #[serde(default)]
    annotations: HashMap<String, Value>,
    #[serde(default)]
    process: Value,
    #[serde(default)]
    linux: Value,
}

impl OciConfig {
    /// Reads the configuration of the container in `bundle`.
    pub fn read(bundle: &Path) -> Result<Self, InputError> {
        match read_bounded(&bundle.join("config.json")) {
            Ok(Some(text)) => Self::parse(&text),
            Ok(None) => Err(InputError::NoConfig),
            Err(error) => Err(InputError::Unreadable(error)),
        }
    }

    pub fn parse(text: &str) -> Result<Self, InputError> {
        serde_json::from_str(text).map_err(InputError::Config)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name)?.as_str()
    }

    /// Returns true if the annotations name the pod of the container's cgroup; only then they
    /// count.
    fn is_of(&self, pod: &PodUid) -> bool {
        self.annotation("io.kubernetes.pod.uid") == Some(pod.as_str())
    }

    pub fn container_name(&self, pod: &PodUid) -> Option<String> {
        let name = self.annotation("io.kubernetes.container.name")?;
        self.is_of(pod).then(|| name.to_owned())
    }

    pub fn annotated(&self, pod: &PodUid) -> Option<Annotated> {
        self.is_of(pod).then_some(())?;
        let container = self.annotation("io.kubernetes.container.name").unwrap_or_default();
        Some(Annotated {
            // CRI-O copies the pod's annotations under their own keys.
            wish: wish::of(|key| self.annotation(key), container),
            namespace: self.annotation("io.kubernetes.pod.namespace")?.to_owned(),
            is_container: self.annotation("io.kubernetes.cri-o.ContainerType") == Some("container"),
            config_source: self.annotation("kubernetes.io/config.source").map(str::to_owned),
            virt_launcher: self.annotations.contains_key("kubevirt.io/domain"),
        })
    }

    pub fn oom_score_adj(&self) -> Option<i64> {
        self.process.get("oomScoreAdj")?.as_i64()
    }

    pub fn memory_limit(&self) -> Option<i64> {
        self.linux.get("resources")?.get("memory")?.get("limit")?.as_i64()
    }
}
