//! Finds compressed RAM disks.
//!
//! Source: Linux `Documentation/admin-guide/blockdev/zram.rst`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    model::{host::SwapDevice, storage::ZramDevice, swap_header::SwapHeader},
    roots::Roots,
};

/// Returns the zram devices with our label.
pub fn zram_devices(roots: &Roots, page_bytes: u64, devices: &[SwapDevice]) -> Vec<ZramDevice> {
    let entries = fs::read_dir(roots.path("/sys/block")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<ZramDevice> = names
        .filter(|name| name.starts_with("zram"))
        .filter_map(|name| {
            let size = roots.path("/sys/block").join(&name).join("disksize");
            let bytes = fs::read_to_string(size).ok()?.trim().parse().ok()?;
            let path = Path::new("/dev").join(&name);
            let mut page = Vec::new();
            let device = fs::File::open(roots.path(&path)).ok()?;
            device.take(page_bytes).read_to_end(&mut page).ok()?;
            SwapHeader::from_page(&page).filter(SwapHeader::is_ours)?;
            let active = super::active(roots, &path, devices).cloned();
            Some(ZramDevice { path, bytes, active })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Returns the device that `zramN` writes pages back to, if it has one.
pub fn backing_device(roots: &Roots, name: &str) -> Option<PathBuf> {
    let path = roots.path("/sys/block").join(name).join("backing_dev");
    let backing = fs::read_to_string(path).ok()?;
    let backing = backing.trim_end_matches('\n');
    (backing != "none" && !backing.is_empty()).then(|| backing.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let page = SwapHeader::ours(1 << 20, 4096, uuid::Uuid::nil()).unwrap().to_page(4096);
        for (name, content) in [("zram0", &b"ext4"[..]), ("zram1", &page), ("vda", &page)] {
            fs::create_dir_all(folder.path().join("sys/block").join(name)).unwrap();
            fs::create_dir_all(folder.path().join("dev")).unwrap();
            fs::write(folder.path().join("sys/block").join(name).join("disksize"), "1048576\n")
                .unwrap();
            fs::write(folder.path().join("dev").join(name), content).unwrap();
        }
        let found = zram_devices(&roots, 4096, &[]);
        let path = Path::new("/dev/zram1").to_owned();
        assert_eq!(found, [ZramDevice { path, bytes: 1 << 20, active: None }]);

        assert_eq!(backing_device(&roots, "zram1"), None);
        fs::write(folder.path().join("sys/block/zram1/backing_dev"), "none\n").unwrap();
        assert_eq!(backing_device(&roots, "zram1"), None);
        fs::write(folder.path().join("sys/block/zram1/backing_dev"), "/dev/sdb\n").unwrap();
        assert_eq!(backing_device(&roots, "zram1"), Some("/dev/sdb".into()));
    }
}
