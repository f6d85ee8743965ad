//! The host, the API server and D-Bus as wasp-agent observes and changes them.
//!
//! [`observe`] reads, [`act`] writes, [`provision`] does both for the swap at boot. Every path
//! begins at [`roots::Roots`], so that a directory can stand for a host.

pub mod act;
pub mod bounded;
pub mod bus;
pub mod errors;
pub mod failpoint;
pub mod history;
pub mod json_fault;
pub mod messages;
pub mod observe;
pub mod provision;
pub mod replace;
pub mod roots;
pub mod state;
pub mod yaml;

// The parts of the core have the same path in every crate.
pub use wasp_core::{config, decide, model};
