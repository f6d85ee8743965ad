//! Settings of suspended pods: table `[suspend]`.

use std::time::Duration;

use super::{keys, read::Read, settings::Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendSettings {
    /// The amount of swap to keep free.
    pub keep_free: Share,
    /// The most swap beyond their grants that all suspended pods together may have.
    pub reserve: Share,
    /// The agent resumes suspended pods when the API server has been unreachable for this long.
    pub longest_silence: Duration,
}

impl SuspendSettings {
    pub(super) fn read(read: Read<'_>) -> Self {
        let share = |key| {
            let text = read.text(key);
            let percent = keys::percent(text).map(Share::Percent);
            percent.or_else(|| keys::size(text).map(Share::Bytes)).unwrap_or(Share::Bytes(0))
        };
        Self {
            keep_free: share("suspend.keep-swap-free"),
            reserve: share("suspend.reserve"),
            longest_silence: read.seconds("suspend.longest-silence-seconds"),
        }
    }
}
