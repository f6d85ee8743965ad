//! The containers' cgroups, kept up to date by inotify: a new container, a vanished one and every
//! write to a `memory.swap.max` is noticed when it happens, and nothing is read in between.
//!
//! cgroupfs reports mkdir and rmdir of cgroups and writes to their files as it reports any; files
//! that the kernel adds when a controller is switched on come without an event, so that where a
//! limit's file is missing the parent's `cgroup.subtree_control` is watched for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::{
    bundle,
    cgroup::{Cgroup, CgroupError, LIMIT_FILE, is_gone},
    events::Events,
    names::{Below, InPod, below_kubepods, in_pod},
    process,
};
use crate::{
    failpoint,
    model::{
        host::{ContainerFacts, Level, Manager, RUNTIME_CHILD, Role},
        pod::{ContainerId, Pod, PodUid},
    },
    roots::Roots,
};

const CONTROLLERS_FILE: &str = "cgroup.subtree_control";

/// What a watch is for. Paths are below the cgroup root.
#[derive(Clone, Debug)]
enum Watched {
    /// A folder in which pods' cgroups, or folders of such, come and go.
    Interior(PathBuf),
    Pod(PathBuf, PodUid),
    Container(ContainerId),
    /// A `memory.swap.max`.
    Limit(ContainerId),
    /// A `cgroup.subtree_control`: with it, limits come in the folders below this one.
    Controllers(PathBuf),
}

/// What became of a wish to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    On(WatchDescriptor),
    /// The kernel watches no more: it is there all the same.
    Refused,
    /// There is nothing (any more) to watch.
    Gone,
}

#[derive(Debug)]
struct Entry {
    pod: PodUid,
    path: PathBuf,
    manager: Manager,
    /// From the runtime's bundle.
    role: Role,
    /// The runtime has let its program run.
    started: bool,
    watches: Vec<WatchDescriptor>,
}

/// What changed since it was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or written to.
    pub touched: BTreeSet<ContainerId>,
    pub gone: BTreeSet<ContainerId>,
}

#[derive(Debug)]
pub struct Tree {
    roots: Roots,
    root: PathBuf,
    events: Events,
    watched: HashMap<WatchDescriptor, Watched>,
    containers: BTreeMap<ContainerId, Entry>,
    /// Why something is not watched, since the last scan.
    deaf: Option<String>,
    /// So that what is asked for each pod does not look at every container.
    of_pods: HashMap<PodUid, BTreeSet<ContainerId>>,
    /// Each pod's own cgroup, below the cgroup root.
    pods: BTreeMap<PodUid, PathBuf>,
}

impl Tree {
    /// Finds all containers there are and watches for more.
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
        };
        let mut changes = Changes::default();
        tree.scan(&mut changes);
        Ok((tree, changes))
    }

    /// Looks for pods below other cgroups from now on (`Roots::with_pods`).
    pub fn look_below(&mut self, roots: &Roots, changes: &mut Changes) {
        self.roots = roots.clone();
        let moved = |entry: &Entry| !roots.pods().iter().any(|pods| entry.path.starts_with(pods));
        let moved = self.containers.iter().filter(|(_, entry)| moved(entry));
        for id in moved.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id, changes);
        }
        self.scan(changes);
    }

    /// Waits until the kernel has something to report, and takes all of it. Cancel safe.
    pub async fn changed(&mut self) -> io::Result<Changes> {
        let events = self.events.next().await?;
        let mut changes = Changes::default();
        for event in events {
            self.event(event.wd, event.mask, event.name.as_deref(), &mut changes);
        }
        Ok(changes)
    }

    /// Why changes may go unnoticed until the next scan, if they may.
    pub fn deaf(&self) -> Option<String> {
        self.deaf.clone()
    }

    pub fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.containers.keys()
    }

    /// Every pod that has a cgroup, and where it is, below the cgroup root.
    pub fn pods(&self) -> impl Iterator<Item = (&PodUid, &Path)> {
        self.pods.iter().map(|(uid, path)| (uid, &**path))
    }

    /// The cgroup of `pod`, below the cgroup root.
    pub fn folder_of(&self, pod: &PodUid) -> Option<&Path> {
        self.pods.get(pod).map(PathBuf::as_path)
    }

    /// The containers of `pod`.
    pub fn of_pod(&self, pod: &PodUid) -> impl Iterator<Item = &ContainerId> + use<'_> {
        self.of_pods.get(pod).into_iter().flatten()
    }

    pub fn pod_of(&self, id: &ContainerId) -> Option<&PodUid> {
        self.containers.get(id).map(|entry| &entry.pod)
    }

    /// A container as it is now; `None` where it is gone or has no memory controller yet.
    pub fn facts(
        &mut self,
        id: &ContainerId,
        pod: Option<&Pod>,
    ) -> Result<Option<ContainerFacts>, CgroupError> {
        let Some(entry) = self.containers.get_mut(id) else { return Ok(None) };
        let folder = self.root.join(&entry.path);
        let Some(container) = Cgroup::open(&folder)? else { return Ok(None) };
        let Some(level) = container.level(Level::Container)? else { return Ok(None) };
        let mut levels = vec![level];
        let child = Cgroup::open(&folder.join(RUNTIME_CHILD))?;
        if let Some(child) = &child {
            levels.extend(child.level(Level::RuntimeChild)?);
        }
        if !entry.started {
            let own = [Some(&container), child.as_ref()].into_iter().flatten();
            let processes: Vec<u32> = own.flat_map(Cgroup::processes).collect();
            entry.started = match processes.is_empty() {
                false => processes.iter().any(|pid| process::is_started(&self.roots, *pid)),
                // They are in cgroups that the container has made; or in the one that the runtime has
                // made only just now.
                true => {
                    container.is_populated()
                        && child.is_some() == folder.join(RUNTIME_CHILD).is_dir()
                }
            };
        }
        // The API knows best; the bundle knows first.
        let role = pod.and_then(|pod| pod.container_by_id(id)).map_or_else(
            || entry.role.clone(),
            |container| Role::Container(container.name.clone()),
        );
        Ok(Some(ContainerFacts {
            id: id.clone(),
            pod: entry.pod.clone(),
            role,
            manager: entry.manager.clone(),
            starting: !entry.started,
            path: entry.path.clone(),
            levels,
        }))
    }

    /// Stops watching a container's limits, while a writer is fighting over them.
    pub fn deafen(&mut self, id: &ContainerId) {
        let Some(entry) = self.containers.get_mut(id) else { return };
        let (limits, rest) = std::mem::take(&mut entry.watches)
            .into_iter()
            .partition(|wd| matches!(self.watched.get(wd), Some(Watched::Limit(_))));
        entry.watches = rest;
        self.unwatch(limits);
    }

    /// Watches them again; they may have changed meanwhile.
    pub fn listen(&mut self, id: &ContainerId) {
        self.watch_limits(id);
    }

    /// Looks at the whole hierarchy, as at start and after the kernel dropped events.
    pub fn scan(&mut self, changes: &mut Changes) {
        let known: BTreeSet<ContainerId> = self.containers.keys().cloned().collect();
        let mut found = Changes::default();
        self.deaf = None;
        // From the root, so that `kubepods` itself may come later, or go and come back.
        self.interior(Path::new(""), &mut found);
        for id in known {
            if found.touched.contains(&id) {
                continue;
            }
            let path = self.containers.get(&id).map(|entry| self.root.join(&entry.path));
            if path.is_some_and(|path| !path.is_dir()) {
                self.remove(&id, changes);
            }
        }
        let root = &self.root;
        self.pods.retain(|_, path| root.join(path).is_dir());
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
            changes.touched.extend(self.containers.keys().cloned());
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
            // Of the cgroups that a container makes in its own, at any rate, only the runtime's counts.
            Watched::Container(id) if [RUNTIME_CHILD, LIMIT_FILE].contains(&name) => {
                self.watch_limits(&id);
                changes.touched.insert(id);
            }
            Watched::Container(_) => {}
            Watched::Limit(id) => {
                changes.touched.insert(id);
            }
            Watched::Controllers(folder) => {
                let below =
                    self.containers.iter().filter(|(_, entry)| entry.path.starts_with(&folder));
                for id in below.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                    self.watch_limits(&id);
                    changes.touched.insert(id);
                }
            }
            Watched::Interior(path) => self.leave(&path.join(name)),
        }
    }

    fn child_of_interior(&mut self, path: &Path, name: &str, changes: &mut Changes) {
        let child = path.join(name);
        let pods = self.roots.pods();
        if !pods.iter().any(|pods| path.starts_with(pods)) {
            // Above them, only the way to them counts.
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
        if self.watch(path, FOLDER, Watched::Pod(path.to_owned(), uid.clone())) == Watch::Gone {
            return;
        }
        self.pods.insert(uid.clone(), path.to_owned());
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
        let folder = Watched::Container(id.clone());
        let wd = match self.watch(path, FOLDER, folder) {
            Watch::On(wd) => Some(wd),
            Watch::Refused => None,
            Watch::Gone => return,
        };
        // By its watch, which a cgroup that is made anew under the same path does not have.
        let known = self
            .containers
            .get(&id)
            .is_some_and(|entry| wd.map_or(entry.path == path, |wd| entry.watches.contains(&wd)));
        if !known {
            let role = if monitor { Role::Helper } else { bundle::role(&self.roots, pod, &id) };
            let entry = Entry {
                pod: pod.clone(),
                path: path.to_owned(),
                manager,
                role,
                started: false,
                watches: wd.into_iter().collect(),
            };
            if let Some(before) = self.containers.insert(id.clone(), entry) {
                self.leaves_pod(&before.pod, &id);
            }
            self.of_pods.entry(pod.clone()).or_default().insert(id.clone());
        }
        self.watch_limits(&id);
        changes.gone.remove(&id);
        changes.touched.insert(id);
    }

    /// Watches each `memory.swap.max` of the container that there is, and for those to come.
    fn watch_limits(&mut self, id: &ContainerId) {
        let Some(path) = self.containers.get(id).map(|entry| entry.path.clone()) else { return };
        let child = path.join(RUNTIME_CHILD);
        let mut folders = vec![path];
        if self.root.join(&child).is_dir() {
            folders.push(child);
        }
        for folder in folders {
            let file = folder.join(LIMIT_FILE);
            let mut limit = self.watch(&file, FILE, Watched::Limit(id.clone()));
            let mut awaited = Watch::Gone;
            if limit == Watch::Gone
                && let Some(parent) = folder.parent()
            {
                let controllers = Watched::Controllers(parent.to_owned());
                awaited = self.watch(&parent.join(CONTROLLERS_FILE), FILE, controllers);
                // It may have come between the two.
                limit = self.watch(&file, FILE, Watched::Limit(id.clone()));
            }
            let Some(entry) = self.containers.get_mut(id) else { return };
            for watch in [limit, awaited] {
                let Watch::On(wd) = watch else { continue };
                if !entry.watches.contains(&wd) {
                    entry.watches.push(wd);
                }
            }
        }
    }

    fn remove(&mut self, id: &ContainerId, changes: &mut Changes) {
        if let Some(entry) = self.containers.remove(id) {
            self.leaves_pod(&entry.pod, id);
            // Containers of a pod may await their limits by the same one.
            let others = || self.of_pod(&entry.pod).filter_map(|other| self.containers.get(other));
            let own = |wd: &WatchDescriptor| others().all(|other| !other.watches.contains(wd));
            let own = entry.watches.into_iter().filter(own).collect();
            self.unwatch(own);
            changes.touched.remove(id);
            changes.gone.insert(id.clone());
        }
    }

    /// The kernel ends no watch on cgroupfs when what it watches is removed.
    fn leave(&mut self, gone: &Path) {
        let left = |watched: &Watched| match watched {
            Watched::Interior(path) | Watched::Pod(path, _) => path.starts_with(gone),
            _ => false,
        };
        let left = self.watched.iter().filter(|(_, watched)| left(watched));
        let left = left.map(|(wd, _)| *wd).collect();
        self.unwatch(left);
        self.pods.retain(|_, path| !path.starts_with(gone));
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
                // Too many watches is ENOSPC (inotify_add_watch(2)). One text for all that is not
                // watched, so that it is logged once.
                let error = match error.raw_os_error() {
                    Some(libc::ENOSPC) => "fs.inotify.max_user_watches is used up".to_owned(),
                    _ => error.to_string(),
                };
                self.deaf = Some(format!(
                    "the kernel does not watch every cgroup: {error}; limits are compared every few \
                     seconds instead"
                ));
                Watch::Refused
            }
        }
    }

    /// Names of the folders in `path`; none where it is gone.
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
