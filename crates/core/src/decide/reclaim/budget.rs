//! Limits the bytes written to swap: a rate per second, with some unused budget saved up.

use std::time::Duration;

use crate::model::{
    clock::SinceBoot,
    reclaim::{HeldBack, Reclaimed},
};

/// Unused budget is saved up over this time.
pub(super) const SAVED: Duration = Duration::from_secs(30);
/// A step below this is not worthwhile.
const LEAST: u64 = 64 << 10;

#[derive(Clone, Debug, Default)]
pub(super) struct WriteBudget {
    /// Bytes that may be written now; negative if the kernel wrote more than it was asked to.
    bytes: i64,
    refilled: Option<SinceBoot>,
}

impl WriteBudget {
    pub(super) fn refill(&mut self, per_second: u64, now: SinceBoot) {
        let Some(before) = self.refilled.replace(now) else {
            // An agent that restarts repeatedly must not get the savings each time.
            return;
        };
        let of = |span: Duration| {
            let bytes = u128::from(per_second) * span.as_millis() / 1000;
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        self.bytes = self.bytes.saturating_add(of(now.since(before))).min(of(SAVED));
    }

    /// Returns the part of `wish` that reclaim may ask for.
    pub(super) fn take(&mut self, wish: u64) -> Result<u64, HeldBack> {
        let bytes = wish.min(u64::try_from(self.bytes).unwrap_or(0));
        if bytes < LEAST {
            return Err(if wish < LEAST { HeldBack::Floor } else { HeldBack::Budget });
        }
        self.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(bytes)
    }

    /// Corrects the budget: dropped cache was not written; bytes written beyond the wish are debt.
    pub(super) fn settle(&mut self, done: Reclaimed) {
        let of = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let back = of(done.asked_bytes).saturating_sub(of(done.swapped_bytes));
        self.bytes = self.bytes.saturating_add(back);
    }
}
