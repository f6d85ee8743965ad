//! A Kubernetes API server for tests: what a node agent asks of kube-apiserver, answered as
//! kube-apiserver answers it, with the Node authorizer and NodeRestriction, in one process and with
//! no etcd. Start one with [`ApiServer::start`].

pub mod api;
pub mod app;
mod apply;
pub mod auth;
pub mod authz;
mod body;
pub mod client;
pub mod commands;
mod control;
mod defaults;
mod delete;
pub mod envtest;
mod eviction;
pub mod faults;
mod journal;
mod json;
pub mod kubeconfig;
mod patch;
mod pdb;
pub mod pki;
mod quantity;
mod read;
pub mod request;
pub mod resources;
mod restriction;
pub mod selector;
mod serve;
mod server;
mod stats;
pub mod status;
pub mod store;
mod strategy;
mod watching;
mod write;

pub use server::{ApiServer, Handle, Options};
