//! Facts about active swap and its place.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    config::settings::{SwapKind, SwapSettings},
    model::{
        check::{Asked, SwapArea, SwapFacts},
        host::SwapDevice,
    },
    observe::{
        disks::{self, device_number},
        mounts::{Mount, mount_of, mounts, mounts_of_host},
        node,
        swap::{
            area::{header, opened},
            unescaped, zram,
        },
    },
    roots::Roots,
};

/// The directories that containers and the kubelet write to, and the control plane's database.
const BESIDE: [&str; 2] = ["/var", "/var/lib/etcd"];

/// Swapfiles that have been identified. A later look reads nothing of an unchanged file: its disk
/// may have failed, and never answer.
#[derive(Clone, Debug, Default)]
pub struct KnownSwapfiles(BTreeMap<PathBuf, Stamp>);

/// Bytes in use; device, inode, length, and time of the last change.
type Stamp = (u64, [u64; 3], (i64, i64));

/// Returns the devices that hold swap now.
pub fn areas(roots: &Roots) -> Vec<SwapArea> {
    areas_again(roots, &mut KnownSwapfiles::default())
}

/// As [`areas`], but reads a swapfile only if it is not `known`.
pub fn areas_again(roots: &Roots, known: &mut KnownSwapfiles) -> Vec<SwapArea> {
    let page_bytes = node::memory(roots).map_or(4096, |node| node.page_bytes);
    let [own, hosts] = [mounts(roots), mounts_of_host(roots)];
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
                || is_same_mount(&own, &hosts, &written_to)
                    && known.has(roots, &device, &written_to, page_bytes).unwrap_or_else(|error| {
                        tracing::debug!("cannot read {}: {error}", written_to.display());
                        false
                    });
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

impl KnownSwapfiles {
    /// Returns true if the file at `path` is the swapfile that is `on`. The kernel tells its path and
    /// its size. The path leads elsewhere if another file system was mounted over it.
    fn has(
        &mut self,
        roots: &Roots,
        on: &SwapDevice,
        path: &Path,
        page_bytes: u64,
    ) -> io::Result<bool> {
        let file = opened(roots, path)?;
        let of = file.metadata()?;
        let identity = [of.dev(), of.ino(), of.len()];
        let stamp = (on.size_bytes, identity, (of.ctime(), of.ctime_nsec()));
        if self.0.get(path) == Some(&stamp) {
            return Ok(true);
        }
        let fits = header(&file, page_bytes)?.is_some_and(|header| {
            // The first page holds the header.
            let bytes = u64::from(header.pages).saturating_mul(page_bytes);
            bytes.checked_sub(page_bytes) == Some(on.size_bytes) && of.len() >= bytes
        });
        match fits {
            true => self.0.insert(path.to_owned(), stamp),
            false => self.0.remove(path),
        };
        Ok(fits)
    }
}

/// Returns true if `path` is on the same file system for this process and for the host: a service can
/// have its own one there.
fn is_same_mount(own: &[Mount], hosts: &[Mount], path: &Path) -> bool {
    let device = |mounts| mount_of(mounts, path).map(|mount| mount.device);
    device(own) == device(hosts)
}

pub(super) fn facts(
    roots: &Roots,
    settings: &SwapSettings,
    provisioning: Asked<Vec<String>>,
) -> SwapFacts {
    let beside = BESIDE.into_iter().filter(|folder| roots.path(folder).is_dir());
    SwapFacts {
        areas: areas(roots),
        // The unit's own /dev has no disks.
        device_exists: settings.kind != SwapKind::Partition
            || roots.path(&settings.path).exists()
            || device_number(roots, &settings.path).is_some(),
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
        let page_bytes = node::memory(&roots).map_or(4096, |node| node.page_bytes);
        let swaps = |bytes: u64| {
            let kib = bytes / 1024;
            format!("Filename Type Size Used Priority\n/var/a\\040b file {kib} 0 10\n")
        };
        // The kernel does not count the header's page.
        put("/proc/swaps", swaps((1 << 20) - page_bytes).as_bytes());
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
        let header = SwapHeader::ours(1 << 20, page_bytes, Uuid::nil()).unwrap();
        let mut file = header.to_page(usize::try_from(page_bytes).unwrap());
        put("/var/a b", &file);
        assert!(seen().disks.is_empty(), "shorter than its header says");
        file.resize(1 << 20, 0);
        put("/var/a b", &file);
        assert!(seen().encrypted);
        assert_eq!(seen().disks, ["/dev/dm-0"]);
        put("/proc/swaps", swaps((2 << 20) - page_bytes).as_bytes());
        assert!(seen().disks.is_empty(), "another swapfile, of another size");
        put("/proc/swaps", swaps((1 << 20) - page_bytes).as_bytes());
        let over = "21 1 253:0 / / rw - ext4 /dev/mapper/root rw\n22 21 8:1 / /var rw - ext4 /dev/sda1 rw\n";
        put("/proc/1/mountinfo", over.as_bytes());
        assert!(seen().disks.is_empty(), "the host has another file system there");
        put("/proc/self/mountinfo", over.as_bytes());
        put("/sys/dev/block/8:1/dev", b"8:1\n");
        assert!(!seen().encrypted && seen().disks == ["/dev/8:1"]);
        // A file that cannot be opened, or a link, is not known either.
        std::fs::rename(roots.path("/var"), roots.path("/srv")).unwrap();
        std::os::unix::fs::symlink("srv", roots.path("/var")).unwrap();
        assert!(seen().disks.is_empty(), "below a link");
    }

    #[test]
    fn an_unchanged_swapfile_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let header = SwapHeader::ours(1 << 20, 4096, Uuid::nil()).unwrap();
        let mut content = header.to_page(4096);
        content.resize(1 << 20, 0);
        let path = Path::new("/swapfile");
        let on = SwapDevice {
            path: "/swapfile".to_owned(),
            kind: "file".to_owned(),
            size_bytes: (1 << 20) - 4096,
            used_bytes: 0,
            priority: 0,
        };
        let mut known = KnownSwapfiles::default();
        let mut has = |on: &SwapDevice| known.has(&roots, on, path, 4096);
        assert!(has(&on).is_err(), "no file");
        std::fs::write(roots.path(path), &content).unwrap();
        assert!(has(&on).unwrap() && has(&on).unwrap());
        assert!(!has(&SwapDevice { size_bytes: 1 << 20, ..on.clone() }).unwrap());
        assert!(has(&on).unwrap());
        // Another file at the same path.
        std::fs::write(roots.path("/other"), vec![0; 1 << 20]).unwrap();
        std::fs::rename(roots.path("/other"), roots.path(path)).unwrap();
        assert!(!has(&on).unwrap());
    }
}
