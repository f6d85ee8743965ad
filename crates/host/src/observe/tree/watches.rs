//! The inotify watches of the tree, with the object that each belongs to.

use std::{io, path::Path, sync::Arc};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::{Started, Tree};
use crate::{
    failpoint,
    model::{
        host::{Holder, RUNTIME_CHILD},
        pod::{ContainerId, PodUid},
    },
    observe::cgroup::{LIMIT_FILE, is_gone},
};

pub(super) const CONTROLLERS_FILE: &str = "cgroup.subtree_control";

pub(super) const FOLDER: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);
pub(super) const FILE: AddWatchFlags =
    AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_DONT_FOLLOW);

/// The object of a watch. Paths are below the cgroup root. There are several for each container, so it is
/// kept small.
#[derive(Clone, Debug)]
pub(super) enum Watched {
    /// A directory that contains pods' cgroups, or directories of such.
    Interior(Arc<Path>),
    Pod(Box<(Arc<Path>, PodUid)>),
    Container(ContainerId),
    /// A `memory.swap.max`.
    Limit(Holder),
    /// A `cgroup.subtree_control`: a write to it can create the limits' files in the directories
    /// below.
    Controllers(Arc<Path>),
}

/// The result of adding a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    On(WatchDescriptor),
    /// The kernel refused another watch: the file exists all the same.
    Refused,
    /// There is nothing to watch (any more).
    Gone,
}

impl Tree {
    pub(super) fn watches_of(&mut self, owner: &Holder) -> Option<&mut Vec<WatchDescriptor>> {
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

    /// Watches each existing `memory.swap.max` of the owner, and waits for missing ones.
    pub(super) fn watch_limits(&mut self, owner: &Holder) {
        let Some(path) = self.path_of(owner).map(|path| path.to_path_buf()) else { return };
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
                let controllers = Watched::Controllers(parent.into());
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

    pub(super) fn unwatch(&mut self, watches: Vec<WatchDescriptor>) {
        for wd in watches {
            if self.watched.remove(&wd).is_some() {
                self.events.unwatch(wd);
            }
        }
    }

    pub(super) fn watch(&mut self, path: &Path, flags: AddWatchFlags, watched: Watched) -> Watch {
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
            // A container has locked the agent out of its own cgroup: the level above limits it.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !matches!(watched, Watched::Interior(_) | Watched::Pod(_)) =>
            {
                Watch::Refused
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
}
