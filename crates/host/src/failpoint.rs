//! Places where `make test-faults` kills the process or has a system call fail. Without the feature
//! `failpoints`, which nothing that ships is built with, there is nothing here.

use std::io;

/// Every place, so that the suite can tell which it has not been to.
pub const PLACES: [&str; 19] = [
    "bus.set",
    "bus.was-set",
    "cgroup.read",
    "evict.ask",
    "evict.asked",
    "file.open",
    "file.rename",
    "file.renamed",
    "file.removed",
    "inotify.watch",
    "limit.write",
    "limit.written",
    "swap.step",
    "swap.stepped",
    "swapfile.filled",
    "swapfile.link",
    "swapfile.linked",
    "tunable.write",
    "tunable.written",
];

/// Reads `FAILPOINTS`: `place=return(kill)`, `place=2*off->1*return(EIO)`, and what else crate `fail`
/// understands. For as long as what is returned lives.
#[must_use]
pub fn from_environment() -> impl Sized {
    #[cfg(feature = "failpoints")]
    return fail::FailScenario::setup();
}

/// An error where one is wanted here.
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
