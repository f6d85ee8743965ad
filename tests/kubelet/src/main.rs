//! `test-kubelet`: starts pods the way kubelet and CRI-O do, with a real runtime in real kubepods
//! cgroups, and reports them to the API server the way a kubelet does.

mod api;
mod cgroups;
mod command;
mod containers;
mod density;
mod hooks;
mod node;
mod oci;
mod pod;
mod report;
mod soak;
mod thrash;
mod watch;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::Api;
use crate::node::{Containers, Node, Started};
use crate::pod::{ContainerSpec, Pod, bytes};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Arguments for the API server
    #[arg(
        long,
        global = true,
        env = "KUBECONFIG",
        default_value = "/var/lib/test-apiserver/admin.kubeconfig"
    )]
    kubeconfig: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create a pod in the API, start its sandbox and containers, report its status
    Run(Box<Run>),
    /// Patch a pod's status as it is now, after --no-api
    Report { name: String },
    /// Kill a pod's containers, remove its cgroup, delete it from the API
    Stop {
        name: String,
        #[arg(long)]
        no_api: bool,
    },
    /// Kill one container and start it again under a new id, as after a crash
    Restart {
        name: String,
        #[arg(long, default_value = "main")]
        container: String,
        #[arg(long)]
        no_api: bool,
    },
    /// Start a container repeatedly; print for each start memory.swap.max as the container's
    /// first program wrote it, then as it is at the scope and at crun's child
    Starts {
        name: String,
        #[arg(long, default_value = "main")]
        container: String,
        #[arg(long)]
        times: u32,
    },
    /// Change a container's resources in place
    Resize {
        name: String,
        #[arg(long, default_value = "main")]
        container: String,
        #[arg(long)]
        request: Option<String>,
        #[arg(long)]
        limit: Option<String>,
    },
    /// Pass arguments on to `crun update` or `runc update`
    Update {
        name: String,
        #[arg(long, default_value = "main")]
        container: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Let pods come and go, limits drift and services fail, and watch the agent meanwhile
    Soak(soak::Soak),
    /// Start identical pods one by one until their requests take too long or a pod is killed; print
    /// how many the node could run
    Density(density::Density),
    /// Make memory short, or measure its effect on a service
    #[command(subcommand)]
    Thrash(thrash::Thrash),
    /// List the containers
    Ps {
        #[arg(long)]
        json: bool,
    },
    /// Overwrite memory.swap.max and print how many ms it stays wrong
    Drift {
        name: String,
        #[arg(long, default_value = "main")]
        container: String,
        /// Value to write
        #[arg(long)]
        write: String,
        #[arg(long, value_enum)]
        level: Level,
        /// Give up after so many seconds
        #[arg(long, default_value_t = 20)]
        timeout: u64,
    },
    /// Wait until memory.swap.max has this value at every level, and print how many ms that took
    WatchLimit {
        name: String,
        value: String,
        #[arg(long, default_value = "main")]
        container: String,
        /// Give up after so many seconds
        #[arg(long, default_value_t = 20)]
        timeout: u64,
        /// Shell command to run when the watches exist; the time begins at its end
        #[arg(long = "do")]
        act: Option<String>,
    },
    /// Run a command, and print for how many ms the lowest level's memory.swap.max had this value
    TimeAt {
        name: String,
        value: String,
        #[arg(long, default_value = "main")]
        container: String,
        /// Shell command
        #[arg(long = "during")]
        act: String,
    },
}

#[derive(Args)]
struct Run {
    /// The pod's name
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// A Pod manifest in JSON, instead of the flags below
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    main: MainContainer,
    /// A container: NAME[,request=Q][,limit=Q][,cpu=Q][,cpu-limit=Q]; instead of the flags above
    #[arg(long = "container")]
    containers: Vec<ContainerSpec>,
    /// An init container, run to its end
    #[arg(long = "init")]
    inits: Vec<ContainerSpec>,
    /// A restartable init container
    #[arg(long = "sidecar")]
    sidecars: Vec<ContainerSpec>,
    #[arg(long, default_value = "default")]
    namespace: String,
    /// By a separate PriorityClass, which is created if it is missing
    #[arg(long, conflicts_with = "priority_class")]
    priority: Option<i64>,
    #[arg(long)]
    priority_class: Option<String>,
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// A static pod: read from a file, seen in the API only as its mirror
    #[arg(long = "static")]
    from_file: bool,
    #[arg(long, value_enum, env = "TEST_RUNTIME", default_value_t = Runtime::Crun)]
    runtime: Runtime,
    #[arg(long, value_enum, env = "TEST_KUBELET", default_value_t = Kubelet::Current)]
    kubelet: Kubelet,
    /// Shell line that every container runs
    #[arg(long, default_value = "exec sleep 100000")]
    command: String,
    /// Let the containers hold this number of MiB of anonymous memory, instead of --command
    #[arg(long, value_name = "MIB")]
    hog: Option<u32>,
    /// The program that names the cgroups
    #[arg(long, value_enum, default_value_t = Driver::Systemd)]
    driver: Driver,
    /// The kubelet's cgroupRoot
    #[arg(long, value_name = "CGROUP", env = "TEST_CGROUP_ROOT", default_value = "")]
    cgroup_root: String,
    #[arg(long, value_enum, default_value_t = Engine::Crio)]
    engine: Engine,
    /// Start the containers without reporting to the API server
    #[arg(long)]
    no_api: bool,
    /// Start no sandbox, as CRI-O does where no container needs one (`drop_infra_ctr`)
    #[arg(long)]
    no_sandbox: bool,
}

/// The default: one container `main`.
#[derive(Args)]
struct MainContainer {
    #[arg(long)]
    request: Option<String>,
    #[arg(long)]
    limit: Option<String>,
    #[arg(long)]
    cpu: Option<String>,
    #[arg(long)]
    cpu_limit: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    Crun,
    Runc,
}

impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kubelet {
    /// `NodeSwap` is GA; its default writes swap 0 into every container's `config.json`
    #[value(name = "1.36")]
    Current,
    /// The same with `swapBehavior: LimitedSwap`
    Limited,
    /// Does not support swap
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    Systemd,
    Cgroupfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Crio,
    Containerd,
}

impl Engine {
    /// The prefix of a container's cgroup name.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Crio => "crio",
            Self::Containerd => "cri-containerd",
        }
    }

    /// The prefix of a container's id in a pod's status.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Crio => "cri-o",
            Self::Containerd => "containerd",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Scope,
    Child,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let api = || Api::from_kubeconfig(&cli.kubeconfig);
    match cli.verb {
        Verb::Run(run) => start(*run, &api),
        Verb::Report { name } => Started::load(&name)?.report(&api()?),
        Verb::Stop { name, no_api } => {
            let started = Started::load(&name)?;
            started.remove()?;
            if no_api {
                return Ok(());
            }
            started.pod.delete(&api()?)
        }
        Verb::Restart { name, container, no_api } => {
            let mut started = Started::load(&name)?;
            started.restart(&container)?;
            if no_api {
                return Ok(());
            }
            started.report(&api()?)
        }
        Verb::Starts { name, container, times } => {
            let mut started = Started::load(&name)?;
            for _ in 0..times {
                started.restart(&container)?;
                println!("{}", started.limits_at_start(&container)?);
            }
            Ok(())
        }
        Verb::Resize { name, container, request, limit } => {
            let mut started = Started::load(&name)?;
            let limit_bytes = limit.as_deref().map(bytes).transpose()?;
            started.pod.set_resources(&container, request.as_deref(), limit.as_deref())?;
            let api = api()?;
            started.pod.patch_spec(&api)?;
            started.resize(&container, limit_bytes, &Node::read()?)?;
            started.save()?;
            started.report(&api)
        }
        Verb::Update { name, container, arguments } => {
            let started = Started::load(&name)?;
            started.update(&container, &arguments)
        }
        Verb::Soak(soak) => soak::run(&soak, cli.kubeconfig),
        Verb::Density(density) => density::run(&density, &cli.kubeconfig),
        Verb::Thrash(thrash) => thrash::run(thrash),
        Verb::Ps { json } => report::list(json),
        Verb::Drift { name, container, write, level, timeout } => {
            let cgroups = Started::load(&name)?.container(&container)?.cgroups();
            let file = match level {
                Level::Scope => cgroups.first(),
                Level::Child => cgroups.last(),
            }
            .context("no cgroup")?
            .join("memory.swap.max");
            let before =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let ms = watch::until(std::slice::from_ref(&file), before.trim(), timeout, || {
                fs::write(&file, &write).with_context(|| format!("write {}", file.display()))
            })?;
            println!("{ms}");
            Ok(())
        }
        Verb::WatchLimit { name, value, container, timeout, act } => {
            let files: Vec<PathBuf> = Started::load(&name)?
                .container(&container)?
                .cgroups()
                .iter()
                .map(|cgroup| cgroup.join("memory.swap.max"))
                .collect();
            let ms = watch::until(&files, &value, timeout, || match &act {
                Some(line) => command::shell(line),
                None => Ok(()),
            })?;
            println!("{ms}");
            Ok(())
        }
        Verb::TimeAt { name, value, container, act } => {
            let cgroups = Started::load(&name)?.container(&container)?.cgroups();
            let file = cgroups.last().context("no cgroup")?.join("memory.swap.max");
            let (settle, timeout) = (Duration::from_millis(500), Duration::from_secs(60));
            let time = watch::time_at(&file, &value, settle, timeout, || command::shell(&act))?;
            println!("{:.1}", time.as_secs_f64() * 1000.0);
            Ok(())
        }
    }
}

fn start(run: Run, api: &dyn Fn() -> Result<Api>) -> Result<()> {
    let command = match run.hog {
        // One buffer, filled completely, and then a pipe that has no reader. Not zeros: newer
        // kernels free pages that hold nothing else (underused huge pages).
        Some(mib) => {
            format!(r"tr '\0' x </dev/zero | dd bs={mib}M count=1 iflag=fullblock | sleep 100000")
        }
        None => run.command.clone(),
    };
    let mut pod = if let Some(file) = &run.file {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Pod::from_manifest(serde_json::from_str(&text).context("parse the manifest")?)?
    } else {
        let containers = if run.containers.is_empty() {
            vec![ContainerSpec {
                name: "main".to_owned(),
                request: run.main.request.clone(),
                limit: run.main.limit.clone(),
                cpu: run.main.cpu.clone(),
                cpu_limit: run.main.cpu_limit.clone(),
            }]
        } else {
            run.containers.clone()
        };
        Pod::from_parts(&pod::Parts {
            name: run.name.as_deref().unwrap_or_default(),
            namespace: &run.namespace,
            containers: &containers,
            inits: &run.inits,
            sidecars: &run.sidecars,
            priority: run.priority,
            priority_class: run.priority_class.as_deref(),
            annotations: &run.annotations,
            labels: &run.labels,
            command: &command,
        })?
    };
    if run.from_file {
        pod.make_static()?;
    }
    let api = if run.no_api { None } else { Some(api()?) };
    // A kubelet runs a static pod first and reports it to the API server afterwards.
    if let Some(api) = &api
        && !run.from_file
    {
        pod.create(api)?;
    }
    let node = Node::read()?;
    let mut started = Started {
        pod,
        runtime: run.runtime,
        kubelet: run.kubelet,
        driver: run.driver,
        cgroup_root: run.cgroup_root.clone(),
        engine: run.engine,
        containers: Containers::new(),
    };
    started.start(&node, !run.no_sandbox)?;
    let Some(api) = api else {
        return Ok(());
    };
    if run.from_file {
        started.pod.create(&api)?;
        started.save()?;
    }
    started.report(&api)
}
