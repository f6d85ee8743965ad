//! Runs the agent between a simulated host and an API server, with kills, refusals and false
//! answers. `make test-faults`; the cases `faults-*` of `tests/node` do the same on a real node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod errors;
mod kills;
mod node;
mod storm;
