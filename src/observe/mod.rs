//! IO in: the kernel's files, the cgroup tree, the runtime's bundles and the API server.

pub mod bundle;
pub mod cgroup;
pub mod events;
pub mod files;
pub mod kube;
pub mod names;
pub mod node;
pub mod tree;
