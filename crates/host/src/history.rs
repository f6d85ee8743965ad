//! The files of the node's history: a ring of minutes, and lines of events.
//!
//! Both serve reports only; no decision uses them. So the agent does not sync them: a power cut
//! loses the part that the kernel had not written yet (half a minute), and older content stays
//! intact. Readers skip and count unreadable parts.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use crate::{
    decide::reclaim::history::{Needs, WorkingSets},
    errors::FileError,
    model::{
        clock::UnixTime,
        history::{self, HistoryEvent, HistoryFile, Minute, RECORD, RECORDS},
    },
    roots::Roots,
    state::StateFile,
};

/// Path of the minutes on the host.
pub const MINUTES: &str = "/var/lib/wasp-agent/history/minutes";
/// Path of the agent's own events: starts, outages and problems.
pub const EVENTS: &str = "/var/lib/wasp-agent/history/events";
/// Returns the paths of the current and of the previous events of a kind.
const fn files(kind: HistoryFile) -> [&'static str; 2] {
    match kind {
        HistoryFile::Health => [EVENTS, "/var/lib/wasp-agent/history/events.before"],
        HistoryFile::Eviction => [
            "/var/lib/wasp-agent/history/evictions",
            "/var/lib/wasp-agent/history/evictions.before",
        ],
        HistoryFile::Repair => {
            ["/var/lib/wasp-agent/history/repairs", "/var/lib/wasp-agent/history/repairs.before"]
        }
    }
}
/// When the events of a kind reach this many bytes, they become the previous events.
const LONGEST: u64 = 96 << 10;
/// Upper bound of a file, in bytes: earlier versions of the agent kept more.
const MOST_READ: u64 = 512 << 10;
pub const FOLDER: &str = "/var/lib/wasp-agent/history";

/// The history as a report reads it.
#[derive(Debug, Default)]
pub struct History {
    pub minutes: Vec<Minute>,
    pub events: Vec<HistoryEvent>,
    /// Number of unreadable lines.
    pub unreadable: usize,
}

fn open(roots: &Roots, file: &'static str, options: &mut OpenOptions) -> Result<File, FileError> {
    let opened = std::fs::create_dir_all(roots.path(FOLDER))
        .and_then(|()| options.create(true).mode(0o600).open(roots.path(file)));
    opened.map_err(FileError::of("open", Path::new(file)))
}

/// Writes the minute to its place.
pub fn record(roots: &Roots, minute: &Minute) -> Result<(), FileError> {
    let file = open(roots, MINUTES, OpenOptions::new().read(true).write(true))?;
    let (place, mut earlier) = (history::offset(minute.at), [0; RECORD]);
    // The end of the file, or a torn record, counts as no record.
    let earlier = file.read_exact_at(&mut earlier, place).ok().and(Minute::decode(&earlier));
    let minute = earlier.map_or(*minute, |earlier| minute.joined(&earlier));
    file.write_all_at(&minute.encode(), place).map_err(FileError::of("write", Path::new(MINUTES)))
}

/// Appends events, one per line.
pub fn append(roots: &Roots, events: &[HistoryEvent]) -> Result<(), FileError> {
    // A failure must not keep the others from being written.
    let written = HistoryFile::ALL.map(|kind| {
        let of_kind: Vec<&HistoryEvent> = events.iter().filter(|e| e.what.kind() == kind).collect();
        append_to(roots, files(kind), &of_kind)
    });
    written.into_iter().collect()
}

fn append_to(
    roots: &Roots,
    [path, before]: [&'static str; 2],
    events: &[&HistoryEvent],
) -> Result<(), FileError> {
    if events.is_empty() {
        return Ok(());
    }
    let failed = |error| FileError::of("write", Path::new(path))(error);
    let mut file = open(roots, path, OpenOptions::new().read(true).append(true))?;
    let mut length = file.metadata().map_err(failed)?.len();
    if length >= LONGEST {
        std::fs::rename(roots.path(path), roots.path(before)).map_err(failed)?;
        file = open(roots, path, OpenOptions::new().read(true).append(true))?;
        length = 0;
    }
    let mut text = String::new();
    if ends_torn(&mut file, length).map_err(failed)? {
        text.push('\n');
    }
    for event in events {
        text += &history::line(event).map_err(|error| failed(error.into()))?;
    }
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Returns true if the last line has no end, because of a power cut.
fn ends_torn(file: &mut File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

/// The minute and events that one pass of the agent leaves to write.
#[derive(Debug, Default)]
pub struct HistoryUpdate {
    pub minute: Option<Minute>,
    pub events: Vec<HistoryEvent>,
    pub working_sets: Option<LearnedWorkingSets>,
}

/// The pods' needs that reclaim has learned, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnedWorkingSets {
    pub at: UnixTime,
    /// Needs by `namespace/name`.
    pub pods: Vec<(String, Needs)>,
}

/// Adds needs to the file of working sets. An unreadable file stays unchanged.
pub fn learn(roots: &Roots, learned: &LearnedWorkingSets) -> Result<(), FileError> {
    let file = StateFile::<WorkingSets>::new(roots);
    let mut known = file.load()?.unwrap_or_default();
    for (pod, needs) in &learned.pods {
        known.learn(learned.at, pod, *needs);
    }
    file.save(&known)
}

/// Writes on a separate thread: a hanging disk must not keep the agent from its limits.
#[derive(Debug)]
pub struct Keeper {
    news: mpsc::SyncSender<HistoryUpdate>,
    ended: mpsc::Receiver<()>,
    failure: Arc<Mutex<Option<String>>>,
}

/// Number of writes that may wait for the disk; the agent drops further ones.
const WAITING: usize = 8;
/// Time that the agent waits for the disk when it ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Keeper {
    pub fn start(roots: Roots) -> io::Result<Self> {
        let (news, receive) = mpsc::sync_channel::<HistoryUpdate>(WAITING);
        let (end, ended) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let result = failure.clone();
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            // New needs are rare, so a failure stays until the next time.
            let mut unlearned = None;
            for HistoryUpdate { minute, events, working_sets } in receive {
                let written = minute.map_or(Ok(()), |minute| record(&roots, &minute));
                let written = written.and(append(&roots, &events));
                if let Some(learned) = working_sets {
                    unlearned = learn(&roots, &learned).err().map(|error| error.to_string());
                }
                let text = written.err().map(|error| error.to_string()).or(unlearned.clone());
                *result.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
            drop(end);
        })?;
        Ok(Self { news, ended, failure })
    }

    /// Returns false if the queue is full and the news is dropped.
    pub fn keep(&self, news: HistoryUpdate) -> bool {
        self.news.try_send(news).is_ok()
    }

    /// Returns the error of the last write.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything is written, for at most `LAST_WORDS`.
    pub fn end(self) {
        drop(self.news);
        // Disconnected: the thread has ended.
        let _ = self.ended.recv_timeout(LAST_WORDS);
    }
}

/// Reads the history. Missing files count as empty; an unreadable file is an error.
pub fn read(roots: &Roots) -> Result<History, FileError> {
    let read = |file: &'static str, at_most: u64| -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        match File::open(roots.path(file)) {
            Ok(opened) => opened
                .take(at_most)
                .read_to_end(&mut bytes)
                .map_err(FileError::of("read", Path::new(file)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(FileError::of("read", Path::new(file))(error)),
        };
        Ok(bytes)
    };
    let minutes = history::minutes(&read(MINUTES, RECORDS * RECORD as u64)?);
    let mut text = Vec::new();
    for [file, before] in HistoryFile::ALL.map(files) {
        for file in [before, file] {
            text.extend(read(file, MOST_READ)?);
            text.push(b'\n');
        }
    }
    let (mut events, unreadable) = history::events(&String::from_utf8_lossy(&text));
    // Events of one file keep their order, even if the clock went back.
    events.sort_by_key(|event| event.at);
    Ok(History { minutes, events, unreadable })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::history::What;

    fn left(at: u64, pod: &str) -> HistoryEvent {
        HistoryEvent { at, what: What::Left { pod: pod.to_owned() } }
    }

    #[test]
    fn minutes_and_events_come_back_and_a_torn_end_costs_itself_only() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        assert!(read(&roots).unwrap().minutes.is_empty(), "no file is no error");
        let minute = Minute { at: 1_767_323_040, containers: 3, ..Minute::default() };
        record(&roots, &minute).unwrap();
        append(&roots, &[left(1, "a/b"), left(2, "a/c")]).unwrap();
        // As after a power cut.
        let [events, _] = files(HistoryFile::Eviction).map(|file| roots.path(file));
        let mut text = fs::read(&events).unwrap();
        text.truncate(text.len() - 5);
        fs::write(&events, text).unwrap();
        append(&roots, &[left(3, "a/d")]).unwrap();
        let history = read(&roots).unwrap();
        assert_eq!(history.minutes, [minute]);
        assert_eq!(history.events, [left(1, "a/b"), left(3, "a/d")]);
        assert_eq!(history.unreadable, 1);
        // A restarted agent adds to the record of the same minute, but not to one of two weeks
        // before.
        let again = Minute { at: minute.at + 19, drifts: 2, ..minute };
        record(&roots, &again).unwrap();
        record(&roots, &Minute { drifts: 1, ..again }).unwrap();
        assert_eq!(read(&roots).unwrap().minutes, [Minute { drifts: 3, ..again }]);
        let later = Minute { at: minute.at + 14 * 86_400, ..minute };
        record(&roots, &later).unwrap();
        assert_eq!(read(&roots).unwrap().minutes, [later]);
    }

    #[test]
    fn working_sets_are_added_up_and_what_cannot_be_read_stays() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        let learned = |at, working_set_bytes| {
            let needs = Needs { working_set_bytes, whole_bytes: 400 };
            LearnedWorkingSets { at: UnixTime(at), pods: vec![("default/vm".to_owned(), needs)] }
        };
        learn(&roots, &learned(86_400, 100)).unwrap();
        // As after a boot: only the file knows the day before.
        learn(&roots, &learned(2 * 86_400, 50)).unwrap();
        let file = StateFile::<WorkingSets>::new(&roots);
        let advice = file.load().unwrap().unwrap().advice().unwrap();
        assert_eq!((advice.days, advice.would_have_held_percent), (2, 400));

        fs::write(file.path(), "cut").unwrap();
        let error = learn(&roots, &learned(3 * 86_400, 50)).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use /var/lib/wasp-agent/history/working-sets.json"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "cut");
        let keeper = Keeper::start(roots.clone()).unwrap();
        let news = HistoryUpdate {
            working_sets: Some(learned(3 * 86_400, 50)),
            ..HistoryUpdate::default()
        };
        assert!(keeper.keep(news) && keeper.keep(HistoryUpdate::default()));
        let failure = keeper.failure.clone();
        keeper.end();
        let failure = failure.lock().unwrap().clone();
        assert_eq!(failure, Some(error), "the next record does not hide it");
    }

    #[test]
    fn the_files_stay_below_two_megabytes() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        record(&roots, &Minute { at: 14 * 86_400 - 60, ..Minute::default() }).unwrap();
        let many: Vec<HistoryEvent> = (0..200).map(|at| left(at, &"p".repeat(300))).collect();
        for _ in 0..30 {
            append(&roots, &many).unwrap();
        }
        let size = |file: &str| fs::metadata(roots.path(file)).map_or(0, |file| file.len());
        let of_kinds: u64 = HistoryFile::ALL.into_iter().flat_map(files).map(size).sum();
        // A single append may exceed the bound.
        let all = size(MINUTES) + of_kinds;
        assert!(of_kinds >= LONGEST && all < 2_200_000, "{all}");
        assert_eq!(read(&roots).unwrap().unreadable, 0);
    }

    #[test]
    fn a_writer_that_fights_pushes_out_its_own_repairs_only() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        append(&roots, &[left(1, "a/b"), HistoryEvent { at: 2, what: What::ApiBack }]).unwrap();
        let repaired = |at| {
            let [pod, level, found] = ["x".repeat(100), "pod".to_owned(), "max".to_owned()];
            HistoryEvent { at, what: What::Repaired { pod, level, found, count: 60 } }
        };
        for at in 0..100 {
            let many: Vec<HistoryEvent> = (0..30).map(|n| repaired(at * 100 + n)).collect();
            append(&roots, &many).unwrap();
        }
        let events = read(&roots).unwrap().events;
        let others: Vec<&HistoryEvent> =
            events.iter().filter(|e| e.what.kind() != HistoryFile::Repair).collect();
        assert_eq!(others.len(), 2, "{others:?}");
        assert!(events.len() < 2 * 1024 && events.is_sorted_by_key(|event| event.at));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::at(root.path());
        fs::create_dir_all(roots.path(MINUTES)).unwrap();
        let error = read(&roots).unwrap_err().to_string();
        assert!(error.contains("/var/lib/wasp-agent/history/minutes"), "{error}");
    }
}
