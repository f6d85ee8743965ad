//! Creates the cgroups of pods, through systemd or directly.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::node::{Node, Started};
use crate::pod::{Qos, memory};
use crate::{Driver, command};

const ROOT: &str = "/sys/fs/cgroup";

impl Started {
    pub(crate) fn slice(&self) -> String {
        let uid = self.pod.uid.replace('-', "_");
        match self.pod.qos() {
            Qos::Guaranteed => format!("{}-pod{uid}.slice", self.stem()),
            Qos::Burstable => format!("{}-burstable-pod{uid}.slice", self.stem()),
            Qos::BestEffort => format!("{}-besteffort-pod{uid}.slice", self.stem()),
        }
    }

    /// Returns the names of the cgroups above the pods', and their own, `kubepods`.
    fn above(&self) -> Vec<&str> {
        let root = self.cgroup_root.split('/').filter(|name| !name.is_empty());
        root.chain(["kubepods"]).collect()
    }

    /// Returns the prefix of the slices' names.
    fn stem(&self) -> String {
        self.above().join("-")
    }

    /// Returns `kubepods`, or `kubepods.slice`.
    fn top_dir(&self) -> PathBuf {
        let names = self.above();
        let mut dir = PathBuf::from(ROOT);
        match self.driver {
            Driver::Cgroupfs => dir.extend(names),
            Driver::Systemd => dir.extend(
                (1..=names.len()).map(|count| format!("{}.slice", names[..count].join("-"))),
            ),
        }
        dir
    }

    pub(crate) fn slice_dir(&self) -> PathBuf {
        let qos = match self.pod.qos() {
            Qos::Guaranteed => "",
            Qos::Burstable => "burstable",
            Qos::BestEffort => "besteffort",
        };
        let top = self.top_dir();
        match self.driver {
            Driver::Cgroupfs => top.join(qos).join(format!("pod{}", self.pod.uid)),
            Driver::Systemd if qos.is_empty() => top.join(self.slice()),
            Driver::Systemd => top.join(format!("{}-{qos}.slice", self.stem())).join(self.slice()),
        }
    }
    /// Like the kubelet at its own start, and then for each pod.
    pub(crate) fn start_slices(&self, node: &Node) -> Result<()> {
        if self.driver == Driver::Cgroupfs {
            return self.make_cgroups();
        }
        for qos in ["", "-burstable", "-besteffort"] {
            let name = format!("{}{qos}.slice", self.stem());
            let limit = qos.is_empty().then_some(node.memory_bytes);
            let path = self.top_dir();
            let exists = if qos.is_empty() { path.exists() } else { path.join(&name).exists() };
            if !exists {
                start_slice(&name, limit)?;
            }
        }
        let limits: Option<u64> =
            self.pod.containers().iter().map(|c| memory(c.spec, "limits").ok().flatten()).sum();
        start_slice(&self.slice(), limits)?;
        for _ in 0..100 {
            if self.slice_dir().exists() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("{} does not come up", self.slice())
    }

    /// Gives the pod's slice an empty child slice with a memory limit. Without a unit that needs the memory controller,
    /// systemd takes it from containers that are bare cgroups whenever the agent sets the slice's limit.
    pub(crate) fn keep_memory_controller(&self) -> Result<()> {
        let slice = self.slice();
        let stem = slice.strip_suffix(".slice").unwrap_or(&slice);
        start_slice(&format!("{stem}-keep.slice"), Some(64 << 20))
    }

    fn make_cgroups(&self) -> Result<()> {
        let mut dir = PathBuf::from(ROOT);
        let below = self.slice_dir();
        for part in below.strip_prefix(ROOT)?.components() {
            fs::write(dir.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
            dir.push(part);
            if !dir.exists() {
                fs::create_dir(&dir)?;
            }
        }
        fs::write(dir.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        Ok(())
    }

    /// Returns the container's cgroup, and its form in config.json.
    pub(crate) fn cgroup_of(&self, id: &str) -> Result<(PathBuf, String)> {
        let prefix = self.engine.prefix();
        Ok(match self.driver {
            Driver::Systemd => (
                self.slice_dir().join(format!("{prefix}-{id}.scope")),
                format!("{}:{prefix}:{id}", self.slice()),
            ),
            Driver::Cgroupfs => {
                let dir = self.slice_dir().join(format!("{prefix}-{id}"));
                let path = Path::new("/").join(dir.strip_prefix(ROOT)?);
                (dir, path.display().to_string())
            }
        })
    }
}

/// Uses D-Bus, with the properties that the kubelet's cgroup manager sets.
fn start_slice(name: &str, memory_max: Option<u64>) -> Result<()> {
    let description = format!("libcontainer container {name}");
    let limit = memory_max.map(|bytes| bytes.to_string());
    let count = if limit.is_some() { "6" } else { "5" };
    let mut arguments = vec![
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        name,
        "replace",
        count,
        "Description",
        "s",
        &description,
        "DefaultDependencies",
        "b",
        "false",
    ];
    for accounting in ["MemoryAccounting", "CPUAccounting", "TasksAccounting"] {
        arguments.extend([accounting, "b", "true"]);
    }
    if let Some(limit) = &limit {
        arguments.extend(["MemoryMax", "t", limit]);
    }
    arguments.push("0");
    command::run("busctl", &arguments)
}
