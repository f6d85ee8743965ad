//! What every container may have, and since when one has something else. Looks all the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a limit may stand above its grant while nothing else goes wrong. The agent takes
/// milliseconds; the rest is for a node on one emulated CPU that is short of memory.
const REPAIR: Duration = Duration::from_secs(10);
/// How long it may stand below: the next resync mends it at the latest.
const RESYNC: Duration = Duration::from_secs(90);
/// The agent lets a container above its grant have its use and this much.
const FOLLOWED: u64 = 1 << 20;
const PAGE: u64 = 4096;

#[derive(Debug)]
struct Expected {
    grant: u64,
    above: Option<Instant>,
    wrong: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By the cgroup's folder; a runtime's child has its own.
    cgroups: BTreeMap<PathBuf, Expected>,
    /// Since when agent, API server and D-Bus are there; `None` while one is not.
    calm: Option<Instant>,
    violations: Vec<String>,
    longest_above: Duration,
    looks: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entries>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expect(&self, cgroup: PathBuf, grant: u64) {
        let grant = grant / PAGE * PAGE;
        self.entries().cgroups.insert(cgroup, Expected { grant, above: None, wrong: None });
    }

    pub(super) fn forget(&self, cgroup: &Path) {
        self.entries().cgroups.retain(|path, _| !path.starts_with(cgroup));
    }

    pub(super) fn set_calm(&self, calm: bool) {
        self.entries().calm = calm.then(Instant::now);
    }

    pub(super) fn violation(&self, text: String) {
        println!("# VIOLATION: {text}");
        self.entries().violations.push(text);
    }

    /// Violations, the longest time above a grant in calm, and how often it was looked.
    pub(super) fn result(&self) -> (Vec<String>, Duration, u64) {
        let entries = self.entries();
        (entries.violations.clone(), entries.longest_above, entries.looks)
    }

    /// The first cgroup whose limit is not its grant.
    pub(super) fn first_wrong(&self) -> Option<String> {
        self.entries().cgroups.iter().find_map(|(path, expected)| {
            let limit = number(&path.join("memory.swap.max"));
            (limit != Some(expected.grant))
                .then(|| format!("{}: {limit:?}, not {}", path.display(), expected.grant))
        })
    }

    pub(super) fn look(&self) {
        let mut entries = self.entries();
        entries.looks += 1;
        let (now, calm) = (Instant::now(), entries.calm);
        let (mut longest, mut said) = (entries.longest_above, Vec::new());
        // How long a state has stood while all was calm.
        let stood = |since: &mut Option<Instant>, is: bool| {
            *since = is.then(|| since.unwrap_or(now));
            since.zip(calm).map_or(Duration::ZERO, |(since, calm)| now - calm.max(since))
        };
        for (path, expected) in &mut entries.cgroups {
            // Gone, and its driver is about to say so.
            let Some(limit) = number(&path.join("memory.swap.max")) else { continue };
            let used = number(&path.join("memory.swap.current")).unwrap_or(0);
            let followed = limit <= used + FOLLOWED + PAGE;
            let (grant, what) = (expected.grant, path.display());
            let above = stood(&mut expected.above, limit > grant && !followed);
            longest = longest.max(above);
            let wrong = stood(&mut expected.wrong, limit != grant && !(limit > grant && followed));
            if above > REPAIR || wrong > RESYNC {
                let time = above.max(wrong);
                said.push(format!("{what} has {limit} for {time:.1?}, should have {grant}"));
                (expected.above, expected.wrong) = (None, None);
            }
        }
        entries.longest_above = longest;
        drop(entries);
        said.into_iter().for_each(|text| self.violation(text));
    }
}

/// What a file of cgroupfs says; `max` is the most there is, and a file that is gone nothing.
pub(super) fn number(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}
