//! Stops the processes of suspended pods, has their memory reclaimed, and lets them run again.
//!
//! Where systemd manages a container's cgroup, systemd freezes it, so that it knows. The kernel's file
//! `cgroup.freeze` is what counts: a thaw is written there first, since it must work without systemd.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{bus, cgroup_reclaim::reclaim};
use crate::{
    failpoint,
    model::suspend::{Sleeper, Usage},
    observe::{
        cgroup::{Cgroup, is_gone},
        node::free_swap_bytes,
    },
    roots::Roots,
};

const FREEZE: &str = "cgroup.freeze";
const EVENTS: &str = "cgroup.events";
/// A process in the kernel freezes only when it returns from there.
const FREEZING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// systemd is told of a thaw that has happened already.
const TELLING: Duration = Duration::from_secs(2);
/// One write to `memory.reclaim`.
const STEP_BYTES: u64 = 16 << 20;
/// The kernel gives up now and then though there is more.
const TRIES: u32 = 3;
/// Less in a step is as good as nothing.
const PROGRESS_BYTES: u64 = 64 << 10;

/// The sleeper's cgroup; `None` where it is gone.
fn cgroup(roots: &Roots, sleeper: &Sleeper) -> io::Result<Option<Cgroup>> {
    let found = Cgroup::open(&roots.cgroup().join(&sleeper.path)).map_err(io::Error::other)?;
    let Some(cgroup) = found else { return Ok(None) };
    let inode = cgroup.inode().map_err(io::Error::other)?;
    Ok((inode == sleeper.inode).then_some(cgroup))
}

fn write(cgroup: &Cgroup, text: &str) -> io::Result<()> {
    fs::write(cgroup.path_by_descriptor().join(FREEZE), text)
}

fn is_frozen(cgroup: &Cgroup) -> io::Result<bool> {
    let text = fs::read_to_string(cgroup.path_by_descriptor().join(EVENTS))?;
    Ok(text.lines().any(|line| line == "frozen 1"))
}

/// Whether a container is as it was left: frozen.
pub fn is_asleep(roots: &Roots, sleeper: &Sleeper) -> bool {
    cgroup(roots, sleeper).is_ok_and(|found| found.is_some_and(|c| is_frozen(&c).unwrap_or(false)))
}

/// Whether the kernel can be asked for memory of this container.
pub fn can_reclaim(roots: &Roots, path: &std::path::Path) -> bool {
    roots.cgroup().join(path).join("memory.reclaim").exists()
}

/// Freezes one container; an error names its cgroup.
pub async fn freeze(roots: &Roots, sleeper: &Sleeper) -> Result<(), String> {
    let failed = |error: String| format!("cannot freeze {}: {error}", sleeper.path.display());
    let gone = || failed("the container is gone".to_owned());
    let found = cgroup(roots, sleeper).map_err(|error| failed(error.to_string()))?;
    let cgroup = found.ok_or_else(gone)?;
    failpoint::at("freeze.ask").map_err(|error| failed(error.to_string()))?;
    match &sleeper.unit {
        Some(unit) => {
            let asked = async {
                let connection = bus::connect(&roots.system_bus()).await?;
                bus::freezer(&connection, "FreezeUnit", unit).await
            };
            asked.await.map_err(|error| failed(format!("systemd: {error}")))?;
        }
        None => write(&cgroup, "1").map_err(|error| failed(error.to_string()))?,
    }
    let frozen = async {
        while !is_frozen(&cgroup)? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok::<(), io::Error>(())
    };
    match tokio::time::timeout(FREEZING, frozen).await {
        Ok(result) => result.map_err(|error| failed(error.to_string()))?,
        Err(_) => {
            return Err(failed(format!("its processes did not stop in {} s", FREEZING.as_secs())));
        }
    }
    failpoint::at("freeze.frozen").map_err(|error| failed(error.to_string()))
}

/// Lets a container run again, at once. A container that is gone needs nothing.
pub fn thaw(roots: &Roots, sleeper: &Sleeper) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot thaw {}: {error}", sleeper.path.display());
    let Some(cgroup) = cgroup(roots, sleeper).map_err(failed)? else { return Ok(()) };
    failpoint::at("thaw.write").map_err(failed)?;
    match write(&cgroup, "0") {
        Err(error) if !is_gone(&error) => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Has systemd know that these run again. It is not needed for them to run.
pub async fn tell_thawed(roots: &Roots, sleepers: &[Sleeper]) -> Result<(), String> {
    let units: Vec<_> = sleepers.iter().filter_map(|sleeper| sleeper.unit.as_deref()).collect();
    if units.is_empty() {
        return Ok(());
    }
    let tell = async {
        let connection = bus::connect(&roots.system_bus()).await?;
        for unit in units {
            match bus::freezer(&connection, "ThawUnit", unit).await {
                Err(error) if bus::is_broken(&error) => return Err(error),
                // The unit is gone, or systemd knows already.
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(TELLING, tell).await {
        Ok(result) => result.map_err(|error| format!("systemd: {error}")),
        Err(_) => Err(format!("systemd did not answer in {} s", TELLING.as_secs())),
    }
}

/// What a container uses; `None` where it is gone.
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
        // Shared memory counts as file, but it needs swap.
        file_bytes: field("file").saturating_sub(field("shmem")),
    })
}

/// Reclaims what may be, step by step, until nothing more comes, swap runs short or `stop` is set. What it uses
/// then. Blocks.
pub fn put_to_sleep(
    roots: &Roots,
    sleeper: &Sleeper,
    keep_swap_free_bytes: u64,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Usage>, String> {
    let failed =
        |error: io::Error| format!("cannot reclaim memory of {}: {error}", sleeper.path.display());
    let Some(cgroup) = cgroup(roots, sleeper).map_err(failed)? else { return Ok(None) };
    let mut usage = read_usage(&cgroup).map_err(failed)?;
    let swap_at_most = sleeper.before.swap_bytes.saturating_add(sleeper.budget_bytes);
    let mut tries = 0;
    // Without a budget its file cache is left alone, too: nothing would come of it but reads.
    while sleeper.budget_bytes > 0 && tries < TRIES && !stop.load(Ordering::Relaxed) {
        let free = free_swap_bytes(roots).map_err(|error| failed(io::Error::other(error)))?;
        let room = swap_at_most
            .saturating_sub(usage.swap_bytes)
            .min(free.saturating_sub(keep_swap_free_bytes));
        if room == 0 {
            break;
        }
        let step = STEP_BYTES.min(usage.file_bytes.saturating_add(room)).max(4096);
        let result = reclaim(&cgroup, step.min(usage.memory_bytes.max(4096)));
        let now = match result.and_then(|_| read_usage(&cgroup)) {
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

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
