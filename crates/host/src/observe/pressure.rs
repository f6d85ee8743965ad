//! Reads the input of the eviction signals.

use std::path::Path;

use super::{
    fields::{counter, digits, read},
    node::{Meminfo, needed_swap_traffic},
};
use crate::{
    errors::FileError,
    model::{
        clock::SinceBoot,
        host::MemoryEvents,
        pod::PodUid,
        pressure::{ContainerUsage, Effort, PodUsage, Sample, SliceUsage, Stalled},
    },
    roots::Roots,
};

/// The definition of the node's working set that its kubelet uses: memory in use without inactive
/// file cache. Versions differ in the usage of the root cgroup.
///
/// Source: `rootStatsFromMeminfo` of runc, changed by opencontainers/runc#3933 and, for 1.1.9,
/// #3977; kubernetes/kubernetes#118916.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkingSet {
    /// `MemTotal - MemFree` of `/proc/meminfo`.
    AllThatIsNotFree,
    /// `anon + file` of the root cgroup's `memory.stat`.
    AnonAndFile,
}

/// The first minor version of the kubelet that has runc 1.1.9 or later in all its releases.
const FIRST_WITH_ANON_AND_FILE: u32 = 29;

impl WorkingSet {
    /// `minor`: 36 for v1.36.2; `None` if unknown.
    pub fn of_kubelet(minor: Option<u32>) -> Self {
        match minor {
            Some(minor) if minor < FIRST_WITH_ANON_AND_FILE => Self::AllThatIsNotFree,
            _ => Self::AnonAndFile,
        }
    }
}

/// Returns `anon + file - inactive_file` of the root cgroup; `None` if the kernel does not count it
/// there.
fn anon_and_file(roots: &Roots) -> Option<u64> {
    let stat = read(&roots.cgroup().join("memory.stat")).ok()?;
    let of = |name: &str| counter(&stat, name);
    Some(of("anon")?.saturating_add(of("file")?).saturating_sub(of("inactive_file")?))
}

/// Takes a sample of the node at time `at`. `slices` are the protected ones.
pub fn sample(
    roots: &Roots,
    at: SinceBoot,
    slices: &[String],
    working_set: WorkingSet,
) -> Result<Sample, FileError> {
    let meminfo = Meminfo::read(roots)?;
    let traffic = needed_swap_traffic(roots)?;
    let (ram_bytes, swap_bytes) = (meminfo.needed("MemTotal")?, meminfo.needed("SwapTotal")?);
    let not_free = ram_bytes.saturating_sub(meminfo.needed("MemFree")?);
    let not_free = not_free.saturating_sub(meminfo.bytes("Inactive(file)").unwrap_or(0));
    let in_cgroup = match working_set {
        WorkingSet::AllThatIsNotFree => None,
        WorkingSet::AnonAndFile => anon_and_file(roots),
    };
    let of_slice = |name: &String| stalled(&roots.cgroup().join(name).join("memory.pressure"));
    let system = slices.iter().filter_map(of_slice).reduce(|a, b| Stalled {
        some_micros: a.some_micros.saturating_add(b.some_micros),
        full_micros: a.full_micros.saturating_add(b.full_micros),
    });
    let pods = roots
        .pods()
        .iter()
        .find_map(|name| stalled(&roots.cgroup().join(name).join("memory.pressure")));
    Ok(Sample {
        at,
        swapped_in_pages: traffic.pages_in,
        swapped_out_pages: traffic.pages_out,
        ram_bytes,
        swap_bytes,
        swap_used_bytes: swap_bytes.saturating_sub(meminfo.needed("SwapFree")?),
        working_set_bytes: in_cgroup.unwrap_or(not_free),
        direct_reclaims: traffic.direct_reclaims,
        system,
        pods,
    })
}

/// `None` if the kernel does not count stalls.
fn stalled(path: &Path) -> Option<Stalled> {
    let text = read(path).ok()?;
    let total = |kind: &str| {
        let mut totals =
            text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(" total="));
        digits(totals.next()?.1.trim_end())
    };
    Some(Stalled { some_micros: total("some")?, full_micros: total("full")? })
}

/// Returns how often a swap limit was met, and how often the kernel OOM-killed.
pub fn memory_events(folder: &Path) -> MemoryEvents {
    let text = |name: &str| read(&folder.join(name)).unwrap_or_default();
    MemoryEvents {
        swap_limit_hits: counter(&text("memory.swap.events"), "max"),
        oom_kills: counter(&text("memory.events"), "oom_kill"),
    }
}

/// Returns the effort of the cgroup at `folder` for its memory since its creation: pages that
/// returned from swap (`pswpin` since Linux 6.13, else the refaults of anonymous memory), and
/// microseconds in which all its processes waited. Each is `None` if the kernel does not count it.
pub fn activity(folder: &Path) -> (Option<u64>, Option<u64>) {
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    let pages = counter(&stat, "pswpin").or_else(|| counter(&stat, "workingset_refault_anon"));
    (pages, stalled(&folder.join("memory.pressure")).map(|stalled| stalled.full_micros))
}

/// Returns the use of the cgroup at `folder`; `None` if it is gone.
pub fn usage(folder: &Path, name: Option<std::sync::Arc<str>>) -> Option<ContainerUsage> {
    let SliceUsage { working_set_bytes, swap_bytes } = cgroup_usage(folder)?;
    Some(ContainerUsage { name, working_set_bytes, swap_bytes })
}

/// Returns the use of a pod: of its `containers`, and of its cgroup at `folder`.
pub fn pod_usage(folder: &Path, uid: PodUid, containers: Vec<ContainerUsage>) -> PodUsage {
    let slice = cgroup_usage(folder);
    let effort = slice.is_some().then(|| effort(folder));
    PodUsage { uid, containers, slice, effort }
}

/// Returns the effort of the cgroup at `folder` and of those below it.
fn effort(folder: &Path) -> Effort {
    let events = std::fs::read_to_string(folder.join("memory.events")).unwrap_or_default();
    let hits = events.lines().find_map(|line| line.strip_prefix("max "));
    Effort {
        stalled: stalled(&folder.join("memory.pressure")),
        limit_hits: hits.and_then(|hits| hits.parse().ok()).unwrap_or(0),
        pages_in: activity(folder).0.unwrap_or(0),
    }
}

/// `None` if the cgroup is gone.
fn cgroup_usage(folder: &Path) -> Option<SliceUsage> {
    let number = |file: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let stat = std::fs::read_to_string(folder.join("memory.stat")).ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let inactive_file: u64 = inactive.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(SliceUsage {
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
        let slices = ["system.slice".to_owned()];
        let sampled = |how| sample(&roots, SinceBoot::default(), &slices, how);
        assert!(sampled(WorkingSet::AnonAndFile).is_err(), "no vmstat");
        fs::write(roots.proc("vmstat"), "pswpin 7\npswpout 9\n").unwrap();
        let seen = sampled(WorkingSet::AnonAndFile).unwrap();
        assert_eq!((seen.swapped_in_pages, seen.swapped_out_pages), (7, 9));
        assert_eq!((seen.swap_used_bytes, seen.working_set_bytes), (50 << 10, 600 << 10));
        assert_eq!((seen.system, seen.pods), (None, None));

        let psi = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        fs::write(roots.proc("pressure/memory"), psi).unwrap();
        let pods = roots.cgroup().join("kubepods.slice");
        fs::create_dir_all(&pods).unwrap();
        fs::write(pods.join("memory.pressure"), psi.replace("12", "34")).unwrap();
        let seen = sampled(WorkingSet::AnonAndFile).unwrap();
        assert_eq!(seen.system, None, "the whole node's stalls count kswapd");
        let system = roots.cgroup().join("system.slice");
        fs::create_dir_all(&system).unwrap();
        fs::write(system.join("memory.pressure"), psi).unwrap();
        // Recorded on a node with kubelet 1.36: cAdvisor's working set was anon + file -
        // inactive_file.
        fs::write(roots.cgroup().join("memory.stat"), "anon 300\nfile 200\ninactive_file 50\n")
            .unwrap();
        let seen = sampled(WorkingSet::AnonAndFile).unwrap();
        assert_eq!(seen.working_set_bytes, 450);
        assert_eq!(sampled(WorkingSet::AllThatIsNotFree).unwrap().working_set_bytes, 600 << 10);
        assert_eq!(WorkingSet::of_kubelet(Some(28)), WorkingSet::AllThatIsNotFree);
        assert_eq!(WorkingSet::of_kubelet(Some(36)), WorkingSet::AnonAndFile);
        assert_eq!(WorkingSet::of_kubelet(None), WorkingSet::AnonAndFile);
        assert_eq!(seen.system, Some(Stalled { some_micros: 12, full_micros: 5 }));
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
        let uid = PodUid::new("9192cfa8-679c-444e-9bb8-9701e3620c02").unwrap();
        let pod = pod_usage(folder.path(), uid.clone(), Vec::new());
        assert_eq!((pod.bytes(), pod.swap_outside_bytes()), (77, 7), "of a container that is gone");
        assert_eq!(pod_usage(&folder.path().join("gone"), uid, vec![used]).bytes(), 77);
    }
}
