//! Which whole disks hold a path: what io.latency is set for.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use procfs::process::MountInfo;

use super::{node, swap::unescaped};
use crate::{
    model::protection::{DeviceNumber, Disks},
    roots::Roots,
};

/// Devices upon devices go no deeper.
const DEEPEST: u8 = 8;

/// The disks below all of `paths`. Paths on no block device (tmpfs, overlay, NFS) have none.
pub fn disks(roots: &Roots, paths: &[PathBuf]) -> Disks {
    let mounts = mounts(roots);
    let mut disks = Disks::new();
    for path in paths {
        if let Some(device) = device_below(roots, &mounts, path) {
            whole_disks(roots, &device, &mut disks, 0);
        }
    }
    disks
}

/// The disks that the kubelet, the containers and the swap are on.
pub fn in_use(roots: &Roots) -> Disks {
    // On RHCOS / may be composed of files below /sysroot.
    let mut paths: Vec<PathBuf> = ["/", "/sysroot", "/var"].map(PathBuf::from).to_vec();
    let devices = node::swap_devices(roots);
    let on_disk = devices.iter().map(|device| unescaped(&device.path));
    paths.extend(on_disk.filter(|path| !path.starts_with("/dev/zram")));
    disks(roots, &paths)
}

/// Whether all that is written to `path` goes through dm-crypt.
pub fn is_encrypted(roots: &Roots, path: &Path) -> bool {
    device_below(roots, &mounts(roots), path).is_some_and(|device| encrypts(roots, &device, 0))
}

fn encrypts(roots: &Roots, device: &Path, depth: u8) -> bool {
    let Ok(folder) = fs::canonicalize(device) else { return false };
    // Linux drivers/md/dm-ioctl.c: cryptsetup names its devices CRYPT-TYPE-…
    let uuid = fs::read_to_string(folder.join("dm/uuid")).unwrap_or_default();
    let slaves = slaves(roots, &folder);
    uuid.starts_with("CRYPT-")
        || (!slaves.is_empty()
            && depth <= DEEPEST
            && slaves.iter().all(|slave| encrypts(roots, slave, depth + 1)))
}

pub(super) fn mounts(roots: &Roots) -> Vec<MountInfo> {
    // Pods have a say in the names of what is mounted: one odd line must not hide the others.
    let text = fs::read(roots.proc("self/mountinfo")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| MountInfo::from_line(line).ok()).collect()
}

/// The block device that `path` is or is on, in sysfs.
fn device_below(roots: &Roots, mounts: &[MountInfo], path: &Path) -> Option<PathBuf> {
    // The longest mount point wins; of several on one, the last.
    let mount = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len());
    let number = if path.starts_with("/dev") {
        device_number(roots, path)
    } else {
        mount.and_then(|mount| match mount.majmin.parse().ok()? {
            // btrfs gives its mounts numbers of no device.
            DeviceNumber { major: 0, .. } => {
                let source = mount.mount_source.as_deref().filter(|s| s.starts_with("/dev/"));
                device_number(roots, Path::new(source?))
            }
            number => Some(number),
        })
    };
    number.map(|number| roots.path(format!("/sys/dev/block/{number}")))
}

/// By sysfs, since a service's /dev may be its own; names that udev made are known to /dev alone.
fn device_number(roots: &Roots, device: &Path) -> Option<DeviceNumber> {
    let known = roots.path("/sys/class/block").join(device.file_name()?).join("dev");
    if let Some(number) = fs::read_to_string(known).ok().and_then(|number| number.parse().ok()) {
        return Some(number);
    }
    let rdev = fs::metadata(roots.path(device)).ok()?.rdev();
    let number = |half: u64| u32::try_from(half).ok();
    Some(DeviceNumber {
        major: number(nix::sys::stat::major(rdev))?,
        minor: number(nix::sys::stat::minor(rdev))?,
    })
    .filter(|number| number.major > 0)
}

/// Down from a partition to its disk, from a device mapper's or RAID's device to what it is made of.
fn whole_disks(roots: &Roots, device: &Path, disks: &mut Disks, depth: u8) {
    let Ok(mut folder) = fs::canonicalize(device) else { return };
    if folder.join("partition").exists() {
        folder.pop();
    }
    let slaves = slaves(roots, &folder);
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

/// What a device mapper's or RAID's device is made of.
fn slaves(roots: &Roots, folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten();
    entries.map(|entry| roots.path("/sys/class/block").join(entry.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A disk vda with partition vda1; dm-0 on sdb1 and sdc.
    fn host(mountinfo: &str) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let sys = |path: &str| roots.path("/sys/devices").join(path);
        fs::create_dir_all(roots.path("/sys/dev/block")).unwrap();
        fs::create_dir_all(roots.path("/sys/class/block")).unwrap();
        for (path, number, slaves) in [
            ("vda", "254:0", &[][..]),
            ("vda/vda1", "254:1", &[]),
            ("sdb", "8:16", &[]),
            ("sdb/sdb1", "8:17", &[]),
            ("sdc", "8:32", &[]),
            ("dm-0", "253:0", &["sdb1", "sdc"]),
        ] {
            fs::create_dir_all(sys(path).join("slaves")).unwrap();
            fs::write(sys(path).join("dev"), format!("{number}\n")).unwrap();
            if path.contains('/') {
                fs::write(sys(path).join("partition"), "1\n").unwrap();
            }
            for slave in slaves {
                fs::write(sys(path).join("slaves").join(slave), "").unwrap();
            }
            symlink(sys(path), roots.path("/sys/dev/block").join(number)).unwrap();
            let name = path.rsplit('/').next().unwrap();
            symlink(sys(path), roots.path("/sys/class/block").join(name)).unwrap();
        }
        fs::create_dir_all(roots.proc("self")).unwrap();
        fs::write(roots.proc("self/mountinfo"), mountinfo).unwrap();
        (folder, roots)
    }

    fn found(mountinfo: &str, paths: &[&str]) -> Vec<(String, String)> {
        let (_folder, roots) = host(mountinfo);
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        disks(&roots, &paths).into_iter().map(|(n, device)| (n.to_string(), device)).collect()
    }

    #[test]
    fn a_partition_leads_to_its_disk_and_a_mapped_device_to_all_of_its() {
        let mounts = "21 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
                      22 21 253:0 / /var rw - xfs /dev/mapper/var rw\n\
                      23 21 0:25 / /run rw - tmpfs tmpfs rw\n";
        let disk = |number: &str, device: &str| (number.to_owned(), device.to_owned());
        assert_eq!(found(mounts, &["/", "/etc"]), [disk("254:0", "/dev/vda")]);
        assert_eq!(
            found(mounts, &["/var/lib/swapfile"]),
            [disk("8:16", "/dev/sdb"), disk("8:32", "/dev/sdc")]
        );
        assert_eq!(found(mounts, &["/run/x"]), []);
        assert_eq!(found(mounts, &["/dev/sdb1"]), [disk("8:16", "/dev/sdb")]);
        assert_eq!(found("", &["/"]), []);
    }

    /// A volume's folder may have any name, and is mounted by it.
    #[test]
    fn a_mount_with_an_odd_name_hides_no_other() {
        let (_folder, roots) = host("");
        let lines = b"22 21 254:1 /\xff /var/lib/kubelet/x rw - ext4 /dev/vda1 rw\nodd\n\
                      21 1 254:1 / / rw - ext4 /dev/vda1 rw\n";
        fs::write(roots.proc("self/mountinfo"), lines).unwrap();
        assert_eq!(disks(&roots, &["/".into()]).len(), 1);
    }

    #[test]
    fn a_device_is_encrypted_if_all_below_it_is() {
        let (_folder, roots) = host("22 21 253:0 / /var rw - xfs /dev/mapper/var rw\n");
        let encrypted = || is_encrypted(&roots, Path::new("/var/lib/swapfile"));
        let uuid = |device: &str, uuid: &str| {
            let folder = roots.path("/sys/devices").join(device).join("dm");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uuid"), uuid).unwrap();
        };
        assert!(!encrypted());
        uuid("sdb/sdb1", "CRYPT-PLAIN-x\n");
        assert!(!encrypted(), "sdc is not");
        uuid("sdc", "CRYPT-LUKS2-x\n");
        assert!(encrypted());
        uuid("sdb/sdb1", "LVM-x\n");
        uuid("dm-0", "CRYPT-PLAIN-x\n");
        assert!(encrypted());
        assert!(!is_encrypted(&roots, Path::new("/dev/vda")));
    }
}
