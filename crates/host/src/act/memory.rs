//! Keeps the agent's own memory in RAM: its program and libraries are file pages, which the kernel
//! reclaims under pressure though the agent never swaps.

use nix::{
    errno::Errno,
    sys::mman::{MlockAllFlags, mlockall},
};

/// Reads in and locks all that is mapped now, and locks what comes later when it is first used: stacks
/// and the heap's reserves stay small. To be called before any thread is started.
///
/// Needs no capability where RLIMIT_MEMLOCK allows it (`LimitMEMLOCK=` of the unit).
pub fn lock() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    mlockall(MlockAllFlags::MCL_FUTURE | on_fault)
}
