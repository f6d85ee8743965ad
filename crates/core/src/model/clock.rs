//! The clocks. Each has a separate type, so that times of two clocks cannot be compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! clock {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub struct $name(pub Duration);

        impl std::ops::Add<Duration> for $name {
            type Output = Self;

            fn add(self, span: Duration) -> Self {
                Self(self.0.saturating_add(span))
            }
        }

        impl $name {
            /// Returns the time since `earlier`; zero if that is later.
            pub fn since(self, earlier: Self) -> Duration {
                self.0.saturating_sub(earlier.0)
            }
        }
    };
}

clock! {
    /// Time since the node's boot, including the time that it was suspended (CLOCK_BOOTTIME): for
    /// what is saved, because it means the same to the next agent.
    SinceBoot
}

clock! {
    /// Time since the agent's start (CLOCK_MONOTONIC): for what the agent does next. Never saved.
    SinceStart
}

/// Wall-clock time, in seconds since 1970: for what other programs have written. It can jump.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// Returns the time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
    }
}
