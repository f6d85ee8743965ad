//! Reads the clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::clock::{SinceBoot, UnixTime};

pub fn since_boot() -> SinceBoot {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    SinceBoot(time.unwrap_or_default())
}

pub fn unix_time() -> UnixTime {
    UnixTime(jiff::Timestamp::now().as_second())
}
