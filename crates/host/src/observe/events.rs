//! Kernel notifications as futures: inotify queues and files that support polling.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::{Interest, unix::AsyncFd};

use nix::NixPath;

/// A batch has at most a few more events than this.
const MOST: usize = 1024;

/// Registers `file` with the runtime.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; files and inotify \
              queues own theirs for good"
)]
pub fn registered<T: AsRawFd>(file: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(file, interest)
}

/// A file of procfs that reports its changes by POLLPRI.
#[derive(Debug)]
pub struct ProcWatch {
    /// `None` if the file does not support polling (a directory stands for the host).
    file: Option<AsyncFd<File>>,
}

impl ProcWatch {
    pub fn new(path: &Path) -> Self {
        let file = File::open(path).and_then(|file| registered(file, Interest::PRIORITY));
        Self { file: file.ok() }
    }

    /// Returns when the file has changed; never if that cannot be watched. Cancel safe.
    pub async fn changed(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return std::future::pending().await };
        file.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}

/// An inotify queue.
#[derive(Debug)]
pub struct Events {
    queue: AsyncFd<Queue>,
}

#[derive(Debug)]
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Events {
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { queue: registered(Queue(inotify), Interest::READABLE)? })
    }

    pub fn watch<P: ?Sized + NixPath>(
        &self,
        path: &P,
        flags: AddWatchFlags,
    ) -> nix::Result<WatchDescriptor> {
        self.queue.get_ref().0.add_watch(path, flags)
    }

    /// Removes a watch. A watch that the kernel has removed by itself is no error.
    pub fn unwatch(&self, watch: WatchDescriptor) {
        let _ = self.queue.get_ref().0.rm_watch(watch);
    }

    /// Waits for events and returns those available, about `MOST` at most, so that an endless
    /// source of events does not block the reader. Cancel safe: no event is lost.
    pub async fn next(&self) -> io::Result<Vec<InotifyEvent>> {
        let read =
            |queue: &AsyncFd<Queue>| queue.get_ref().0.read_events().map_err(io::Error::from);
        loop {
            let mut events = match self.queue.readable().await?.try_io(read) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(events) => events?,
                Err(_would_block) => continue,
            };
            while events.len() < MOST
                && let Ok(more) = read(&self.queue)
            {
                events.extend(more);
            }
            return Ok(events);
        }
    }
}
/// An inotify queue whose watches are renewed as a whole. It stays the same, because the kernel closes a
/// queue with watches slowly.
#[derive(Debug)]
pub struct RenewedEvents {
    events: Events,
    watches: BTreeSet<WatchDescriptor>,
}

impl RenewedEvents {
    pub fn new() -> io::Result<Self> {
        Ok(Self { events: Events::new()?, watches: BTreeSet::new() })
    }

    /// Watches the existing ones of `paths` and nothing else, and forgets what has happened. Call it
    /// before looking at them.
    pub fn renew<P: AsRef<Path>>(&mut self, paths: impl Iterator<Item = P>, flags: AddWatchFlags) {
        // The kernel has one watch for each file, however often it is asked for it.
        let watch = |path: P| self.events.watch(path.as_ref(), flags).ok();
        let watches: BTreeSet<WatchDescriptor> = paths.filter_map(watch).collect();
        for gone in self.watches.difference(&watches) {
            self.events.unwatch(*gone);
        }
        self.watches = watches;
        let read = |_: &usize| self.events.queue.get_ref().0.read_events().is_ok();
        (0..MOST).take_while(read).count();
    }

    /// Returns the number of watches, as the kernel counts them.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        let file = format!("/proc/self/fdinfo/{}", self.events.queue.as_raw_fd());
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().filter(|line| line.starts_with("inotify ")).count()
    }

    /// As [`Events::next`].
    pub async fn next(&self) -> io::Result<Vec<InotifyEvent>> {
        self.events.next().await
    }
}
