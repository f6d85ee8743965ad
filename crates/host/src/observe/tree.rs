//! The cgroups of pods and containers, kept up to date by inotify: it reports every new and every
//! removed cgroup, and every write to a `memory.swap.max`, so that nothing is read in between.
//!
//! cgroupfs reports mkdir and rmdir of cgroups and writes to their files, but not the files that
//! the kernel adds when a controller is enabled. So where a limit's file is missing, this watches
//! the parent's `cgroup.subtree_control`.

mod walk;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::inotify::WatchDescriptor;
use watches::Watched;

use super::{
    cgroup::{Cgroup, LIMIT_FILE},
    command_lines::CommandLines,
    events::Events,
    process::{self, Runs},
};
use crate::{
    errors::FileError,
    model::{
        host::{CgroupLevel, ContainerFacts, Holder, Manager, PodFacts, RUNTIME_CHILD, Role},
        pod::{ContainerId, Pod, PodUid},
    },
    roots::Roots,
};

#[derive(Debug)]
struct Entry {
    pod: PodUid,
    path: Arc<Path>,
    /// Distinguishes it from a later cgroup with the same path.
    inode: u64,
    manager: Manager,
    /// From the runtime's bundle.
    role: Role,
    started: Started,
    watches: Vec<WatchDescriptor>,
}

/// The state of the container's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    /// The runtime may still create its child cgroup.
    NotYet,
    /// The container itself creates any further cgroup in its own.
    With { runtime_child: bool },
}

/// A pod's own cgroup.
#[derive(Debug)]
struct PodEntry {
    path: Arc<Path>,
    manager: Manager,
    watches: Vec<WatchDescriptor>,
}

/// The changes since the last call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or its limit was written.
    pub touched: BTreeSet<Holder>,
    pub gone: BTreeSet<Holder>,
}

#[derive(Debug)]
pub struct Tree {
    roots: Roots,
    root: PathBuf,
    events: Events,
    watched: HashMap<WatchDescriptor, Watched>,
    containers: BTreeMap<ContainerId, Box<Entry>>,
    /// The reason for a missing watch, since the last scan.
    deaf: Option<String>,
    /// An index, so that a query about a pod does not go through all containers.
    of_pods: HashMap<PodUid, BTreeSet<ContainerId>>,
    pods: BTreeMap<PodUid, PodEntry>,
    command_lines: CommandLines,
}

impl Tree {
    /// Finds all existing pods and containers, and watches for more.
    pub fn new(roots: &Roots) -> io::Result<(Self, Changes)> {
        let mut tree = Self {
            roots: roots.clone(),
            root: roots.cgroup(),
            events: Events::new()?,
            watched: HashMap::new(),
            containers: BTreeMap::new(),
            deaf: None,
            of_pods: HashMap::new(),
            pods: BTreeMap::new(),
            command_lines: CommandLines::new(roots),
        };
        let mut changes = Changes::default();
        tree.scan(&mut changes);
        Ok((tree, changes))
    }

    /// Searches for pods below other cgroups from now on (`Roots::with_pods`).
    pub fn look_below(&mut self, roots: &Roots, changes: &mut Changes) {
        self.roots = roots.clone();
        let moved = |entry: &Entry| !roots.pods().iter().any(|pods| entry.path.starts_with(pods));
        let moved = self.containers.iter().filter(|(_, entry)| moved(entry));
        for id in moved.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id, changes);
        }
        let elsewhere = |path: &Path| !roots.pods().iter().any(|pods| path.starts_with(pods));
        let left = self.pods.values().map(|entry| entry.path.clone());
        let left: Vec<Arc<Path>> = left.filter(|path| elsewhere(path)).collect();
        for path in left {
            self.leave(&path, changes);
        }
        self.scan(changes);
    }

    /// Waits until the kernel reports changes, and takes a bounded number of them, so that one
    /// container does not delay the others. Cancel safe.
    pub async fn changed(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        tokio::select! {
            events = self.events.next() => {
                for event in events? {
                    self.event(event.wd, event.mask, event.name.as_deref(), &mut changes);
                }
            }
            (id, runs) = self.command_lines.answered() => {
                if runs == Runs::Program && self.has_started(&id) {
                    changes.touched.insert(id.into());
                }
            }
        }
        Ok(changes)
    }

    /// Returns the reason why changes may go unnoticed until the next scan, if there is one.
    pub fn deaf(&self) -> Option<String> {
        self.deaf.clone()
    }

    pub fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.containers.keys()
    }

    /// Containers whose cgroups have no `memory.swap.max`, so that no limit can be set.
    pub fn without_limit(&self) -> impl Iterator<Item = &ContainerId> {
        let lacks = |entry: &Entry| {
            let folder = self.root.join(&entry.path);
            !folder.join(LIMIT_FILE).exists() && folder.is_dir()
        };
        self.containers.iter().filter(move |(_, entry)| lacks(entry)).map(|(id, _)| id)
    }

    /// Returns every pod that has a cgroup.
    pub fn pods(&self) -> impl Iterator<Item = &PodUid> {
        self.pods.keys()
    }

    /// Returns all containers and pods.
    pub fn owners(&self) -> impl Iterator<Item = Holder> {
        let containers = self.containers.keys().cloned().map(Holder::Container);
        containers.chain(self.pods.keys().cloned().map(Holder::Pod))
    }

    /// Returns the cgroup of `pod`, as a path below the cgroup root.
    pub fn folder_of(&self, pod: &PodUid) -> Option<&Path> {
        self.pods.get(pod).map(|entry| &*entry.path)
    }

    /// Returns the containers of `pod`.
    pub fn of_pod(&self, pod: &PodUid) -> impl Iterator<Item = &ContainerId> + use<'_> {
        self.of_pods.get(pod).into_iter().flatten()
    }

    pub fn pod_of(&self, id: &ContainerId) -> Option<&PodUid> {
        self.containers.get(id).map(|entry| &entry.pod)
    }

    /// Reads a container's current state; `None` if it is gone or has no memory controller yet.
    pub fn facts(
        &mut self,
        id: &ContainerId,
        pod: Option<&Pod>,
    ) -> Result<Option<ContainerFacts>, FileError> {
        let Some(entry) = self.containers.get_mut(id) else { return Ok(None) };
        let folder = self.root.join(&entry.path);
        let Some(container) = Cgroup::open(&folder)? else { return Ok(None) };
        let Some(level) = container.level(CgroupLevel::Container)? else { return Ok(None) };
        let mut levels = vec![level];
        let child = match entry.started {
            Started::With { runtime_child: false } => None,
            _ => Cgroup::open(&folder.join(RUNTIME_CHILD))?,
        };
        if let Some(child) = &child {
            match child.level(CgroupLevel::RuntimeChild) {
                // A container with a writable cgroup can lock the agent, which has no capability, out
                // of it. The limit of the level above holds for it all the same.
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {}
                level => levels.extend(level?),
            }
        }
        if entry.started == Started::NotYet {
            let own = [Some(&container), child.as_ref()].into_iter().flatten();
            let processes: Vec<u32> = own.flat_map(Cgroup::processes).collect();
            let runs = match processes.is_empty() {
                false => process::runs(&self.roots, &processes),
                // Its processes are in cgroups that the container has created, or in the runtime's
                // child, which was created only just now.
                true if container.is_populated()
                    && child.is_some() == folder.join(RUNTIME_CHILD).is_dir() =>
                {
                    Runs::Program
                }
                true => Runs::Runtime,
            };
            match runs {
                Runs::Program => {
                    self.has_started(id);
                }
                Runs::Doubtful(processes) => self.command_lines.ask(id, processes),
                Runs::Runtime => {}
            }
        }
        let Some(entry) = self.containers.get(id) else { return Ok(None) };
        // The API server has the better information; the bundle has it earlier.
        let role = pod.and_then(|pod| pod.container_by_id(id)).map_or_else(
            || entry.role.clone(),
            |container| Role::Container(container.name.clone()),
        );
        Ok(Some(ContainerFacts {
            id: id.clone(),
            pod: entry.pod.clone(),
            role,
            manager: entry.manager.clone(),
            starting: entry.started == Started::NotYet,
            path: entry.path.clone(),
            levels,
        }))
    }

    /// Reads the current state of a pod's own cgroup; `None` as for [`Tree::facts`].
    pub fn pod_facts(&self, uid: &PodUid) -> Result<Option<PodFacts>, FileError> {
        let Some(entry) = self.pods.get(uid) else { return Ok(None) };
        let Some(cgroup) = Cgroup::open(&self.root.join(&entry.path))? else { return Ok(None) };
        Ok(cgroup.level(CgroupLevel::Pod)?.map(|level| PodFacts {
            uid: uid.clone(),
            manager: entry.manager.clone(),
            path: entry.path.clone(),
            level,
        }))
    }

    /// Records that the container's program runs, unless the runtime has created its child only
    /// just now. A container can create any number of cgroups in its own, so further ones are not
    /// watched.
    fn has_started(&mut self, id: &ContainerId) -> bool {
        let Some(entry) = self.containers.get_mut(id) else { return false };
        if entry.started != Started::NotYet {
            return false;
        }
        let child = self.root.join(&entry.path).join(RUNTIME_CHILD);
        let runtime_child = child.is_dir();
        entry.started = Started::With { runtime_child };
        let (folder, rest) = std::mem::take(&mut entry.watches)
            .into_iter()
            .partition(|wd| matches!(self.watched.get(wd), Some(Watched::Container(_))));
        entry.watches = rest;
        self.unwatch(folder);
        if runtime_child {
            self.watch_limits(&id.clone().into());
        }
        true
    }

    fn path_of(&self, owner: &Holder) -> Option<&Arc<Path>> {
        match owner {
            Holder::Container(id) => self.containers.get(id).map(|entry| &entry.path),
            Holder::Pod(uid) => self.pods.get(uid).map(|entry| &entry.path),
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
