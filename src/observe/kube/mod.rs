//! The API server, with the kubelet's credentials.

pub mod credentials;
pub mod pods;
pub mod wire;
