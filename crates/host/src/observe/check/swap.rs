//! Facts about active swap and its place.

use std::path::Path;

use crate::{
    config::settings::{SwapKind, SwapSettings},
    model::check::{Asked, SwapArea, SwapFacts},
    observe::{
        disks, node,
        swap::{unescaped, zram},
    },
    roots::Roots,
};

/// The directories that containers and the kubelet write to, and the control plane's database.
const BESIDE: [&str; 2] = ["/var", "/var/lib/etcd"];

/// Returns the devices that hold swap now.
pub fn areas(roots: &Roots) -> Vec<SwapArea> {
    node::swap_devices(roots)
        .into_iter()
        .map(|device| {
            let path = unescaped(&device.path);
            // A compressed RAM disk writes back to its backing device.
            let (in_ram, written_to) =
                match zram(&path).map(|name| zram::backing_device(roots, name)) {
                    Some(None) => (true, path),
                    Some(Some(backing)) => (false, backing),
                    None => (false, path),
                };
            let disks = if in_ram { Vec::new() } else { disks_of(roots, &written_to) };
            SwapArea {
                in_ram,
                rotating: disks.iter().any(|disk| rotates(roots, disk)),
                failing: disks.iter().find_map(|disk| failing(roots, disk)),
                disks,
                encrypted: !in_ram && disks::is_encrypted(roots, &written_to),
                device,
            }
        })
        .collect()
}

pub(super) fn facts(
    roots: &Roots,
    settings: &SwapSettings,
    provisioning: Asked<Vec<String>>,
) -> SwapFacts {
    let beside = BESIDE.into_iter().filter(|folder| roots.path(folder).is_dir());
    SwapFacts {
        areas: areas(roots),
        device_exists: settings.kind != SwapKind::Partition || roots.path(&settings.path).exists(),
        beside: beside.map(|folder| (folder, disks_of(roots, Path::new(folder)))).collect(),
        provisioning,
    }
}

fn zram(path: &Path) -> Option<&str> {
    path.strip_prefix("/dev").ok()?.to_str().filter(|name| name.starts_with("zram"))
}

fn disks_of(roots: &Roots, path: &Path) -> Vec<String> {
    disks::disks(roots, &[path.to_owned()]).into_values().collect()
}

/// Whole disks have a reliable value; virtual ones may not.
fn rotates(roots: &Roots, disk: &str) -> bool {
    let name = disk.rsplit('/').next().unwrap_or(disk);
    let path = roots.path(format!("/sys/class/block/{name}/queue/rotational"));
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// So many errors are more than a disk's first answers, and than what SMART tools cause.
const ERRORS: u64 = 32;

/// Returns the evidence that a disk fails, by what its driver counts.
fn failing(roots: &Roots, disk: &str) -> Option<String> {
    let name = disk.rsplit('/').next().unwrap_or(disk);
    let read = |file: &str| {
        let path = roots.path(format!("/sys/class/block/{name}/{file}"));
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    // SCSI and NVMe.
    let gone = ["offline", "transport-offline", "dead"];
    if let Some(state) = read("device/state").filter(|state| gone.contains(&&**state)) {
        return Some(format!("{disk} is {state}"));
    }
    if let Some(count) = read("md/degraded").filter(|count| count != "0") {
        return Some(format!("{disk} is a RAID that lacks {count} of its disks"));
    }
    // SCSI counts in hexadecimal. A drive that is well has errors too, but few for so many requests.
    let count = |file: &str| {
        let text = read(file)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let (errors, requests) = (count("device/ioerr_cnt")?, count("device/iorequest_cnt")?);
    (errors >= ERRORS && errors >= requests / 1000)
        .then(|| format!("{errors} of {requests} requests to {disk} ended with an error"))
}
