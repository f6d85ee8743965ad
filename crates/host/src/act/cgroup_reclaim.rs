//! Asks the kernel to reclaim memory of a cgroup.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "memory.reclaim".

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use crate::{failpoint, observe::cgroup::Cgroup};

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// As much as was asked for.
    All,
    /// All that could be (EAGAIN).
    Short,
}

/// Has `bytes` of `cgroup` reclaimed. The write blocks until that is done, so it belongs into a thread of its own,
/// and in small steps.
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
