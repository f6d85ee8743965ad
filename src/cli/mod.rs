//! The command line.

mod alone;
mod check;
mod check_config;
mod cleanup;
mod manifests;
mod overview;
mod plan;
mod provision;
mod report;
mod run;
mod suspend;
mod unprotect;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::{layers::Resolved, settings::Settings, show::effective, value::Problems},
    decide::check::without_wrong_lines,
    failpoint,
    model::{
        trouble::{self, Problem, Severity, Trouble},
        unknown::sentence,
    },
    observe::{published, system::system},
    report::{for_terminal, notify::status_now},
    roots::Roots,
};

/// sysexits.h: EX_CONFIG.
const EXIT_CONFIG: u8 = 78;

/// Lets Kubernetes VMs overcommit a node's memory safely.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    /// Use this directory as the host's root, for image builds and tests
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OnNode(OnNode),
    /// Render the manifests that give every node of an OpenShift pool swap and an agent
    Manifests(Box<manifests::Manifests>),
}

/// Commands that use this node's configuration.
#[derive(Debug, Subcommand)]
enum OnNode {
    /// Run the agent; systemd does this (wasp-agent.service)
    Run {
        /// Decide and log, but change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Create the configured swap and configure the kernel for it; systemd does this at boot
    /// (wasp-swap.service). Exit status 69: refused, because the kubelet would not start with swap
    /// or the kernel cannot limit it; 75: the swap is not as configured
    Provision {
        /// Print the steps, but change nothing
        #[arg(long)]
        dry_run: bool,
        /// Wait up to this time for the device of a partition to appear
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
    },
    /// Remove the swap that `provision` created and restore the kernel's settings
    Deprovision {
        /// Print the steps, but change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do nothing if any page is in swap
        #[arg(long)]
        if_unused: bool,
    },
    /// Restore the settings that the protected slices and services had before the agent changed them
    Unprotect,
    /// Remove the OCI hook, the agent's files in /run, the file of metrics.textfile and the node's history;
    /// limits and swap do not change
    Cleanup,
    /// Check whether this host can overcommit memory safely, and print how to fix each problem.
    /// Also works before the installation. Exit status 1: warnings; 2: failures
    Check {
        /// Print JSON
        #[arg(long, conflicts_with = "brief")]
        json: bool,
        /// Print only warnings and failures, one line each, and do not contact systemd and the API
        /// server
        #[arg(long)]
        brief: bool,
    },
    /// Load the configuration as the agent does, and print each setting with its source. Exit
    /// status 78: the configuration is invalid
    CheckConfig,
    /// Show the state of the node: signals, evictions, problems, pods by swap used
    Status {
        /// Print JSON (docs/status.schema.json)
        #[arg(long, conflicts_with = "brief")]
        json: bool,
        /// Print one line of three tab-separated fields: swap, agent ("ready"), limits ("right").
        /// Exit status 1: at least one field shows a problem
        #[arg(long, conflicts_with = "watch")]
        brief: bool,
        /// Print again every two seconds
        #[arg(long)]
        watch: bool,
        /// Print all pods, not only the first twenty
        #[arg(long)]
        all: bool,
        /// Sort the pods by this column
        #[arg(long, value_enum, value_name = "ORDER", default_value = "swap")]
        sort: overview::Sort,
    },
    /// Report the history of this node: evictions, outages, changed limits, memory and waits over time
    Report(report::ReportArgs),
    /// Show how much memory use this node has sustained, from its own history
    Advise {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain the swap grants of a pod's containers, and the pod's place in the order of eviction
    Explain {
        /// NAME, NAMESPACE/NAME or UID of the pod
        pod: String,
    },
    /// Suspend a pod: freeze it, and move its memory to swap as far as its grant allows. Pause a VM first
    /// (virtctl pause). The running agent does the work (docs/suspend.md)
    Suspend {
        /// NAMESPACE/POD
        pod: String,
        /// Print how much memory this would free, but change nothing
        #[arg(long)]
        dry_run: bool,
        /// Suspend the pod even if it has probes. It cannot answer them while it is frozen, and the
        /// kubelet may restart it
        #[arg(long)]
        force: bool,
    },
    /// Let a suspended pod run again
    Resume {
        /// NAMESPACE/POD
        pod: String,
    },
    /// List suspended pods, with their memory before the suspension and now
    Suspended {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show each container's swap grant with its reason, and the limits that the agent would set now
    Plan {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Also show sandboxes and other cgroups without a container
        #[arg(long, conflicts_with = "overcommit_percent")]
        all: bool,
        /// Show what this overcommit-percent would change: swap, disk, and each container's grant
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(100..=1000))]
        overcommit_percent: Option<u64>,
    },
}

/// Returns the command line's definition, for its documents: the manual and the completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the command and converts errors to an exit code.
pub fn main() -> ExitCode {
    let _failpoints = failpoint::from_environment();
    let cli = Cli::parse();
    match cli.command {
        Command::OnNode(command) => on_node(command, Roots::at(cli.root)),
        Command::Manifests(asked) => manifests::manifests(*asked),
    }
}

fn on_node(command: OnNode, roots: Roots) -> ExitCode {
    let (settings, resolved) = match load(&roots) {
        Ok(loaded) => loaded,
        Err(problems) => return with_wrong_settings(command, &roots, &problems),
    };
    let result = match command {
        OnNode::Run { dry_run } => run::run(roots, settings, effective(&resolved), dry_run),
        OnNode::Check { json, brief } => {
            return check::check(&roots, &settings, Ok(&resolved), json, brief);
        }
        OnNode::CheckConfig => check_config::check_config(&resolved),
        OnNode::Provision { dry_run, wait } => {
            let wait = std::time::Duration::from_secs(wait);
            return provision::provision(&roots, &settings, dry_run, wait);
        }
        command => return by_settings(command, &roots, &settings),
    };
    done(result)
}

/// Commands about a running node use the settings in effect while those on disk are wrong.
fn with_wrong_settings(command: OnNode, roots: &Roots, problems: &Problems) -> ExitCode {
    let in_force = published::in_force(roots).map(|(settings, _)| settings);
    match (command, in_force) {
        // The check reports the error as one of its lines.
        (OnNode::Check { json, brief }, in_force) => {
            let settings = in_force.unwrap_or_else(Settings::defaults);
            check::check(roots, &settings, Err(problems), json, brief)
        }
        // Removal works with any configuration: a hook without its program would stop every
        // container.
        (OnNode::Cleanup, _) => done(cleanup::cleanup(roots)),
        (OnNode::Unprotect, _) => done(unprotect::unprotect(roots)),
        // A typing error must not keep a pod suspended.
        (OnNode::Resume { pod }, _) => done(suspend::resume(roots, &pod)),
        (OnNode::Suspended { json }, _) => done(suspend::suspended(roots, json)),
        (OnNode::Run { dry_run: false }, _) => {
            run::wake_left(roots);
            // systemd shows it while it waits to restart the service.
            let fix = without_wrong_lines(&system(roots), problems);
            let problem = Problem::new(Trouble::Reload, problems.to_string()).with_remedy(fix);
            status_now(&trouble::sentence(&[problem]).unwrap_or_default());
            fail(EXIT_CONFIG, &with_fix(roots, problems))
        }
        (OnNode::Report(asked), _) => done(report::report(roots, &asked)),
        (OnNode::Advise { json }, _) => done(report::advise(roots, json)),
        // Deprovision undoes recorded changes, with any configuration.
        (command @ OnNode::Deprovision { .. }, in_force) => {
            warn(&format!("{problems}"));
            by_settings(command, roots, &in_force.unwrap_or_else(Settings::defaults))
        }
        (
            command @ (OnNode::Status { .. } | OnNode::Explain { .. } | OnNode::Plan { .. }),
            Some(settings),
        ) => {
            let problems = with_fix(roots, problems);
            warn(&format!("{problems}\nthe output uses the settings in effect"));
            by_settings(command, roots, &settings)
        }
        _ => fail(EXIT_CONFIG, &with_fix(roots, problems)),
    }
}

fn with_fix(roots: &Roots, problems: &Problems) -> String {
    let fix = trouble::fix(Severity::Fail, &without_wrong_lines(&system(roots), problems));
    format!("{problems}\nfix: {}", fix.unwrap_or_default())
}

fn by_settings(command: OnNode, roots: &Roots, settings: &Settings) -> ExitCode {
    done(match command {
        OnNode::Deprovision { dry_run, if_unused } => {
            return provision::deprovision(roots, settings, dry_run, if_unused);
        }
        OnNode::Cleanup => cleanup::cleanup(roots),
        OnNode::Unprotect => unprotect::unprotect(roots),
        OnNode::Status { json, brief, watch, all, sort } => {
            match overview::status(
                roots,
                settings,
                overview::OverviewOptions { json, brief, watch, all, sort },
            ) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::from(1),
                Err(error) => Err(error),
            }
        }
        OnNode::Suspend { pod, dry_run, force } => suspend::suspend(roots, &pod, dry_run, force),
        OnNode::Resume { pod } => suspend::resume(roots, &pod),
        OnNode::Suspended { json } => suspend::suspended(roots, json),
        OnNode::Explain { pod } => overview::explain(roots, settings, &pod),
        OnNode::Report(asked) => report::report(roots, &asked),
        OnNode::Advise { json } => report::advise(roots, json),
        OnNode::Plan { json, overcommit_percent: Some(percent), .. } => {
            plan::other_percent(roots, settings, percent, json)
        }
        OnNode::Plan { json, all, overcommit_percent: None } => {
            plan::plan(roots, settings, json, all)
        }
        OnNode::Run { .. }
        | OnNode::Check { .. }
        | OnNode::CheckConfig
        | OnNode::Provision { .. } => Ok(()),
    })
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &sentence(error.as_ref())),
    }
}

fn load(roots: &Roots) -> Result<(Settings, Resolved), Problems> {
    crate::observe::settings::load(roots, |name| std::env::var(name).ok())
}

#[expect(clippy::print_stderr, reason = "standard output is for what was asked")]
fn warn(text: &str) {
    eprintln!("wasp-agent: {}", for_terminal(text));
}

#[expect(clippy::print_stderr, reason = "this is where errors of the command line go")]
fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("wasp-agent: {}", for_terminal(text));
    ExitCode::from(code)
}

/// Prints to standard output; a reader that has ended (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One thread is enough: the work is small and waits for the kernel.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
