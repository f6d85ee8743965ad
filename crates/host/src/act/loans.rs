//! Restores the swap limits of a suspended pod that is resumed while no agent runs. A running agent
//! does this in its passes.

use std::{path::Path, sync::Arc};

use super::{cgroup::write_limit, systemd::UnitRequest};
use crate::{
    model::{
        host::{CgroupLevel, Holder, RUNTIME_CHILD},
        suspend::Suspended,
        swap::SwapMax,
    },
    observe::cgroup::Cgroup,
    roots::Roots,
};

/// Room above use for a limit that follows the use down, as in `decide::limits`.
const ROOM_BYTES: u64 = 1 << 20;

/// Lowers the limits to those from before the suspension, but never below use, and returns those
/// that systemd must hold too. Raises none: the grant may be lower by now. The next agent corrects
/// the others, and limits that cannot be read or written.
pub(super) fn take_back(roots: &Roots, pod: &Suspended) -> Vec<UnitRequest> {
    let mut told = Vec::new();
    for sleeper in pod.containers.iter().filter(|sleeper| sleeper.lent_bytes > 0) {
        let Some(before) = sleeper.swap_max else { continue };
        let path = roots.cgroup().join(&sleeper.path);
        put_back(&path.join(RUNTIME_CHILD), None, before);
        let request = |owner: Holder, unit: &Arc<str>, path: &Path, to| {
            let (unit, path) = (unit.clone(), path.to_owned());
            UnitRequest { owner, unit, path, to }
        };
        let to = put_back(&path, Some(sleeper.inode), before);
        if let (Some(to), Some(unit)) = (to, &sleeper.unit) {
            told.push(request(sleeper.id.clone().into(), unit, &sleeper.path, to));
        }
        let (Some(slice), Some(before)) = (sleeper.path.parent(), pod.swap_max) else { continue };
        let unit = slice.file_name().and_then(|name| name.to_str());
        let unit = unit.filter(|name| name.ends_with(".slice")).map(Arc::from);
        let to = put_back(&roots.cgroup().join(slice), None, before);
        if let (Some(to), Some(unit)) = (to, &unit) {
            told.push(request(Holder::Pod(pod.uid.clone()), unit, slice, to));
        }
    }
    told
}

/// Returns the limit if it was lowered.
fn put_back(path: &Path, inode: Option<u64>, before: SwapMax) -> Option<SwapMax> {
    let found = Cgroup::open(path).ok()??.level(CgroupLevel::Container).ok()??;
    if inode.is_some_and(|inode| found.inode != inode) {
        return None;
    }
    let to = match SwapMax::Bytes(found.swap_used_bytes) > before {
        true => SwapMax::Bytes(found.swap_used_bytes.saturating_add(ROOM_BYTES)),
        false => before,
    };
    let lowered = to < found.swap_max && write_limit(path, found.inode, to).is_ok();
    lowered.then_some(to)
}
