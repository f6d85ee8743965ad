//! A Kubernetes API server for tests: what a node agent asks of kube-apiserver, answered as
//! kube-apiserver answers it, with the Node authorizer and NodeRestriction, in one process and with
//! no etcd.
//!
//! ```no_run
//! use test_apiserver::{ApiServer, Options};
//!
//! let server = ApiServer::start(Options::new("/tmp/data"))?;
//! let kubeconfig = server.node_kubeconfig("node-a")?;
//! server.apply(&serde_json::json!({"apiVersion": "v1", "kind": "Pod",
//!     "metadata": {"name": "one"},
//!     "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "x"}]},
//!     "status": {"phase": "Running"}}))?;
//! # anyhow::Ok(())
//! ```
//!
//! Where it is not a real one, on purpose: controllers are absent, but for the disruption
//! controller's part (which an annotation `test.wasp/disruption-controller: "off"` on a
//! PodDisruptionBudget, or an option, turns off); nobody runs the pods, so a pod being deleted stays
//! until a DELETE with grace 0; an annotation `test.wasp/live-migratable: "true"` on a pod labelled
//! `kubevirt.io: virt-launcher` makes its eviction be denied as KubeVirt's webhook denies it; only
//! server-side apply is tracked in managedFields. [`envtest`] runs tests against a real one too.

mod answers;
pub mod api;
pub mod app;
mod apply;
pub mod auth;
pub mod authz;
mod body;
pub mod client;
pub mod commands;
mod control;
mod controllers;
mod decoding;
mod defaults;
mod delete;
pub mod envtest;
mod eviction;
pub mod faults;
mod journal;
mod json;
pub mod kubeconfig;
pub mod kubevirt;
mod patch;
mod pdb;
pub mod pki;
mod quantity;
mod raw;
mod read;
mod record;
pub mod request;
mod resize;
pub mod resources;
mod restriction;
mod schema;
pub mod selector;
mod serve;
mod server;
mod stats;
pub mod status;
pub mod store;
mod strategy;
mod tasks;
mod time;
mod watching;
mod write;

pub use controllers::Controllers;
pub use record::Recorded;
pub use server::{ApiServer, Handle, Options};
pub use stats::Arrivals;
