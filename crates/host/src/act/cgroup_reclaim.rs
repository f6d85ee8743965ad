//! Asks the kernel to reclaim memory of a cgroup.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "memory.reclaim".

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use crate::{failpoint, observe::cgroup::Cgroup};

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// The kernel reclaimed the requested amount.
    All,
    /// The kernel reclaimed less, because it found no more (EAGAIN).
    Short,
}

/// Reclaims `bytes` of `cgroup`. The write blocks until the kernel is done, so call it from a
/// thread of its own, and in small steps.
pub fn reclaim(cgroup: &Cgroup, bytes: u64) -> io::Result<Reclaimed> {
    failpoint::at("reclaim.step")?;
    let file = cgroup.path_by_descriptor().join("memory.reclaim");
    let written = OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut file| file.write(bytes.to_string().as_bytes()));
    match written {
        Ok(_) => Ok(Reclaimed::All),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(Reclaimed::Short),
        Err(error) => Err(error),
    }
}
