//! Tells when files may have changed, by the kernel's notification on their folders: files that
//! are replaced by a rename or behind a link that is swung have no other lasting place.

use std::{collections::BTreeSet, ffi::OsString, io, path::PathBuf};

use nix::sys::inotify::AddWatchFlags;

use super::events::Events;

/// Watches the folders of some files.
#[derive(Debug)]
pub struct FileWatch {
    events: Events,
    names: BTreeSet<OsString>,
}

impl FileWatch {
    /// Folders that do not exist are not watched.
    pub fn new(files: &[PathBuf]) -> io::Result<Self> {
        let events = Events::new()?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE;
        let folders: BTreeSet<_> = files.iter().filter_map(|file| file.parent()).collect();
        for folder in folders {
            let _ = events.watch(folder, flags);
        }
        let names = files.iter().filter_map(|file| file.file_name()).map(Into::into).collect();
        Ok(Self { events, names })
    }

    /// Returns when one of the files may have changed. Cancel safe.
    pub async fn changed(&self) -> io::Result<()> {
        let named = |name: Option<OsString>| name.is_none_or(|name| self.names.contains(&name));
        while !self.events.next().await?.into_iter().any(|event| named(event.name)) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_swung_link_and_a_rename_are_noticed_and_neighbours_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let watch = FileWatch::new(&[at("current.pem"), at("missing/other")]).unwrap();
        let soon = |watch: FileWatch| async move {
            let changed = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await;
            (changed.is_ok(), watch)
        };
        fs::write(at("neighbour"), "x").unwrap();
        let (noticed, watch) = soon(watch).await;
        assert!(!noticed);
        symlink("client-1.pem", at("new")).unwrap();
        fs::rename(at("new"), at("current.pem")).unwrap();
        let (noticed, watch) = soon(watch).await;
        assert!(noticed);
        fs::write(at("current.pem.tmp"), "x").unwrap();
        fs::rename(at("current.pem.tmp"), at("current.pem")).unwrap();
        assert!(soon(watch).await.0);
    }
}
