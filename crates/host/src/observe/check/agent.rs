//! Facts about the running agent: its status, its settings, and the space for both.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    bounded::read_bounded,
    config::{keys::KEYS, layers::Resolved, value::SettingOrigin},
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
/// effect. Leaves out those that the environment of either process sets.
pub fn differs(roots: &Roots, on_disk: &Resolved) -> Vec<(String, String, String)> {
    let Some((_, in_force)) = in_force(roots) else { return Vec::new() };
    let text = read_bounded(&roots.settings_in_force()).ok().flatten().unwrap_or_default();
    // The file has the origin of each value as a comment.
    let by_agents_environment = |origin: &SettingOrigin| {
        let SettingOrigin::File { line, .. } = origin else { return false };
        let mark = SettingOrigin::Environment { name: "" }.to_string();
        text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains(&mark))
    };
    KEYS.iter()
        .filter_map(|key| {
            let ((disk, here), (force, there)) = (on_disk.get(key.path)?, in_force.get(key.path)?);
            let by_environment =
                matches!(here, SettingOrigin::Environment { .. }) || by_agents_environment(there);
            (disk != force && !by_environment)
                .then(|| (key.path.to_owned(), disk.to_string(), force.to_string()))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{layers::Layers, show::effective};

    #[test]
    fn settings_of_an_environment_do_not_differ_from_those_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(roots.runtime()).unwrap();
        let resolved = |file: &str, verbosity: Option<&str>| {
            let mut layers = Layers::defaults();
            layers.take_toml(Path::new("/etc/wasp-agent/wasp-agent.toml"), file);
            layers.take_environment(|name| {
                verbosity.filter(|_| name == "VERBOSITY").map(str::to_owned)
            });
            layers.resolved().unwrap()
        };
        let keys = |on_disk: &Resolved, force: &Resolved| -> Vec<String> {
            fs::write(roots.settings_in_force(), effective(force)).unwrap();
            differs(&roots, on_disk).into_iter().map(|(key, ..)| key).collect()
        };
        let (resync, follow) = ("limits.resync-seconds = 20", "limits.follow-seconds = 3");
        assert_eq!(keys(&resolved(resync, None), &resolved(resync, Some("3"))), [""; 0]);
        assert_eq!(keys(&resolved(resync, Some("3")), &resolved(resync, None)), [""; 0]);
        assert_eq!(
            keys(&resolved(follow, None), &resolved(resync, Some("3"))),
            ["limits.resync-seconds", "limits.follow-seconds"]
        );
    }
}
