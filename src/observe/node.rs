//! The node's RAM and swap, and the kernel's word that swap changed.

use std::{fs::File, io, path::PathBuf};

use nix::unistd::{SysconfVar, sysconf};
use procfs::{FromRead, Meminfo, VmStat};
use tokio::io::{Interest, unix::AsyncFd};

use super::events::registered;
use crate::{
    model::host::{NodeMemory, SwapDevice, SwapTraffic},
    roots::Roots,
};

#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct NodeError {
    pub path: PathBuf,
    #[source]
    pub source: procfs::ProcError,
}

/// RAM and swap as `/proc/meminfo` counts them, which is what the kubelet's cAdvisor reads.
pub fn memory(roots: &Roots) -> Result<NodeMemory, NodeError> {
    let path = roots.proc("meminfo");
    let meminfo = Meminfo::from_file(&path).map_err(|source| NodeError { path, source })?;
    Ok(NodeMemory {
        ram_bytes: meminfo.mem_total,
        swap_bytes: meminfo.swap_total,
        page_bytes: page_bytes(),
    })
}

/// The active swap devices; none where the kernel has no swap or the file cannot be read.
pub fn swap_devices(roots: &Roots) -> Vec<SwapDevice> {
    let text = std::fs::read_to_string(roots.proc("swaps")).unwrap_or_default();
    // A header first.
    text.lines().skip(1).filter_map(swap_device).collect()
}

/// Swap traffic since boot; `None` where the kernel counts none.
pub fn swap_traffic(roots: &Roots) -> Option<SwapTraffic> {
    let VmStat(counters) = VmStat::from_file(roots.proc("vmstat")).ok()?;
    let counter = |name: &str| counters.get(name).and_then(|count| u64::try_from(*count).ok());
    let stalls = counters.iter().filter(|(name, _)| name.starts_with("allocstall"));
    let direct_reclaims = stalls.filter_map(|(_, count)| u64::try_from(*count).ok()).sum();
    let (pages_in, pages_out) = (counter("pswpin")?, counter("pswpout")?);
    Some(SwapTraffic { pages_in, pages_out, direct_reclaims })
}

/// `Filename Type Size Used Priority`, sizes in KiB (proc(5)).
fn swap_device(line: &str) -> Option<SwapDevice> {
    let mut words = line.split_whitespace();
    let (path, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut kibibytes = || words.next()?.parse::<u64>().ok()?.checked_mul(1024);
    let (size_bytes, used_bytes) = (kibibytes()?, kibibytes()?);
    Some(SwapDevice { path, kind, size_bytes, used_bytes, priority: words.next()?.parse().ok()? })
}

fn page_bytes() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

/// Wakes on every swapon and swapoff.
///
/// Source: proc(5), `/proc/swaps`; the kernel's `swaps_poll` answers POLLPRI | POLLERR once for
/// each reader after a change.
#[derive(Debug)]
pub struct SwapWatch {
    /// `None` where the file cannot be polled (a folder stands for the host).
    swaps: Option<AsyncFd<File>>,
}

impl SwapWatch {
    pub fn new(roots: &Roots) -> Self {
        let swaps =
            File::open(roots.proc("swaps")).and_then(|file| registered(file, Interest::PRIORITY));
        Self { swaps: swaps.ok() }
    }

    /// Returns when swap was added or removed; never where that cannot be watched.
    pub async fn changed(&self) -> io::Result<()> {
        let Some(swaps) = &self.swaps else { return std::future::pending().await };
        swaps.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_devices_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(swap_devices(&roots), []);
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /var/lib/swap\\040file                    file\t\t1048572\t\t4\t\t-2\n\
                    /dev/zram0                              partition\t2048\t\t0\t\t100\nodd\n";
        std::fs::write(roots.proc("swaps"), text).unwrap();
        let devices = swap_devices(&roots);
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].path, "/var/lib/swap\\040file");
        assert_eq!((devices[0].size_bytes, devices[0].used_bytes), (1_073_737_728, 4096));
        assert_eq!((devices[1].kind.as_str(), devices[1].priority), ("partition", 100));
    }

    #[test]
    fn swap_traffic_is_counted_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!(swap_traffic(&roots), None);
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        std::fs::write(
            roots.proc("vmstat"),
            "pgpgin 7\npswpin 12\npswpout 34\nallocstall_dma 1\nallocstall_normal 5\n",
        )
        .unwrap();
        let expected = SwapTraffic { pages_in: 12, pages_out: 34, direct_reclaims: 6 };
        assert_eq!(swap_traffic(&roots), Some(expected));
        std::fs::write(roots.proc("vmstat"), "pgpgin 7\n").unwrap();
        assert_eq!(swap_traffic(&roots), None, "a kernel without swap");
    }

    #[test]
    fn memory_is_in_bytes_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let error = memory(&roots).unwrap_err().to_string();
        assert!(error.contains("proc/meminfo"), "{error}");
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let text = "MemTotal: 4010192 kB\nMemFree: 1 kB\nBuffers: 1 kB\nCached: 1 kB\n\
                    SwapCached: 0 kB\nActive: 1 kB\nInactive: 1 kB\nSwapTotal: 1048572 kB\n\
                    SwapFree: 1 kB\nDirty: 0 kB\nWriteback: 0 kB\nMapped: 1 kB\nSlab: 1 kB\n\
                    Committed_AS: 1 kB\nVmallocTotal: 1 kB\nVmallocUsed: 1 kB\nVmallocChunk: 0 kB\n";
        std::fs::write(roots.proc("meminfo"), text).unwrap();
        let memory = memory(&roots).unwrap();
        assert_eq!((memory.ram_bytes, memory.swap_bytes), (4_106_436_608, 1_073_737_728));
        assert!(memory.page_bytes.is_power_of_two());
    }
}
