//! `wasp-agent`: see `wasp-agent --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasp_agent::cli::main()
}
