//! Limits how often the agent repairs one container's limit: normally immediately, but only once a
//! second if another program keeps changing it.

use std::time::Duration;

use crate::model::clock::SinceStart;

const BURST: u32 = 8;
const REFILL: Duration = Duration::from_secs(1);

/// A token bucket that starts full.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    tokens: u32,
    refilled_at: SinceStart,
}

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: BURST, refilled_at: SinceStart::default() }
    }
}

impl Budget {
    pub fn refill(&mut self, now: SinceStart) {
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

    /// Takes a token.
    ///
    /// # Errors
    /// The time at which the next repair is allowed.
    pub fn spend(&mut self, now: SinceStart) -> Result<(), SinceStart> {
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Ok(())
            }
            None => Err(self.refilled_at.max(now) + REFILL),
        }
    }
}

/// Foreign changes of a limit that are at most this far apart belong to the same fight.
const APART: Duration = Duration::from_secs(30);
/// This many changes in a row count as a conflict, at any speed.
const FIGHT: u32 = 10;

/// Counts foreign changes, to detect a fight that is too slow to use up the budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowFight {
    last: Option<SinceStart>,
    changes: u32,
}

impl SlowFight {
    /// Counts a foreign change of the limit. Returns true if the changes amount to a fight.
    pub fn changed(&mut self, now: SinceStart) -> bool {
        if self.is_over(now) {
            self.changes = 0;
        }
        self.last = Some(now);
        self.changes = self.changes.saturating_add(1);
        self.changes >= FIGHT
    }

    pub fn is_over(&self, now: SinceStart) -> bool {
        self.last.is_none_or(|last| now.since(last) > APART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SinceStart {
        SinceStart(Duration::from_millis(millis))
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

    /// One change a second for 30 s.
    #[test]
    fn a_slow_fight_is_a_fight() {
        let mut fight = SlowFight::default();
        let fights: Vec<bool> = (0..30).map(|second| fight.changed(at(second * 1000))).collect();
        assert_eq!(fights.iter().position(|fights| *fights), Some(9));
        assert!(fights[9..].iter().all(|fights| *fights));
        assert!(!fight.is_over(at(59_000)) && fight.is_over(at(60_000)));
        // Occasional changes are not a fight.
        let mut now_and_then = SlowFight::default();
        assert!((0..100).all(|minute| !now_and_then.changed(at(minute * 60_000))));
    }
}
