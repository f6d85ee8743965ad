//! Asks the kernel to reclaim memory of a pod, on a separate thread, because each write takes as
//! long as the swap's disk does.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Instant,
};

use super::cgroup_reclaim::{Outcome, ReclaimError, ReclaimFile};
use crate::{
    decide::reclaim::zswap::WantedFile,
    errors::FileError,
    model::{pod::PodUid, reclaim::Reclaimed},
    observe::{
        cgroup::{Cgroup, is_gone},
        fields::read,
        reclaim::pod_memory,
    },
};

/// Upper bound of one write, in bytes, so that the agent's end never waits for long.
const WRITE: u64 = 1 << 20;

/// A request to reclaim memory of one pod, from its cgroup's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub uid: PodUid,
    pub folder: PathBuf,
    /// Inode of the cgroup, because its path may be reused.
    pub inode: u64,
    pub bytes: u64,
    /// Bytes that the pod keeps: writes end there, even if the pod frees memory itself meanwhile.
    pub floor_bytes: u64,
    pub swappiness: u8,
    /// Files of the cgroup for its compressed memory, to set before the first write.
    pub zswap: Vec<WantedFile>,
}

/// The result of a request, or the reason of its failure.
pub type Answer = (PodUid, Result<Reclaimed, RequestError>);

/// The thread. It ends after its current write when this is dropped; the kernel aborts a write when
/// the process ends.
#[derive(Debug)]
pub struct Worker {
    requests: mpsc::Sender<Request>,
}

impl Worker {
    /// The thread calls `answer`.
    pub fn start(answer: impl Fn(Answer) + Send + 'static) -> io::Result<Self> {
        let (requests, receive) = mpsc::channel::<Request>();
        thread::Builder::new().name("reclaim".to_owned()).spawn(move || {
            let mut takes_swappiness = None;
            for request in receive {
                let done = reclaim(&request, &mut takes_swappiness);
                answer((request.uid, done));
            }
        })?;
        Ok(Self { requests })
    }

    /// Returns false if the thread is gone.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Cgroup(#[from] FileError),
    #[error("{folder}: {source}")]
    Open {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{folder}: {source}")]
    Write {
        folder: PathBuf,
        #[source]
        source: ReclaimError,
    },
}

fn reclaim(
    request: &Request,
    takes_swappiness: &mut Option<bool>,
) -> Result<Reclaimed, RequestError> {
    let mut done = Reclaimed { asked_bytes: request.bytes, ..Reclaimed::default() };
    let gone = Reclaimed { gone: true, ..done };
    let Some(cgroup) = Cgroup::open(&request.folder)? else { return Ok(gone) };
    if cgroup.inode()? != request.inode {
        return Ok(gone);
    }
    // Use the open directory: another cgroup may have the name by now.
    let folder = cgroup.path_by_descriptor();
    let Some(before) = pod_memory(&folder) else { return Ok(gone) };
    let mut file = match ReclaimFile::open(&cgroup) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(gone),
        Err(source) => {
            return Err(RequestError::Open { folder: request.folder.clone(), source });
        }
    };
    for (name, text) in &request.zswap {
        match set(&folder.join(name), text) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(gone),
            Err(error) => {
                return Err(FileError::of("write", &request.folder.join(name))(error).into());
            }
        }
    }
    let takes = *takes_swappiness.get_or_insert_with(|| file.takes_swappiness());
    let began = Instant::now();
    let mut left = request.bytes;
    while left > 0 {
        let Some(now) = pod_memory(&folder) else { return Ok(gone) };
        let above = now.current_bytes.saturating_sub(request.floor_bytes);
        let bytes = left.min(WRITE).min(above);
        if bytes == 0 {
            break;
        }
        match file.reclaim(bytes, takes.then_some(request.swappiness)) {
            Ok(Outcome::All) => left -= bytes,
            Ok(Outcome::Short) => {
                done.exhausted = true;
                break;
            }
            // The agent may be about to end.
            Ok(Outcome::Interrupted) => break,
            Ok(Outcome::Gone) => return Ok(gone),
            Err(source) => {
                return Err(RequestError::Write { folder: request.folder.clone(), source });
            }
        }
    }
    let after = pod_memory(&folder).unwrap_or_default();
    done.micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    done.swapped_bytes = after.swap_bytes.saturating_sub(before.swap_bytes);
    done.freed_bytes = before.current_bytes.saturating_sub(after.current_bytes);
    Ok(done)
}

/// Writes `text` to a file of a cgroup that has another content.
fn set(path: &Path, text: &str) -> io::Result<()> {
    if read(path)?.trim_end() == text {
        return Ok(());
    }
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::observe::reclaim::RECLAIM_FILE;

    fn request(folder: &Path, bytes: u64) -> Request {
        Request {
            uid: PodUid::new("9192cfa8-679c-444e-9bb8-9701e3620c02").unwrap(),
            folder: folder.to_owned(),
            inode: fs::metadata(folder).unwrap().ino(),
            bytes,
            floor_bytes: 1000,
            swappiness: 150,
            zswap: Vec::new(),
        }
    }

    /// Plain files stand in for a kernel: they accept every write.
    fn pod() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("memory.stat", "anon 5000000\n"),
            ("memory.current", "3000000\n"),
            ("memory.swap.current", "0\n"),
            ("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
            (RECLAIM_FILE, ""),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn small_writes_end_at_the_floor_and_reach_no_other_cgroup() {
        let folder = pod();
        let written = || fs::read_to_string(folder.path().join(RECLAIM_FILE)).unwrap();
        let mut takes = Some(false);
        let done = reclaim(&request(folder.path(), 2_500_000), &mut takes).unwrap();
        assert_eq!((done.asked_bytes, done.exhausted, done.gone), (2_500_000, false, false));
        assert_eq!(written(), "10485761048576402848", "1 MiB, 1 MiB and the rest");

        fs::write(folder.path().join(RECLAIM_FILE), "").unwrap();
        fs::write(folder.path().join("memory.current"), "1500\n").unwrap();
        takes = None;
        let _ = reclaim(&request(folder.path(), 4096), &mut takes).unwrap();
        assert!(written().starts_with("0 swappiness=1500 swappiness=150"), "{}", written());

        fs::write(folder.path().join("memory.current"), "900\n").unwrap();
        fs::write(folder.path().join(RECLAIM_FILE), "").unwrap();
        let _ = reclaim(&request(folder.path(), 4096), &mut takes).unwrap();
        assert_eq!(written(), "", "never below the floor");

        let mut other = request(folder.path(), 4096);
        other.inode += 1;
        assert!(reclaim(&other, &mut takes).unwrap().gone);
        assert_eq!(written(), "");
    }

    #[test]
    fn limits_of_compressed_memory_are_set_before_the_first_write_and_on_change_only() {
        let folder = pod();
        let file = folder.path().join("memory.zswap.max");
        fs::write(&file, "max\n").unwrap();
        let mut request = request(folder.path(), 4096);
        request.zswap = vec![("memory.zswap.max", "8192".to_owned())];
        let _ = reclaim(&request, &mut Some(false)).unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with("8192"));
        fs::write(&file, "8192\n").unwrap();
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        let _ = reclaim(&request, &mut Some(false)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
        fs::remove_file(&file).unwrap();
        assert!(reclaim(&request, &mut Some(false)).unwrap().gone);
        assert!(!file.exists(), "no file is created");
    }

    #[test]
    fn a_kernel_without_the_file_or_a_pod_that_is_gone_is_no_error() {
        let folder = pod();
        let request = request(folder.path(), 4096);
        fs::remove_file(folder.path().join(RECLAIM_FILE)).unwrap();
        assert!(reclaim(&request, &mut None).unwrap().gone);
        drop(folder);
        assert!(reclaim(&request, &mut None).unwrap().gone);
    }
}
