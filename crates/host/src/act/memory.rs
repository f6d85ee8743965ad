//! Keeps the agent's own memory in RAM. Its program and libraries are file pages, which the kernel
//! reclaims under pressure even though the agent never swaps.

use nix::{
    errno::Errno,
    sys::mman::{MlockAllFlags, mlockall},
};

/// Reads in and locks all current mappings, and locks later ones on first use, so that stacks and
/// the heap's reserves stay small. Call it before any thread starts.
///
/// Needs no capability if RLIMIT_MEMLOCK allows it (`LimitMEMLOCK=` of the unit).
pub fn lock() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    mlockall(MlockAllFlags::MCL_FUTURE | on_fault)
}
