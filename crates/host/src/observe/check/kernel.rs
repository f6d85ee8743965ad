//! Facts about the kernel.

use std::{fs, path::Path};

use crate::{
    config::settings::Settings,
    errors::FileError,
    model::{
        check::{KernelFacts, MemoryWaits},
        unknown::Unknown,
    },
    observe::{accounting::swap_control, disks, mounts, slices},
    roots::Roots,
};

pub(super) fn facts(roots: &Roots, settings: &Settings) -> KernelFacts {
    let cgroup = roots.cgroup();
    let kubepods = roots.pods().iter().find_map(|pods| {
        Some((pods.to_string_lossy().into_owned(), controllers(&cgroup.join(pods))?))
    });
    let slices = settings
        .protection
        .slices
        .iter()
        .map(|unit| (slices::facts(roots, unit), controllers(&slices::folder(roots, unit))));
    let release = fs::read_to_string(roots.proc("sys/kernel/osrelease")).ok();
    let release = release.map(|release| release.trim_end().to_owned());
    KernelFacts {
        controllers: controllers(&cgroup),
        kubepods,
        swap_control: swap_control(roots),
        slices: slices.collect(),
        disks: disks::in_use(roots),
        io_latency: release.as_deref().and_then(|release| io_latency(roots, release)),
        pressure: pressure(roots, &roots.proc("pressure/memory")).map_err(Unknown::of),
        pods_pressure: roots
            .pods()
            .iter()
            .find_map(|pods| pressure(roots, &cgroup.join(pods).join("memory.pressure")).ok()),
        zswap: fs::read_to_string(roots.path(crate::decide::tunables::ZSWAP))
            .ok()
            .map(|enabled| enabled.trim_end() == "Y"),
        release,
        pod_tmpfs: pod_tmpfs(roots),
    }
}

fn controllers(folder: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(folder.join("cgroup.controllers")).ok()?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// Reads the kernel's configuration where Fedora, RHEL and Debian install it.
fn io_latency(roots: &Roots, release: &str) -> Option<bool> {
    let places = [format!("/usr/lib/modules/{release}/config"), format!("/boot/config-{release}")];
    let text = places.iter().find_map(|path| fs::read_to_string(roots.path(path)).ok())?;
    Some(text.lines().any(|line| line == "CONFIG_BLK_CGROUP_IOLATENCY=y"))
}

fn pressure(roots: &Roots, path: &Path) -> Result<MemoryWaits, FileError> {
    let shown = roots.shown(path);
    let text = fs::read_to_string(path).map_err(FileError::of("read", &shown))?;
    // procfs's own reader panics at a truncated line.
    let avg10 = |kind: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
    };
    let missing = |kind: &str| FileError::invalid(&shown, format!("it has no avg10 of {kind:?}"));
    Ok(MemoryWaits {
        some_percent: avg10("some").ok_or_else(|| missing("some"))?,
        full_percent: avg10("full").ok_or_else(|| missing("full"))?,
    })
}

/// Returns the number of the pods' tmpfs volumes, and of those that the kernel may swap.
fn pod_tmpfs(roots: &Roots) -> (usize, usize) {
    let mounts = mounts::mounts(roots);
    // The agent's unit hides the directory itself behind a tmpfs.
    let volumes = mounts.iter().filter(|mount| {
        let below = mount.mount_point.strip_prefix("/var/lib/kubelet/pods");
        mount.fs_type == "tmpfs" && below.is_ok_and(|below| !below.as_os_str().is_empty())
    });
    volumes.fold((0, 0), |(all, swappable), mount| {
        (all + 1, swappable + usize::from(mount.option("noswap").is_none()))
    })
}
