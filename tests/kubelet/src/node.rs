//! The state of started pods in files, which the cases read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::pod::Pod;
use crate::{Driver, Engine, Kubelet, Runtime};

pub(crate) const BUNDLES: &str = "/run/containers/storage/overlay-containers";
pub(crate) const STATE: &str = "/run/test-kubelet";

pub(crate) type Containers = BTreeMap<String, Running>;

pub(crate) struct Node {
    pub(crate) memory_bytes: u64,
    /// The swap that a kubelet with LimitedSwap shares out. A real one reads it when it starts;
    /// here a case sets it with TEST_KUBELET_SWAP.
    pub(crate) swap_bytes: u64,
}

impl Node {
    pub(crate) fn read() -> Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let bytes = |key: &str| -> Result<u64> {
            let kib: u64 = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().next())
                .with_context(|| format!("no {key}"))?
                .parse()?;
            Ok(kib * 1024)
        };
        let swap_bytes = match std::env::var("TEST_KUBELET_SWAP") {
            Ok(text) => text.parse().context("TEST_KUBELET_SWAP")?,
            Err(_) => bytes("SwapTotal")?,
        };
        Ok(Self { memory_bytes: bytes("MemTotal")?, swap_bytes })
    }
}

/// A started container.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) scope: PathBuf,
    /// crun's cgroup within the scope
    pub(crate) child: Option<PathBuf>,
    pub(crate) restarts: u32,
}

impl Running {
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut all = vec![self.scope.clone()];
        all.extend(self.child.clone());
        all
    }

    /// The scope's unit; with the cgroupfs driver, a name that systemd does not know.
    pub(crate) fn unit(&self) -> String {
        let name = self.scope.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        Path::new(BUNDLES).join(&self.id).join("userdata")
    }
}

/// A started pod.
pub(crate) struct Started {
    pub(crate) pod: Pod,
    pub(crate) runtime: Runtime,
    pub(crate) kubelet: Kubelet,
    pub(crate) driver: Driver,
    pub(crate) cgroup_root: String,
    pub(crate) engine: Engine,
    pub(crate) containers: Containers,
}

impl Started {
    pub(crate) fn load(name: &str) -> Result<Self> {
        let file = Path::new(STATE).join(name).join("pod.json");
        let text = fs::read_to_string(&file).with_context(|| format!("no pod {name}"))?;
        let state: Value = serde_json::from_str(&text)?;
        let mut containers = Containers::new();
        for (name, c) in state["containers"].as_object().into_iter().flatten() {
            containers.insert(
                name.clone(),
                Running {
                    id: c["id"].as_str().unwrap_or_default().to_owned(),
                    scope: c["scope"].as_str().unwrap_or_default().into(),
                    child: c["child"].as_str().map(PathBuf::from),
                    restarts: u32::try_from(c["restarts"].as_u64().unwrap_or(0))?,
                },
            );
        }
        Ok(Self {
            pod: Pod {
                object: state["object"].clone(),
                uid: state["uid"].as_str().unwrap_or_default().to_owned(),
            },
            runtime: match state["runtime"].as_str() {
                Some("runc") => Runtime::Runc,
                _ => Runtime::Crun,
            },
            kubelet: match state["kubelet"].as_str() {
                Some("old") => Kubelet::Old,
                Some("limited") => Kubelet::Limited,
                _ => Kubelet::Current,
            },
            driver: match state["driver"].as_str() {
                Some("cgroupfs") => Driver::Cgroupfs,
                _ => Driver::Systemd,
            },
            cgroup_root: state["cgroup_root"].as_str().unwrap_or_default().to_owned(),
            engine: match state["engine"].as_str() {
                Some("cri-containerd") => Engine::Containerd,
                _ => Engine::Crio,
            },
            containers,
        })
    }

    /// Writes pod.json, and a CONTAINER.env for each container, for cases in shell.
    pub(crate) fn save(&self) -> Result<()> {
        let dir = Path::new(STATE).join(self.pod.name());
        fs::create_dir_all(&dir)?;
        let mut containers = json!({});
        for (name, c) in &self.containers {
            containers[name] =
                json!({"id": c.id, "scope": c.scope, "child": c.child, "restarts": c.restarts});
            let text = format!(
                "id={} unit={} scope={} child={} bundle={} slice={}\n",
                c.id,
                c.unit(),
                c.scope.display(),
                c.child.as_deref().unwrap_or(Path::new("")).display(),
                c.bundle().display(),
                self.slice_dir().display(),
            );
            fs::write(dir.join(format!("{name}.env")), text)?;
        }
        let state = json!({
            "object": self.pod.object, "uid": self.pod.uid, "runtime": self.runtime.name(),
            "kubelet": match self.kubelet {
                Kubelet::Old => "old",
                Kubelet::Limited => "limited",
                Kubelet::Current => "1.36",
            },
            "driver": if self.driver == Driver::Cgroupfs { "cgroupfs" } else { "systemd" },
            "cgroup_root": self.cgroup_root, "engine": self.engine.prefix(), "containers": containers,
        });
        Ok(fs::write(dir.join("pod.json"), state.to_string())?)
    }

    pub(crate) fn container(&self, name: &str) -> Result<&Running> {
        self.containers.get(name).with_context(|| format!("no container {name}"))
    }
}
