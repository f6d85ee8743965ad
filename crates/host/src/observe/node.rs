//! Reads the node's RAM and swap, and waits for changes of the swap.

use std::{io, path::PathBuf};

use nix::unistd::{SysconfVar, sysconf};

use super::{
    events::ProcWatch,
    fields::{counter, digits, escaped, kibibytes, missing, read},
};
use crate::{
    errors::FileError,
    model::host::{NodeMemory, SwapDevice, SwapTraffic},
    roots::Roots,
};

/// `/proc/meminfo`, with access to single fields.
pub(super) struct Meminfo {
    path: PathBuf,
    text: String,
}

impl Meminfo {
    pub(super) fn read(roots: &Roots) -> Result<Self, FileError> {
        let path = roots.proc("meminfo");
        let text = read(&path).map_err(FileError::of("read", &path))?;
        Ok(Self { path, text })
    }

    /// Returns a field in bytes; `None` if the kernel does not write it.
    pub(super) fn bytes(&self, field: &str) -> Option<u64> {
        kibibytes(&self.text, field)
    }

    /// Returns a field in bytes; an error if it is missing.
    pub(super) fn needed(&self, field: &str) -> Result<u64, FileError> {
        self.bytes(field).ok_or_else(|| FileError::of("read", &self.path)(missing(field)))
    }
}

/// Returns RAM and swap as in `/proc/meminfo`, which the kubelet's cAdvisor reads too.
pub fn memory(roots: &Roots) -> Result<NodeMemory, FileError> {
    let meminfo = Meminfo::read(roots)?;
    Ok(NodeMemory {
        ram_bytes: meminfo.needed("MemTotal")?,
        swap_bytes: meminfo.needed("SwapTotal")?,
        page_bytes: page_bytes(),
    })
}

/// Returns `MemAvailable`, in bytes; `None` if it is unknown.
pub fn available_bytes(roots: &Roots) -> Option<u64> {
    Meminfo::read(roots).ok()?.bytes("MemAvailable")
}

/// Returns `SwapFree`, in bytes.
pub fn free_swap_bytes(roots: &Roots) -> Result<u64, FileError> {
    Meminfo::read(roots)?.needed("SwapFree")
}

/// Returns the active swap devices; none if the kernel has no swap or the file cannot be read.
pub fn swap_devices(roots: &Roots) -> Vec<SwapDevice> {
    let text = std::fs::read(roots.proc("swaps")).unwrap_or_default();
    // The first line is a header.
    text.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| swap_device(&escaped(line)))
        .collect()
}

/// Returns the swap traffic since boot; `None` if the kernel does not count it.
pub fn swap_traffic(roots: &Roots) -> Option<SwapTraffic> {
    traffic(&read(&roots.proc("vmstat")).ok()?).ok()
}

/// Returns the swap traffic since boot; an error if the kernel does not count it.
pub(super) fn needed_swap_traffic(roots: &Roots) -> Result<SwapTraffic, FileError> {
    let path = roots.proc("vmstat");
    read(&path).and_then(|text| traffic(&text)).map_err(FileError::of("read", &path))
}

fn traffic(vmstat: &str) -> io::Result<SwapTraffic> {
    let needed = |name| counter(vmstat, name).ok_or_else(|| missing(name));
    let (pages_in, pages_out) = (needed("pswpin")?, needed("pswpout")?);
    let stalls = vmstat.lines().filter(|line| line.starts_with("allocstall"));
    let counts = stalls.filter_map(|line| digits(line.split_once(' ')?.1));
    let direct_reclaims = counts.fold(0_u64, u64::saturating_add);
    Ok(SwapTraffic { pages_in, pages_out, direct_reclaims })
}

/// Parses `Filename Type Size Used Priority`, with sizes in KiB (proc(5)).
fn swap_device(line: &str) -> Option<SwapDevice> {
    // The kernel escapes only these, a line break and a backslash in a name.
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let (path, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut kibibytes = || digits(words.next()?)?.checked_mul(1024);
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
pub fn swap_watch(roots: &Roots) -> ProcWatch {
    ProcWatch::new(&roots.proc("swaps"))
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
        let mut text = text.as_bytes().to_vec();
        text.extend(b"/var/\xff file 4 0 -3\n/var/x file +4 0 -4\n");
        text.extend(b"/a\rb\x0bc\\040(deleted) file\t\t4\t\t0\t\t-5\n");
        std::fs::write(roots.proc("swaps"), text).unwrap();
        let devices = swap_devices(&roots);
        assert_eq!(devices.len(), 4);
        assert_eq!(devices[3].path, "/a\rb\u{b}c\\040(deleted)");
        assert_eq!(devices[2].path, "/var/\\377", "a name that is not UTF-8");
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
        // arm64 with CONFIG_SHADOW_CALL_STACK: from 10,000,000 kB on the blank is missing.
        let text = "MemTotal: 4010192 kB\nMemFree: 1 kB\nShadowCallStack:10006144 kB\n\
                    HugePages_Total:       0\nodd\n\nSwapTotal: 1048572 kB\nSwapFree: 1 kB\n";
        std::fs::write(roots.proc("meminfo"), text).unwrap();
        let seen = memory(&roots).unwrap();
        assert_eq!((seen.ram_bytes, seen.swap_bytes), (4_106_436_608, 1_073_737_728));
        assert!(seen.page_bytes.is_power_of_two());
        std::fs::write(roots.proc("meminfo"), "MemTotal: 4010192 kB\nSwapTotal: many kB\n")
            .unwrap();
        let error = memory(&roots).unwrap_err().to_string();
        assert!(error.ends_with("proc/meminfo: it has no number for SwapTotal"), "{error}");
    }
}
