//! A Kubernetes API server for tests: it answers a node agent's requests as kube-apiserver does,
//! with the Node authorizer and NodeRestriction, in one process and without etcd.
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
//! It compares bodies with Kubernetes' typed structs ([`Options::strict`]), reads and writes
//! quantities by the rules of Go's package, and records each request ([`Handle::recorded`]). Tests
//! set the cluster around the server by version and state: [`kubevirt`], [`Controllers`], and the
//! answers of `data/answers.json` by [`faults`].
//!
//! It differs from a real server on purpose in these points: unknown fields and query parameters
//! are errors unless a request or the option selects another mode; of the controllers there is only
//! the disruption controller's part (which an annotation `test.wasp/disruption-controller: "off"`
//! on a PodDisruptionBudget, or an option, disables) and those that a test enables; pods do not
//! run, so a pod being deleted stays until a DELETE with grace 0; where no KubeVirt version is set,
//! an annotation `test.wasp/live-migratable: "true"` on a pod labelled `kubevirt.io: virt-launcher`
//! makes the server deny each eviction as KubeVirt's webhook denies the first; managedFields cover
//! only server-side apply. [`envtest`] runs tests against a real server too.

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
mod steering;
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
