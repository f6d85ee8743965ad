//! Adds and removes compressed RAM disks.
//!
//! Source: Linux `Documentation/admin-guide/blockdev/zram.rst`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::roots::Roots;

const CONTROL: &str = "/sys/class/zram-control";

/// Returns true if the kernel module is loaded.
pub fn is_there(roots: &Roots) -> bool {
    roots.path(CONTROL).is_dir()
}

/// Adds a device of `bytes`.
pub fn add(roots: &Roots, bytes: u64) -> io::Result<PathBuf> {
    let control = roots.path(CONTROL).join("hot_add");
    let number: u32 = fs::read_to_string(control)?.trim().parse().map_err(io::Error::other)?;
    let name = format!("zram{number}");
    let size = roots.path("/sys/block").join(&name).join("disksize");
    fs::write(size, bytes.to_string())?;
    Ok(Path::new("/dev").join(name))
}

pub fn remove(roots: &Roots, path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let number = name.to_string_lossy().trim_start_matches("zram").to_owned();
    fs::write(roots.path("/sys/block").join(name).join("reset"), "1")?;
    fs::write(roots.path(CONTROL).join("hot_remove"), number)
}
