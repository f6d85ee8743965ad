//! Facts about active swap and its place.

use std::{io, path::Path};

use crate::{
    config::settings::{SwapKind, SwapSettings},
    model::check::{Asked, SwapArea, SwapFacts},
    observe::{
        disks, node,
        swap::{area::swap_header, unescaped, zram},
    },
    roots::Roots,
};

/// The directories that containers and the kubelet write to, and the control plane's database.
const BESIDE: [&str; 2] = ["/var", "/var/lib/etcd"];

/// Returns the devices that hold swap now.
pub fn areas(roots: &Roots) -> Vec<SwapArea> {
    let page_bytes = node::memory(roots).map_or(4096, |node| node.page_bytes);
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
            let is_known = written_to.starts_with("/dev")
                || match swap_header(roots, &written_to, page_bytes) {
                    Ok(header) => header.is_some(),
                    Err(error) => {
                        tracing::debug!("cannot read {}: {error}", written_to.display());
                        // A service may not read every file, but its path is the host's.
                        error.kind() != io::ErrorKind::NotFound
                    }
                };
            let on_disk = !in_ram && is_known;
            let disks = if on_disk { disks_of(roots, &written_to) } else { Vec::new() };
            SwapArea {
                in_ram,
                rotating: disks.iter().any(|disk| rotates(roots, disk)),
                failing: disks.iter().find_map(|disk| failing(roots, disk)),
                disks,
                encrypted: on_disk && disks::is_encrypted(roots, &written_to),
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::swap_header::SwapHeader;

    /// A file system that is mounted over a swapfile, or a service's private /var/tmp, has another disk.
    #[test]
    fn the_disk_of_a_swapfile_that_its_path_does_not_lead_to_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &[u8]| {
            std::fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            std::fs::write(roots.path(path), text).unwrap();
        };
        put("/proc/swaps", b"Filename Type Size Used Priority\n/var/a\\040b file 1024 0 10\n");
        put("/proc/self/mountinfo", b"21 1 253:0 / / rw - ext4 /dev/mapper/root rw\n");
        put("/sys/devices/dm-0/dev", b"253:0\n");
        put("/sys/devices/dm-0/dm/uuid", b"CRYPT-LUKS2-x\n");
        std::fs::create_dir_all(roots.path("/sys/dev/block")).unwrap();
        let device = roots.path("/sys/devices/dm-0");
        std::os::unix::fs::symlink(device, roots.path("/sys/dev/block/253:0")).unwrap();
        let seen = || areas(&roots).remove(0);
        assert!(!seen().encrypted && seen().disks.is_empty(), "no such file");
        put("/var/a b", b"not a swapfile");
        assert!(!seen().encrypted && seen().disks.is_empty(), "a file of the other mount");
        let page_bytes = node::memory(&roots).map_or(4096, |node| node.page_bytes);
        let header = SwapHeader::ours(1 << 20, page_bytes, Uuid::nil()).unwrap();
        put("/var/a b", &header.to_page(usize::try_from(page_bytes).unwrap()));
        assert!(seen().encrypted);
        assert_eq!(seen().disks, ["/dev/dm-0"]);
    }
}
