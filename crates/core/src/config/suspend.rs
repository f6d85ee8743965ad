//! Settings of suspended pods: table `[suspend]`.

use std::time::Duration;

use super::{keys, read::Read, settings::Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendSettings {
    /// The amount of swap to keep free.
    pub keep_free: Share,
    /// The agent wakes suspended pods once the API server has been unreachable for this long.
    pub longest_silence: Duration,
}

impl SuspendSettings {
    pub(super) fn read(read: Read<'_>) -> Self {
        let keep_free = read.text("suspend.keep-swap-free");
        let keep_free = keys::percent(keep_free)
            .map(Share::Percent)
            .or_else(|| keys::size(keep_free).map(Share::Bytes));
        Self {
            keep_free: keep_free.unwrap_or(Share::Bytes(0)),
            longest_silence: read.seconds("suspend.longest-silence-seconds"),
        }
    }
}
