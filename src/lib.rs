//! wasp-agent: lets Kubernetes VMs overcommit a node's memory safely.
//!
//! Data flows one way: [`observe`] → [`decide`] → [`act`] → [`report`]. The pure part is in crate `wasp-core`,
//! what touches the host in `wasp-host`. See `docs/architecture.md`.

pub mod agent;
pub mod cli;
pub mod hook;
pub mod manifests;
pub mod report;

// One path for each part, whichever crate it is named in.
pub use wasp_core::{config, decide, model};
pub use wasp_host::{act, failpoint, history, messages, observe, provision, roots, state};
