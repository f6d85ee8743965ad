//! IO in: the kernel's files, the cgroup tree, the runtime's bundles and the API server.

pub mod accounting;
pub mod alarm;
pub mod bounded;
pub mod bundle;
pub mod cgroup;
pub mod check;
mod command_lines;
pub mod crio;
pub mod disks;
pub mod events;
pub mod fields;
pub mod files;
pub mod hooks;
pub mod kube;
pub mod kubelet;
pub mod mounts;
pub mod names;
pub mod node;
pub mod pressure;
pub mod process;
pub mod rivals;
pub mod settings;
pub mod slices;
pub mod swap;
pub mod tree;
pub mod trigger;
pub mod zoneinfo;
