//! A swap limit as cgroup v2 writes it in `memory.swap.max`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `memory.swap.max`: a number of bytes, or no limit. `Max` is greater than any number.
///
/// Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "memory.swap.max".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SwapMax {
    Bytes(u64),
    Max,
}

impl SwapMax {
    pub const ZERO: Self = Self::Bytes(0);

    /// Returns the value that the kernel shows after this one is written: whole pages, rounded
    /// down.
    pub fn as_kernel_shows(self, page_bytes: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes - bytes % page_bytes.max(1)),
            Self::Max => Self::Max,
        }
    }

    /// Converts to the value of systemd's D-Bus properties: `u64::MAX` means "infinity".
    pub fn to_systemd(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Max => u64::MAX,
        }
    }

    /// The inverse of [`SwapMax::to_systemd`].
    pub fn from_systemd(value: u64) -> Self {
        if value == u64::MAX { Self::Max } else { Self::Bytes(value) }
    }
}

impl fmt::Display for SwapMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// The error for a text that is neither `max` nor a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither \"max\" nor a number of bytes")]
pub struct NotASwapMax(pub String);

impl FromStr for SwapMax {
    type Err = NotASwapMax;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "max" => Ok(Self::Max),
            number => number.parse().map(Self::Bytes).map_err(|_| NotASwapMax(text.to_owned())),
        }
    }
}

impl TryFrom<String> for SwapMax {
    type Error = NotASwapMax;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SwapMax> for String {
    fn from(value: SwapMax) -> Self {
        value.to_string()
    }
}

/// Formats a size for people: `1.5 GiB`, in binary units.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "shown to one decimal")]
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// The kernel's ability to limit a cgroup's swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapControl {
    Works,
    /// `cgroup_disable=memory`, or the memory controller is in a cgroup v1 hierarchy.
    NoMemoryController,
    /// `swapaccount=0`, or a kernel without CONFIG_SWAP.
    NotCounted,
    /// Unknown, because no cgroup has a memory controller yet.
    Unknown,
}

impl SwapControl {
    /// Returns the reason why no limit can be set, with the remedy.
    pub fn lacks(self) -> Option<&'static str> {
        match self {
            Self::Works | Self::Unknown => None,
            Self::NoMemoryController => Some(
                "the kernel has no memory controller for cgroup v2 (cgroup.controllers does not \
                 list it), so the agent cannot set limits; remove cgroup_disable=memory from \
                 the kernel's command line",
            ),
            Self::NotCounted => Some(
                "the kernel does not count swap for cgroups (no memory.swap.max), so the agent \
                 cannot set limits; remove swapaccount=0 from the kernel's command line",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_the_kernel_does() {
        assert_eq!("max\n".parse(), Ok(SwapMax::Max));
        assert_eq!("0\n".parse(), Ok(SwapMax::ZERO));
        assert_eq!("104857600\n".parse(), Ok(SwapMax::Bytes(104_857_600)));
        for bad in ["", "-1", "1k", "max max", "0x10", "18446744073709551616"] {
            assert_eq!(bad.parse::<SwapMax>(), Err(NotASwapMax(bad.to_owned())), "{bad:?}");
        }
        assert!(SwapMax::Bytes(u64::MAX) < SwapMax::Max);
        assert_eq!(SwapMax::Bytes(8193).as_kernel_shows(4096), SwapMax::Bytes(8192));
        assert_eq!(SwapMax::from_systemd(u64::MAX), SwapMax::Max);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(1536 << 20), "1.5 GiB");
    }
}
