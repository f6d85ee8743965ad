//! Facts about the running agent: its status, its settings, and the space for both.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    config::{keys::KEYS, layers::Resolved},
    model::{
        check::{AgentFacts, Space},
        unknown::Unknown,
    },
    observe::{
        published::{age, in_force, is_running, published},
        settings,
    },
    roots::Roots,
};

/// `on_disk` is the configuration there, if it is valid.
pub(super) fn facts(roots: &Roots, on_disk: Option<&Resolved>) -> AgentFacts {
    let published = published(roots).map_err(Unknown::of);
    let known = published.as_ref().ok().and_then(Option::as_ref);
    AgentFacts {
        running: known.is_some_and(|published| is_running(roots, published)),
        age: known.and_then(age),
        differs: on_disk.map(|on_disk| differs(roots, on_disk)).unwrap_or_default(),
        run: space(roots),
        not_read: settings::not_read(roots),
        published,
    }
}

/// Returns the settings on disk that differ from those in effect: key, value on disk, value in
/// effect.
pub fn differs(roots: &Roots, on_disk: &Resolved) -> Vec<(String, String, String)> {
    let Some((_, in_force)) = in_force(roots) else { return Vec::new() };
    let values = |key: &str| Some((&on_disk.get(key)?.0, &in_force.get(key)?.0));
    KEYS.iter()
        .filter_map(|key| {
            let (disk, force) = values(key.path)?;
            (disk != force).then(|| (key.path.to_owned(), disk.to_string(), force.to_string()))
        })
        .collect()
}

/// `None` for the directory of a host that does not run.
fn space(roots: &Roots) -> Option<Space> {
    let (run, own) = (roots.path("/run"), roots.runtime());
    let of_run = fs::metadata(&run).ok()?;
    // The directory may be a mount of its own.
    let is_mount = fs::metadata(&own).is_ok_and(|of_own| of_own.dev() != of_run.dev());
    let mount_point = if is_mount { own } else { run };
    let space = rustix::fs::statvfs(&mount_point).ok()?;
    Some(Space {
        mount_point: roots.shown(&mount_point).into_owned(),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        // Some file systems have no limit.
        free_files: if space.f_files == 0 { u64::MAX } else { space.f_favail },
        read_only: space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}
