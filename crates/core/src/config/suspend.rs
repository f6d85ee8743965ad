//! Settings of suspended pods.

use std::time::Duration;

use super::{keys, read::Read, settings::Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendSettings {
    /// How much of the swap stays free.
    pub keep_free: Share,
    /// How much all suspended pods together may have beyond their grants.
    pub reserve: Share,
    /// How long the API server may be unreachable before suspended pods are woken.
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
