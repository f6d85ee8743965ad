//! System calls that no library wraps.

#![allow(unsafe_code, reason = "foreign functions; each call says why it is sound")]

use std::{ffi::CString, io, os::fd::AsRawFd, os::unix::ffi::OsStrExt, path::Path};

use crate::config::settings::Discard;

// swapon(2); Linux include/linux/swap.h
const SWAP_FLAG_PREFER: libc::c_int = 0x8000;
const SWAP_FLAG_DISCARD: libc::c_int = 0x1_0000;
const SWAP_FLAG_DISCARD_ONCE: libc::c_int = 0x2_0000;
const SWAP_FLAG_DISCARD_PAGES: libc::c_int = 0x4_0000;

/// `priority` is 0 to 32767.
pub fn swapon(path: &Path, priority: u16, discard: Discard) -> io::Result<()> {
    let discard = match discard {
        Discard::None => 0,
        Discard::Once => SWAP_FLAG_DISCARD | SWAP_FLAG_DISCARD_ONCE,
        Discard::Pages => SWAP_FLAG_DISCARD | SWAP_FLAG_DISCARD_PAGES,
        Discard::Both => SWAP_FLAG_DISCARD,
    };
    let flags = SWAP_FLAG_PREFER | libc::c_int::from(priority & 0x7fff) | discard;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends in NUL and outlives the call.
    check(unsafe { libc::swapon(path.as_ptr(), flags) })
}

pub fn swapoff(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends in NUL and outlives the call.
    check(unsafe { libc::swapoff(path.as_ptr()) })
}

mod ioctl {
    // ioctl_iflags(2). The kernel reads and writes an int, whatever the number says.
    nix::ioctl_read!(get_flags, b'f', 1, libc::c_long);
    nix::ioctl_write_ptr!(set_flags, b'f', 2, libc::c_long);
}

/// Sets FS_NOCOW_FL: on btrfs, a swapfile's blocks must stay where they are. A new file inherits its
/// folder's compression, which excludes that flag, and which swap cannot have.
pub fn set_nocow(file: &std::fs::File) -> io::Result<()> {
    const FS_COMPR_FL: libc::c_long = 0x4;
    const FS_NOCOW_FL: libc::c_long = 0x0080_0000;
    let mut flags: libc::c_long = 0;
    // SAFETY: the descriptor is open; `flags` is as large as the kernel writes, and outlives both.
    unsafe {
        ioctl::get_flags(file.as_raw_fd(), &raw mut flags)?;
        // One after the other: btrfs refuses FS_NOCOW_FL for a file that has FS_COMPR_FL still.
        if flags & FS_COMPR_FL != 0 {
            flags &= !FS_COMPR_FL;
            ioctl::set_flags(file.as_raw_fd(), &raw const flags)?;
            ioctl::get_flags(file.as_raw_fd(), &raw mut flags)?;
        }
        flags |= FS_NOCOW_FL;
        ioctl::set_flags(file.as_raw_fd(), &raw const flags)?;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
