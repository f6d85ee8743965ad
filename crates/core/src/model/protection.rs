//! The protection of a slice, as found on the host.

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

/// The error for a text that is not a device number.
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

/// Whole disks by number, with their path `/dev/NAME`.
pub type Disks = BTreeMap<DeviceNumber, String>;

/// The properties that systemd holds for a slice, and writes again at every daemon-reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceProperties {
    /// `MemorySwapMax`.
    pub swap_max: SwapMax,
    /// `IODeviceLatencyTargetUSec`: paths as given, and microseconds.
    pub io_latency: Vec<(String, u64)>,
}

/// A slice at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    pub unit: String,
    /// systemd's answer; `None` if it could not be asked.
    pub properties: Option<SliceProperties>,
    /// `memory.swap.max`; `None` if the cgroup, or its memory controller, does not exist.
    pub swap_max: Option<SwapMax>,
    /// `io.latency` in microseconds; `None` if the kernel does not support it.
    pub io_latency: Option<BTreeMap<DeviceNumber, u64>>,
}

/// `MemoryMin` by unit, in bytes.
pub type HeldMemory = BTreeMap<String, u64>;

/// A service's memory at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMemory {
    pub unit: String,
    /// The slices that contain it, outermost first.
    pub slices: Vec<String>,
    /// `memory.current`.
    pub current_bytes: u64,
    /// `file`, `active_file` and `file_mapped` of `memory.stat`.
    pub file_bytes: u64,
    pub active_file_bytes: u64,
    pub mapped_file_bytes: u64,
}

/// Properties of a unit, besides its swap limit, that the agent sets in systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reserve {
    /// In bytes.
    MemoryMin,
    IOWeight,
    CPUWeight,
}

/// The values that systemd held before the agent changed them, by unit and property.
pub type Reserves = BTreeMap<String, BTreeMap<Reserve, u64>>;

impl Reserve {
    /// Returns systemd's name of the property.
    pub fn property(self) -> &'static str {
        match self {
            Self::MemoryMin => "MemoryMin",
            Self::IOWeight => "IOWeight",
            Self::CPUWeight => "CPUWeight",
        }
    }
}
