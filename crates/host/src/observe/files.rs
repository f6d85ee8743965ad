//! Detects possible changes of files by watching their directories: a file that a rename replaces,
//! or a link that changes its target, has no other stable place.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use nix::sys::inotify::AddWatchFlags;

use super::events::RenewedEvents;

/// Watches the directories of some files. For a missing directory it watches the nearest existing
/// directory above; after a change there, the caller renews the watch.
#[derive(Debug)]
pub struct FileWatch {
    events: RenewedEvents,
    names: BTreeSet<OsString>,
    /// Files with this suffix are watched too.
    suffix: Option<&'static str>,
}

impl FileWatch {
    /// Watches all files of `folders` with this suffix.
    pub fn of_folders(
        before: Option<Self>,
        folders: &[PathBuf],
        suffix: &'static str,
    ) -> io::Result<Self> {
        // The watch covers a directory as soon as one name in it is given.
        let files: Vec<PathBuf> = folders.iter().map(|folder| folder.join(suffix)).collect();
        Ok(Self { suffix: Some(suffix), ..Self::renewed(before, &files)? })
    }

    pub fn new(files: &[PathBuf]) -> io::Result<Self> {
        Self::renewed(None, files)
    }

    /// Watches `files` as they are now, with the queue of the watch before it; what has happened before
    /// is forgotten.
    pub fn renewed(before: Option<Self>, files: &[PathBuf]) -> io::Result<Self> {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        let near = files.iter().filter_map(|file| nearest(file));
        let (folders, names): (BTreeSet<PathBuf>, BTreeSet<OsString>) =
            near.map(|(folder, name)| (folder.to_owned(), name.to_owned())).unzip();
        let mut events = before.map_or_else(RenewedEvents::new, |before| Ok(before.events))?;
        events.renew(folders.iter(), flags);
        Ok(Self { events, names, suffix: None })
    }

    /// Returns when one of the files may have changed. Cancel safe.
    pub async fn changed(&self) -> io::Result<()> {
        let ends = |name: &OsString| {
            self.suffix.is_some_and(|end| name.as_encoded_bytes().ends_with(end.as_bytes()))
        };
        let named = |name: Option<OsString>| {
            name.is_none_or(|name| self.names.contains(&name) || ends(&name))
        };
        while !self.events.next().await?.into_iter().any(|event| named(event.name)) {}
        Ok(())
    }
}

/// Returns the nearest existing directory above `file`, and the next name that should appear in it.
fn nearest(file: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    let mut below = file;
    loop {
        let folder = below.parent()?;
        if folder.is_dir() {
            return Some((folder, below.file_name()?));
        }
        below = folder;
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

    #[tokio::test]
    async fn files_of_a_suffix_are_noticed_in_a_folder_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let hooks = folder.path().join("hooks.d");
        let noticed = async |watch: &FileWatch| {
            tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_ok()
        };
        let watch = FileWatch::of_folders(None, std::slice::from_ref(&hooks), ".json").unwrap();
        fs::create_dir(&hooks).unwrap();
        assert!(noticed(&watch).await, "the folder itself comes");
        let watch =
            FileWatch::of_folders(Some(watch), std::slice::from_ref(&hooks), ".json").unwrap();
        fs::write(hooks.join("note.txt"), "").unwrap();
        assert!(!noticed(&watch).await);
        fs::write(hooks.join("50-other.json"), "").unwrap();
        assert!(noticed(&watch).await);
    }

    #[tokio::test]
    async fn a_renewed_watch_forgets_the_past_and_sees_a_replaced_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (hooks, old) = (folder.path().join("hooks.d"), folder.path().join("old"));
        let files = [hooks.join("99.json")];
        let noticed = async |watch: &FileWatch| {
            tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_ok()
        };
        let create = || {
            fs::create_dir(&hooks).unwrap();
            fs::write(&files[0], "").unwrap();
        };
        create();
        let watch = FileWatch::new(&files).unwrap();
        fs::write(&files[0], "changed").unwrap();
        let watch = FileWatch::renewed(Some(watch), &files).unwrap();
        assert!(!noticed(&watch).await, "this was before");
        fs::rename(&hooks, &old).unwrap();
        create();
        assert!(noticed(&watch).await, "the directory has moved");
        let watch = FileWatch::renewed(Some(watch), &files).unwrap();
        assert_eq!(watch.events.count(), 1, "not of the old directory");
        assert!(!noticed(&watch).await, "that its watch ended is no change");
        fs::write(&files[0], "changed").unwrap();
        assert!(noticed(&watch).await, "of the new directory");
        fs::remove_dir_all(&hooks).unwrap();
        let watch = FileWatch::renewed(Some(watch), &files).unwrap();
        create();
        assert!(noticed(&watch).await, "the directory has come");
    }

    #[tokio::test]
    async fn a_folder_that_comes_or_goes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("oci/hooks.d/99.json");
        let noticed = async |watch: &FileWatch| {
            tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
        };
        let watch = FileWatch::new(std::slice::from_ref(&file)).unwrap();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(noticed(&watch).await, "it comes, with the folder above it");
        let watch = FileWatch::new(std::slice::from_ref(&file)).unwrap();
        fs::remove_dir(file.parent().unwrap()).unwrap();
        assert!(noticed(&watch).await, "it goes");
    }
}
