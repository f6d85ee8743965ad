//! A kernel trigger that fires when processes begin to wait for memory, instead of polling.
//!
//! Source: Linux `Documentation/accounting/psi.rst`, "Monitoring for pressure thresholds".

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::events::registered;
use crate::roots::Roots;

/// Fires if some process of the pods waited for a twentieth of two seconds. That is half of the
/// share that confirms traffic; since Linux 6.5, a window that is not a multiple of two seconds
/// needs CAP_SYS_RESOURCE.
const THRESHOLD: &[u8] = b"some 100000 2000000\0";

/// A trigger on the `memory.pressure` of `kubepods`.
#[derive(Debug, Default)]
pub struct StallTrigger {
    /// With the file's inode; `None` if there is no such file, or no PSI.
    armed: Option<(AsyncFd<File>, u64)>,
}

impl StallTrigger {
    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Arms the trigger, unless it is armed on the current cgroup already.
    pub fn arm(&mut self, roots: &Roots) {
        let folders =
            roots.pods().iter().map(|pods| roots.cgroup().join(pods).join("memory.pressure"));
        let Some(path) = folders.into_iter().find(|path| path.exists()) else {
            self.armed = None;
            return;
        };
        let inode = path.metadata().map(|metadata| metadata.ino()).ok();
        if self.armed.as_ref().map(|(_, armed)| *armed) != inode {
            let open = || -> io::Result<AsyncFd<File>> {
                let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
                let mut file =
                    OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
                file.write_all(THRESHOLD)?;
                registered(file, Interest::PRIORITY)
            };
            let opened = open().map_err(|error| tracing::debug!("{}: {error}", path.display()));
            self.armed = opened.ok().zip(inode);
        }
    }

    /// Returns when it has fired, at most once in two seconds; never if it is not armed.
    pub async fn fired(&self) -> io::Result<()> {
        let Some((file, _)) = &self.armed else { return std::future::pending().await };
        file.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_the_kernels_file_it_is_not_armed_and_never_fires() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let mut trigger = StallTrigger::default();
        trigger.arm(&roots);
        assert!(!trigger.is_armed());
        let pods = roots.cgroup().join("kubepods.slice");
        std::fs::create_dir_all(&pods).unwrap();
        // A file on a disk does not support polling.
        std::fs::write(pods.join("memory.pressure"), "").unwrap();
        trigger.arm(&roots);
        assert!(!trigger.is_armed());
        let moment = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(moment, trigger.fired()).await.is_err());
    }
}
