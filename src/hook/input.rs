//! The runtime's words: state and configuration. Both may be hostile: annotations are a pod
//! author's, and only what is needed is believed.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    decide::{estimate::Annotated, wish},
    model::pod::PodUid,
    observe::bounded::{LARGEST_BYTES, read_bounded},
};

/// The part of the state that counts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// The container's; empty where a runtime does not say.
    #[serde(default)]
    pub id: String,
    pub pid: i32,
    pub bundle: PathBuf,
}

impl State {
    /// Up to the end of the object: a runtime that forgets to close the pipe is not waited for.
    pub fn read(stdin: impl Read) -> Result<Self, String> {
        let mut state = serde_json::Deserializer::from_reader(stdin.take(LARGEST_BYTES));
        let state = Self::deserialize(&mut state).map_err(|error| error.to_string())?;
        if state.pid <= 0 {
            return Err(format!("pid {} is not a process", state.pid));
        }
        Ok(state)
    }
}

/// `config.json`, each part of which may be missing or of another kind than it should.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    #[serde(default)]
    annotations: HashMap<String, Value>,
    #[serde(default)]
    process: Value,
    #[serde(default)]
    linux: Value,
}

impl Config {
    /// That of the container in `bundle`.
    pub fn read(bundle: &Path) -> Result<Self, String> {
        match read_bounded(&bundle.join("config.json")) {
            Ok(Some(text)) => Self::parse(&text),
            Ok(None) => Err("config.json is missing".to_owned()),
            Err(error) => Err(format!("config.json: {error}")),
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("config.json: {error}"))
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name)?.as_str()
    }

    /// Annotations count where they name the pod whose cgroup it is.
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
