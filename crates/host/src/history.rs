//! The files of the node's history: a ring of minutes, and lines of events.
//!
//! Both are for reports only; no decision goes by them. So nothing is synced: a power cut loses what the
//! kernel had not written yet (half a minute), and what was there before stays as it was. What cannot be
//! read of them is skipped and counted.

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
    model::history::{self, Event, Minute, RECORD, RECORDS},
    roots::Roots,
    state::{FileError, StateFile},
};

/// Of the minutes, as the host names them.
pub const MINUTES: &str = "/var/lib/wasp-agent/history/minutes";
/// Of the events, and of those before.
pub const EVENTS: &str = "/var/lib/wasp-agent/history/events";
pub const EVENTS_BEFORE: &str = "/var/lib/wasp-agent/history/events.before";
/// A file of events that is longer becomes the one before.
const LONGEST: u64 = 256 << 10;
pub const FOLDER: &str = "/var/lib/wasp-agent/history";

/// What a report reads.
#[derive(Debug, Default)]
pub struct History {
    pub minutes: Vec<Minute>,
    pub events: Vec<Event>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

fn open(roots: &Roots, file: &'static str, options: &mut OpenOptions) -> Result<File, FileError> {
    let opened = std::fs::create_dir_all(roots.path(FOLDER))
        .and_then(|()| options.create(true).mode(0o600).open(roots.path(file)));
    opened.map_err(FileError::of("open", Path::new(file)))
}

/// Puts the minute into its place.
pub fn record(roots: &Roots, minute: &Minute) -> Result<(), FileError> {
    let file = open(roots, MINUTES, OpenOptions::new().read(true).write(true))?;
    let (place, mut earlier) = (history::offset(minute.at), [0; RECORD]);
    // The end of the file, or a record that is torn, is none.
    let earlier = file.read_exact_at(&mut earlier, place).ok().and(Minute::decode(&earlier));
    let minute = earlier.map_or(*minute, |earlier| minute.joined(&earlier));
    file.write_all_at(&minute.encode(), place).map_err(FileError::of("write", Path::new(MINUTES)))
}

/// Appends events, each in a line.
pub fn append(roots: &Roots, events: &[Event]) -> Result<(), FileError> {
    if events.is_empty() {
        return Ok(());
    }
    let failed = |error| FileError::of("write", Path::new(EVENTS))(error);
    let mut file = open(roots, EVENTS, OpenOptions::new().read(true).append(true))?;
    let mut length = file.metadata().map_err(failed)?.len();
    if length >= LONGEST {
        std::fs::rename(roots.path(EVENTS), roots.path(EVENTS_BEFORE)).map_err(failed)?;
        file = open(roots, EVENTS, OpenOptions::new().read(true).append(true))?;
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

/// Whether the last line has no end: a power cut came in between.
fn ends_torn(file: &mut File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

/// What one turn of the agent leaves to be written.
#[derive(Debug, Default)]
pub struct News {
    pub minute: Option<Minute>,
    pub events: Vec<Event>,
    pub working_sets: Option<Learned>,
}

/// What reclaim knows of the pods at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Seconds since 1970.
    pub at: i64,
    /// By `namespace/name`.
    pub pods: Vec<(String, Needs)>,
}

/// Adds what was learned to the file of working sets. What cannot be read of it stays as it is.
pub fn learn(roots: &Roots, learned: &Learned) -> Result<(), FileError> {
    let file = StateFile::<WorkingSets>::new(roots);
    let mut known = file.load()?.unwrap_or_default();
    for (pod, needs) in &learned.pods {
        known.learn(learned.at, pod, *needs);
    }
    file.save(&known)
}

/// Writes in a thread of its own: a disk that hangs must not keep the agent from its limits.
#[derive(Debug)]
pub struct Keeper {
    news: mpsc::SyncSender<News>,
    ended: mpsc::Receiver<()>,
    failure: Arc<Mutex<Option<String>>>,
}

/// So much may wait for the disk; what comes then is lost.
const WAITING: usize = 8;
/// How long the end of the agent waits for the disk.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Keeper {
    pub fn start(roots: Roots) -> io::Result<Self> {
        let (news, receive) = mpsc::sync_channel::<News>(WAITING);
        let (end, ended) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let result = failure.clone();
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            // Learned seldom, so a failure stays until the next time.
            let mut unlearned = None;
            for News { minute, events, working_sets } in receive {
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

    /// Whether the news will be written.
    pub fn keep(&self, news: News) -> bool {
        self.news.try_send(news).is_ok()
    }

    /// Why the last could not be written.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything is written, but not for long.
    pub fn end(self) {
        drop(self.news);
        // Disconnected: the thread has ended.
        let _ = self.ended.recv_timeout(LAST_WORDS);
    }
}

/// All that is remembered. Files that are not there are empty; one that cannot be read is an error.
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
    for file in [EVENTS_BEFORE, EVENTS] {
        text.extend(read(file, LONGEST * 2)?);
        text.push(b'\n');
    }
    let (events, unreadable) = history::events(&String::from_utf8_lossy(&text));
    Ok(History { minutes, events, unreadable })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::history::What;

    fn left(at: u64, pod: &str) -> Event {
        Event { at, what: What::Left { pod: pod.to_owned() } }
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
        let events = roots.path(EVENTS);
        let mut text = fs::read(&events).unwrap();
        text.truncate(text.len() - 5);
        fs::write(&events, text).unwrap();
        append(&roots, &[left(3, "a/d")]).unwrap();
        let history = read(&roots).unwrap();
        assert_eq!(history.minutes, [minute]);
        assert_eq!(history.events, [left(1, "a/b"), left(3, "a/d")]);
        assert_eq!(history.unreadable, 1);
        // An agent that starts anew in the same minute adds to it; one of two weeks later does not.
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
            Learned { at, pods: vec![("default/vm".to_owned(), needs)] }
        };
        learn(&roots, &learned(86_400, 100)).unwrap();
        // As after a boot: the file is all that is known of the day before.
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
        let news = News { working_sets: Some(learned(3 * 86_400, 50)), ..News::default() };
        assert!(keeper.keep(news) && keeper.keep(News::default()));
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
        let many: Vec<Event> = (0..200).map(|at| left(at, &"p".repeat(300))).collect();
        for _ in 0..30 {
            append(&roots, &many).unwrap();
        }
        let size = |file: &str| fs::metadata(roots.path(file)).unwrap().len();
        // What is appended at once may go beyond.
        let all = size(MINUTES) + size(EVENTS) + size(EVENTS_BEFORE);
        assert!(size(EVENTS_BEFORE) >= LONGEST && all < 2_200_000, "{all}");
        assert_eq!(read(&roots).unwrap().unreadable, 0);
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
