//! Settings of suspended pods.

use std::time::Duration;

use super::{keys, read::Read, settings::Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendSettings {
    /// How much of the swap stays free.
    pub keep_free: Share,
    /// How long the API server may be unreachable before suspended pods are woken.
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
