//! The commands that set up the cluster around the server: its answers, KubeVirt, controllers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::commands::{admin, duration, print, test_call};

#[derive(Debug, Subcommand)]
pub enum Steering {
    /// Print, or forget, the requests one by one, with headers and bodies.
    Record {
        #[arg(long)]
        reset: bool,
    },
    /// Answer evictions (or what is given) with a row of data/answers.json; without one list them.
    Answer(AnswerWith),
    /// Run KubeVirt of a version in the cluster; "none" ends it.
    Kubevirt(Kubevirt),
    /// Begin or end the migration of a VM.
    Migration(Migration),
    /// Have DaemonSets, ReplicaSets and the like bring their pods back, or "off".
    Controllers(Controllers),
    /// Whether fields that do not exist are refused ("on") or dropped with a warning ("off").
    Strict { state: Switch },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub struct AnswerWith {
    name: Option<String>,
    /// Only this pod's: NAMESPACE/NAME.
    #[arg(long)]
    pod: Option<String>,
    #[arg(long, default_value = "create")]
    verb: String,
    /// Empty for all.
    #[arg(long, default_value = "pods/eviction")]
    resource: String,
    /// Only this user's requests, such as system:node:node-a.
    #[arg(long, default_value = "")]
    user: String,
    #[arg(long)]
    times: Option<u64>,
    #[arg(long, default_value_t = 0)]
    skip: u64,
}

#[derive(Debug, Args)]
pub struct Kubevirt {
    version: String,
    /// Migrations end by themselves after so long.
    #[arg(long, value_parser = duration)]
    migration: Option<Duration>,
    /// The node that VMs move to.
    #[arg(long, default_value = "")]
    target: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Step {
    Start,
    Succeed,
    Fail,
    Cancel,
}

#[derive(Debug, Args)]
pub struct Migration {
    #[arg(value_enum)]
    step: Step,
    vm: String,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The node that a migration which is started goes to.
    #[arg(long, default_value = "")]
    to: String,
}

#[derive(Debug, Args)]
pub struct Controllers {
    state: Switch,
    #[arg(long, value_parser = duration, default_value = "0s")]
    delay: Duration,
    /// Where pods of others than DaemonSets are put.
    #[arg(long, default_value = "")]
    node: String,
    /// The new pods run and are ready.
    #[arg(long)]
    running: bool,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(data: &Path, command: Steering) -> Result<()> {
    match command {
        Steering::Record { reset: true } => {
            print(&admin(data)?.delete("/_test/record", &Value::Null).await?.ok()?)
        }
        Steering::Record { reset: false } => print(&admin(data)?.get("/_test/record").await?.ok()?),
        Steering::Answer(AnswerWith { name: None, .. }) => {
            print(&admin(data)?.get("/_test/answers").await?.ok()?)
        }
        Steering::Answer(args) => {
            let (namespace, name) = match &args.pod {
                Some(pod) => pod.split_once('/').context("--pod takes NAMESPACE/NAME")?,
                None => ("", ""),
            };
            let mut fault = json!({"answer": args.name, "verb": args.verb, "skip": args.skip,
                "resource": args.resource, "namespace": namespace, "name": name,
                "user": args.user});
            if let Some(times) = args.times {
                fault["times"] = json!(times);
            }
            test_call(data, "faults", &fault.to_string()).await
        }
        Steering::Kubevirt(args) => {
            let version = if args.version == "none" { "" } else { &args.version };
            let world = json!({"version": version, "target": args.target,
                               "migrationMs": args.migration.map(millis)});
            test_call(data, "kubevirt", &world.to_string()).await
        }
        Steering::Migration(args) => {
            let step = match args.step {
                Step::Start => "start",
                Step::Succeed => "succeed",
                Step::Fail => "fail",
                Step::Cancel => "cancel",
            };
            let vm = json!({"namespace": args.namespace, "vm": args.vm, "to": args.to});
            test_call(data, &format!("kubevirt/{step}"), &vm.to_string()).await
        }
        Steering::Controllers(args) => {
            let body = json!({"on": args.state == Switch::On, "delayMs": millis(args.delay),
                              "node": args.node, "running": args.running});
            test_call(data, "controllers", &body.to_string()).await
        }
        Steering::Strict { state } => {
            let body = json!({"strict": state == Switch::On});
            test_call(data, "strict", &body.to_string()).await
        }
    }
}
