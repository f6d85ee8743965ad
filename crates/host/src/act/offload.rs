//! Moves the memory of suspended pods to swap.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    cgroup_reclaim::{Outcome, ReclaimFile},
    freeze::cgroup,
};
use crate::{
    decide::suspend::Suspensions,
    errors::FileError,
    model::{
        suspend::{Sleeper, SuspendStage, Usage},
        swap::SwapMax,
    },
    observe::{
        cgroup::{Cgroup, is_gone},
        node::free_swap_bytes,
    },
    roots::Roots,
};

/// Bytes per write to `memory.reclaim`.
pub(super) const STEP_BYTES: u64 = 16 << 20;
/// Bytes per write while an eviction signal is near its threshold, with a pause before each.
pub(super) const CAREFUL_STEP_BYTES: u64 = 1 << 20;
pub(super) const CAREFUL_PAUSE: Duration = Duration::from_secs(1);
/// Writes without progress before giving up: the kernel sometimes finds nothing although there is
/// more.
pub(super) const TRIES: u32 = 3;
/// A write that reclaims fewer bytes than this counts as no progress.
pub(super) const PROGRESS_BYTES: u64 = 64 << 10;

/// Orders for a running suspension.
#[derive(Debug, Default)]
pub struct Orders {
    stop: AtomicBool,
    careful: AtomicBool,
}

impl Orders {
    /// Stops the suspension, because the pod must be resumed.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes swap slowly while an eviction signal is near its threshold, so that the suspension
    /// causes no eviction.
    pub fn careful(&self, near: bool) {
        self.careful.store(near, Ordering::Relaxed);
    }

    /// Returns the bytes to reclaim now, after a pause if one is due.
    fn step(&self) -> u64 {
        if !self.careful.load(Ordering::Relaxed) {
            return STEP_BYTES;
        }
        std::thread::sleep(CAREFUL_PAUSE);
        CAREFUL_STEP_BYTES
    }
}

/// Returns true if the kernel supports reclaim for this container.
pub fn can_reclaim(roots: &Roots, path: &std::path::Path) -> bool {
    roots.cgroup().join(path).join("memory.reclaim").exists()
}

fn swap_max(cgroup: &Cgroup) -> io::Result<SwapMax> {
    let text = fs::read_to_string(cgroup.path_by_descriptor().join("memory.swap.max"))?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("memory.swap.max: {text}"));
    text.trim().parse().map_err(|_| invalid())
}

/// Reads a container's use; `None` if it is gone.
pub fn usage(roots: &Roots, path: &std::path::Path, inode: u64) -> io::Result<Option<Usage>> {
    let found = Cgroup::open(&roots.cgroup().join(path)).map_err(io::Error::other)?;
    let Some(cgroup) = found else { return Ok(None) };
    if cgroup.inode().map_err(io::Error::other)? != inode {
        return Ok(None);
    }
    match read_usage(&cgroup) {
        Ok(usage) => Ok(Some(usage)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads again what the containers of suspended pods use. A file that cannot be read stays
/// unchanged.
pub fn read_again(roots: &Roots, pods: &mut Suspensions) {
    let asleep = pods.iter().filter(|pod| pod.stage == SuspendStage::Asleep);
    for pod in asleep.cloned().collect::<Vec<_>>() {
        let now = |sleeper: &Sleeper| {
            usage(roots, &sleeper.path, sleeper.inode).ok().flatten().or(sleeper.after)
        };
        let after: Vec<_> = pod.containers.iter().map(now).collect();
        pods.slept(&pod.uid, &after);
    }
}

fn read_usage(cgroup: &Cgroup) -> io::Result<Usage> {
    let folder = cgroup.path_by_descriptor();
    let number = |name: &str| -> io::Result<u64> {
        let text = fs::read_to_string(folder.join(name))?;
        text.trim()
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {error}")))
    };
    let stat = fs::read_to_string(folder.join("memory.stat"))?;
    let field = |name: &str| -> u64 {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    Ok(Usage {
        memory_bytes: number("memory.current")?,
        swap_bytes: number("memory.swap.current")?,
        // Shared memory counts as file memory, but needs swap.
        file_bytes: field("file").saturating_sub(field("shmem")),
    })
}

/// Reclaims the container's budget step by step until nothing more can be reclaimed, swap runs
/// short or `orders` stop it. Returns the use afterwards. Blocks.
pub fn put_to_sleep(
    roots: &Roots,
    sleeper: &Sleeper,
    keep_swap_free_bytes: u64,
    orders: &Orders,
) -> Result<Option<Usage>, FileError> {
    let failed = |error| FileError::of("reclaim memory of", &sleeper.path)(error);
    let Some(cgroup) = cgroup(roots, sleeper).map_err(failed)? else { return Ok(None) };
    let mut usage = read_usage(&cgroup).map_err(failed)?;
    let Some(mut file) = ReclaimFile::open(&cgroup).map_err(failed)? else { return Ok(None) };
    let swap_at_most = sleeper.before.swap_bytes.saturating_add(sleeper.budget_bytes);
    let mut tries = 0;
    // Without a budget the file cache stays too: dropping it would only cause reads.
    while sleeper.budget_bytes > 0 && tries < TRIES && !orders.is_stopped() {
        let free = free_swap_bytes(roots).map_err(|error| failed(io::Error::other(error)))?;
        let left = swap_at_most.saturating_sub(usage.swap_bytes);
        let room = left.min(free.saturating_sub(keep_swap_free_bytes));
        // Then the kernel takes no more swap for any request than there is room for, but frees
        // pages that are in swap already.
        let within = SwapMax::Bytes(usage.swap_bytes.saturating_add(room + PROGRESS_BYTES));
        let is_bounded = swap_max(&cgroup).map_err(failed)? <= within;
        if room == 0 && !is_bounded {
            break;
        }
        let step = match is_bounded {
            true => orders.step(),
            false => orders.step().min(usage.file_bytes.saturating_add(room)),
        };
        let done = file.reclaim(step.min(usage.memory_bytes).max(4096), None);
        if done.map_err(|error| failed(io::Error::other(error)))? == Outcome::Gone {
            return Ok(None);
        }
        let now = match read_usage(&cgroup) {
            Ok(now) => now,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let progress = usage.memory_bytes.saturating_sub(now.memory_bytes) >= PROGRESS_BYTES;
        tries = if progress { 0 } else { tries + 1 };
        usage = now;
    }
    Ok(Some(usage))
}
