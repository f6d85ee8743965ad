//! Pods that come and go: some in the runtime, many as bare cgroups.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::{Driver, WAVE, sample};
use crate::node::{BUNDLES, Containers, Started};
use crate::pod::{ContainerSpec, Parts, Pod};
use crate::{Driver as CgroupDriver, Engine, Kubelet, Runtime};

/// Number of pods in a wave, and of containers that each has at a time.
const WAVE_PODS: usize = 10;
const AT_ONCE: usize = 20;
/// Writes the same 120 MiB repeatedly, with 100 MiB of memory.
const THRASH: &str = r#"tr "\\0" x </dev/zero | dd bs=120M iflag=fullblock of=/dev/null"#;
/// Holds 40 MiB, and never uses them.
const COLD: &str = r#"tr "\\0" x </dev/zero | dd bs=40M count=1 iflag=fullblock | sleep 100000"#;
/// Holds 60 MiB with 50 MiB of memory.
const RESTING: &str = r#"tr "\\0" x </dev/zero | dd bs=60M count=1 iflag=fullblock | sleep 100000"#;

pub(super) struct Live {
    pub(super) started: Started,
    pub(super) grant: u64,
    since: Instant,
}

impl Live {
    /// Returns each scope with its grant.
    pub(super) fn scopes(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.started.containers.values().map(|running| (running.scope.clone(), self.grant))
    }

    pub(super) fn swaps(&self) -> bool {
        sample::swap_of(&self.started.slice_dir()) > 0
    }

    fn thrashes(&self) -> bool {
        self.started.pod.name().starts_with("thrash")
    }

    /// This pod is neither stopped nor restarted: reclaim has minutes for it.
    fn is_cold(&self) -> bool {
        self.started.pod.name().starts_with("cold")
    }
}

impl Driver {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn pod(&mut self, kind: &str, memory: [Option<u64>; 2], command: &str) -> Result<Started> {
        let quantity = |mib: Option<u64>| mib.map(|mib| format!("{mib}Mi"));
        let [request, limit] = memory.map(quantity);
        let cpu = (kind == "guaranteed").then(|| "100m".to_owned());
        let main = ContainerSpec {
            name: "main".to_owned(),
            request,
            limit,
            cpu: cpu.clone(),
            cpu_limit: cpu,
        };
        let mut pod = Pod::from_parts(&Parts {
            name: &format!("{kind}-{}", self.number()),
            namespace: "default",
            containers: &[main],
            inits: &[],
            sidecars: &[],
            priority: None,
            priority_class: (kind == "critical").then_some("system-node-critical"),
            annotations: &[],
            labels: &[],
            command,
        })?;
        pod.create(&self.api)?;
        Ok(Started {
            pod,
            runtime: Runtime::Crun,
            kubelet: Kubelet::Current,
            driver: CgroupDriver::Systemd,
            cgroup_root: String::new(),
            engine: Engine::Crio,
            containers: Containers::new(),
        })
    }

    fn start(
        &mut self,
        kind: &str,
        memory: [Option<u64>; 2],
        grant: u64,
        command: &str,
    ) -> Result<()> {
        let mut started = self.pod(kind, memory, command)?;
        started.start(&self.node, false)?;
        let live = Live { started, grant, since: Instant::now() };
        self.expect(&live);
        live.started.report(&self.api)?;
        self.pods.insert(live.started.pod.name().to_owned(), live);
        self.count("pods started");
        Ok(())
    }

    fn expect(&self, live: &Live) {
        for cgroup in live.started.containers.values().flat_map(|running| running.cgroups()) {
            self.ledger.expect(cgroup, live.grant);
        }
    }

    pub(super) fn start_pod(&mut self) -> Result<()> {
        let request = self.rng.u64(10..60);
        let grant = self.grant(request << 20);
        let sleep = "exec sleep 100000";
        match self.rng.u32(0..10) {
            0 => self.start("besteffort", [None, None], 0, sleep),
            1 => self.start("guaranteed", [Some(request); 2], 0, sleep),
            2 => self.start("critical", [Some(request), None], 0, sleep),
            3 => self.start("resting", [Some(49), Some(50)], self.grant(49 << 20), RESTING),
            _ => self.start("burstable", [Some(request), Some(request * 3)], grant, sleep),
        }
    }

    /// Starts a pod with cold memory, unless there is one.
    pub(super) fn start_cold(&mut self) -> Result<()> {
        if self.pods.values().any(Live::is_cold) {
            return Ok(());
        }
        self.start("cold", [Some(60), Some(80)], self.grant(60 << 20), COLD)
    }

    pub(super) fn start_hog(&mut self) -> Result<()> {
        if self.pods.values().any(Live::thrashes) {
            return Ok(());
        }
        self.start("thrash", [Some(90), Some(100)], self.grant(90 << 20), THRASH)
    }

    pub(super) fn stop_hogs(&mut self) -> Result<()> {
        let hogs: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, live)| live.thrashes())
            .map(|(name, _)| name.clone())
            .collect();
        hogs.iter().try_for_each(|name| self.stop_pod(name))
    }

    /// Leaves a pod that thrashes to the agent for two minutes.
    pub(super) fn stop_one(&mut self) -> Result<()> {
        let patience = Duration::from_secs(120);
        let may_go =
            |live: &Live| !live.is_cold() && (!live.thrashes() || live.since.elapsed() > patience);
        match self.any(may_go) {
            Some(name) => self.stop_pod(&name),
            None => Ok(()),
        }
    }

    pub(super) fn any(&mut self, is: impl Fn(&Live) -> bool) -> Option<String> {
        let names: Vec<&String> =
            self.pods.iter().filter(|(_, live)| is(live)).map(|(name, _)| name).collect();
        self.rng.choice(names).cloned()
    }

    pub(super) fn stop_pod(&mut self, name: &str) -> Result<()> {
        let Some(live) = self.pods.remove(name) else { return Ok(()) };
        self.ledger.forget(&live.started.slice_dir());
        live.started.remove()?;
        live.started.pod.delete(&self.api)?;
        self.count("pods stopped");
        Ok(())
    }

    pub(super) fn stop_pods(&mut self) -> Result<()> {
        while let Some(name) = self.pods.keys().next().cloned() {
            self.stop_pod(&name)?;
        }
        Ok(())
    }

    pub(super) fn restart_one(&mut self) -> Result<()> {
        let Some(name) = self.any(|live| !live.thrashes() && !live.is_cold()) else {
            return Ok(());
        };
        let Some(mut live) = self.pods.remove(&name) else { return Ok(()) };
        self.ledger.forget(&live.started.slice_dir());
        live.started.restart("main")?;
        self.expect(&live);
        live.started.report(&self.api)?;
        self.pods.insert(name, live);
        self.count("containers restarted");
        Ok(())
    }

    /// Starts this many containers, one after the other, as fast as possible: as bare cgroups,
    /// because starting a process takes long in emulation. The last ones stay until they have their
    /// limits.
    pub(super) fn wave(&mut self, containers: usize) -> Result<()> {
        let mut pods = Vec::new();
        for _ in 0..WAVE_PODS.min(containers.div_ceil(AT_ONCE)) {
            let pod = self.pod("wave", [Some(20), None], "")?;
            pod.start_slices(&self.node)?;
            pod.keep_memory_controller()?;
            pods.push(pod);
        }
        let grant = self.grant(20 << 20);
        let start = Instant::now();
        let mut there: Vec<PathBuf> = Vec::new();
        let mut number = 0;
        for pod in pods.iter().cycle().take(containers) {
            if start.elapsed() > Duration::from_secs(60) {
                break;
            }
            number += 1;
            if there.len() == AT_ONCE {
                self.remove_bare(&there.remove(0))?;
            }
            let id = format!("{:016x}{:048x}", self.rng.u64(..), number);
            let bundle = Path::new(BUNDLES).join(&id).join("userdata");
            fs::create_dir_all(&bundle)?;
            let annotations = json!({
                "io.kubernetes.pod.uid": pod.pod.uid,
                "io.kubernetes.cri-o.ContainerType": "container",
                "io.kubernetes.container.name": "main",
            });
            fs::write(bundle.join("config.json"), json!({"annotations": annotations}).to_string())?;
            let scope = pod.slice_dir().join(format!("crio-{id}.scope"));
            fs::create_dir(&scope)?;
            self.ledger.expect(scope.clone(), grant);
            there.push(scope);
            self.sample_if_due()?;
        }
        let took = start.elapsed();
        self.await_all("the wave's last limits right", |driver| {
            match driver.ledger.first_wrong() {
                Some(wrong)
                    if there.iter().any(|scope| wrong.starts_with(&*scope.to_string_lossy())) =>
                {
                    Err(anyhow::Error::msg(wrong))
                }
                _ => Ok(()),
            }
        })?;
        there.iter().try_for_each(|scope| self.remove_bare(scope))?;
        for pod in &pods {
            crate::command::run("systemctl", &["stop", &pod.slice()])?;
            pod.pod.delete(&self.api)?;
        }
        *self.counts.entry("bare containers").or_default() += number;
        if containers == WAVE {
            let a_minute = number * 60 / took.as_secs().max(1);
            println!("# {number} containers in {took:.1?}");
            self.rates.push(a_minute);
        }
        thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    fn remove_bare(&self, scope: &Path) -> Result<()> {
        self.ledger.forget(scope);
        fs::remove_dir(scope)?;
        let name = scope.file_name().unwrap_or_default().to_string_lossy();
        let id = name.trim_start_matches("crio-").trim_end_matches(".scope");
        Ok(fs::remove_dir_all(Path::new(BUNDLES).join(id))?)
    }
}
