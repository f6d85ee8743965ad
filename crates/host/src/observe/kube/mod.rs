//! Access to the API server with the kubelet's credentials.

mod client;
pub mod credentials;
pub mod decode;
pub mod errors;
mod json;
mod kubeconfig;
pub mod list;
pub mod node;
pub mod pods;
pub mod wire;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

/// Returns a value of `range` that is constant for a node, and evenly spread over many nodes.
pub fn spread(node_name: &str, range: Range<u32>) -> u32 {
    let mut hasher = DefaultHasher::new();
    node_name.hash(&mut hasher);
    let within = hasher.finish() % u64::from(range.end - range.start);
    range.start + u32::try_from(within).unwrap_or(0)
}
