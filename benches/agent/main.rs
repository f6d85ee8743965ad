//! The cost of the agent: of its functions, and of its process. `make bench`.
//!
//! Each figure has a baseline from the same run, the least that the same work can take, because
//! machines differ and are shared. Independent of timing, this also checks that no cost grows with
//! the cluster, and only the expected ones with the node's pods.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "it prints a table"
)]

mod bare;
mod functions;
mod lists;
mod process;
mod site;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::{path::Path, process::exit};

fn main() {
    // The program in the same directory as the agent that it measures.
    let binary = support::agent_binary();
    let folder = binary.parent().unwrap_or(Path::new("."));
    let mut rows = functions::measure(&folder.join("criterion"));
    let mut broken: Vec<String> = functions::LAWS
        .iter()
        .filter_map(|law| rows.iter().find_map(|row| row.breaks(law)))
        .collect();
    process::measure(&mut rows, &mut broken);
    lists::measure(&mut rows, &mut broken);
    table::report(&rows, &broken, &folder.join("bench.json"));
    for sentence in &broken {
        eprintln!("BROKEN: {sentence}");
    }
    exit(i32::from(!broken.is_empty()));
}
