//! The bytes that may be written to swap: so many a second, with some saved up.

use std::time::Duration;

use crate::model::{
    host::Monotonic,
    reclaim::{Held, Reclaimed},
};

/// What is not used is saved up for so long.
pub(super) const SAVED: Duration = Duration::from_secs(30);
/// Less than this is not worth a step.
const LEAST: u64 = 64 << 10;

#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    /// What may be written now; below zero where the kernel wrote more than it was asked to.
    bytes: i64,
    refilled: Option<Monotonic>,
}

impl Budget {
    pub(super) fn refill(&mut self, per_second: u64, now: Monotonic) {
        let Some(before) = self.refilled.replace(now) else {
            // An agent that starts again and again must not get the savings each time.
            return;
        };
        let of = |span: Duration| {
            let bytes = u128::from(per_second) * span.as_millis() / 1000;
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        self.bytes = self.bytes.saturating_add(of(now.since(before))).min(of(SAVED));
    }

    /// How much of `wish` may be asked for.
    pub(super) fn take(&mut self, wish: u64) -> Result<u64, Held> {
        let bytes = wish.min(u64::try_from(self.bytes).unwrap_or(0));
        if bytes < LEAST {
            return Err(if wish < LEAST { Held::Floor } else { Held::Budget });
        }
        self.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(bytes)
    }

    /// Cache that was dropped was not written; what was written beyond the wish is owed.
    pub(super) fn settle(&mut self, done: Reclaimed) {
        let of = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let back = of(done.asked_bytes).saturating_sub(of(done.swapped_bytes));
        self.bytes = self.bytes.saturating_add(back);
    }
}
