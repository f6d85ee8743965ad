//! The cgroups of pods and containers, kept up to date by inotify: it reports every new and every
//! removed cgroup, and every write to a `memory.swap.max`, so that nothing is read in between.
//!
//! cgroupfs reports mkdir and rmdir of cgroups and writes to their files, but not the files that
//! the kernel adds when a controller is enabled. So where a limit's file is missing, this watches
//! the parent's `cgroup.subtree_control`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::{
    bundle,
    cgroup::{Cgroup, LIMIT_FILE, is_gone},
    command_lines::CommandLines,
    events::Events,
    names::{Below, InPod, below_kubepods, in_pod},
    process::{self, Runs},
};
use crate::{
    errors::FileError,
    failpoint,
    model::{
        host::{CgroupLevel, ContainerFacts, Holder, Manager, PodFacts, RUNTIME_CHILD, Role},
        pod::{ContainerId, Pod, PodUid},
    },
    roots::Roots,
};

const CONTROLLERS_FILE: &str = "cgroup.subtree_control";

/// The object of a watch. Paths are below the cgroup root.
#[derive(Clone, Debug)]
enum Watched {
    /// A folder that contains pods' cgroups, or folders of such.
    Interior(PathBuf),
    Pod(PathBuf, PodUid),
    Container(ContainerId),
    /// A `memory.swap.max`.
    Limit(Holder),
    /// A `cgroup.subtree_control`: a write to it can create the limits' files in the folders below.
    Controllers(PathBuf),
}

/// The result of adding a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    On(WatchDescriptor),
    /// The kernel refused another watch: the file exists all the same.
    Refused,
    /// There is nothing to watch (any more).
    Gone,
}

#[derive(Debug)]
struct Entry {
    pod: PodUid,
    path: PathBuf,
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
    path: PathBuf,
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
    containers: BTreeMap<ContainerId, Entry>,
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
        let left: Vec<PathBuf> = left.filter(|path| elsewhere(path)).collect();
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
            levels.extend(child.level(CgroupLevel::RuntimeChild)?);
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

    fn watches_of(&mut self, owner: &Holder) -> Option<&mut Vec<WatchDescriptor>> {
        match owner {
            Holder::Container(id) => self.containers.get_mut(id).map(|entry| &mut entry.watches),
            Holder::Pod(uid) => self.pods.get_mut(uid).map(|entry| &mut entry.watches),
        }
    }

    /// Stops watching the limits of a container or a pod while another program keeps changing them.
    pub fn deafen(&mut self, owner: &Holder) {
        let Some(watches) = self.watches_of(owner).map(std::mem::take) else { return };
        let (limits, rest) = watches
            .into_iter()
            .partition(|wd| matches!(self.watched.get(wd), Some(Watched::Limit(_))));
        if let Some(watches) = self.watches_of(owner) {
            *watches = rest;
        }
        self.unwatch(limits);
    }

    /// Watches them again; they may have changed meanwhile.
    pub fn listen(&mut self, owner: &Holder) {
        self.watch_limits(owner);
    }

    /// Scans the whole hierarchy, at the start and after the kernel dropped events.
    pub fn scan(&mut self, changes: &mut Changes) {
        let known: BTreeSet<ContainerId> = self.containers.keys().cloned().collect();
        let mut found = Changes::default();
        self.deaf = None;
        // Start at the root, because `kubepods` itself may appear later, or disappear and return.
        self.interior(Path::new(""), &mut found);
        for id in known {
            if found.touched.contains(&Holder::Container(id.clone())) {
                continue;
            }
            let path = self.containers.get(&id).map(|entry| self.root.join(&entry.path));
            if path.is_some_and(|path| !path.is_dir()) {
                self.remove(&id, changes);
            }
        }
        let left = self.pods.values().filter(|entry| !self.root.join(&entry.path).is_dir());
        for path in left.map(|entry| entry.path.clone()).collect::<Vec<_>>() {
            self.leave(&path, changes);
        }
        changes.touched.append(&mut found.touched);
    }

    fn event(
        &mut self,
        wd: WatchDescriptor,
        mask: AddWatchFlags,
        name: Option<&OsStr>,
        changes: &mut Changes,
    ) {
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.scan(changes);
            changes.touched.extend(self.owners());
            return;
        }
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&wd);
            return;
        }
        let Some(watched) = self.watched.get(&wd).cloned() else { return };
        let name = name.and_then(OsStr::to_str).unwrap_or_default();
        let came = mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        match watched {
            Watched::Interior(path) if came => self.child_of_interior(&path, name, changes),
            Watched::Pod(path, pod) => match in_pod(name) {
                InPod::Other => {}
                InPod::Container(id, manager) if came => {
                    self.add(&path.join(name), &pod, id, manager, false, changes);
                }
                InPod::Monitor(id, manager) if came => {
                    self.add(&path.join(name), &pod, id, manager, true, changes);
                }
                InPod::Container(id, _) | InPod::Monitor(id, _) => self.remove(&id, changes),
            },
            // Of the cgroups that a container creates in its own, only the one with the runtime's
            // name counts.
            Watched::Container(id) if [RUNTIME_CHILD, LIMIT_FILE].contains(&name) => {
                let owner = Holder::Container(id);
                self.watch_limits(&owner);
                changes.touched.insert(owner);
            }
            Watched::Container(_) => {}
            Watched::Limit(owner) => {
                changes.touched.insert(owner);
            }
            Watched::Controllers(folder) => {
                let below = |owner: &Holder| {
                    self.path_of(owner).is_some_and(|path| path.starts_with(&folder))
                };
                for owner in self.owners().filter(below).collect::<Vec<_>>() {
                    self.watch_limits(&owner);
                    changes.touched.insert(owner);
                }
            }
            Watched::Interior(path) => self.leave(&path.join(name), changes),
        }
    }

    fn path_of(&self, owner: &Holder) -> Option<&PathBuf> {
        match owner {
            Holder::Container(id) => self.containers.get(id).map(|entry| &entry.path),
            Holder::Pod(uid) => self.pods.get(uid).map(|entry| &entry.path),
        }
    }

    fn child_of_interior(&mut self, path: &Path, name: &str, changes: &mut Changes) {
        let child = path.join(name);
        let pods = self.roots.pods();
        if !pods.iter().any(|pods| path.starts_with(pods)) {
            // Above the pods' folders, only the path to them matters.
            let leads_there = pods.iter().any(|pods| pods.starts_with(&child));
            if leads_there {
                self.interior(&child, changes);
            }
            return;
        }
        match below_kubepods(name) {
            Below::QosClass => self.interior(&child, changes),
            Below::Pod(uid) => self.pod(&child, &uid, changes),
            Below::Other => {}
        }
    }

    fn interior(&mut self, path: &Path, changes: &mut Changes) {
        if self.watch(path, FOLDER, Watched::Interior(path.to_owned())) != Watch::Gone {
            for name in self.children(path) {
                self.child_of_interior(path, &name, changes);
            }
        }
    }

    fn pod(&mut self, path: &Path, uid: &PodUid, changes: &mut Changes) {
        let wd = match self.watch(path, FOLDER, Watched::Pod(path.to_owned(), uid.clone())) {
            Watch::On(wd) => Some(wd),
            Watch::Refused => None,
            Watch::Gone => return,
        };
        let owner = Holder::Pod(uid.clone());
        if self.pods.get(uid).is_none_or(|entry| entry.path != path) {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let manager = match name.ends_with(".slice") {
                true => Manager::Systemd(Arc::from(name)),
                false => Manager::Cgroupfs,
            };
            let entry = PodEntry { path: path.to_owned(), manager, watches: Vec::new() };
            self.pods.insert(uid.clone(), entry);
        }
        if let (Some(wd), Some(watches)) = (wd, self.watches_of(&owner))
            && !watches.contains(&wd)
        {
            watches.push(wd);
        }
        self.watch_limits(&owner);
        changes.gone.remove(&owner);
        changes.touched.insert(owner);
        for name in self.children(path) {
            match in_pod(&name) {
                InPod::Container(id, manager) => {
                    self.add(&path.join(name), uid, id, manager, false, changes);
                }
                InPod::Monitor(id, manager) => {
                    self.add(&path.join(name), uid, id, manager, true, changes);
                }
                InPod::Other => {}
            }
        }
    }

    fn add(
        &mut self,
        path: &Path,
        pod: &PodUid,
        id: ContainerId,
        manager: Manager,
        monitor: bool,
        changes: &mut Changes,
    ) {
        let Ok(metadata) = fs::symlink_metadata(self.root.join(path)) else { return };
        let inode = metadata.ino();
        let known = self.containers.get(&id);
        let known = known.filter(|entry| entry.path == path && entry.inode == inode);
        let started = known.is_some_and(|entry| entry.started != Started::NotYet);
        let known = known.is_some();
        let folder = Watched::Container(id.clone());
        let wd = match started {
            true => None,
            false => match self.watch(path, FOLDER, folder) {
                Watch::On(wd) => Some(wd),
                Watch::Refused => None,
                Watch::Gone => return,
            },
        };
        if !known {
            let role = if monitor { Role::Helper } else { bundle::role(&self.roots, pod, &id) };
            let entry = Entry {
                pod: pod.clone(),
                path: path.to_owned(),
                inode,
                manager,
                role,
                started: Started::NotYet,
                watches: wd.into_iter().collect(),
            };
            if let Some(before) = self.containers.insert(id.clone(), entry) {
                self.leaves_pod(&before.pod, &id);
            }
            self.of_pods.entry(pod.clone()).or_default().insert(id.clone());
        }
        let owner = Holder::Container(id);
        self.watch_limits(&owner);
        changes.gone.remove(&owner);
        changes.touched.insert(owner);
    }

    /// Watches each existing `memory.swap.max` of the owner, and waits for missing ones.
    fn watch_limits(&mut self, owner: &Holder) {
        let Some(path) = self.path_of(owner).cloned() else { return };
        let started = |id| self.containers.get(id).map(|entry| entry.started);
        let child = path.join(RUNTIME_CHILD);
        let has_child = match owner.container().and_then(started) {
            None => false,
            Some(Started::NotYet) => self.root.join(&child).is_dir(),
            Some(Started::With { runtime_child }) => runtime_child,
        };
        let folders = std::iter::once(path).chain(has_child.then_some(child));
        for folder in folders {
            let file = folder.join(LIMIT_FILE);
            let mut limit = self.watch(&file, FILE, Watched::Limit(owner.clone()));
            let mut awaited = Watch::Gone;
            if limit == Watch::Gone
                && let Some(parent) = folder.parent()
            {
                let controllers = Watched::Controllers(parent.to_owned());
                awaited = self.watch(&parent.join(CONTROLLERS_FILE), FILE, controllers);
                // The file may have appeared between the two calls.
                limit = self.watch(&file, FILE, Watched::Limit(owner.clone()));
            }
            let Some(watches) = self.watches_of(owner) else { return };
            for watch in [limit, awaited] {
                let Watch::On(wd) = watch else { continue };
                if !watches.contains(&wd) {
                    watches.push(wd);
                }
            }
        }
    }

    fn remove(&mut self, id: &ContainerId, changes: &mut Changes) {
        if let Some(entry) = self.containers.remove(id) {
            self.leaves_pod(&entry.pod, id);
            // Several containers of a pod may share a watch for missing limits.
            let others = || self.of_pod(&entry.pod).filter_map(|other| self.containers.get(other));
            let own = |wd: &WatchDescriptor| others().all(|other| !other.watches.contains(wd));
            let own = entry.watches.into_iter().filter(own).collect();
            self.unwatch(own);
            let owner = Holder::Container(id.clone());
            changes.touched.remove(&owner);
            changes.gone.insert(owner);
            // Memory that it held beyond its grant is no longer its own.
            if self.pods.contains_key(&entry.pod) {
                changes.touched.insert(entry.pod.into());
            }
        }
    }

    /// Removes watches below `gone`: the kernel ends no watch on cgroupfs when the file is removed.
    fn leave(&mut self, gone: &Path, changes: &mut Changes) {
        let left = |watched: &Watched| match watched {
            Watched::Interior(path) | Watched::Pod(path, _) => path.starts_with(gone),
            _ => false,
        };
        let left = self.watched.iter().filter(|(_, watched)| left(watched));
        let left = left.map(|(wd, _)| *wd).collect();
        self.unwatch(left);
        let pods = self.pods.iter().filter(|(_, entry)| entry.path.starts_with(gone));
        for uid in pods.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            let Some(entry) = self.pods.remove(&uid) else { continue };
            // Several pods of a class may share a watch for missing limits.
            let own =
                |wd: &WatchDescriptor| self.pods.values().all(|other| !other.watches.contains(wd));
            let own = entry.watches.into_iter().filter(own).collect();
            self.unwatch(own);
            let owner = Holder::Pod(uid);
            changes.touched.remove(&owner);
            changes.gone.insert(owner);
        }
    }

    fn leaves_pod(&mut self, pod: &PodUid, id: &ContainerId) {
        if let Some(ids) = self.of_pods.get_mut(pod) {
            ids.remove(id);
            if ids.is_empty() {
                self.of_pods.remove(pod);
            }
        }
    }

    fn unwatch(&mut self, watches: Vec<WatchDescriptor>) {
        for wd in watches {
            if self.watched.remove(&wd).is_some() {
                self.events.unwatch(wd);
            }
        }
    }

    fn watch(&mut self, path: &Path, flags: AddWatchFlags, watched: Watched) -> Watch {
        let path = self.root.join(path);
        let watch = || self.events.watch(&path, flags).map_err(io::Error::from);
        match failpoint::at("inotify.watch").and_then(|()| watch()) {
            Ok(wd) => {
                self.watched.insert(wd, watched);
                Watch::On(wd)
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory || is_gone(&error) => {
                Watch::Gone
            }
            Err(error) => {
                // Too many watches give ENOSPC (inotify_add_watch(2)). One text for all missing
                // watches, so that it is logged once.
                let error = match error.raw_os_error() {
                    Some(libc::ENOSPC) => "fs.inotify.max_user_watches is used up".to_owned(),
                    _ => error.to_string(),
                };
                self.deaf = Some(format!(
                    "the kernel does not watch every cgroup: {error}; the agent compares limits \
                     every few seconds instead"
                ));
                Watch::Refused
            }
        }
    }

    /// Returns the names of the folders in `path`; none if it is gone.
    fn children(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

const FOLDER: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);
const FILE: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_DONT_FOLLOW);

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
