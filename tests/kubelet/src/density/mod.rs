//! Measures how many identical pods a node can run. They start one by one, each with a hot part that
//! serves requests and a cold part. The run ends when the requests of a pod take twice as long as on
//! the empty node, or a pod is OOM-killed or evicted (`judge.rs`).
//!
//! The time of a request is the median on the empty node plus the time for which this request was
//! blocked. CPU time is not included: on a machine with other jobs it differs by a factor of five
//! from second to second, even if no memory moves.

mod judge;
mod senpai;
mod times;

use std::{
    cell::Cell,
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

use self::{
    judge::{End, counter},
    times::{Base, lines, window},
};
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
/// The same on the empty node, which has one pod.
const EMPTY_WINDOW: usize = 30;
/// Requests of a pod a second, and the pages of its hot part that each touches. Fewer pages would be no
/// longer than the interrupts of an emulated CPU.
const REQUESTS: u32 = 10;
const PAGES: u32 = 512;
/// Seconds in which a program that has just started still allocates its memory.
const WARM_UP: usize = 4;
const MIB: u64 = 1 << 20;
const TRIES: usize = 2;
/// How long a pod may take to fill its memory.
const PATIENCE: Duration = Duration::from_secs(120);

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
    /// The time of a request on the empty node, as `--empty` prints it
    #[arg(long, required_unless_present = "empty")]
    base: Option<Base>,
    /// Only measure the time of a request on the empty node
    #[arg(long)]
    empty: bool,
    /// Who grants swap
    #[arg(long, value_enum, default_value_t = Grants::Kubelet)]
    grants: Grants,
    /// Reclaim from the pods by Senpai's algorithm
    #[arg(long)]
    senpai: bool,
    /// MiB of each pod
    #[arg(long, default_value_t = 192)]
    mib: u64,
    /// MiB of them that serve requests
    #[arg(long, default_value_t = 96)]
    hot: u64,
    /// The memory request of a pod, in MiB
    #[arg(long, default_value_t = 96)]
    request: u64,
    /// Pods that start in parallel: any node of this size can run them
    #[arg(long, default_value_t = 5)]
    at_once: usize,
    /// Seconds for which they run before the next one starts
    #[arg(long, default_value_t = 60)]
    settle: u64,
    /// The least number of seconds between two pods
    #[arg(long)]
    pause: u64,
    /// Largest time of a request, as a multiple of the time on the empty node
    #[arg(long, default_value_t = 2.0)]
    most: f64,
    #[arg(long, default_value_t = 100)]
    most_pods: usize,
    /// Give up after so many seconds; the count is then a lower bound
    #[arg(long, default_value_t = 600)]
    most_seconds: u64,
    /// The kubelet's evictionHard, memory.available
    #[arg(long)]
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
    /// When `memory.available` was last compared with the threshold.
    available_checked: Cell<Instant>,
    reclaimed_from: senpai::Pods,
    levels: Vec<Value>,
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
        available_checked: Cell::new(Instant::now()),
        reclaimed_from: senpai::Pods::default(),
        levels: Vec::new(),
    };
    match &density.base {
        Some(base) if !density.empty => bench.measure(base),
        _ => bench.measure_empty(),
    }
}

impl Bench<'_> {
    /// Measures the time of a request on the empty node. All arms are compared with the same figures.
    fn measure_empty(mut self) -> Result<()> {
        self.start_pod()?;
        self.wait_for(0, WARM_UP + EMPTY_WINDOW)?;
        let empty = window(lines(&self.pods[0].times).get(WARM_UP..).unwrap_or_default());
        if empty.p50 == 0 {
            bail!("the pod has served no requests");
        }
        println!("# the empty node: {empty:?}");
        println!("# base: {}", Base::of(&empty));
        Ok(())
    }

    fn measure(mut self, base: &Base) -> Result<()> {
        let density = self.density;
        let asked = Arc::new(AtomicU64::new(0));
        if density.senpai {
            senpai::start(self.reclaimed_from.clone(), density.floor * MIB, asked.clone());
        }
        while self.pods.len() < density.at_once {
            self.start_pod()?;
        }
        let settled = Instant::now() + SECOND * u32::try_from(density.settle)?;
        let mut serves = self.wait_for(self.pods.len() - 1, WARM_UP + WINDOW)?;
        sleep(settled.saturating_duration_since(Instant::now()));
        let mut sustained = 0;
        let end = loop {
            if !serves {
                break End::NoStart;
            }
            if let Some(end) = self.look(base)? {
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
            serves = self.wait_for(self.pods.len() - 1, 1)?;
            sleep(next.saturating_duration_since(Instant::now()));
        };
        let result = json!({
            "arm": density.arm, "seed": density.seed, "pods": sustained, "ended": end.word(),
            "mib": density.mib, "hot_mib": density.hot, "request_mib": density.request, "pause_seconds": density.pause,
            "window_seconds": WINDOW,
            "ram_bytes": self.node.memory_bytes, "swap_bytes": meminfo("SwapTotal")?,
            "empty_p50_us": base.p50, "empty_p99_us": base.p50 + base.blocked_p99,
            "empty_wall_p99_us": base.wall_p99,
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

    /// Until a pod has reported so many seconds, or one is killed. False if that takes minutes longer.
    fn wait_for(&self, pod: usize, seconds: usize) -> Result<bool> {
        let until = Instant::now() + SECOND * u32::try_from(seconds)? + PATIENCE;
        while lines(&self.pods[pod].times).len() < seconds && self.killed()?.is_none() {
            if Instant::now() > until {
                println!("# pod {pod} does not serve requests");
                return Ok(false);
            }
            sleep(SECOND / 4);
        }
        Ok(true)
    }
}
