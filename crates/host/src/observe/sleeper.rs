//! Looks at the processes of a suspended container. If the kubelet evicts a pod or ends it for
//! another reason, the API shows this only when all of its containers are dead. Until then, the
//! only sign is a signal that is pending at a frozen process.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::cgroup::{Cgroup, is_gone};
use crate::{model::suspend::ProcessesSeen, roots::Roots};

/// A container may create any number of cgroups and processes.
const CGROUPS: usize = 64;
const LONGEST_BYTES: u64 = 64 << 10;
/// Number of processes whose signals are read: the first ones, of which one is its init.
const PROCESSES: usize = 256;

/// Looks at the container at `path`, below the cgroup root; `None` if it is gone.
pub fn look(roots: &Roots, path: &Path, inode: u64) -> io::Result<Option<ProcessesSeen>> {
    let found = Cgroup::open(&roots.cgroup().join(path)).map_err(io::Error::other)?;
    let Some(cgroup) = found else { return Ok(None) };
    if cgroup.inode().map_err(io::Error::other)? != inode {
        return Ok(None);
    }
    match read_look(roots, &cgroup) {
        Ok(look) => Ok(Some(look)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_look(roots: &Roots, cgroup: &Cgroup) -> io::Result<ProcessesSeen> {
    let folder = cgroup.path_by_descriptor();
    let mut look = ProcessesSeen {
        freezing: fs::read_to_string(folder.join("cgroup.freeze"))?.trim() == "1",
        frozen: fs::read_to_string(folder.join("cgroup.events"))?
            .lines()
            .any(|line| line == "frozen 1"),
        ..ProcessesSeen::default()
    };
    let (mut ahead, mut left) = (vec![folder], PROCESSES);
    for _ in 0..CGROUPS {
        let Some(folder) = ahead.pop() else { break };
        // A cgroup of threads has no list of processes.
        for process in processes(&folder).unwrap_or_default() {
            look.processes.insert(process);
            if left > 0 {
                left -= 1;
                let pending = pending(roots, process).filter(|pending| *pending != 0);
                look.pending.extend(pending.map(|pending| (process, pending)));
            }
        }
        ahead.extend(children(&folder).unwrap_or_default());
    }
    Ok(look)
}

fn processes(folder: &Path) -> io::Result<Vec<u32>> {
    let mut text = String::new();
    File::open(folder.join("cgroup.procs"))?.take(LONGEST_BYTES).read_to_string(&mut text)?;
    // The last line may be truncated.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().filter_map(|process| process.parse().ok()).collect())
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.take(CGROUPS * 8) {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(folder.join(entry.file_name()));
        }
    }
    Ok(found)
}

/// Returns the signals that are pending for the process as a whole, as `kill` sends them.
fn pending(roots: &Roots, process: u32) -> Option<u64> {
    let text = fs::read_to_string(roots.proc(&format!("{process}/status"))).ok()?;
    let pending = text.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
    u64::from_str_radix(pending.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        os::unix::fs::MetadataExt,
    };

    use super::*;

    #[test]
    fn all_processes_of_a_container_are_found_with_their_pending_signals() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let scope = roots.cgroup().join("x.scope");
        for (path, text) in [
            ("cgroup.freeze", "1\n"),
            ("cgroup.events", "populated 1\nfrozen 1\n"),
            ("cgroup.procs", ""),
            ("container/cgroup.procs", "7\n8\n"),
            ("container/init.scope/cgroup.procs", "9\n"),
        ] {
            fs::create_dir_all(scope.join(path).parent().unwrap()).unwrap();
            fs::write(scope.join(path), text).unwrap();
        }
        for (process, pending) in [(7, "0000000000004000"), (8, "0000000000000000")] {
            fs::create_dir_all(roots.proc(&process.to_string())).unwrap();
            let text = format!("Name:\tx\nSigPnd:\t00000000000000ff\nShdPnd:\t{pending}\n");
            fs::write(roots.proc(&format!("{process}/status")), text).unwrap();
        }
        let inode = fs::metadata(&scope).unwrap().ino();
        let expected = ProcessesSeen {
            freezing: true,
            frozen: true,
            processes: BTreeSet::from([7, 8, 9]),
            pending: BTreeMap::from([(7, 1 << 14)]),
        };
        assert_eq!(look(&roots, Path::new("x.scope"), inode).unwrap(), Some(expected));
        assert_eq!(look(&roots, Path::new("x.scope"), inode + 1).unwrap(), None, "another one");
        assert_eq!(look(&roots, Path::new("gone"), inode).unwrap(), None);
    }
}
