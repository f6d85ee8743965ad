//! What the agent remembers of its node: a record for each minute, and a line for each event.
//!
//! A record has a fixed size and its place follows from its minute, so the file is a ring that needs no
//! header: a record of 14 days later takes the place. Each record has its time and a checksum. One that a
//! power cut tore is skipped, and no other is touched.

use serde::{Deserialize, Serialize};

/// Bytes of a record.
pub const RECORD: usize = 72;
/// Records of the file: the minutes of 14 days.
pub const RECORDS: u64 = 14 * 24 * 60;
/// Sizes are kept in units of so many bytes.
const UNIT: u64 = 64 << 10;
/// The first byte of a record of this layout.
const LAYOUT: u8 = 1;

/// The agent knew the pods from the API server.
const API: u8 = 1;
/// A signal asked for an eviction.
const SIGNAL: u8 = 1 << 1;
/// systemd could not be told.
const BUS: u8 = 1 << 2;
/// The kernel counts the stalls of the protected slices, and of the pods.
const SYSTEM: u8 = 1 << 3;
const PODS: u8 = 1 << 4;
/// The pages that were swapped and the stalls are those since the record before.
const RATES: u8 = 1 << 5;

/// Parts of time in which some process, or all, waited for memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waited {
    pub some: u16,
    pub full: u16,
}

/// The node at the end of a minute, and what happened in it. Sizes are multiples of 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// Seconds since 1970.
    pub at: u64,
    pub ram_bytes: u64,
    pub swap_bytes: u64,
    pub swap_used_bytes: u64,
    pub working_set_bytes: u64,
    pub api_reachable: bool,
    pub bus_trouble: bool,
    pub signal_active: bool,
    pub rates: Option<Rates>,
    /// Limits that were compared with what they should be, and those of them that somebody had changed.
    pub verified: u32,
    pub drifts: u16,
    /// Limits that were written for other reasons.
    pub found: u16,
    pub grant_changed: u16,
    pub stepped_down: u16,
    /// From the notification of a changed limit to its repair, at worst.
    pub worst_millis: u16,
    pub containers: u16,
    /// Memory of suspended pods that is in swap: it costs nothing while they sleep. Older records have none.
    pub suspended_bytes: u64,
}

/// Since the record before, for each second or as a part of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    pub pages_in: u32,
    pub pages_out: u32,
    pub system: Option<Waited>,
    pub pods: Option<Waited>,
}

/// The place of a record in the file.
pub fn offset(at: u64) -> u64 {
    at / 60 % RECORDS * RECORD as u64
}

/// FNV-1a of 32 bits.
///
/// Source: draft-eastlake-fnv, "The FNV Non-Cryptographic Hash Algorithm".
fn checksum(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX)
}

/// Writes one number after another.
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

/// Reads one number after another; 0 after the end.
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
    /// The record of this minute.
    pub fn encode(&self) -> [u8; RECORD] {
        let rates = self.rates.unwrap_or_default();
        let flags = [
            (self.api_reachable, API),
            (self.signal_active, SIGNAL),
            (self.bus_trouble, BUS),
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

    /// The minute of a record; `None` where there is none, or it is torn, or of another layout.
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
            bus_trouble: has(BUS),
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

    /// This minute with what `earlier`, written in the same minute by an agent that has stopped since,
    /// has counted.
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

    /// What pods and system hold of memory, swapped or not, in percent of RAM; without the swap of
    /// suspended pods, which nobody uses.
    pub fn held_percent(&self) -> u64 {
        let swapped = self.swap_used_bytes.saturating_sub(self.suspended_bytes);
        (self.working_set_bytes + swapped) * 100 / self.ram_bytes.max(1)
    }
}

/// All minutes of a file, from the oldest to the newest.
pub fn minutes(file: &[u8]) -> Vec<Minute> {
    let mut minutes: Vec<Minute> = file.chunks_exact(RECORD).filter_map(Minute::decode).collect();
    minutes.sort_by_key(|minute| minute.at);
    minutes
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970.
    pub at: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The agent started; `boot` is the kernel's ID of the boot.
    Started {
        version: String,
        boot: String,
    },
    /// The agent was stopped, which a kill does not leave.
    Stopped,
    /// The API server cannot be asked, and can be asked again.
    ApiLost {
        why: String,
    },
    ApiBack,
    /// The agent has a trouble (a word of `about` in docs/operations.md), and no longer.
    Trouble {
        about: String,
        why: String,
    },
    TroubleOver {
        about: String,
    },
    /// An eviction was asked for, or would have been.
    Eviction {
        pod: String,
        outcome: String,
        why: String,
        answer: String,
    },
    /// A pod that was asked to leave has left.
    Left {
        pod: String,
    },
    /// Somebody changed limits of a pod, and the agent changed them back: so often in a minute.
    Repaired {
        pod: String,
        level: String,
        found: String,
        count: u64,
    },
}

/// Events of one kind have a file of their own: many of them push out none of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the agent and of what did not work.
    Health,
    Eviction,
    Repair,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Health, Self::Eviction, Self::Repair];
}

impl What {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Started { .. }
            | Self::Stopped
            | Self::ApiLost { .. }
            | Self::ApiBack
            | Self::Trouble { .. }
            | Self::TroubleOver { .. } => Kind::Health,
            Self::Eviction { .. } | Self::Left { .. } => Kind::Eviction,
            Self::Repaired { .. } => Kind::Repair,
        }
    }

    pub fn eviction(pod: &str, outcome: &str, why: &str, answer: &str) -> Self {
        let [pod, outcome, why, answer] = [pod, outcome, why, answer].map(str::to_owned);
        Self::Eviction { pod, outcome, why, answer }
    }
}

/// An event as a line.
pub fn line(event: &Event) -> serde_json::Result<String> {
    Ok(serde_json::to_string(event)? + "\n")
}

/// The events of a text, and how many lines could not be read.
pub fn events(text: &str) -> (Vec<Event>, usize) {
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
