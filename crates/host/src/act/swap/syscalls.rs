//! System calls that no library of ours wraps.

#![allow(unsafe_code, reason = "foreign functions; each call says why it is sound")]

use std::{
    ffi::CString,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, IFlags, fallocate, ioctl_getflags, ioctl_setflags},
    io::Errno,
};

use crate::config::settings::Discard;

// swapon(2); Linux include/linux/swap.h
const SWAP_FLAG_PREFER: libc::c_int = 0x8000;
const SWAP_FLAG_DISCARD: libc::c_int = 0x1_0000;
const SWAP_FLAG_DISCARD_ONCE: libc::c_int = 0x2_0000;
const SWAP_FLAG_DISCARD_PAGES: libc::c_int = 0x4_0000;

/// `priority` is 0 to 32767.
pub(crate) fn swapon(path: &Path, priority: u16, discard: Discard) -> io::Result<()> {
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

pub(crate) fn swapoff(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends in NUL and outlives the call.
    check(unsafe { libc::swapoff(path.as_ptr()) })
}

/// Returns true if the kernel swaps to `file`: only then it refuses to allocate blocks that the file
/// has already (Linux `fs/open.c`, `vfs_fallocate`).
pub(crate) fn is_swap(file: impl AsFd) -> bool {
    fallocate(file, FallocateFlags::KEEP_SIZE, 0, 4096) == Err(Errno::TXTBSY)
}

/// Sets FS_NOCOW_FL, because on btrfs the blocks of a swapfile must not move. A new file inherits
/// its directory's compression, which excludes that flag, and which swap does not allow.
pub(crate) fn set_nocow(file: &std::fs::File) -> io::Result<()> {
    let mut flags = ioctl_getflags(file)?;
    // In two steps: btrfs rejects FS_NOCOW_FL for a file that still has FS_COMPR_FL.
    if flags.contains(IFlags::COMPRESSED) {
        ioctl_setflags(file, flags - IFlags::COMPRESSED)?;
        flags = ioctl_getflags(file)?;
    }
    Ok(ioctl_setflags(file, flags | IFlags::NOCOW)?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
