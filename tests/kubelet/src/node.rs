//! The node: slices by systemd, containers by the runtime, and the notes that cases read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::api::Api;
use crate::pod::{Kind, Pod, Qos, memory, random_uid};
use crate::{Driver, Engine, Kubelet, Runtime, oci};

const CGROUPS: &str = "/sys/fs/cgroup";
const BUNDLES: &str = "/run/containers/storage/overlay-containers";
const STATE: &str = "/run/test-kubelet";
const SANDBOX: &str = "POD";

pub(crate) type Containers = BTreeMap<String, Running>;

pub(crate) struct Node {
    memory_bytes: u64,
}

impl Node {
    pub(crate) fn read() -> Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib: u64 = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no MemTotal")?
            .parse()?;
        Ok(Self { memory_bytes: kib * 1024 })
    }
}

/// A container that was started.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    id: String,
    scope: PathBuf,
    /// crun's cgroup within the scope
    child: Option<PathBuf>,
    restarts: u32,
}

impl Running {
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut all = vec![self.scope.clone()];
        all.extend(self.child.clone());
        all
    }

    /// The scope's unit; with the cgroupfs driver, a name that systemd does not know.
    fn unit(&self) -> String {
        let name = self.scope.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn bundle(&self) -> PathBuf {
        Path::new(BUNDLES).join(&self.id).join("userdata")
    }
}

/// A pod that was started.
pub(crate) struct Started {
    pub(crate) pod: Pod,
    pub(crate) runtime: Runtime,
    pub(crate) kubelet: Kubelet,
    pub(crate) driver: Driver,
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
                _ => Kubelet::Current,
            },
            driver: match state["driver"].as_str() {
                Some("cgroupfs") => Driver::Cgroupfs,
                _ => Driver::Systemd,
            },
            engine: match state["engine"].as_str() {
                Some("cri-containerd") => Engine::Containerd,
                _ => Engine::Crio,
            },
            containers,
        })
    }

    /// Writes pod.json, and for cases in shell one CONTAINER.env each.
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
            "kubelet": if self.kubelet == Kubelet::Old { "old" } else { "1.36" },
            "driver": if self.driver == Driver::Cgroupfs { "cgroupfs" } else { "systemd" },
            "engine": self.engine.prefix(), "containers": containers,
        });
        Ok(fs::write(dir.join("pod.json"), state.to_string())?)
    }

    pub(crate) fn container(&self, name: &str) -> Result<&Running> {
        self.containers.get(name).with_context(|| format!("no container {name}"))
    }

    fn slice(&self) -> String {
        let uid = self.pod.uid.replace('-', "_");
        match self.pod.qos() {
            Qos::Guaranteed => format!("kubepods-pod{uid}.slice"),
            Qos::Burstable => format!("kubepods-burstable-pod{uid}.slice"),
            Qos::BestEffort => format!("kubepods-besteffort-pod{uid}.slice"),
        }
    }

    fn slice_dir(&self) -> PathBuf {
        let qos = match self.pod.qos() {
            Qos::Guaranteed => "",
            Qos::Burstable => "burstable",
            Qos::BestEffort => "besteffort",
        };
        let root = Path::new(CGROUPS);
        match self.driver {
            Driver::Cgroupfs => {
                root.join("kubepods").join(qos).join(format!("pod{}", self.pod.uid))
            }
            Driver::Systemd if qos.is_empty() => root.join("kubepods.slice").join(self.slice()),
            Driver::Systemd => {
                root.join("kubepods.slice").join(format!("kubepods-{qos}.slice")).join(self.slice())
            }
        }
    }

    pub(crate) fn start(&mut self, node: &Node, with_sandbox: bool) -> Result<()> {
        self.start_slices(node)?;
        let sandbox = new_id()?;
        if with_sandbox {
            self.run_one(SANDBOX, &sandbox, &sandbox, 0, node)?;
        }
        let order: Vec<(String, Kind)> =
            self.pod.containers().iter().map(|c| (c.name.to_owned(), c.kind)).collect();
        for (name, kind) in order {
            self.run_one(&name, &new_id()?, &sandbox, 0, node)?;
            if kind == Kind::Init
                && let Some(done) = self.containers.get(&name)
            {
                self.wait_and_remove(done)?;
                self.containers.remove(&name);
            }
        }
        self.save()
    }

    /// As the kubelet does at its own start, and then for each pod.
    fn start_slices(&self, node: &Node) -> Result<()> {
        if self.driver == Driver::Cgroupfs {
            return self.make_cgroups();
        }
        for qos in ["", "-burstable", "-besteffort"] {
            let name = format!("kubepods{qos}.slice");
            let limit = qos.is_empty().then_some(node.memory_bytes);
            let path = Path::new(CGROUPS).join("kubepods.slice");
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

    fn make_cgroups(&self) -> Result<()> {
        let mut dir = PathBuf::from(CGROUPS);
        let below = self.slice_dir();
        for part in below.strip_prefix(CGROUPS)?.components() {
            fs::write(dir.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
            dir.push(part);
            if !dir.exists() {
                fs::create_dir(&dir)?;
            }
        }
        fs::write(dir.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        Ok(())
    }

    fn run_one(
        &mut self,
        name: &str,
        id: &str,
        sandbox: &str,
        restarts: u32,
        node: &Node,
    ) -> Result<()> {
        let slice = self.slice();
        let prefix = self.engine.prefix();
        let (scope, cgroups_path) = match self.driver {
            Driver::Systemd => (
                self.slice_dir().join(format!("{prefix}-{id}.scope")),
                format!("{slice}:{prefix}:{id}"),
            ),
            Driver::Cgroupfs => {
                let dir = self.slice_dir().join(format!("{prefix}-{id}"));
                let path = Path::new("/").join(dir.strip_prefix(CGROUPS)?);
                (dir, path.display().to_string())
            }
        };
        let ids = oci::Ids {
            container: id,
            sandbox,
            slice: &slice,
            cgroups_path: &cgroups_path,
            restarts,
        };
        let config = if name == SANDBOX {
            oci::sandbox(&self.pod, &ids, self.runtime)
        } else {
            let containers = self.pod.containers();
            let container = containers
                .iter()
                .find(|c| c.name == name)
                .with_context(|| format!("no container {name}"))?;
            oci::container(
                &self.pod,
                container,
                &ids,
                self.runtime,
                self.kubelet,
                node.memory_bytes,
            )?
        };
        let mut running = Running { id: id.to_owned(), scope, child: None, restarts };
        let bundle = running.bundle();
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), config.to_string())?;

        // A detached container keeps what it is given as its output: a pipe would never end.
        let log = bundle.join("start.log");
        let mut tries = 0;
        loop {
            let out = fs::File::create(&log)?;
            let status = Command::new(self.runtime.name())
                .args((self.driver == Driver::Systemd).then_some("--systemd-cgroup"))
                .args(["run", "--detach", "--bundle"])
                .arg(&bundle)
                .arg(id)
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out)
                .status()
                .with_context(|| format!("start {}", self.runtime.name()))?;
            if status.success() {
                break;
            }
            let log = fs::read_to_string(&log).unwrap_or_default();
            tries += 1;
            // runc races with systemd over the device filter (opencontainers/runc#3604), more often
            // the slower the node. A kubelet tries again.
            if tries == 3 || !log.contains("BPF_PROG_ATTACH") {
                bail!("{} run {name}: {status}: {}", self.runtime.name(), log.trim());
            }
            println!("# runc lost its race with systemd, trying again: {}", log.trim());
            let _ = run(self.runtime.name(), &["delete", "--force", id]);
        }
        let child = running.scope.join("container");
        running.child = child.is_dir().then_some(child);
        self.containers.insert(name.to_owned(), running);
        Ok(())
    }

    fn wait_and_remove(&self, container: &Running) -> Result<()> {
        for _ in 0..500 {
            let events = fs::read_to_string(container.scope.join("cgroup.events"));
            if !events.unwrap_or_default().contains("populated 1") {
                return self.delete_one(container);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("init container {} does not end", container.id)
    }

    fn delete_one(&self, container: &Running) -> Result<()> {
        run(self.runtime.name(), &["delete", "--force", &container.id])?;
        if let Some(dir) = container.bundle().parent() {
            let _ = fs::remove_dir_all(dir);
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, name: &str) -> Result<()> {
        let old = self.container(name)?.clone();
        let sandbox = self.containers.get(SANDBOX).unwrap_or(&old).id.clone();
        self.delete_one(&old)?;
        self.run_one(name, &new_id()?, &sandbox, old.restarts + 1, &Node::read()?)?;
        self.save()
    }

    pub(crate) fn remove(&self) -> Result<()> {
        for (name, container) in &self.containers {
            if name != SANDBOX {
                self.delete_one(container)?;
            }
        }
        if let Some(sandbox) = self.containers.get(SANDBOX) {
            self.delete_one(sandbox)?;
        }
        match self.driver {
            Driver::Systemd => run("systemctl", &["stop", &self.slice()])?,
            Driver::Cgroupfs => fs::remove_dir(self.slice_dir())?,
        }
        Ok(fs::remove_dir_all(Path::new(STATE).join(self.pod.name()))?)
    }

    pub(crate) fn update(&self, container: &str, arguments: &[String]) -> Result<()> {
        let id = &self.container(container)?.id;
        let mut all = vec!["update"];
        all.extend(arguments.iter().map(String::as_str));
        all.push(id);
        run(self.runtime.name(), &all)
    }

    /// What is left of swap limits after an in-place resize, as measured with kubelet and CRI-O 1.36:
    /// 0 everywhere, but a new memory limit stands at crun's scope and in systemd.
    pub(crate) fn resize(&self, name: &str, limit: Option<u64>) -> Result<()> {
        let container = self.container(name)?;
        let mut arguments = vec!["--cpu-share".to_owned(), "2".to_owned()];
        if let Some(limit) = limit {
            arguments.extend(["--memory".to_owned(), limit.to_string()]);
        }
        self.update(name, &arguments)?;
        let scope_swap = match (self.runtime, limit) {
            (Runtime::Crun, Some(limit)) => limit,
            _ => 0,
        };
        let property = format!("MemorySwapMax={scope_swap}");
        run("systemctl", &["set-property", "--runtime", &container.unit(), &property])?;
        if let Some(child) = &container.child {
            fs::write(child.join("memory.swap.max"), "0")?;
        }
        Ok(())
    }

    /// Patches pods/status, which a kubelet does after the start.
    pub(crate) fn report(&self, api: &Api) -> Result<()> {
        let now = timestamp()?;
        let mut status = json!({
            "phase": "Running", "startTime": now, "hostIP": "127.0.0.1", "podIP": "127.0.0.1",
            "qosClass": format!("{:?}", self.pod.qos()),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        });
        for container in self.pod.containers() {
            let key = if container.kind == Kind::Main {
                "containerStatuses"
            } else {
                "initContainerStatuses"
            };
            let mut entry = json!({
                "name": container.name, "image": "localhost/busybox:latest", "imageID": "busybox",
                "ready": true, "started": true, "restartCount": 0,
                "resources": container.spec["resources"],
            });
            match self.containers.get(container.name) {
                Some(running) => {
                    entry["containerID"] =
                        json!(format!("{}://{}", self.engine.scheme(), running.id));
                    entry["restartCount"] = json!(running.restarts);
                    entry["state"] = json!({"running": {"startedAt": now}});
                }
                None => {
                    entry["started"] = json!(false);
                    entry["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
                }
            }
            let requests = &container.spec["resources"]["requests"];
            if !requests.is_null() {
                entry["allocatedResources"] = requests.clone();
            }
            if status[key].is_null() {
                status[key] = json!([]);
            }
            if let Some(list) = status[key].as_array_mut() {
                list.push(entry);
            }
        }
        self.pod.patch_status(api, &status)
    }
}

/// Lists every container of every pod.
pub(crate) fn list(as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    let mut pods: Vec<PathBuf> = fs::read_dir(STATE)
        .map(|dir| dir.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    pods.sort();
    for dir in pods {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let started = Started::load(&name)?;
        for (container, running) in &started.containers {
            let limits: Vec<String> = running
                .cgroups()
                .iter()
                .map(|dir| fs::read_to_string(dir.join("memory.swap.max")).unwrap_or_default())
                .map(|text| text.trim().to_owned())
                .collect();
            rows.push(json!({
                "pod": name, "container": container, "id": running.id, "uid": started.pod.uid,
                "qos": format!("{:?}", started.pod.qos()), "cgroups": running.cgroups(),
                "swapMax": limits,
            }));
        }
    }
    if as_json {
        println!("{}", Value::Array(rows));
        return Ok(());
    }
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let limits: Vec<&str> =
            row["swapMax"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!(
            "{:<20} {:<10} {:<10} {:.12} {}",
            text("pod"),
            text("container"),
            text("qos"),
            text("id"),
            limits.join(" / ")
        );
    }
    Ok(())
}

pub(crate) fn shell(line: &str) -> Result<()> {
    run("sh", &["-c", line])
}

/// Over D-Bus with the properties that the kubelet's cgroup manager sets.
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
    run("busctl", &arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// 64 hex digits.
fn new_id() -> Result<String> {
    Ok(format!("{}{}", random_uid()?, random_uid()?).replace('-', ""))
}

fn timestamp() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
