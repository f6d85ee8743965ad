//! Starts and ends containers with the runtime.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::hooks::Hooks;
use crate::node::{Node, Running, STATE, Started};
use crate::pod::{Kind, random_uid};
use crate::{Driver, Kubelet, Runtime, oci};

const SANDBOX: &str = "POD";

impl Started {
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

    fn run_one(
        &mut self,
        name: &str,
        id: &str,
        sandbox: &str,
        restarts: u32,
        node: &Node,
    ) -> Result<()> {
        let (scope, cgroups_path) = self.cgroup_of(id)?;
        let slice = self.slice();
        let ids = oci::Ids {
            container: id,
            sandbox,
            slice: &slice,
            cgroups_path: &cgroups_path,
            restarts,
            sandbox_pid: self.sandbox_pid()?,
        };
        let config = if name == SANDBOX {
            oci::sandbox(&self.pod, &ids, self.runtime)
        } else {
            let containers = self.pod.containers();
            let container = containers
                .iter()
                .find(|c| c.name == name)
                .with_context(|| format!("no container {name}"))?;
            let mut config =
                oci::container(&self.pod, container, &ids, self.runtime, self.kubelet, node)?;
            let mut annotations = oci::kubelet_annotations(container.name, restarts);
            annotations.extend(self.pod.annotations());
            Hooks::read(Path::new("/"))?.inject(&mut config, &annotations)?;
            config
        };
        let mut running = Running { id: id.to_owned(), scope, child: None, restarts };
        let bundle = running.bundle();
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), config.to_string())?;

        // A detached container keeps its output open: a pipe would never end.
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
            // on slower nodes. A kubelet retries.
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

    /// Returns a process of the running sandbox, if there is one.
    fn sandbox_pid(&self) -> Result<Option<u32>> {
        let Some(sandbox) = self.containers.get(SANDBOX) else { return Ok(None) };
        for cgroup in sandbox.cgroups() {
            let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
            if let Some(pid) = text.lines().next() {
                return Ok(Some(pid.parse()?));
            }
        }
        bail!("the sandbox {} has no process", sandbox.id)
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

    /// Returns the output of the container's first program as one line, then the limits of its
    /// cgroups.
    pub(crate) fn limits_at_start(&self, name: &str) -> Result<String> {
        let container = self.container(name)?;
        let log = container.bundle().join("start.log");
        for _ in 0..1000 {
            let text = fs::read_to_string(&log)?;
            // runc's warnings in the log are not the container's output.
            let lines = text.lines().filter(|line| !line.starts_with("time=\""));
            let mut limits: Vec<String> = lines.map(str::to_owned).collect();
            if text.ends_with('\n') && !limits.is_empty() {
                for cgroup in container.cgroups() {
                    let limit = fs::read_to_string(cgroup.join("memory.swap.max"))?;
                    limits.push(limit.trim().to_owned());
                }
                return Ok(limits.join(" "));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        bail!("the container's program writes nothing");
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

    /// Leaves swap limits as an in-place resize does, measured with kubelet and CRI-O 1.36: 0
    /// everywhere, but a new memory limit at crun's scope and in systemd.
    ///
    /// A kubelet with LimitedSwap sends its new limit with the resize; systemd and crun's child get
    /// it.
    pub(crate) fn resize(&self, name: &str, limit: Option<u64>, node: &Node) -> Result<()> {
        let container = self.container(name)?;
        let mut arguments = vec!["--cpu-share".to_owned(), "2".to_owned()];
        if let Some(limit) = limit {
            arguments.extend(["--memory".to_owned(), limit.to_string()]);
        }
        self.update(name, &arguments)?;
        let granted = match self.kubelet {
            Kubelet::Limited => {
                let containers = self.pod.containers();
                let spec = containers.iter().find(|c| c.name == name);
                self.pod
                    .limited_swap(spec.with_context(|| format!("no container {name}"))?, node)?
            }
            Kubelet::Current | Kubelet::Old => 0,
        };
        let scope_swap = match (self.runtime, limit) {
            (Runtime::Crun, Some(limit)) if self.kubelet != Kubelet::Limited => limit,
            _ => granted,
        };
        let property = format!("MemorySwapMax={scope_swap}");
        run("systemctl", &["set-property", "--runtime", &container.unit(), &property])?;
        if let Some(child) = &container.child {
            fs::write(child.join("memory.swap.max"), granted.to_string())?;
        }
        Ok(())
    }
}

/// Returns 64 hex digits.
fn new_id() -> Result<String> {
    Ok(format!("{}{}", random_uid()?, random_uid()?).replace('-', ""))
}
