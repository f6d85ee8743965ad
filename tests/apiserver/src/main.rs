//! `test-apiserver`: the test API server, and a small kubectl for it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use test_apiserver::commands::{Command, run};

/// A Kubernetes API server for tests of a node agent.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Holds certificates, kubeconfigs and state.
    #[arg(long, global = true, env = "TEST_APISERVER_DATA", default_value = ".")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&cli.data, cli.command)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "test-apiserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
