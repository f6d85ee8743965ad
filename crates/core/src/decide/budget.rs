//! How often one container's limit is repaired: at once as a rule, once a second against a writer
//! that keeps fighting.

use std::time::Duration;

use crate::model::host::Monotonic;

const BURST: u32 = 8;
const REFILL: Duration = Duration::from_secs(1);

/// A token bucket; full at first.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    tokens: u32,
    refilled_at: Monotonic,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: BURST, refilled_at: Monotonic::default() }
    }
}

impl Budget {
    pub fn refill(&mut self, now: Monotonic) {
        let due = now.since(self.refilled_at).as_secs() / REFILL.as_secs();
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(BURST);
            self.tokens = self.tokens.saturating_add(due).min(BURST);
            self.refilled_at = now;
        }
    }

    pub fn is_full(&self) -> bool {
        self.tokens == BURST
    }

    /// `Err` holds the time of the next repair.
    pub fn spend(&mut self, now: Monotonic) -> Result<(), Monotonic> {
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => Err(self.refilled_at.max(now) + REFILL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_is_free_then_one_a_second() {
        let mut budget = Budget::default();
        budget.refill(at(10_000));
        for _ in 0..BURST {
            assert_eq!(budget.spend(at(10_000)), Ok(()));
        }
        assert_eq!(budget.spend(at(10_001)), Err(at(11_001)));
        budget.refill(at(11_001));
        assert_eq!(budget.spend(at(11_001)), Ok(()));
        assert!(budget.spend(at(11_002)).is_err());
        budget.refill(at(60_000));
        assert!(budget.is_full());
    }
}
