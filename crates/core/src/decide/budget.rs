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

/// Changes of a limit by somebody else belong to one fight if they are no further apart.
const APART: Duration = Duration::from_secs(30);
/// So many of them are a fight, however slow.
const FIGHT: u32 = 10;

/// Counts what somebody else changed, for a fight that is too slow to use up the budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fight {
    last: Option<Monotonic>,
    changes: u32,
}

impl Fight {
    /// Somebody has changed the limit. Whether that is a fight by now.
    pub fn changed(&mut self, now: Monotonic) -> bool {
        if self.is_over(now) {
            self.changes = 0;
        }
        self.last = Some(now);
        self.changes = self.changes.saturating_add(1);
        self.changes >= FIGHT
    }

    pub fn is_over(&self, now: Monotonic) -> bool {
        self.last.is_none_or(|last| now.since(last) > APART)
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

    /// Once a second for 30 s.
    #[test]
    fn a_slow_fight_is_a_fight() {
        let mut fight = Fight::default();
        let fights: Vec<bool> = (0..30).map(|second| fight.changed(at(second * 1000))).collect();
        assert_eq!(fights.iter().position(|fights| *fights), Some(9));
        assert!(fights[9..].iter().all(|fights| *fights));
        assert!(!fight.is_over(at(59_000)) && fight.is_over(at(60_000)));
        // Now and then is none.
        let mut now_and_then = Fight::default();
        assert!((0..100).all(|minute| !now_and_then.changed(at(minute * 60_000))));
    }
}
