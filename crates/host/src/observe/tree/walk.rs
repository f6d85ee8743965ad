//! Finds the cgroups of pods and containers: in a scan, and by the kernel's events.

use std::{
    collections::BTreeSet, ffi::OsStr, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc,
};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::{
    Changes, Entry, PodEntry, Started, Tree,
    watches::{FOLDER, Watch, Watched},
};
use crate::{
    model::{
        host::{Holder, Manager, RUNTIME_CHILD, Role},
        pod::{ContainerId, PodUid},
    },
    observe::{
        bundle,
        cgroup::LIMIT_FILE,
        names::{Below, InPod, below_kubepods, in_pod},
    },
};

impl Tree {
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

    pub(super) fn event(
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
            Watched::Pod(of) => {
                let (path, pod) = *of;
                match in_pod(name) {
                    InPod::Other => {}
                    InPod::Container(id, manager) if came => {
                        self.add(&path.join(name), &pod, id, manager, false, changes);
                    }
                    InPod::Monitor(id, manager) if came => {
                        self.add(&path.join(name), &pod, id, manager, true, changes);
                    }
                    InPod::Container(id, _) | InPod::Monitor(id, _) => self.remove(&id, changes),
                }
            }
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

    fn child_of_interior(&mut self, path: &Path, name: &str, changes: &mut Changes) {
        let child = path.join(name);
        let pods = self.roots.pods();
        if !pods.iter().any(|pods| path.starts_with(pods)) {
            // Above the pods' directories, only the path to them matters.
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
        if self.watch(path, FOLDER, Watched::Interior(path.into())) != Watch::Gone {
            for name in self.children(path) {
                self.child_of_interior(path, &name, changes);
            }
        }
    }

    fn pod(&mut self, path: &Path, uid: &PodUid, changes: &mut Changes) {
        let known = self.pods.get(uid).filter(|entry| *entry.path == *path);
        let known = known.map(|entry| entry.path.clone());
        let shared = known.clone().unwrap_or_else(|| path.into());
        let of = Box::new((shared.clone(), uid.clone()));
        let wd = match self.watch(path, FOLDER, Watched::Pod(of)) {
            Watch::On(wd) => Some(wd),
            Watch::Refused => None,
            Watch::Gone => return,
        };
        let owner = Holder::Pod(uid.clone());
        if known.is_none() {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let manager = match name.ends_with(".slice") {
                true => Manager::Systemd(Arc::from(name)),
                false => Manager::Cgroupfs,
            };
            let entry = PodEntry { path: shared, manager, watches: Vec::new() };
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
        let known = known.filter(|entry| *entry.path == *path && entry.inode == inode);
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
                path: path.into(),
                inode,
                manager,
                role,
                started: Started::NotYet,
                watches: wd.into_iter().collect(),
            };
            if let Some(before) = self.containers.insert(id.clone(), Box::new(entry)) {
                self.leaves_pod(&before.pod, &id);
            }
            self.of_pods.entry(pod.clone()).or_default().insert(id.clone());
        }
        let owner = Holder::Container(id);
        self.watch_limits(&owner);
        changes.gone.remove(&owner);
        changes.touched.insert(owner);
    }

    pub(super) fn remove(&mut self, id: &ContainerId, changes: &mut Changes) {
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
    pub(super) fn leave(&mut self, gone: &Path, changes: &mut Changes) {
        let left = |watched: &Watched| match watched {
            Watched::Interior(path) => path.starts_with(gone),
            Watched::Pod(of) => of.0.starts_with(gone),
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

    /// Returns the names of the directories in `path`; none if it is gone.
    fn children(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}
