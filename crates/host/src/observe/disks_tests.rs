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

/// A volume's directory may have any name, which becomes the name of its mount point.
#[test]
fn a_mount_with_an_odd_name_hides_no_other() {
    let (_folder, roots) = host("");
    let lines = b"22 21 254:1 /\xff /var/lib/kubelet/x rw - ext4 /dev/vda1 rw\nodd\n\
                  21 1 254:1 / / rw - ext4 /dev/vda1 rw\n";
    fs::write(roots.proc("self/mountinfo"), lines).unwrap();
    assert_eq!(disks(&roots, &["/".into()]).len(), 1);
}

#[test]
fn io_latency_goes_to_a_multipath_device_and_not_to_its_paths() {
    let (_folder, roots) = host("22 21 253:0 / /var rw - xfs /dev/mapper/var rw\n");
    let names = || -> Vec<String> { disks(&roots, &["/var".into()]).into_values().collect() };
    assert_eq!(names(), ["/dev/sdb", "/dev/sdc"]);
    // With queue_mode bio, a multipath device has no queue of its own.
    uuid(&roots, "dm-0", "mpath-3600\n");
    assert_eq!(names(), ["/dev/sdb", "/dev/sdc"]);
    fs::create_dir_all(roots.path("/sys/devices/dm-0/mq/0")).unwrap();
    assert_eq!(names(), ["/dev/dm-0"]);
    // Disks have such a queue too.
    fs::create_dir_all(roots.path("/sys/devices/sdb/mq/0")).unwrap();
    assert_eq!(names(), ["/dev/dm-0"]);
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

fn put(roots: &Roots, path: &str, text: &str) {
    fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
    fs::write(roots.path(path), text).unwrap();
}

fn uuid(roots: &Roots, device: &str, uuid: &str) {
    put(roots, &format!("/sys/devices/{device}/dm/uuid"), uuid);
}

#[test]
fn a_mount_point_with_a_blank_is_found() {
    let mounts = "21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                  22 21 8:32 / /mnt/my\\040disk rw,relatime shared:2 - ext4 /dev/sdc rw\n";
    let found = found(mounts, &["/mnt/my disk/swapfile"]);
    assert_eq!(found, [("8:32".to_owned(), "/dev/sdc".to_owned())]);
}

/// A unit with PrivateDevices= has neither /dev/mapper nor /dev/disk.
#[test]
fn a_root_on_btrfs_is_found_without_the_names_that_udev_makes() {
    let root = |source: &str| {
        format!("21 1 0:31 /@ / rw,noatime shared:1 - btrfs {source} rw,subvol=/@\n")
    };
    let names =
        |roots: &Roots| -> Vec<String> { disks(roots, &["/".into()]).into_values().collect() };
    let both = ["/dev/sdb", "/dev/sdc"];

    let (_folder, roots) = host(&root("/dev/mapper/root"));
    assert_eq!(names(&roots), [""; 0], "nobody knows the name");
    put(&roots, "/sys/block/dm-0/dm/name", "root\n");
    assert_eq!(names(&roots), both);
    put(&roots, "/sys/block/dm-0/dm/name", "my--group-a_volume\n");
    put(&roots, "/proc/self/mountinfo", &root("/dev/my-group/a_volume"));
    assert_eq!(names(&roots), both, "LVM");
    let by_uuid = "/dev/disk/by-uuid/1c6b";
    put(&roots, "/proc/self/mountinfo", &root(by_uuid));
    assert_eq!(names(&roots), [""; 0]);
    put(
        &roots,
        "/run/udev/data/b253:0",
        "S:disk/by-uuid/1c6b0\nS:disk/by-uuid/1c6b\nE:ID_FS_TYPE=btrfs\n",
    );
    assert_eq!(names(&roots), both, "udev's database");
    // A link's name that ends in another device's name must not select that device.
    put(&roots, "/proc/self/mountinfo", &root("/dev/disk/by-label/vda"));
    assert_eq!(names(&roots), [""; 0]);

    // A file system on two devices, of which the mount names one.
    let btrfs = "/sys/fs/btrfs/7c2f/devices";
    put(&roots, &format!("{btrfs}/vda1"), "");
    put(&roots, &format!("{btrfs}/sdc"), "");
    put(&roots, "/proc/self/mountinfo", &root("/dev/vda1"));
    assert_eq!(names(&roots), ["/dev/sdc", "/dev/vda"]);
    let encrypted = || is_encrypted(&roots, Path::new("/swapfile"));
    uuid(&roots, "vda/vda1", "CRYPT-LUKS2-x\n");
    assert!(!encrypted(), "half of it is");
    uuid(&roots, "sdc", "CRYPT-LUKS2-x\n");
    assert!(encrypted());
    put(&roots, "/proc/self/mountinfo", &root("/dev/root"));
    assert_eq!(names(&roots), ["/dev/sdc", "/dev/vda"], "the only btrfs that there is");
}

#[test]
fn an_overlay_is_where_it_writes() {
    let mounts = "21 1 0:40 / / rw - overlay overlay rw,lowerdir=/sysroot/a:/sysroot/b,upperdir=/var/up,workdir=/var/w\n\
                  22 21 254:1 / /sysroot rw - xfs /dev/vda1 rw\n23 21 8:32 / /var rw - xfs /dev/sdc rw\n\
                  24 21 0:41 / /ro ro - overlay composefs ro,lowerdir=/sysroot/c::/sysroot/d\n\
                  25 21 0:42 / /circle ro - overlay overlay ro,lowerdir=/circle/x\n";
    let on =
        |path: &str| -> Vec<String> { found(mounts, &[path]).into_iter().map(|d| d.1).collect() };
    assert_eq!(on("/swapfile"), ["/dev/sdc"]);
    assert_eq!(on("/ro/x"), ["/dev/vda"]);
    assert_eq!(on("/circle/x"), [""; 0]);
}

#[test]
fn only_what_encrypts_counts_as_encryption() {
    let (_folder, roots) = host("21 1 254:1 / / rw - ext4 /dev/vda1 rw\n");
    let swap = Path::new("/dev/dm-0");
    for (id, encrypts) in [
        ("CRYPT-PLAIN-wasp-swap\n", true),
        ("CRYPT-LUKS1-0123-x\n", true),
        ("CRYPT-INTEGRITY-x\n", false),
        ("CRYPT-VERITY-0123-x\n", false),
        ("CRYPT-LUKS9-x\n", false),
        ("LVM-CRYPT-LUKS2\n", false),
        ("mpath-3600\n", false),
    ] {
        uuid(&roots, "dm-0", id);
        assert_eq!(is_encrypted(&roots, swap), encrypts, "{id}");
    }
    // The root's encryption does not imply the swap's.
    uuid(&roots, "vda/vda1", "CRYPT-LUKS2-x\n");
    assert!(is_encrypted(&roots, Path::new("/etc")) && !is_encrypted(&roots, swap));
    assert!(!is_encrypted(&roots, Path::new("/dev/mapper/unknown")));
    // A partition of a RAID on encrypted disks.
    put(&roots, "/sys/devices/md0/md0p1/partition", "1");
    put(&roots, "/sys/devices/md0/slaves/vda1", "");
    symlink(roots.path("/sys/devices/md0/md0p1"), roots.path("/sys/dev/block/259:7")).unwrap();
    put(&roots, "/proc/self/mountinfo", "21 1 259:7 / / rw - ext4 /dev/md0p1 rw\n");
    assert!(is_encrypted(&roots, Path::new("/swapfile")));
}

proptest::proptest! {
    /// Whatever mountinfo contains, only a device that encrypts counts as encrypted.
    #[test]
    fn nothing_is_taken_for_encrypted_that_is_not(mountinfo: Vec<u8>, device in "/dev/[a-z/.0-9]{0,12}") {
        let (_folder, roots) = host("");
        fs::write(roots.proc("self/mountinfo"), mountinfo).unwrap();
        for path in [Path::new("/var/lib/swapfile"), Path::new(&device)] {
            assert!(!is_encrypted(&roots, path));
        }
    }
}

/// losetup(8): a loop device writes to the file behind it.
#[test]
fn a_loop_device_is_encrypted_if_the_disk_of_its_file_is() {
    let (_folder, roots) = host("21 1 253:0 / / rw - ext4 /dev/mapper/root rw\n");
    put(&roots, "/sys/devices/loop0/dev", "7:0\n");
    put(&roots, "/sys/devices/loop0/loop/backing_file", "/srv/swap image\n");
    symlink(roots.path("/sys/devices/loop0"), roots.path("/sys/class/block/loop0")).unwrap();
    symlink(roots.path("/sys/devices/loop0"), roots.path("/sys/dev/block/7:0")).unwrap();
    let encrypted = || is_encrypted(&roots, Path::new("/dev/loop0"));
    let on = || -> Vec<String> { disks(&roots, &["/dev/loop0".into()]).into_values().collect() };
    uuid(&roots, "dm-0", "CRYPT-LUKS2-x\n");
    assert!(!encrypted(), "its file cannot be found");
    assert_eq!(on(), ["/dev/loop0"]);
    put(&roots, "/srv/swap image", "");
    assert!(encrypted());
    assert_eq!(on(), ["/dev/sdb", "/dev/sdc"]);
    uuid(&roots, "dm-0", "LVM-x\n");
    assert!(!encrypted());
}
