//! Swap that is on, and where it is.

use std::path::PathBuf;

use crate::{
    model::check::{Asked, SwapArea, SwapFacts},
    observe::{disks, node, swap::unescaped},
    roots::Roots,
};

/// Where containers and the kubelet write, and the database of the control plane.
const BESIDE: [&str; 2] = ["/var", "/var/lib/etcd"];

pub(super) fn facts(roots: &Roots, provisioning: Asked<Vec<String>>) -> SwapFacts {
    let areas = node::swap_devices(roots).into_iter().map(|device| {
        let path = unescaped(&device.path);
        let encrypted = disks::is_encrypted(roots, &path);
        SwapArea { disks: disks_of(roots, path), encrypted, device }
    });
    let beside = BESIDE.into_iter().filter(|folder| roots.path(folder).is_dir());
    SwapFacts {
        areas: areas.collect(),
        beside: beside.map(|folder| (folder, disks_of(roots, folder.into()))).collect(),
        provisioning,
    }
}

fn disks_of(roots: &Roots, path: PathBuf) -> Vec<String> {
    // A compressed RAM disk is no disk.
    if path.starts_with("/dev")
        && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("zram"))
    {
        return Vec::new();
    }
    disks::disks(roots, &[path]).into_values().collect()
}
