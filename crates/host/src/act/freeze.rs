//! Freezes the processes of suspended pods, and thaws them.
//!
//! If systemd manages a container's cgroup, systemd freezes it, so that systemd's own state is right.
//! The kernel's file `cgroup.freeze` is decisive: the agent writes a thaw there first, because a thaw
//! must work without systemd.

use std::{ffi::OsStr, fs, io, path::PathBuf, sync::Arc, time::Duration};

use super::{loans::take_back, systemd::UnitRequest};
use crate::{
    bus,
    decide::suspend::Suspensions,
    errors::FileError,
    failpoint,
    model::suspend::{Sleeper, Suspended},
    observe::cgroup::{Cgroup, is_gone},
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
/// Opens the cgroup of a suspended container; `None` if it is gone.
pub(super) fn cgroup(roots: &Roots, sleeper: &Sleeper) -> io::Result<Option<Cgroup>> {
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

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
