//! Reads the mounts in `/proc/self/mountinfo` (proc(5)).
//!
//! Pods influence the names of mounts: an odd line must not hide the others.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{events::ProcWatch, fields::unescaped};
use crate::{model::protection::DeviceNumber, roots::Roots};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    id: u32,
    parent: u32,
    pub device: DeviceNumber,
    pub mount_point: PathBuf,
    pub fs_type: String,
    /// As passed to mount(2): a device for most file systems.
    pub source: PathBuf,
    /// Options of the file system, in order.
    options: Vec<Vec<u8>>,
    /// The mount prevents running programs.
    pub noexec: bool,
}

impl Mount {
    /// Returns the value of the file system's option; empty for one without a value.
    pub fn option(&self, name: &str) -> Option<PathBuf> {
        self.options.iter().find_map(|option| {
            let value = option.strip_prefix(name.as_bytes())?;
            match value.strip_prefix(b"=") {
                Some(value) => Some(unescaped(value).into()),
                None => value.is_empty().then(PathBuf::new),
            }
        })
    }
}

/// Returns all mounts, in the order of mounting, as this process sees them.
pub fn mounts(roots: &Roots) -> Vec<Mount> {
    parsed(&fs::read(roots.proc("self/mountinfo")).unwrap_or_default())
}

/// Returns all mounts as the host's runtimes see them. The agent's unit has its own mount
/// namespace: later mounts propagate to it, but changed options of a mount do not.
pub fn mounts_of_host(roots: &Roots) -> Vec<Mount> {
    fs::read(roots.proc(OF_INIT)).map_or_else(|_| mounts(roots), |text| parsed(&text))
}

const OF_INIT: &str = "1/mountinfo";

/// Wakes when the host mounts or unmounts something, or changes a mount's options.
///
/// Source: proc_pid_mountinfo(5); the kernel's `mounts_poll` answers POLLPRI | POLLERR after a
/// change.
pub fn mount_watch(roots: &Roots) -> ProcWatch {
    ProcWatch::new(&roots.proc(OF_INIT))
}

fn parsed(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// Parses `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/source
/// rw,errors=continue`, with any number of optional fields before the dash. The source may be
/// empty.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (id, parent) = (text()?.parse().ok()?, text()?.parse().ok()?);
    let device = text()?.parse().ok()?;
    let mount_point = unescaped(fields.nth(1)?);
    // The directory below the mount is gone, so no path leads there (Linux `fs/d_path.c`).
    if mount_point.as_bytes().ends_with(b"//deleted") {
        return None;
    }
    let mount_point = PathBuf::from(mount_point);
    let noexec = fields.next()?.split(|byte| *byte == b',').any(|flag| flag == b"noexec");
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescaped(fields.next()?).into();
    let options = fields.next().unwrap_or_default().split(|byte| *byte == b',');
    let options = options.map(<[u8]>::to_vec).collect();
    mount_point.is_absolute().then_some(Mount {
        id,
        parent,
        device,
        mount_point,
        fs_type,
        source,
        options,
        noexec,
    })
}

/// Returns the mount of `path`: a mount hides all that is below its mount point.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let is_root = |mount: &&Mount| {
        mount.mount_point == Path::new("/")
            && (mount.parent == mount.id || mounts.iter().all(|other| other.id != mount.parent))
    };
    let Some(mut on) = mounts.iter().rfind(is_root) else {
        // The root mount is unknown: use the nearest.
        let length = |mount: &&Mount| mount.mount_point.as_os_str().as_bytes().len();
        return mounts.iter().filter(|m| path.starts_with(&m.mount_point)).max_by_key(length);
    };
    // Each step goes to a mount on top of the one before; the bound prevents endless loops in odd
    // files.
    for _ in 0..mounts.len() {
        let next = mounts.iter().rev().filter(|mount| {
            mount.parent == on.id
                && mount.id != on.id
                && path.starts_with(&mount.mount_point)
                && mount.mount_point.starts_with(&on.mount_point)
        });
        match next.min_by_key(|mount| mount.mount_point.as_os_str().as_bytes().len()) {
            Some(next) => on = next,
            None => break,
        }
    }
    Some(on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_odd_lines_are_read_as_the_kernel_writes_them() {
        let mounts = parsed(
            b"21 1 8:0 / / rw,relatime shared:1 - ext4 /dev/sda rw\n\
              odd\n22 21 8:16 / /mnt/my\\040disk rw,relatime shared:2 master:3 - ext4 /dev/sdb rw\n\
              23 21 x:y / /x rw - ext4 /dev/sdc rw\n24 21 0:9 / /n\xff rw - nfs  ro,a=b\\054c\n\
              25 21 0:5 / /cut rw shared:2\n",
        );
        let points: Vec<_> = mounts.iter().map(|m| m.mount_point.as_os_str().as_bytes()).collect();
        assert_eq!(points, [&b"/"[..], b"/mnt/my disk", b"/n\xff"]);
        assert_eq!(mounts[1].source, Path::new("/dev/sdb"));
        assert_eq!(mounts[2].source, Path::new(""));
        assert_eq!(mounts[2].option("a"), Some("b,c".into()));
        assert_eq!((mounts[2].option("ro"), mounts[2].option("r")), (Some("".into()), None));
        let on = |path: &str| mount_of(&mounts, Path::new(path)).unwrap().device.to_string();
        assert_eq!(on("/mnt/my disk/swapfile"), "8:16");
        assert_eq!(on("/mnt/my"), "8:0");
    }

    #[test]
    fn a_mount_whose_directory_is_gone_hides_no_other() {
        let mounts = parsed(
            b"21 1 8:0 / / rw - ext4 /dev/sda rw\n22 21 8:1 / /mnt//deleted rw - ext4 /dev/sdb rw\n\
              23 21 8:2 / /mnt/a\\012b\\134040 rw - ext4 /dev/sd\\043c rw\n",
        );
        let on = |path: &str| mount_of(&mounts, Path::new(path)).unwrap().device.to_string();
        assert_eq!(on("/mnt/deleted/swapfile"), "8:0");
        assert_eq!(on("/mnt/a\nb\\040/x"), "8:2");
        assert_eq!(mounts[1].source, Path::new("/dev/sd#c"));
    }

    #[test]
    fn the_mounts_of_the_host_count_where_they_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |process: &str, options: &str| {
            let file = roots.proc(process).join("mountinfo");
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("21 1 8:0 / / {options} - ext4 /dev/sda rw\n")).unwrap();
        };
        put("self", "rw");
        let noexec = || mounts_of_host(&roots).iter().any(|mount| mount.noexec);
        assert!(!noexec());
        put("1", "rw,noexec");
        assert!(noexec());
    }

    #[test]
    fn what_is_mounted_over_another_hides_it() {
        let mounts = parsed(
            b"1 1 0:2 / / rw - rootfs rootfs rw\n21 1 8:0 / / rw - ext4 /dev/sda rw\n\
              22 21 8:1 / /var/lib rw - ext4 /dev/sda1 rw\n23 21 8:2 / /var rw - ext4 /dev/sda2 rw\n\
              24 21 8:3 / /srv rw - ext4 /dev/sda3 rw\n25 24 8:4 / /srv rw - ext4 /dev/sda4 rw\n",
        );
        let on = |path: &str| mount_of(&mounts, Path::new(path)).unwrap().device.to_string();
        assert_eq!(on("/etc"), "8:0");
        assert_eq!(on("/var/lib/swapfile"), "8:2", "mounted later, above");
        assert_eq!(on("/srv/x"), "8:4");
        assert_eq!(mount_of(&[], Path::new("/")), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(lines: Vec<u8>, numbers in "([0-3] [0-3] [0-9]:[0-9] / (/|/a|/a/b) rw - x y z\n){0,8}") {
            let mounts = parsed(&[numbers.as_bytes(), &lines].concat());
            for path in ["/", "/a/b/c", ""] {
                let _ = mount_of(&mounts, Path::new(path));
            }
        }
    }
}
