//! Writes the records of the pods: see [`crate::observe::records`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    act::Actuator,
    errors::FileError,
    model::{
        pod::{Pod, PodUid, Pods},
        swap::SwapMax,
    },
    observe::records::{self, Record},
    roots::Roots,
    state,
};

/// The records on disk, written only when they change.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    /// A digest of each record, keyed by this process, so that no user can construct a pod with
    /// another pod's digest.
    written: HashMap<PodUid, u64>,
    digest: RandomState,
    /// Pods whose record could not be written, and the last error.
    unwritten: BTreeSet<PodUid>,
    error: Option<(String, Vec<String>)>,
}

impl Records {
    pub fn new(roots: &Roots) -> Self {
        Self {
            folder: records::folder(roots),
            written: HashMap::new(),
            digest: RandomState::new(),
            unwritten: BTreeSet::new(),
            error: None,
        }
    }

    /// Returns the pods that an earlier run left. Skips and logs invalid records.
    pub fn load(&mut self) -> Pods {
        let mut pods = Pods::new();
        for (pod, text) in records::read(&self.folder) {
            self.written.insert(pod.uid.clone(), self.digest.hash_one(text));
            pods.insert(pod.uid.clone(), pod);
        }
        pods
    }

    /// Writes `pod` with its `grants` atomically through `actuator`, if they changed.
    pub fn save(
        &mut self,
        actuator: &impl Actuator,
        pod: &Arc<Pod>,
        grants: BTreeMap<Arc<str>, SwapMax>,
    ) -> Result<(), FileError> {
        let text = state::text(&Record { pod: pod.clone(), grants })
            .map_err(FileError::of("write", &self.path(&pod.uid)))?;
        let digest = self.digest.hash_one(&text);
        if self.written.get(&pod.uid) == Some(&digest) {
            return Ok(());
        }
        if let Err(source) = actuator.replace_file(&self.path(&pod.uid), &text, 0o600) {
            let error = FileError::of("write", &self.path(&pod.uid))(source);
            self.error = Some((error.to_string(), error.remedy_of_write()));
            self.unwritten.insert(pod.uid.clone());
            // Without a record the hook estimates; an old record could give more than the current
            // grant.
            self.written.remove(&pod.uid);
            let _ = actuator.remove_file(&self.path(&pod.uid));
            return Err(error);
        }
        self.unwritten.remove(&pod.uid);
        self.written.insert(pod.uid.clone(), digest);
        Ok(())
    }

    /// Returns the pods whose record has to be written again.
    pub fn unwritten(&self) -> impl Iterator<Item = &PodUid> {
        self.unwritten.iter()
    }

    /// Describes the problem while any record is missing, with commands against it.
    pub fn trouble(&self) -> Option<(String, Vec<String>)> {
        self.error.clone().filter(|_| !self.unwritten.is_empty())
    }

    pub fn remove(&mut self, actuator: &impl Actuator, uid: &PodUid) -> Result<(), FileError> {
        self.written.remove(uid);
        self.unwritten.remove(uid);
        let path = self.path(uid);
        actuator.remove_file(&path).map(drop).map_err(FileError::of("remove", &path))
    }

    fn path(&self, uid: &PodUid) -> PathBuf {
        records::file(&self.folder, uid)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use std::fs;

    use super::*;
    use wasp_core::fixtures::pod;

    fn host(folder: &std::path::Path) -> crate::act::Host {
        let systemd = tokio::sync::mpsc::unbounded_channel().0;
        crate::act::Host { roots: Roots::at(folder), systemd }
    }

    fn grants(bytes: u64) -> BTreeMap<Arc<str>, SwapMax> {
        [(Arc::from("c0"), SwapMax::Bytes(bytes))].into()
    }

    #[test]
    fn pods_are_kept_over_a_restart_and_written_on_change_only() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let roots = Roots::at(folder.path());
        let mut records = Records::new(&roots);
        assert_eq!(records.load(), Pods::new());
        let pod = Arc::new(pod("a", &["- - 4Gi 8Gi"]));
        records.save(&host, &pod, grants(7)).unwrap();
        let file = records.path(&pod.uid);
        let inode = || fs::metadata(&file).unwrap().ino();
        let before = inode();
        records.save(&host, &pod, grants(7)).unwrap();
        assert_eq!(inode(), before);
        records.save(&host, &pod, grants(8)).unwrap();
        assert_ne!(inode(), before);
        assert!(fs::read_to_string(&file).unwrap().contains(r#""grants":{"c0":"8"}"#));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

        let mut again = Records::new(&roots);
        assert_eq!(again.load(), Pods::from([(pod.uid.clone(), pod.clone())]));
        again.save(&host, &pod, grants(8)).unwrap();
        again.remove(&host, &pod.uid).unwrap();
        again.remove(&host, &pod.uid).unwrap();
        assert_eq!(Records::new(&roots).load(), Pods::new());
    }

    #[test]
    fn a_record_that_cannot_be_written_is_gone_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let mut records = Records::new(&Roots::at(folder.path()));
        let (a, b) = (Arc::new(pod("a", &["- - 4Gi 8Gi"])), Arc::new(pod("b", &["- - 4Gi 8Gi"])));
        for pod in [&a, &b] {
            records.save(&host, pod, grants(7)).unwrap();
        }
        // A file cannot replace a directory.
        let blocked = records.path(&a.uid);
        fs::remove_file(&blocked).unwrap();
        fs::create_dir(&blocked).unwrap();
        assert!(records.save(&host, &a, grants(6)).is_err());
        records.save(&host, &b, grants(6)).unwrap();
        assert!(records.trouble().unwrap().0.contains("pods"), "the other one's is no news of it");
        assert_eq!(records.unwritten().collect::<Vec<_>>(), [&a.uid]);
        fs::remove_dir(&blocked).unwrap();
        records.save(&host, &a, grants(6)).unwrap();
        assert_eq!((records.trouble(), records.unwritten().next()), (None, None));
    }

    #[test]
    fn nonsense_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let mut records = Records::new(&Roots::at(folder.path()));
        records.save(&host, &Arc::new(pod("a", &["- - 4Gi 8Gi"])), grants(7)).unwrap();
        let good = fs::read_to_string(records.path(&pod("a", &[]).uid)).unwrap();
        for (name, text) in [
            ("half.json", &good[..good.len() / 2]),
            ("other.json", &good.replace("\"version\":1", "\"version\":2")),
            ("odd.json", &good.replace("0000000a-uid", "../../../etc/x")),
        ] {
            fs::write(records.folder.join(name), text).unwrap();
        }
        assert_eq!(records.load().len(), 1);
    }

    #[test]
    fn a_record_of_version_1_stays_readable() {
        let text = include_str!("../../../../tests/fixtures/pod-record-v1.json");
        let pod = state::parse::<Record>(text).unwrap().pod;
        assert_eq!((&*pod.namespace, &*pod.name), ("vms", "vm"));
        assert_eq!(pod.containers.len(), 2);
    }
}
