//! Reads what the eviction signals go by.

use std::path::Path;

use super::{
    fields::{counter, digits, read},
    names::KUBEPODS,
    node::{Meminfo, NodeError, needed_swap_traffic},
};
use crate::{
    model::{
        host::Monotonic,
        pressure::{ContainerUsage, Sample, Stalled},
    },
    roots::Roots,
};

/// A sample of the node as it is at `at`.
pub fn sample(roots: &Roots, at: Monotonic) -> Result<Sample, NodeError> {
    let meminfo = Meminfo::read(roots)?;
    let traffic = needed_swap_traffic(roots)?;
    let (ram_bytes, swap_bytes) = (meminfo.needed("MemTotal")?, meminfo.needed("SwapTotal")?);
    // As cAdvisor counts the root cgroup, which has no memory.current: all that is not free, without
    // inactive file cache.
    let used = ram_bytes.saturating_sub(meminfo.needed("MemFree")?);
    let inactive_file = meminfo.bytes("Inactive(file)").unwrap_or(0);
    let pods = KUBEPODS
        .iter()
        .find_map(|name| stalled(&roots.cgroup().join(name).join("memory.pressure")));
    Ok(Sample {
        at,
        swapped_in_pages: traffic.pages_in,
        swapped_out_pages: traffic.pages_out,
        ram_bytes,
        swap_bytes,
        swap_used_bytes: swap_bytes.saturating_sub(meminfo.needed("SwapFree")?),
        working_set_bytes: used.saturating_sub(inactive_file),
        node: stalled(&roots.proc("pressure/memory")),
        pods,
    })
}

/// `None` where the kernel does not count stalls.
fn stalled(path: &Path) -> Option<Stalled> {
    let text = read(path).ok()?;
    let total = |kind: &str| {
        let mut totals =
            text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(" total="));
        digits(totals.next()?.1.trim_end())
    };
    Some(Stalled { some_micros: total("some")?, full_micros: total("full")? })
}

/// How hard the cgroup at `folder` works for its memory, since it was made: pages that came back from
/// swap (`pswpin` since Linux 6.13, else the refaults of anonymous memory), and microseconds in which
/// all its processes waited. Each `None` where the kernel does not count it.
pub fn activity(folder: &Path) -> (Option<u64>, Option<u64>) {
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    let pages = counter(&stat, "pswpin").or_else(|| counter(&stat, "workingset_refault_anon"));
    (pages, stalled(&folder.join("memory.pressure")).map(|stalled| stalled.full_micros))
}

/// What the cgroup at `folder` uses; `None` where it is gone.
pub fn usage(folder: &Path, name: Option<std::sync::Arc<str>>) -> Option<ContainerUsage> {
    let number = |file: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let stat = std::fs::read_to_string(folder.join("memory.stat")).ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let inactive_file: u64 = inactive.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(ContainerUsage {
        name,
        working_set_bytes: number("memory.current")?.saturating_sub(inactive_file),
        swap_bytes: number("memory.swap.current").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_node_is_sampled_as_cadvisor_counts() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(roots.proc("pressure")).unwrap();
        let some = "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 100 kB\n\
                    SwapTotal: 500 kB\nSwapFree: 450 kB\n";
        fs::write(roots.proc("meminfo"), some).unwrap();
        assert!(sample(&roots, Monotonic::default()).is_err(), "no vmstat");
        fs::write(roots.proc("vmstat"), "pswpin 7\npswpout 9\n").unwrap();
        let seen = sample(&roots, Monotonic::default()).unwrap();
        assert_eq!((seen.swapped_in_pages, seen.swapped_out_pages), (7, 9));
        assert_eq!((seen.swap_used_bytes, seen.working_set_bytes), (50 << 10, 600 << 10));
        assert_eq!((seen.node, seen.pods), (None, None));

        let psi = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        fs::write(roots.proc("pressure/memory"), psi).unwrap();
        let pods = roots.cgroup().join("kubepods.slice");
        fs::create_dir_all(&pods).unwrap();
        fs::write(pods.join("memory.pressure"), psi.replace("12", "34")).unwrap();
        let seen = sample(&roots, Monotonic::default()).unwrap();
        assert_eq!(seen.node, Some(Stalled { some_micros: 12, full_micros: 5 }));
        assert_eq!(seen.pods, Some(Stalled { some_micros: 34, full_micros: 5 }));
    }

    #[test]
    fn a_container_uses_its_working_set_and_swap() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(usage(folder.path(), None), None);
        put("memory.stat", "anon 5\ninactive_file 30\n");
        put("memory.current", "100\n");
        put("memory.swap.current", "7\n");
        assert_eq!(activity(folder.path()), (None, None));
        put("memory.stat", "anon 5\ninactive_file 30\nworkingset_refault_anon 9\n");
        put(
            "memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=4\nfull avg10=0.00 \
             avg60=0.00 avg300=0.00 total=3\n",
        );
        assert_eq!(activity(folder.path()), (Some(9), Some(3)));
        put("memory.stat", "inactive_file 30\nworkingset_refault_anon 9\npswpin 8\n");
        assert_eq!(activity(folder.path()).0, Some(8));
        let used = usage(folder.path(), Some("c".into())).unwrap();
        assert_eq!((used.working_set_bytes, used.swap_bytes), (70, 7));
    }
}
