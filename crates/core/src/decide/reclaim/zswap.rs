//! Decides the limits of a pod's compressed memory (zswap), for pods that reclaim takes memory from.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, `memory.zswap.max` (5.19) and
//! `memory.zswap.writeback` (6.8).

use std::fmt;

use crate::config::settings::ReclaimSettings;

/// The most bytes of RAM for the compressed pages of a cgroup; the kernel rounds it down to pages.
pub const MAX_FILE: &str = "memory.zswap.max";
/// `0`: compressed pages stay in RAM, and pages that do not compress are not swapped.
pub const WRITEBACK_FILE: &str = "memory.zswap.writeback";

/// A file of a pod's cgroup, and the text that it should have.
pub type WantedFile = (&'static str, String);

/// Returns the files that `settings` want to have another value than the kernel's default. A pod
/// without a swap limit (`swap_max_bytes` is `None`) keeps the kernel's `memory.zswap.max`: a share
/// needs a whole.
pub fn wanted_files(
    settings: &ReclaimSettings,
    swap_max_bytes: Option<u64>,
    page_bytes: u64,
) -> Vec<WantedFile> {
    let share = |percent: u64| {
        let bytes = u128::from(swap_max_bytes?) * u128::from(percent) / 100;
        let bytes = u64::try_from(bytes).ok()?;
        Some((MAX_FILE, (bytes - bytes % page_bytes.max(1)).to_string()))
    };
    let writeback = |on: bool| (WRITEBACK_FILE, u8::from(on).to_string());
    let max = settings.zswap_max_percent.and_then(share);
    max.into_iter().chain(settings.zswap_writeback.map(writeback)).collect()
}

/// A setting that this kernel cannot carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub key: &'static str,
    pub file: &'static str,
    /// The first kernel with the file.
    pub since: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, file, since } = self;
        write!(f, "{key} is set, but this kernel has no {file} ({since})")
    }
}

/// Returns the settings that need a file which `has` does not find.
pub fn unsupported(settings: &ReclaimSettings, has: impl Fn(&str) -> bool) -> Vec<Unsupported> {
    let max = Unsupported { key: "reclaim.zswap-max-percent", file: MAX_FILE, since: "Linux 5.19" };
    let writeback =
        Unsupported { key: "reclaim.zswap-writeback", file: WRITEBACK_FILE, since: "Linux 6.8" };
    let set = settings.zswap_max_percent.map(|_| max);
    let set = set.into_iter().chain(settings.zswap_writeback.map(|_| writeback));
    set.filter(|setting| !has(setting.file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    fn settings(percent: Option<u64>, writeback: Option<bool>) -> ReclaimSettings {
        ReclaimSettings {
            zswap_max_percent: percent,
            zswap_writeback: writeback,
            ..Settings::defaults().reclaim
        }
    }

    #[test]
    fn a_share_of_the_grant_in_whole_pages() {
        let wanted = |percent, writeback, swap_max| {
            wanted_files(&settings(percent, writeback), swap_max, 4096)
        };
        assert_eq!(wanted(None, None, Some(1 << 30)), [], "the default writes nothing");
        assert_eq!(wanted(Some(25), None, Some(100_000)), [(MAX_FILE, "24576".to_owned())]);
        assert_eq!(
            wanted(Some(0), Some(true), Some(1)),
            [(MAX_FILE, "0".to_owned()), (WRITEBACK_FILE, "1".to_owned()),]
        );
        assert_eq!(
            wanted(Some(100), None, Some(u64::MAX)),
            [(MAX_FILE, (u64::MAX - 4095).to_string())]
        );
        assert_eq!(wanted(Some(25), Some(false), None), [(WRITEBACK_FILE, "0".to_owned())]);
    }

    #[test]
    fn a_kernel_without_a_file_is_named_for_a_key_that_is_set() {
        let old = |file: &str| file == MAX_FILE;
        assert!(unsupported(&settings(None, None), |_| false).is_empty());
        assert!(unsupported(&settings(Some(25), None), old).is_empty());
        let both = unsupported(&settings(Some(25), Some(false)), |_| false);
        assert_eq!(both.len(), 2);
        assert_eq!(unsupported(&settings(Some(25), Some(false)), old), both[1..]);
        let text = "reclaim.zswap-writeback is set, but this kernel has no memory.zswap.writeback (Linux 6.8)";
        assert_eq!(both[1].to_string(), text);
    }
}
