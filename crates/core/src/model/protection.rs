//! What protects a slice, as it was found.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::swap::SwapMax;

/// A block device's number, `254:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// No device number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a device number (example: 254:0)")]
pub struct NotADeviceNumber(String);

impl FromStr for DeviceNumber {
    type Err = NotADeviceNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, minor) = text.trim().split_once(':')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        parse().ok_or_else(|| NotADeviceNumber(text.to_owned()))
    }
}

/// Whole disks by number, as `/dev/NAME`.
pub type Disks = BTreeMap<DeviceNumber, String>;

/// What systemd holds for a slice: what it writes again at every daemon-reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceProperties {
    /// `MemorySwapMax`
    pub swap_max: SwapMax,
    /// `IODeviceLatencyTargetUSec`: paths as they were given, and microseconds.
    pub io_latency: Vec<(String, u64)>,
}

/// A slice at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    pub unit: String,
    /// systemd's answer; `None` where it could not be asked.
    pub properties: Option<SliceProperties>,
    /// `memory.swap.max`; `None` where there is no such cgroup or no memory controller in it.
    pub swap_max: Option<SwapMax>,
    /// `io.latency` in microseconds; `None` where the kernel has none.
    pub io_latency: Option<BTreeMap<DeviceNumber, u64>>,
}

/// `MemoryMin` by unit, in bytes.
pub type Held = BTreeMap<String, u64>;

/// A service's memory at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMemory {
    pub unit: String,
    /// The slices that it is in, from the outermost on.
    pub slices: Vec<String>,
    /// `memory.current`
    pub current_bytes: u64,
    /// `file`, `active_file` and `file_mapped` of `memory.stat`.
    pub file_bytes: u64,
    pub active_file_bytes: u64,
    pub mapped_file_bytes: u64,
}

/// What systemd is told of a unit beside its swap: the vocabulary of what the agent sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reserve {
    /// In bytes.
    MemoryMin,
    IOWeight,
    CPUWeight,
}

/// What systemd held before the agent changed it, by unit and property.
pub type Reserves = BTreeMap<String, BTreeMap<Reserve, u64>>;

impl Reserve {
    /// systemd's name of the property.
    pub fn property(self) -> &'static str {
        match self {
            Self::MemoryMin => "MemoryMin",
            Self::IOWeight => "IOWeight",
            Self::CPUWeight => "CPUWeight",
        }
    }
}
