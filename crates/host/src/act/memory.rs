//! Keeps the agent's own memory in RAM. Its program and libraries are file pages, which the kernel
//! reclaims under pressure even though the agent never swaps.

use nix::{
    errno::Errno,
    sys::mman::{MlockAllFlags, mlockall},
};

/// Locks every page of all mappings, current and later, when it is first used. Call it before any
/// thread starts.
///
/// Pages that are never used stay out of RAM: to lock the whole program and its libraries costs 3 MB,
/// and saves at most three page faults while pods thrash (docs/figures.md). By then the agent has
/// already used the pages that it needs: those of a pass, a request over TLS, a call over D-Bus.
///
/// Needs no capability if RLIMIT_MEMLOCK allows it (`LimitMEMLOCK=` of the unit).
pub fn lock() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}
