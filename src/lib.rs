//! wasp-agent: lets Kubernetes VMs overcommit a node's memory safely.
//!
//! Data flows one way: [`observe`] → [`decide`] → [`act`] → [`report`]. Crate `wasp-core` holds the
//! pure part, `wasp-host` the access to the host. See `docs/architecture.md`.

pub mod agent;
pub mod cli;
pub mod hook;
pub mod manifests;
pub mod report;

// The parts have the same path in every crate.
pub use wasp_core::{config, decide, model};
pub use wasp_host::{
    act, bounded, bus, errors, failpoint, history, json_fault, messages, observe, provision,
    replace, roots, state, yaml,
};
