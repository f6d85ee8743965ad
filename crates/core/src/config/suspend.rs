//! Settings of suspended pods: table `[suspend]`.

use std::time::Duration;

use super::read::{Read, Share};

settings! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SuspendSettings of read {
        /// The amount of swap to keep free.
        pub keep_free: Share = read.share("suspend.keep-swap-free").unwrap_or(Share::Bytes(0)),
        /// The most swap beyond their grants that all suspended pods together may have.
        pub reserve: Share = read.share("suspend.reserve").unwrap_or(Share::Bytes(0)),
        /// The agent resumes suspended pods when the API server has been unreachable for this long.
        pub longest_silence: Duration = read.seconds("suspend.longest-silence-seconds"),
    }
}
