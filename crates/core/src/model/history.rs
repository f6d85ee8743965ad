//! The node's history: a record for each minute, and a line for each event.
//!
//! A record has a fixed size, and its minute determines its place. So the file is a ring without a
//! header: the record of 14 days later replaces it. Each record has its time and a checksum.
//! Readers skip a record that a power cut damaged; all others stay intact.

use serde::{Deserialize, Serialize};

/// Size of a record, in bytes.
pub const RECORD: usize = 72;
/// Number of records in the file: the minutes of 14 days.
pub const RECORDS: u64 = 14 * 24 * 60;
/// Unit in which sizes are stored, in bytes.
const UNIT: u64 = 64 << 10;
/// The first byte of a record of this layout.
const LAYOUT: u8 = 1;

/// Flag: the agent knew the pods from the API server.
const API: u8 = 1;
/// Flag: an eviction signal was active.
const SIGNAL: u8 = 1 << 1;
/// Flag: the agent could not reach systemd.
const BUS: u8 = 1 << 2;
/// Flags: the kernel counts the stalls of the protected slices, and of the pods.
const SYSTEM: u8 = 1 << 3;
const PODS: u8 = 1 << 4;
/// Flag: swapped pages and stalls are relative to the previous record.
const RATES: u8 = 1 << 5;

/// Shares of time in which some process, or all, waited for memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waited {
    pub some: u16,
    pub full: u16,
}

/// The node at the end of a minute, and the events in it. Sizes are multiples of 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// Seconds since 1970.
    pub at: u64,
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub working_set_bytes: u64,
    pub api_reachable: bool,
    pub bus_problem: bool,
    pub signal_active: bool,
    pub rates: Option<Rates>,
    /// Limits compared with their grant, and those of them that another program had changed.
    pub verified: u32,
    pub drifts: u16,
    /// Limits written for other reasons.
    pub found: u16,
    pub grant_changed: u16,
    pub stepped_down: u16,
    /// The longest time from the notification of a changed limit to its repair.
    pub worst_millis: u16,
    pub containers: u16,
    /// Memory of suspended pods in swap: it costs nothing while they are suspended. Older records
    /// do not have it.
    pub suspended_bytes: u64,
}

/// Rates since the previous record, per second or as a share of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    pub pages_in: u32,
    pub pages_out: u32,
    pub system: Option<Waited>,
    pub pods: Option<Waited>,
}

/// Returns the offset of a record in the file.
pub fn offset(at: u64) -> u64 {
    at / 60 % RECORDS * RECORD as u64
}

/// FNV-1a with 32 bits.
///
/// Source: draft-eastlake-fnv, "The FNV Non-Cryptographic Hash Algorithm".
fn checksum(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX)
}

/// Writes numbers one after another.
struct Writer {
    record: [u8; RECORD],
    at: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.record.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}

/// Reads numbers one after another; 0 after the end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (number, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *number
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn size(&mut self) -> u64 {
        u64::from(self.u32()) * UNIT
    }

    fn waited(&mut self) -> Waited {
        Waited { some: self.u16(), full: self.u16() }
    }
}

impl Minute {
    /// Encodes this minute as a record.
    pub fn encode(&self) -> [u8; RECORD] {
        let rates = self.rates.unwrap_or_default();
        let flags = [
            (self.api_reachable, API),
            (self.signal_active, SIGNAL),
            (self.bus_problem, BUS),
            (rates.system.is_some(), SYSTEM),
            (rates.pods.is_some(), PODS),
            (self.rates.is_some(), RATES),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let mut writer = Writer { record: [0; RECORD], at: 4 };
        writer.put(&[LAYOUT, flags]);
        writer.put(&self.containers.to_le_bytes());
        writer.put(&self.at.to_le_bytes());
        for size in [self.ram_bytes, self.swap_bytes, self.swap_used_bytes, self.working_set_bytes]
        {
            writer.put(&units(size).to_le_bytes());
        }
        for number in [rates.pages_in, rates.pages_out, self.verified] {
            writer.put(&number.to_le_bytes());
        }
        let (system, pods) = (rates.system.unwrap_or_default(), rates.pods.unwrap_or_default());
        let Self { drifts, found, grant_changed, stepped_down, worst_millis, .. } = *self;
        for number in [system.some, system.full, pods.some, pods.full] {
            writer.put(&number.to_le_bytes());
        }
        for number in [drifts, found, grant_changed, stepped_down, worst_millis] {
            writer.put(&number.to_le_bytes());
        }
        writer.put(&units(self.suspended_bytes).to_le_bytes());
        let mut record = writer.record;
        let sum = checksum(&record[4..]);
        record[..4].copy_from_slice(&sum.to_le_bytes());
        record
    }

    /// Decodes a record; `None` if it is empty, damaged, or of another layout.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (sum, rest) = record.get(..RECORD)?.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*sum) != checksum(rest) {
            return None;
        }
        let mut reader = Reader(rest);
        if reader.u8() != LAYOUT {
            return None;
        }
        let flags = reader.u8();
        let has = |bit: u8| flags & bit != 0;
        let containers = reader.u16();
        let at = u64::from_le_bytes(reader.take());
        let [ram_bytes, swap_bytes, swap_used_bytes, working_set_bytes] =
            std::array::from_fn(|_| reader.size());
        let [pages_in, pages_out, verified] = std::array::from_fn(|_| reader.u32());
        let (system, pods) = (reader.waited(), reader.waited());
        let [drifts, found, grant_changed, stepped_down, worst_millis] =
            std::array::from_fn(|_| reader.u16());
        let suspended_bytes = reader.size();
        Some(Self {
            at,
            ram_bytes,
            swap_bytes,
            swap_used_bytes,
            working_set_bytes,
            api_reachable: has(API),
            bus_problem: has(BUS),
            signal_active: has(SIGNAL),
            rates: has(RATES).then_some(Rates {
                pages_in,
                pages_out,
                system: has(SYSTEM).then_some(system),
                pods: has(PODS).then_some(pods),
            }),
            verified,
            drifts,
            found,
            grant_changed,
            stepped_down,
            worst_millis,
            containers,
            suspended_bytes,
        })
    }

    /// Adds the counts of `earlier`, which an agent that has stopped since wrote in the same
    /// minute.
    #[must_use]
    pub fn joined(self, earlier: &Self) -> Self {
        if earlier.at / 60 != self.at / 60 {
            return self;
        }
        Self {
            verified: self.verified.saturating_add(earlier.verified),
            drifts: self.drifts.saturating_add(earlier.drifts),
            found: self.found.saturating_add(earlier.found),
            grant_changed: self.grant_changed.saturating_add(earlier.grant_changed),
            stepped_down: self.stepped_down.saturating_add(earlier.stepped_down),
            worst_millis: self.worst_millis.max(earlier.worst_millis),
            rates: self.rates.or(earlier.rates),
            ..self
        }
    }

    /// Returns the memory of pods and system, swapped or not, in percent of RAM. Leaves out the
    /// swap of suspended pods, because no process uses it.
    pub fn held_percent(&self) -> u64 {
        let swapped = self.swap_used_bytes.saturating_sub(self.suspended_bytes);
        (self.working_set_bytes + swapped) * 100 / self.ram_bytes.max(1)
    }
}

/// Returns all minutes of a file, oldest first.
pub fn minutes(file: &[u8]) -> Vec<Minute> {
    let mut minutes: Vec<Minute> = file.chunks_exact(RECORD).filter_map(Minute::decode).collect();
    minutes.sort_by_key(|minute| minute.at);
    minutes
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Seconds since 1970.
    pub at: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The agent started; `boot` is the kernel's boot ID.
    Started {
        version: String,
        boot: String,
    },
    /// The agent was stopped; a kill leaves no such event.
    Stopped,
    /// The API server became unreachable, or reachable again.
    ApiLost {
        why: String,
    },
    ApiBack,
    /// A problem of the agent began or ended (a kind of docs/operations.md).
    #[serde(alias = "trouble")]
    Problem {
        #[serde(alias = "about")]
        kind: String,
        why: String,
    },
    #[serde(alias = "trouble-over")]
    ProblemOver {
        #[serde(alias = "about")]
        kind: String,
    },
    /// The agent requested an eviction, or would have.
    Eviction {
        pod: String,
        outcome: String,
        why: String,
        answer: String,
    },
    /// A pod has left after the agent asked for its eviction.
    Left {
        pod: String,
    },
    /// Another program changed limits of a pod, and the agent restored them: the number in a
    /// minute.
    Repaired {
        pod: String,
        level: String,
        found: String,
        count: u64,
    },
}

/// A kind of events. Each kind has its own file, so that a flood of one kind displaces no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryFile {
    /// Events of the agent, and outages.
    Health,
    Eviction,
    Repair,
}

impl HistoryFile {
    pub const ALL: [Self; 3] = [Self::Health, Self::Eviction, Self::Repair];
}

impl What {
    pub fn kind(&self) -> HistoryFile {
        match self {
            Self::Started { .. }
            | Self::Stopped
            | Self::ApiLost { .. }
            | Self::ApiBack
            | Self::Problem { .. }
            | Self::ProblemOver { .. } => HistoryFile::Health,
            Self::Eviction { .. } | Self::Left { .. } => HistoryFile::Eviction,
            Self::Repaired { .. } => HistoryFile::Repair,
        }
    }

    pub fn eviction(pod: &str, outcome: &str, why: &str, answer: &str) -> Self {
        let [pod, outcome, why, answer] = [pod, outcome, why, answer].map(str::to_owned);
        Self::Eviction { pod, outcome, why, answer }
    }
}

/// Formats an event as a line.
pub fn line(event: &HistoryEvent) -> serde_json::Result<String> {
    Ok(serde_json::to_string(event)? + "\n")
}

/// Parses the events of a text; also returns the number of unreadable lines.
pub fn events(text: &str) -> (Vec<HistoryEvent>, usize) {
    let mut unreadable = 0;
    let mut read = |line: &str| {
        let event = serde_json::from_str(line).ok();
        unreadable += usize::from(event.is_none());
        event
    };
    let events = text.lines().filter(|line| !line.trim().is_empty()).filter_map(&mut read);
    (events.collect(), unreadable)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
