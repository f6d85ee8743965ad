//! Reads the input of proactive reclaim: a pod's memory and stalls, and the queue of the swap's
//! disks.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    disks::disks,
    fields::{counter, digits, read},
    node::swap_devices,
    swap::unescaped,
};
use crate::{
    model::{
        protection::Disks,
        reclaim::{PodMemory, Some as Stalls},
    },
    roots::Roots,
};

/// The kernel's file for reclaim (Linux 5.19; RHEL from 9.2 on).
pub const RECLAIM_FILE: &str = "memory.reclaim";

/// Reads the pod's cgroup at `folder`; `None` if it is gone, or its stalls are not counted.
pub fn pod_memory(folder: &Path) -> Option<PodMemory> {
    let stat = read(&folder.join("memory.stat")).ok()?;
    let of = |name: &str| counter(&stat, name).unwrap_or(0);
    Some(PodMemory {
        current_bytes: number(&folder.join("memory.current"))?,
        anon_bytes: counter(&stat, "anon")?,
        file_bytes: of("inactive_file").saturating_add(of("active_file")),
        protected_bytes: limit(folder, "memory.min").max(limit(folder, "memory.low")),
        swap_bytes: number(&folder.join("memory.swap.current")).unwrap_or(0),
        swap_max_bytes: number(&folder.join("memory.swap.max")),
        refaults_anon_pages: of("workingset_refault_anon"),
        refaults_file_pages: of("workingset_refault_file"),
        memory: some(&folder.join("memory.pressure"))?,
        io: some(&folder.join("io.pressure")),
    })
}

/// `None` also for `max`.
fn number(path: &Path) -> Option<u64> {
    digits(read(path).ok()?.trim_end())
}

/// `max` protects all memory.
fn limit(folder: &Path, name: &str) -> u64 {
    match read(&folder.join(name)) {
        Ok(text) => digits(text.trim_end()).unwrap_or(u64::MAX),
        Err(_) => 0,
    }
}

fn some(path: &Path) -> Option<Stalls> {
    let text = read(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
    let average = |name: &str| field(name)?.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(Stalls {
        avg10: average("avg10=")?,
        avg60: average("avg60=")?,
        total_micros: digits(field("total=")?)?,
    })
}

/// Returns true if this kernel has `memory.reclaim`; `None` if there is no cgroup of pods to check.
pub fn is_supported(roots: &Roots) -> Option<bool> {
    Some(pods_folder(roots)?.join(RECLAIM_FILE).exists())
}

/// Returns true if the cgroup of all pods has this file.
pub fn has_file(roots: &Roots, name: &str) -> bool {
    pods_folder(roots).is_some_and(|folder| folder.join(name).exists())
}

fn pods_folder(roots: &Roots) -> Option<PathBuf> {
    roots.pods().iter().map(|pods| roots.cgroup().join(pods)).find(|path| path.is_dir())
}

/// Returns the disks that hold swap.
pub fn swap_disks(roots: &Roots) -> Disks {
    let devices = swap_devices(roots);
    let paths = devices.iter().map(|device| unescaped(&device.path));
    disks(roots, &paths.filter(|path| !path.starts_with("/dev/zram")).collect::<Vec<_>>())
}

/// Returns the milliseconds that requests have spent in the queues of `disks` since boot, summed
/// over all requests.
///
/// Source: Linux `Documentation/block/stat.rst`, `time_in_queue`.
pub fn queued_millis(roots: &Roots, disks: &Disks) -> io::Result<u64> {
    let mut sum = 0_u64;
    for number in disks.keys() {
        let path = roots.path(format!("/sys/dev/block/{number}/stat"));
        let text = read(&path)?;
        let field = text.split_ascii_whitespace().nth(10).and_then(digits);
        sum = sum.saturating_add(field.ok_or_else(|| super::fields::missing("time_in_queue"))?);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Recorded on Linux 6.1 (Debian 12), shortened.
    #[test]
    fn a_pod_is_read_as_the_kernel_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(pod_memory(folder.path()), None);
        put(
            "memory.stat",
            "anon 33792000\nfile 1187840\ninactive_file 811008\nactive_file 376832\nworkingset_refault_anon 12\nworkingset_refault_file 3\n",
        );
        put("memory.current", "36028416\n");
        put("memory.swap.current", "1048576\n");
        put("memory.swap.max", "max\n");
        put("memory.min", "0\n");
        put("memory.low", "4194304\n");
        assert_eq!(pod_memory(folder.path()), None, "without stalls nothing is known of the pod");
        let pressure = "some avg10=0.50 avg60=0.12 avg300=0.03 total=48213\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n";
        put("memory.pressure", pressure);
        let memory = pod_memory(folder.path()).unwrap();
        let stalls = Stalls { avg10: 0.5, avg60: 0.12, total_micros: 48_213 };
        assert_eq!(memory.memory, stalls);
        assert_eq!((memory.anon_bytes, memory.file_bytes), (33_792_000, 1_187_840));
        assert_eq!((memory.swap_bytes, memory.swap_max_bytes), (1 << 20, None));
        assert_eq!(memory.protected_bytes, 4 << 20);
        assert_eq!((memory.refaults_anon_pages, memory.refaults_file_pages), (12, 3));
        assert_eq!(memory.io, None);
        put("io.pressure", pressure);
        put("memory.min", "max\n");
        let memory = pod_memory(folder.path()).unwrap();
        assert_eq!((memory.io, memory.protected_bytes), (Some(stalls), u64::MAX));
    }
}
