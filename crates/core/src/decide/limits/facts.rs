//! Facts that a container and a pod's own cgroup both have.

use std::path::{Path, PathBuf};

use crate::model::{
    host::{CgroupLevel, ContainerFacts, Holder, LevelFacts, Manager, PodFacts, RUNTIME_CHILD},
    pod::PodUid,
};

/// A container, or a pod's own cgroup.
pub(super) struct LimitFacts<'a> {
    pub(super) owner: Holder,
    pub(super) pod: Option<&'a PodUid>,
    pub(super) manager: &'a Manager,
    pub(super) starting: bool,
    pub(super) path: &'a Path,
    /// The cgroup levels, outermost first.
    pub(super) levels: &'a [LevelFacts],
}

impl<'a> From<&'a ContainerFacts> for LimitFacts<'a> {
    fn from(facts: &'a ContainerFacts) -> Self {
        let ContainerFacts { id, pod, manager, starting, path, levels, .. } = facts;
        let owner = Holder::Container(id.clone());
        Self { owner, pod: Some(pod), manager, starting: *starting, path, levels }
    }
}

impl<'a> From<&'a PodFacts> for LimitFacts<'a> {
    fn from(facts: &'a PodFacts) -> Self {
        let PodFacts { uid, manager, path, level } = facts;
        Self {
            owner: Holder::Pod(uid.clone()),
            pod: None,
            manager,
            starting: false,
            path,
            levels: std::slice::from_ref(level),
        }
    }
}

impl LimitFacts<'_> {
    /// Path below the cgroup root.
    pub(super) fn path_of(&self, level: CgroupLevel) -> PathBuf {
        match level {
            CgroupLevel::Pod | CgroupLevel::Container => self.path.to_owned(),
            CgroupLevel::RuntimeChild => self.path.join(RUNTIME_CHILD),
        }
    }
}
