//! wasp-agent: lets Kubernetes VMs overcommit a node's memory safely.
//!
//! Data flows one way: [`observe`] → [`decide`] → [`act`] → [`report`]. See
//! `docs/architecture.md`.

pub mod act;
pub mod agent;
pub mod cli;
pub mod config;
pub mod decide;
pub mod failpoint;
pub mod hook;
pub mod manifests;
pub mod model;
pub mod observe;
pub mod provision;
pub mod report;
pub mod roots;
