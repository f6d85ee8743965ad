//! Which whole disks hold a path: what io.latency is set for.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use procfs::{FromRead, process::MountInfos};

use crate::{
    model::protection::{DeviceNumber, Disks},
    roots::Roots,
};

/// The disks below all of `paths`. Paths on no block device (tmpfs, overlay, NFS) have none.
pub fn disks(roots: &Roots, paths: &[PathBuf]) -> Disks {
    let mounts = MountInfos::from_file(roots.proc("self/mountinfo"));
    let mounts = mounts.map_or_else(|_| Vec::new(), |mounts| mounts.0);
    let mut disks = Disks::new();
    for path in paths {
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
        if let Some(number) = number {
            whole_disks(roots, &roots.path(format!("/sys/dev/block/{number}")), &mut disks, 0);
        }
    }
    disks
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
    let slaves: Vec<_> =
        fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten().collect();
    if slaves.is_empty() || depth > 8 {
        let number = fs::read_to_string(folder.join("dev")).ok().and_then(|n| n.parse().ok());
        if let (Some(number), Some(name)) = (number, folder.file_name()) {
            // sysfs writes a slash in a name as an exclamation mark.
            let name = name.to_string_lossy().replace('!', "/");
            disks.insert(number, format!("/dev/{name}"));
        }
        return;
    }
    for slave in slaves {
        let device = roots.path("/sys/class/block").join(slave.file_name());
        whole_disks(roots, &device, disks, depth + 1);
    }
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
}
