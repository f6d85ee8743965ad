//! Input: the kernel's files, the cgroup tree, the runtime's bundles and the API server.

pub mod accounting;
pub mod alarm;
pub mod bundle;
pub mod cgroup;
pub mod check;
pub mod clock;
mod command_lines;
pub mod crio;
pub mod disks;
pub mod events;
pub mod fields;
pub mod files;
pub mod guests;
pub mod hooks;
pub mod kube;
#[allow(unreachable_pub, reason = "its items are not narrowed yet")]
pub mod kubelet;
pub mod mounts;
pub mod names;
pub mod node;
pub mod obstacles;
pub mod pressure;
pub mod process;
pub mod program;
pub mod published;
pub mod reclaim;
pub mod records;
pub mod rivals;
pub mod settings;
pub mod sleeper;
pub mod slices;
pub mod swap;
pub mod tree;
pub mod trigger;
pub mod zoneinfo;
