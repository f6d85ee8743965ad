//! The grant of every container, and since when its limit differs. Checks continuously.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest time that a limit may stand above its grant without other faults. The agent needs
/// milliseconds; the rest is an allowance for a node on one emulated CPU that is short of memory.
const REPAIR: Duration = Duration::from_secs(10);
/// The longest time that a limit may stand below: the next resync repairs it at the latest.
const RESYNC: Duration = Duration::from_secs(90);
/// The agent allows a container above its grant its use plus this many bytes.
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
    /// By the cgroup's directory; a runtime's child has a separate entry.
    cgroups: BTreeMap<PathBuf, Expected>,
    /// The time since which agent, API server and D-Bus all run; `None` while one does not.
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

    /// Returns the violations, the longest time above a grant without faults, and the number of
    /// checks.
    pub(super) fn result(&self) -> (Vec<String>, Duration, u64) {
        let entries = self.entries();
        (entries.violations.clone(), entries.longest_above, entries.looks)
    }

    /// Returns the first cgroup whose limit differs from its grant.
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
        // Time for which a state has lasted without faults.
        let stood = |since: &mut Option<Instant>, is: bool| {
            *since = is.then(|| since.unwrap_or(now));
            since.zip(calm).map_or(Duration::ZERO, |(since, calm)| now - calm.max(since))
        };
        for (path, expected) in &mut entries.cgroups {
            // The cgroup is gone; its driver is about to report that.
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

/// Returns the number in a file of cgroupfs; `max` is the largest number, and a missing file
/// `None`.
pub(super) fn number(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}
