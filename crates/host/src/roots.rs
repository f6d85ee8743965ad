//! The root of all host paths: every path that the agent touches starts here, so that a temporary
//! directory can stand for a whole host in tests, in `--root` and in image builds.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// The kubelet's top cgroup without a cgroupRoot, for the systemd and the cgroupfs driver.
const KUBEPODS: [&str; 2] = ["kubepods.slice", "kubepods"];

/// The prefix of every host path. `Roots::host()` is the running machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    root: PathBuf,
    /// Paths below the cgroup root.
    pods: Arc<[PathBuf]>,
}

impl Roots {
    /// The machine that the agent runs on.
    pub fn host() -> Self {
        Self::at("/")
    }

    /// A host whose root directory is `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), pods: KUBEPODS.map(PathBuf::from).into() }
    }

    /// Returns the path below this root of `absolute`, a path on the host.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let path = absolute.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Returns the path on the host of `path`: the inverse of [`Roots::path`], for messages.
    pub fn shown<'a>(&self, path: &'a Path) -> std::borrow::Cow<'a, Path> {
        match path.strip_prefix(&self.root) {
            Ok(relative) if self.root != Path::new("/") => Path::new("/").join(relative).into(),
            _ => path.into(),
        }
    }

    /// `/proc/NAME`.
    pub fn proc(&self, name: &str) -> PathBuf {
        self.path("/proc").join(name)
    }

    /// The cgroup v2 hierarchy.
    pub fn cgroup(&self) -> PathBuf {
        self.path("/sys/fs/cgroup")
    }

    /// The places of the pods' cgroups, below the cgroup root: one for each cgroup driver.
    pub fn pods(&self) -> &[PathBuf] {
        &self.pods
    }

    /// Returns the same host with pods' cgroups in `pods`.
    #[must_use]
    pub fn with_pods(&self, pods: &[PathBuf]) -> Self {
        Self { root: self.root.clone(), pods: pods.into() }
    }

    /// The directory for state that lasts until the next boot: `/run/wasp-agent`.
    pub fn runtime(&self) -> PathBuf {
        self.path("/run/wasp-agent")
    }

    /// The settings in effect of the running agent, as TOML.
    pub fn settings_in_force(&self) -> PathBuf {
        self.runtime().join("in-force.toml")
    }

    /// The socket that serves metrics.
    pub fn metrics_socket(&self) -> PathBuf {
        self.runtime().join("metrics.sock")
    }

    /// The socket on which the agent takes requests of `wasp-agent suspend`.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime().join("control.sock")
    }

    /// The D-Bus system bus.
    pub fn system_bus(&self) -> PathBuf {
        self.path("/run/dbus/system_bus_socket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_a_host() {
        let roots = Roots::at("/tmp/host");
        assert_eq!(roots.path("/etc/wasp-agent"), Path::new("/tmp/host/etc/wasp-agent"));
        assert_eq!(roots.shown(&roots.path("/etc/x")), Path::new("/etc/x"));
        assert_eq!(Roots::host().path("/etc/x"), Path::new("/etc/x"));
        assert_eq!(Roots::host().shown(Path::new("/etc/x")), Path::new("/etc/x"));
    }
}
