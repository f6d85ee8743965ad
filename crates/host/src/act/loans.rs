//! Puts back the swap limits of a suspended pod that is resumed while no agent runs. Where one runs, its passes do it.

use std::{fs, path::Path};

use crate::{
    model::{host::RUNTIME_CHILD, suspend::Suspended, swap::SwapMax},
    observe::cgroup::Cgroup,
    roots::Roots,
};

/// A limit that follows the use down stays so far above it, as `decide::limits` has it.
const ROOM_BYTES: u64 = 1 << 20;

/// Limits are as they were before the pod was suspended, but never below use. The next agent corrects what cannot
/// be read or written.
pub(super) fn take_back(roots: &Roots, pod: &Suspended) {
    for sleeper in &pod.containers {
        if sleeper.lent_bytes == 0 && sleeper.bound_bytes.is_none() {
            continue;
        }
        let Some(before) = sleeper.swap_max else { continue };
        let path = roots.cgroup().join(&sleeper.path);
        put_back(&path, Some(sleeper.inode), before);
        put_back(&path.join(RUNTIME_CHILD), None, before);
        if let (Some(slice), Some(before)) = (path.parent(), pod.swap_max) {
            put_back(slice, None, before);
        }
    }
}

fn put_back(path: &Path, inode: Option<u64>, before: SwapMax) {
    let Ok(Some(cgroup)) = Cgroup::open(path) else { return };
    if inode.is_some_and(|inode| cgroup.inode().ok() != Some(inode)) {
        return;
    }
    let folder = cgroup.path_by_descriptor();
    let used = fs::read_to_string(folder.join("memory.swap.current"));
    let Some(used) = used.ok().and_then(|text| text.trim().parse::<u64>().ok()) else { return };
    let to = match SwapMax::Bytes(used) > before {
        true => SwapMax::Bytes(used.saturating_add(ROOM_BYTES)),
        false => before,
    };
    let _ = fs::write(folder.join("memory.swap.max"), to.to_string());
}
