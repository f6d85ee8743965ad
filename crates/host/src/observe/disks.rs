//! Finds the whole disks below a path, which get io.latency targets.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    mounts::{Mount, mount_of, mounts_of_host},
    node,
    swap::unescaped,
};
use crate::{
    model::protection::{DeviceNumber, Disks},
    roots::Roots,
};

/// Maximum depth of stacked devices.
const DEEPEST: u8 = 8;
const BLOCK: &str = "/sys/class/block";
/// cryptsetup's types of encrypted devices. dm-integrity and dm-verity have UUIDs of the same form,
/// but do not encrypt.
const CIPHERS: [&str; 7] = ["PLAIN", "LUKS1", "LUKS2", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2"];

/// Returns the disks below all of `paths`. A path on no block device (tmpfs, NFS) has none.
pub fn disks(roots: &Roots, paths: &[PathBuf]) -> Disks {
    let mounts = mounts_of_host(roots);
    let mut disks = Disks::new();
    for path in paths {
        for device in devices_below(roots, &mounts, path, 0) {
            whole_disks(roots, &device, &mut disks, 0);
        }
    }
    disks
}

/// Returns the disks of the kubelet, the containers and the swap.
pub fn in_use(roots: &Roots) -> Disks {
    // On RHCOS, / may be composed of files below /sysroot.
    let mut paths: Vec<PathBuf> = ["/", "/sysroot", "/var"].map(PathBuf::from).to_vec();
    let devices = node::swap_devices(roots);
    let on_disk = devices.iter().map(|device| unescaped(&device.path));
    paths.extend(on_disk.filter(|path| !path.starts_with("/dev/zram")));
    disks(roots, &paths)
}

/// Returns true if all writes to `path` go through dm-crypt; `false` if that is uncertain.
pub fn is_encrypted(roots: &Roots, path: &Path) -> bool {
    let devices = devices_below(roots, &mounts_of_host(roots), path, 0);
    !devices.is_empty() && devices.iter().all(|device| encrypts(roots, device, 0))
}

fn encrypts(roots: &Roots, device: &Path, depth: u8) -> bool {
    let Ok(folder) = fs::canonicalize(device) else { return false };
    // Linux drivers/md/dm-ioctl.c; cryptsetup names its devices CRYPT-TYPE-…
    let uuid = fs::read_to_string(folder.join("dm/uuid")).unwrap_or_default();
    if uuid.strip_prefix("CRYPT-").is_some_and(|uuid| {
        let mut of_type = CIPHERS.iter().filter_map(|cipher| uuid.strip_prefix(cipher));
        of_type.any(|rest| rest.starts_with('-') || rest.trim_end().is_empty())
    }) {
        return true;
    }
    let slaves = parts(roots, &disk_of(folder), depth);
    !slaves.is_empty()
        && depth <= DEEPEST
        && slaves.iter().all(|slave| encrypts(roots, slave, depth + 1))
}

/// Returns the block devices of `path` in sysfs; several if its file system spans them.
fn devices_below(roots: &Roots, mounts: &[Mount], path: &Path, depth: u8) -> Vec<PathBuf> {
    let in_sysfs = |number: DeviceNumber| roots.path(format!("/sys/dev/block/{number}"));
    if path.starts_with("/dev") {
        return device_number(roots, path).map(in_sysfs).into_iter().collect();
    }
    if depth > DEEPEST {
        return Vec::new();
    }
    let Some(mount) = mount_of(mounts, path) else { return Vec::new() };
    if mount.device.major > 0 {
        return vec![in_sysfs(mount.device)];
    }
    // Some file systems give their mounts numbers that belong to no device.
    match &*mount.fs_type {
        "overlay" if depth < DEEPEST => {
            let written = mount.option("upperdir");
            let layers = written.or_else(|| mount.option("lowerdir")).unwrap_or_default();
            let layers = layers.to_string_lossy().into_owned();
            let layers = layers.split(':').map(Path::new).filter(|layer| layer.is_absolute());
            let elsewhere = layers.filter(|layer| mount_of(mounts, layer) != Some(mount));
            elsewhere.flat_map(|layer| devices_below(roots, mounts, layer, depth + 1)).collect()
        }
        "btrfs" => {
            let number = device_number(roots, &mount.source);
            let spread = btrfs_devices(roots, number.map(in_sysfs).as_deref());
            if spread.is_empty() { number.map(in_sysfs).into_iter().collect() } else { spread }
        }
        _ => {
            // bcachefs lists its devices this way.
            let sources = mount.source.to_string_lossy().into_owned();
            let sources = sources.split(':').map(Path::new).filter(|s| s.starts_with("/dev"));
            let numbers: Option<Vec<_>> = sources.map(|s| device_number(roots, s)).collect();
            numbers.unwrap_or_default().into_iter().map(in_sysfs).collect()
        }
    }
}

/// Returns all devices of the btrfs that `device` is part of; if the device is unknown
/// (`/dev/root`), those of the only btrfs.
fn btrfs_devices(roots: &Roots, device: Option<&Path>) -> Vec<PathBuf> {
    let real = device.and_then(|device| fs::canonicalize(device).ok());
    let mut all: Vec<Vec<_>> = names(&roots.path("/sys/fs/btrfs"))
        .map(|fs| roots.path("/sys/fs/btrfs").join(fs).join("devices"))
        .filter(|folder| folder.is_dir())
        .map(|folder| names(&folder).map(|name| roots.path(BLOCK).join(name)).collect())
        .collect();
    match real {
        Some(real) => all
            .into_iter()
            .find(|devices| {
                devices.iter().any(|device| fs::canonicalize(device).is_ok_and(|d| d == real))
            })
            .unwrap_or_default(),
        None if all.len() == 1 => all.remove(0),
        None => Vec::new(),
    }
}

fn names(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
}

/// Returns the number of a device by any of its names. sysfs and udev's database come first,
/// because a service's own /dev may lack the names that udev creates.
pub fn device_number(roots: &Roots, device: &Path) -> Option<DeviceNumber> {
    let name = device.strip_prefix("/dev").ok()?.to_str()?;
    let number = |folder: PathBuf| fs::read_to_string(folder.join("dev")).ok()?.parse().ok();
    // sysfs writes a slash in a name as an exclamation mark.
    let of_kernel = |name: &str| number(roots.path(BLOCK).join(name.replace('/', "!")));
    if name.is_empty() || name.split('/').any(|part| part == "..") {
        return None;
    }
    of_kernel(name)
        .or_else(|| {
            let mapped = mapped_name(name)?;
            let holds = |dm: &PathBuf| {
                let name = fs::read_to_string(roots.path("/sys/block").join(dm).join("dm/name"));
                name.is_ok_and(|name| name.trim_end_matches('\n') == mapped)
            };
            let dm = names(&roots.path("/sys/block")).map(PathBuf::from).find(holds)?;
            number(roots.path(BLOCK).join(&dm))
                .or_else(|| number(roots.path("/sys/block").join(dm)))
        })
        .or_else(|| {
            // A link that udev created, if /dev is the host's.
            let real = fs::canonicalize(roots.path(device)).ok()?;
            of_kernel(roots.shown(&real).strip_prefix("/dev").ok()?.to_str()?)
        })
        .or_else(|| of_udev(roots, name))
        .or_else(|| {
            let rdev = fs::metadata(roots.path(device)).ok()?.rdev();
            let number = |half: u64| u32::try_from(half).ok();
            Some(DeviceNumber {
                major: number(nix::sys::stat::major(rdev))?,
                minor: number(nix::sys::stat::minor(rdev))?,
            })
        })
        .filter(|number| number.major > 0)
}

/// Returns the device mapper's name for `mapper/NAME` or, for LVM, `GROUP/VOLUME`.
fn mapped_name(name: &str) -> Option<String> {
    match name.split_once('/')? {
        ("mapper", name) => Some(name.to_owned()),
        (_, volume) if volume.contains('/') => None,
        (group, volume) => Some([group, volume].map(|part| part.replace('-', "--")).join("-")),
    }
}

/// Reads udev's database: `/run/udev/data/bMAJOR:MINOR` has a line `S:LINK` for each link below
/// /dev.
fn of_udev(roots: &Roots, link: &str) -> Option<DeviceNumber> {
    let data = roots.path("/run/udev/data");
    names(&data).find_map(|file| {
        let number = file.to_str()?.strip_prefix('b')?.parse().ok()?;
        let text = super::fields::read(&data.join(&file)).ok()?;
        text.lines().any(|line| line.strip_prefix("S:") == Some(link)).then_some(number)
    })
}

/// Returns the directory of a partition's disk; for other devices the same directory.
fn disk_of(mut folder: PathBuf) -> PathBuf {
    if folder.join("partition").exists() {
        folder.pop();
    }
    folder
}

/// Returns true for a device mapper device that takes requests, as dm-multipath does: it has a queue of
/// its own. There io.latency throttles, but not at its paths, which get requests that have passed it
/// (Linux `block/blk-mq.c`, `blk_insert_cloned_request`).
fn takes_requests(folder: &Path) -> bool {
    folder.join("dm").is_dir() && folder.join("mq").is_dir()
}

/// Descends from a partition to its disk, and from a device mapper or RAID device to its parts.
fn whole_disks(roots: &Roots, device: &Path, disks: &mut Disks, depth: u8) {
    let Ok(folder) = fs::canonicalize(device) else { return };
    let folder = disk_of(folder);
    let slaves = match takes_requests(&folder) {
        true => Vec::new(),
        false => parts(roots, &folder, depth),
    };
    if slaves.is_empty() || depth > DEEPEST {
        let number = fs::read_to_string(folder.join("dev")).ok().and_then(|n| n.parse().ok());
        if let (Some(number), Some(name)) = (number, folder.file_name()) {
            // sysfs writes a slash in a name as an exclamation mark.
            let name = name.to_string_lossy().replace('!', "/");
            disks.insert(number, format!("/dev/{name}"));
        }
        return;
    }
    for slave in slaves {
        whole_disks(roots, &slave, disks, depth + 1);
    }
}

/// Returns the parts of a device mapper or RAID device, and the devices below the file of a loop
/// device.
fn parts(roots: &Roots, folder: &Path, depth: u8) -> Vec<PathBuf> {
    let Ok(file) = fs::read(folder.join("loop/backing_file")) else {
        return names(&folder.join("slaves")).map(|name| roots.path(BLOCK).join(name)).collect();
    };
    let file = file.strip_suffix(b"\n").unwrap_or(&file);
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(file));
    // The kernel adds " (deleted)" to the path of a file that is gone.
    match roots.path(&path).exists() {
        true => devices_below(roots, &mounts_of_host(roots), &path, depth),
        false => Vec::new(),
    }
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;
