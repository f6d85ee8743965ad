//! Measures how many identical pods a node can run. Pods start one by one, each with a hot part
//! that serves requests and a cold part. The run ends when the requests of a pod take twice as long
//! as on the empty node, or when a pod is OOM-killed or evicted.
//!
//! The time of a request is the median on the empty node plus the time for which this request was
//! blocked. CPU time is not included: on a machine with other jobs it differs by a factor of five
//! from second to second, even if no memory moves.

mod senpai;
mod times;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::times::{Window, lines, window};
use crate::{
    Driver, Engine, Kubelet, Runtime,
    api::Api,
    node::{Containers, Node, Started},
    pod::{ContainerSpec, Parts, Pod},
    soak::meminfo,
};

const SECOND: Duration = Duration::from_secs(1);
/// The window of a pod's p99, in seconds.
const WINDOW: usize = 10;
/// The same window on the empty node, with one pod.
const EMPTY_WINDOW: usize = 15;
/// Requests of a pod per second, and the pages of its hot part that each request touches. A request
/// with fewer pages would take no longer than the interrupts of an emulated CPU.
const REQUESTS: u32 = 10;
const PAGES: u32 = 512;
/// Seconds in which a program that has just started still allocates its memory.
const WARM_UP: usize = 4;
const MIB: u64 = 1 << 20;
const TRIES: usize = 2;
/// Windows in which a pod must be slow to end the run.
const LASTING: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grants {
    /// The kubelet's LimitedSwap
    Kubelet,
    /// The agent's
    Agent,
}

#[derive(Args)]
pub(crate) struct Density {
    /// The name of the arm in the result
    #[arg(long)]
    arm: String,
    /// Seed of the pods' random pages and of their order
    #[arg(long)]
    seed: u64,
    /// The program that grants swap
    #[arg(long, value_enum, default_value_t = Grants::Kubelet)]
    grants: Grants,
    /// Reclaim from the pods by Senpai's algorithm
    #[arg(long)]
    senpai: bool,
    /// MiB of each pod
    #[arg(long, default_value_t = 96)]
    mib: u64,
    /// MiB of each pod that serve requests
    #[arg(long, default_value_t = 48)]
    hot: u64,
    /// Memory request of a pod, in MiB
    #[arg(long, default_value_t = 48)]
    request: u64,
    /// Number of pods that start without a measurement: any node of this size can run them
    #[arg(long, default_value_t = 11)]
    at_once: usize,
    /// The least number of seconds between two pods
    #[arg(long, default_value_t = 2)]
    pause: u64,
    /// Largest time of a request, as a multiple of the time on the empty node
    #[arg(long, default_value_t = 2.0)]
    most: f64,
    #[arg(long, default_value_t = 100)]
    most_pods: usize,
    /// Stop after this number of seconds; the count is then a lower bound
    #[arg(long, default_value_t = 240)]
    most_seconds: u64,
    /// The kubelet's evictionHard, memory.available
    #[arg(long, default_value_t = 100)]
    eviction_mib: u64,
    /// Memory that reclaim leaves to a pod, in MiB
    #[arg(long, default_value_t = 4)]
    floor: u64,
}

struct Live {
    slice: PathBuf,
    times: PathBuf,
}

struct Bench<'a> {
    density: &'a Density,
    kubeconfig: &'a Path,
    api: Api,
    node: Node,
    began: Instant,
    pods: Vec<Live>,
    /// Number of starts, including failed ones.
    tries: usize,
    oom_kills: u64,
    reclaimed_from: senpai::Pods,
    levels: Vec<Value>,
}

/// The reason why no more pods start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Latency,
    OomKill,
    EvictedByAgent,
    EvictedByKubelet,
    /// The node is too busy with memory to start another pod.
    NoStart,
    /// The time limit was reached; the count is a lower bound.
    MostPods,
    MostSeconds,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::OomKill => "oom-kill",
            Self::EvictedByAgent => "evicted-by-agent",
            Self::EvictedByKubelet => "evicted-by-kubelet",
            Self::NoStart => "no-start",
            Self::MostPods => "most-pods",
            Self::MostSeconds => "most-seconds",
        }
    }
}

/// Reads a counter from a file of `NAME VALUE` lines.
fn counter(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("{path}: no {name}"))
}

/// `memory.available` as a kubelet computes it from 1.29 on: by `memory.stat` of the root cgroup.
fn available() -> Result<u64> {
    let of = |name| counter("/sys/fs/cgroup/memory.stat", name);
    let used = of("anon")? + of("file")?.saturating_sub(of("inactive_file")?);
    Ok(meminfo("MemTotal")?.saturating_sub(used))
}

pub(crate) fn run(density: &Density, kubeconfig: &Path) -> Result<()> {
    let bench = Bench {
        density,
        kubeconfig,
        api: Api::from_kubeconfig(kubeconfig)?,
        node: Node::read()?,
        began: Instant::now(),
        pods: Vec::new(),
        tries: 0,
        oom_kills: counter("/proc/vmstat", "oom_kill")?,
        reclaimed_from: senpai::Pods::default(),
        levels: Vec::new(),
    };
    bench.measure()
}

impl Bench<'_> {
    fn measure(mut self) -> Result<()> {
        let density = self.density;
        let asked = Arc::new(AtomicU64::new(0));
        self.start_pod()?;
        self.wait_for(0, WARM_UP + EMPTY_WINDOW)?;
        let empty = window(&lines(&self.pods[0].times)[WARM_UP..]);
        if empty.p50 == 0 {
            bail!("the first pod has served no requests");
        }
        println!("# {} seed {}: the empty node {empty:?}", density.arm, density.seed);
        // Start it only now, so that the empty node is the same in every arm.
        if density.senpai {
            senpai::start(self.reclaimed_from.clone(), density.floor * MIB, asked.clone());
        }
        while self.pods.len() < density.at_once {
            self.start_pod()?;
        }
        self.wait_for(self.pods.len() - 1, WARM_UP + WINDOW)?;
        let mut sustained = 0;
        let end = loop {
            if let Some(end) = self.look(&empty)? {
                break end;
            }
            sustained = self.pods.len();
            if sustained >= density.most_pods {
                break End::MostPods;
            }
            if self.began.elapsed().as_secs() > density.most_seconds {
                break End::MostSeconds;
            }
            let next = Instant::now() + SECOND * u32::try_from(density.pause)?;
            if let Err(error) = self.start_pod() {
                println!("# pod {} does not start: {error:#}", self.pods.len());
                break self.killed()?.unwrap_or(End::NoStart);
            }
            // A new pod has filled its memory when it reports.
            self.wait_for(self.pods.len() - 1, 1)?;
            sleep(next.saturating_duration_since(Instant::now()));
        };
        let result = json!({
            "arm": density.arm, "seed": density.seed, "pods": sustained, "ended": end.word(),
            "mib": density.mib, "hot_mib": density.hot, "request_mib": density.request,
            "ram_bytes": self.node.memory_bytes, "swap_bytes": meminfo("SwapTotal")?,
            "empty_p50_us": empty.p50, "empty_p99_us": empty.p50 + empty.blocked_p99,
            "empty_wall_p99_us": empty.p99,
            "seconds": self.began.elapsed().as_secs(),
            "swapped_out_pages": counter("/proc/vmstat", "pswpout")?,
            "swapped_in_pages": counter("/proc/vmstat", "pswpin")?,
            "senpai_asked_bytes": asked.load(Ordering::Relaxed),
            "levels": self.levels,
        });
        println!("# {}: {sustained} pods, then {}", density.arm, end.word());
        println!("# json: {result}");
        Ok(())
    }

    /// The API server may be slow while memory is short. If a request fails, a new pod sends it
    /// again.
    fn start_pod(&mut self) -> Result<()> {
        for _ in 1..TRIES {
            match self.try_to_start_pod() {
                Ok(()) => return Ok(()),
                Err(error) => println!("# tried again: {error:#}"),
            }
            self.api = Api::from_kubeconfig(self.kubeconfig)?;
        }
        self.try_to_start_pod()
    }

    fn try_to_start_pod(&mut self) -> Result<()> {
        let density = self.density;
        self.tries += 1;
        let name = format!("pod-{}", self.tries);
        let seed = density.seed * 1000 + self.pods.len() as u64;
        let main = ContainerSpec {
            name: "main".to_owned(),
            request: Some(format!("{}Mi", density.request)),
            ..ContainerSpec::default()
        };
        let command = format!(
            "exec test-load times=/tmp/{name} seconds=5000 pattern=half-idle requests={REQUESTS} pages={PAGES} \
             mib={} hot={} seed={seed}",
            density.mib, density.hot
        );
        let mut pod = Pod::from_parts(&Parts {
            name: &name,
            namespace: "default",
            containers: &[main],
            inits: &[],
            sidecars: &[],
            priority: None,
            priority_class: None,
            annotations: &[],
            labels: &[],
            command: &command,
        })?;
        pod.create(&self.api)?;
        let mut started = Started {
            pod,
            runtime: Runtime::Crun,
            kubelet: match density.grants {
                Grants::Kubelet => Kubelet::Limited,
                Grants::Agent => Kubelet::Current,
            },
            driver: Driver::Systemd,
            cgroup_root: String::new(),
            engine: Engine::Crio,
            containers: Containers::new(),
        };
        started.start(&self.node, false)?;
        started.report(&self.api)?;
        let cgroup = started.container("main")?.cgroups().pop().context("no cgroup")?;
        let processes = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        let process = processes.lines().next().context("the pod's program has ended")?;
        let slice = started.slice_dir();
        let mut known = self.reclaimed_from.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(slice.clone(), Instant::now());
        let times = PathBuf::from(format!("/proc/{process}/root/tmp/{name}"));
        self.pods.push(Live { slice, times });
        Ok(())
    }

    /// Waits until a pod has reported this number of seconds, is gone, or takes a minute longer.
    fn wait_for(&self, pod: usize, seconds: usize) -> Result<()> {
        let until = Instant::now() + SECOND * u32::try_from(seconds + 60)?;
        while lines(&self.pods[pod].times).len() < seconds
            && Instant::now() < until
            && self.killed()?.is_none()
        {
            sleep(SECOND / 4);
        }
        Ok(())
    }

    /// Returns whether a pod was killed or evicted.
    fn killed(&self) -> Result<Option<End>> {
        if counter("/proc/vmstat", "oom_kill")? > self.oom_kills {
            return Ok(Some(End::OomKill));
        }
        if available()? < self.density.eviction_mib * MIB {
            return Ok(Some(End::EvictedByKubelet));
        }
        Ok(None)
    }

    /// Returns whether the API server has one of these pods that is being deleted. Without an
    /// answer, this is not known.
    fn evicted(&mut self) -> Result<bool> {
        let list = match self.api.get("/api/v1/pods") {
            Ok(list) => list,
            Err(_) => {
                self.api = Api::from_kubeconfig(self.kubeconfig)?;
                return Ok(false);
            }
        };
        let pods = list["items"].as_array().context("no list of pods")?;
        Ok(pods.iter().any(|pod| !pod["metadata"]["deletionTimestamp"].is_null()))
    }

    /// Measures all pods once. A latency counts if it was too long for the same pod in three
    /// windows in a row, so that a single moment of reclaim does not count.
    fn look(&mut self, empty: &Window) -> Result<Option<End>> {
        let mut slow: Option<BTreeSet<usize>> = None;
        for _ in 0..LASTING {
            if let Some(end) = self.killed()? {
                return Ok(Some(end));
            }
            if self.evicted()? {
                return Ok(Some(End::EvictedByAgent));
            }
            let now = self.level(empty)?;
            let still = match slow {
                None => now,
                Some(before) => before.intersection(&now).copied().collect(),
            };
            if still.is_empty() {
                return Ok(None);
            }
            slow = Some(still);
            sleep(SECOND * u32::try_from(WINDOW)?);
        }
        Ok(Some(End::Latency))
    }

    /// Records the times of the pods; returns those whose p99 is too long compared with the empty
    /// node.
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    fn level(&mut self, empty: &Window) -> Result<BTreeSet<usize>> {
        let (mut ratios, mut slow) = (Vec::new(), BTreeSet::new());
        let (mut p50, mut wall) = (Vec::new(), Vec::new());
        for (number, pod) in self.pods.iter().enumerate() {
            let all = lines(&pod.times);
            if all.len() < WARM_UP + WINDOW {
                continue;
            }
            let window = window(&all[all.len() - WINDOW..]);
            let time = |blocked: u64| (empty.p50 + blocked) as f64;
            let ratio = time(window.blocked_p99) / time(empty.blocked_p99);
            ratios.push(ratio);
            if ratio > self.density.most {
                slow.insert(number);
            }
            p50.push(time(window.blocked_p50) / time(empty.blocked_p50));
            wall.push(window.p99 as f64 / empty.p99.max(1) as f64);
        }
        let middle = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let median = middle(&mut ratios);
        let worst = ratios.last().copied().unwrap_or(0.0);
        let mut swapped = 0;
        for pod in &self.pods {
            let text =
                fs::read_to_string(pod.slice.join("memory.swap.current")).unwrap_or_default();
            swapped += text.trim().parse::<u64>().unwrap_or(0);
        }
        let level = json!({
            "pods": self.pods.len(), "slow": slow, "seconds": self.began.elapsed().as_secs(),
            "worst_p99": rounded(worst), "median_p99": rounded(median),
            "median_p50": rounded(middle(&mut p50)), "median_wall_p99": rounded(middle(&mut wall)),
            "available_mib": available()? / MIB, "swapped_mib": swapped / MIB,
        });
        println!("# {level}");
        self.levels.push(level);
        Ok(slow)
    }
}
