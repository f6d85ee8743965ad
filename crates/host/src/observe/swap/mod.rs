//! Examines existing and possible places of swap.

pub mod area;
pub mod memory;
pub mod partition;
pub mod zram;

use std::path::{Path, PathBuf};

use crate::{model::host::SwapDevice, roots::Roots};

/// Ends the path of a deleted file in `/proc/swaps` (Linux, `d_path`).
const DELETED: &str = " (deleted)";

/// Returns the active swap device at `path`, by any name that the kernel has for it, even if the file
/// has been deleted.
pub fn active<'a>(roots: &Roots, path: &Path, devices: &'a [SwapDevice]) -> Option<&'a SwapDevice> {
    let real = std::fs::canonicalize(roots.path(path)).ok();
    let real = real.as_deref().map(|real| roots.shown(real).into_owned());
    devices.iter().find(|device| {
        let shown = unescaped(&device.path);
        let of_deleted = || {
            shown.to_str().and_then(|shown| shown.strip_suffix(DELETED)).map(Path::new)
                == Some(path)
        };
        shown == path || Some(&shown) == real.as_ref() || of_deleted()
    })
}

/// Returns a path of `/proc/swaps` without the kernel's escapes.
pub fn unescaped(text: &str) -> PathBuf {
    super::fields::unescaped(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_paths_are_read_and_links_are_known_by_their_end() {
        assert_eq!(unescaped("/var/a\\040b\\134c"), Path::new("/var/a b\\c"));
        assert_eq!(unescaped("/odd\\04"), Path::new("/odd\\04"));

        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        std::fs::create_dir(folder.path().join("dev")).unwrap();
        std::fs::write(folder.path().join("dev/vdb"), "").unwrap();
        std::os::unix::fs::symlink("vdb", folder.path().join("dev/by-id")).unwrap();
        let device = |path: &str| SwapDevice {
            path: path.to_owned(),
            kind: "partition".to_owned(),
            size_bytes: 1,
            used_bytes: 0,
            priority: 0,
        };
        let devices = [device("/dev/vda"), device("/dev/vdb")];
        let found = |path: &str| active(&roots, Path::new(path), &devices).map(|d| &*d.path);
        assert_eq!(found("/dev/by-id"), Some("/dev/vdb"));
        assert_eq!(found("/dev/vda"), Some("/dev/vda"));
        assert_eq!(found("/dev/vdc"), None);
        let devices = [device("/var/swap\\040file\\040(deleted)")];
        let found = |path: &str| active(&roots, Path::new(path), &devices).is_some();
        assert!(found("/var/swap file"));
        assert!(!found("/var/swap"));
    }
}
