//! Runs Senpai's algorithm: each second it decides for each pod, and makes the kernel reclaim the
//! decided bytes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use wasp_core::decide::reclaim::senpai::senpai;
use wasp_host::{
    act::cgroup_reclaim::ReclaimFile,
    observe::{cgroup::Cgroup, reclaim::pod_memory},
};

/// The pods' cgroups, and when each first existed.
pub(super) type Pods = Arc<Mutex<BTreeMap<PathBuf, Instant>>>;

/// Runs until the process ends. `asked` counts the requested bytes.
pub(super) fn start(pods: Pods, floor_bytes: u64, asked: Arc<AtomicU64>) {
    thread::spawn(move || {
        loop {
            let next = Instant::now() + Duration::from_secs(1);
            let known = pods.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (folder, since) in known {
                // Skip a pod that is gone or refuses.
                let Some(memory) = pod_memory(&folder) else { continue };
                let bytes = senpai(since.elapsed().as_secs(), &memory, floor_bytes);
                if bytes == 0 {
                    continue;
                }
                let Ok(Some(cgroup)) = Cgroup::open(&folder) else { continue };
                let Ok(Some(mut file)) = ReclaimFile::open(&cgroup) else { continue };
                if file.reclaim(bytes, None).is_ok() {
                    asked.fetch_add(bytes, Ordering::Relaxed);
                }
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}
