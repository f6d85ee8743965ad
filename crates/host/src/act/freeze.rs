//! Freezes the processes of suspended pods, reclaims their memory, and thaws them.
//!
//! If systemd manages a container's cgroup, systemd freezes it, so that its own state is right. The
//! kernel's file `cgroup.freeze` is decisive: the agent writes a thaw there first, because waking
//! must work without systemd.

use std::{
    ffi::OsStr,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    bus,
    cgroup_reclaim::{Outcome, ReclaimFile},
    loans::take_back,
    systemd::UnitRequest,
};
use crate::{
    decide::suspend::Suspensions,
    errors::FileError,
    failpoint,
    model::{
        suspend::{Sleeper, SuspendStage, Suspended, Usage},
        swap::SwapMax,
    },
    observe::{
        cgroup::{Cgroup, is_gone},
        node::free_swap_bytes,
    },
    roots::Roots,
    state::StateFile,
};

const FREEZE: &str = "cgroup.freeze";
const EVENTS: &str = "cgroup.events";
/// Time to wait for a freeze: a process inside the kernel freezes only when it returns from there.
const FREEZING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Time to wait for systemd after a thaw, which has already taken effect.
const TELLING: Duration = Duration::from_secs(2);
/// Bytes per write to `memory.reclaim`.
const STEP_BYTES: u64 = 16 << 20;
/// Bytes per write while an eviction signal is near its threshold, with a pause before each.
const CAREFUL_STEP_BYTES: u64 = 1 << 20;
const CAREFUL_PAUSE: Duration = Duration::from_secs(1);
/// Writes without progress before giving up: the kernel sometimes finds nothing although there is
/// more.
const TRIES: u32 = 3;
/// A write that reclaims fewer bytes than this counts as no progress.
const PROGRESS_BYTES: u64 = 64 << 10;

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

/// Opens the sleeper's cgroup; `None` if it is gone.
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

/// Returns true if the container is still frozen.
pub fn is_asleep(roots: &Roots, sleeper: &Sleeper) -> bool {
    cgroup(roots, sleeper).is_ok_and(|found| found.is_some_and(|c| is_frozen(&c).unwrap_or(false)))
}

/// Returns true if the kernel supports reclaim for this container.
pub fn can_reclaim(roots: &Roots, path: &std::path::Path) -> bool {
    roots.cgroup().join(path).join("memory.reclaim").exists()
}

/// A container that could not be frozen.
#[derive(Debug, thiserror::Error)]
#[error("cannot freeze {cgroup}: {source}")]
pub struct FreezeError {
    pub cgroup: PathBuf,
    #[source]
    pub source: NotFrozen,
}

/// The reason why a container was not frozen.
#[derive(Debug, thiserror::Error)]
pub enum NotFrozen {
    #[error("the container is gone")]
    Gone,
    #[error(transparent)]
    Kernel(#[from] io::Error),
    #[error("systemd: {0}")]
    Systemd(#[from] zbus::Error),
    #[error("its processes did not stop within {} s", FREEZING.as_secs())]
    Late,
}

/// systemd does not know that units were thawed.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    #[error("systemd: {0}")]
    Systemd(#[from] zbus::Error),
    #[error("systemd did not answer within {} s", TELLING.as_secs())]
    Late,
}

/// Freezes one container.
pub async fn freeze(roots: &Roots, sleeper: &Sleeper) -> Result<(), FreezeError> {
    let failed = |source| FreezeError { cgroup: sleeper.path.clone(), source };
    freeze_now(roots, sleeper).await.map_err(failed)
}

async fn freeze_now(roots: &Roots, sleeper: &Sleeper) -> Result<(), NotFrozen> {
    let cgroup = cgroup(roots, sleeper)?.ok_or(NotFrozen::Gone)?;
    failpoint::at("freeze.ask")?;
    match &sleeper.unit {
        Some(unit) => {
            let asked = async {
                let connection = bus::connect(&roots.system_bus()).await?;
                bus::freezer(&connection, "FreezeUnit", unit).await
            };
            asked.await.map_err(NotFrozen::Systemd)?;
        }
        None => write(&cgroup, "1")?,
    }
    let frozen = async {
        while !is_frozen(&cgroup)? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok::<(), io::Error>(())
    };
    tokio::time::timeout(FREEZING, frozen).await.map_err(|_| NotFrozen::Late)??;
    Ok(failpoint::at("freeze.frozen")?)
}

/// Thaws a container immediately. Does nothing if the container is gone.
pub fn thaw(roots: &Roots, sleeper: &Sleeper) -> Result<(), FileError> {
    let failed = |error| FileError::of("thaw", &sleeper.path)(error);
    let Some(cgroup) = cgroup(roots, sleeper).map_err(failed)? else { return Ok(()) };
    failpoint::at("thaw.write").map_err(failed)?;
    match write(&cgroup, "0") {
        Err(error) if !is_gone(&error) => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The failures to thaw, one for each pod or cgroup.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct StillFrozen(pub Vec<String>);

/// The pods or cgroups thawed after the agent that had frozen them has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Thawed {
    /// Names of pods or cgroups, for people.
    pub what: Vec<String>,
    pub failed: Vec<String>,
    /// Their systemd units, for [`tell_thawed`].
    pub units: Vec<Arc<str>>,
    /// Limits without a loan, for [`super::systemd::hold`].
    pub limits: Vec<UnitRequest>,
}

impl Thawed {
    /// Thaws the containers of one pod; returns true if all of them run. The agent does not freeze a
    /// VM's launcher.
    fn pod(&mut self, roots: &Roots, pod: &Suspended) -> bool {
        let frozen = pod.containers.iter().filter(|_| !pod.vm);
        let before = self.failed.len();
        // The next agent corrects what fails here; the pod runs all the same.
        self.limits.extend(take_back(roots, pod));
        for sleeper in frozen {
            match thaw(roots, sleeper) {
                Ok(()) => self.units.extend(sleeper.unit.clone()),
                Err(error) => self.failed.push(error.to_string()),
            }
        }
        let runs = self.failed.len() == before;
        self.what.extend(runs.then(|| format!("{}/{}", pod.namespace, pod.name)));
        runs
    }

    /// Returns an error that names everything that is still frozen.
    pub fn result(&self) -> Result<(), StillFrozen> {
        if self.failed.is_empty() { Ok(()) } else { Err(StillFrozen(self.failed.clone())) }
    }
}

/// Thaws the pods in an earlier agent's state file; if that cannot be read, everything that is
/// frozen.
pub fn thaw_left(roots: &Roots) -> Thawed {
    match StateFile::<Suspensions>::new(roots).load() {
        Ok(pods) => thaw_recorded(roots, pods.unwrap_or_default(), |_| true),
        Err(_) => thaw_all(roots),
    }
}

/// Thaws the `chosen` ones of the pods in an earlier agent's state file, and removes them from it:
/// otherwise the next agent would continue to lend them swap.
pub fn thaw_recorded(
    roots: &Roots,
    mut pods: Suspensions,
    chosen: impl Fn(&Suspended) -> bool,
) -> Thawed {
    let mut thawed = Thawed::default();
    let chosen: Vec<Suspended> = pods.iter().filter(|pod| chosen(pod)).cloned().collect();
    for pod in &chosen {
        if thawed.pod(roots, pod) {
            pods.remove(&pod.uid);
        }
    }
    if !thawed.what.is_empty()
        && let Err(error) = StateFile::new(roots).save(&pods)
    {
        thawed.failed.push(error.to_string());
    }
    thawed
}

/// Thaws every frozen cgroup of pods, whichever program has frozen it.
pub fn thaw_all(roots: &Roots) -> Thawed {
    let mut thawed = Thawed::default();
    let mut ahead: Vec<PathBuf> = roots.pods().to_vec();
    while let Some(path) = ahead.pop() {
        match thaw_if_frozen(roots, &path) {
            Ok(true) => {
                let unit = path.file_name().and_then(OsStr::to_str);
                let is_unit = |name: &&str| name.ends_with(".scope") || name.ends_with(".slice");
                thawed.units.extend(unit.filter(is_unit).map(Arc::from));
                thawed.what.push(path.display().to_string());
            }
            Ok(false) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => thawed.failed.push(format!("cannot thaw {}: {error}", path.display())),
        }
        match children(roots, &path) {
            Ok(below) => ahead.extend(below),
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                let text = format!("cannot look for frozen cgroups in {}: {error}", path.display());
                thawed.failed.push(text);
            }
        }
    }
    thawed
}

/// Returns true if the cgroup was frozen or was being frozen.
fn thaw_if_frozen(roots: &Roots, path: &std::path::Path) -> io::Result<bool> {
    let found = Cgroup::open(&roots.cgroup().join(path)).map_err(io::Error::other)?;
    let Some(cgroup) = found else { return Ok(false) };
    let freezing = || {
        let text = fs::read_to_string(cgroup.path_by_descriptor().join(FREEZE))?;
        Ok::<bool, io::Error>(text.trim() == "1")
    };
    if !is_frozen(&cgroup)? && !freezing()? {
        return Ok(false);
    }
    failpoint::at("thaw.write")?;
    write(&cgroup, "0")?;
    Ok(true)
}

fn children(roots: &Roots, path: &std::path::Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(roots.cgroup().join(path))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(path.join(entry.file_name()));
        }
    }
    Ok(found)
}

/// Informs systemd of the thaw. The units run even without this.
pub async fn tell_thawed(roots: &Roots, units: &[Arc<str>]) -> Result<(), TellError> {
    if units.is_empty() {
        return Ok(());
    }
    let tell = async {
        let connection = bus::connect(&roots.system_bus()).await?;
        for unit in units {
            match bus::freezer(&connection, "ThawUnit", unit).await {
                Err(error) if bus::is_broken(&error) => return Err(error),
                // The unit is gone, or systemd already has the right state.
                _ => {}
            }
        }
        Ok(())
    };
    Ok(tokio::time::timeout(TELLING, tell).await.map_err(|_| TellError::Late)??)
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

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
