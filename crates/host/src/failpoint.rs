//! Places where `make test-faults` kills the process or makes a system call fail. Without the
//! feature `failpoints`, which no shipped build has, this module is empty.

use std::io;

/// Every place, so that the test suite can report those that it has not reached.
pub const PLACES: [&str; 23] = [
    "bus.set",
    "bus.was-set",
    "cgroup.read",
    "evict.ask",
    "evict.asked",
    "file.open",
    "file.rename",
    "file.renamed",
    "file.removed",
    "freeze.ask",
    "freeze.frozen",
    "inotify.watch",
    "limit.write",
    "limit.written",
    "reclaim.step",
    "swap.step",
    "swap.stepped",
    "swapfile.filled",
    "swapfile.link",
    "swapfile.linked",
    "thaw.write",
    "tunable.write",
    "tunable.written",
];

/// Reads `FAILPOINTS`: `place=return(kill)`, `place=2*off->1*return(EIO)`, and other actions of
/// crate `fail`. They apply for as long as the returned value lives.
#[must_use]
pub fn from_environment() -> impl Sized {
    #[cfg(feature = "failpoints")]
    return fail::FailScenario::setup();
}

/// Returns an error if one is configured for this place.
#[cfg(feature = "failpoints")]
pub fn at(place: &'static str) -> io::Result<()> {
    debug_assert!(PLACES.contains(&place), "{place}");
    fail::fail_point!(place, |what| fault(what.as_deref().unwrap_or_default()));
    Ok(())
}

#[cfg(feature = "failpoints")]
fn fault(what: &str) -> io::Result<()> {
    use nix::{errno::Errno, sys::signal};
    Err(match what {
        "kill" => signal::raise(signal::Signal::SIGKILL).err().unwrap_or(Errno::EINTR),
        "EBUSY" => Errno::EBUSY,
        "EINTR" => Errno::EINTR,
        "EIO" => Errno::EIO,
        "ENOSPC" => Errno::ENOSPC,
        "EROFS" => Errno::EROFS,
        other => return Err(io::Error::other(format!("no such fault: {other}"))),
    }
    .into())
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn at(_place: &'static str) -> io::Result<()> {
    Ok(())
}
