//! Keeps the measured working sets by day, for advice on the overcommitment of a node. Limits the
//! number of days and of pods per day, and keeps the largest pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::clock::UnixTime;

const DAYS: usize = 14;
const PODS: usize = 500;
const SECONDS_A_DAY: i64 = 86_400;

/// The memory of one pod on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The largest working set.
    pub working_set_bytes: u64,
    /// The most memory that it held, in RAM and swap.
    pub whole_bytes: u64,
}

/// The largest sums over all pods of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub days: usize,
    pub needs: Needs,
    /// The overcommitment that `needs.whole_bytes` could have had, in percent: 100 if no memory was
    /// cold.
    pub would_have_held_percent: u64,
}

/// By day since 1970, then by `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingSets {
    days: BTreeMap<i64, BTreeMap<String, Needs>>,
}

impl WorkingSets {
    /// Records a pod's needs at `now`.
    pub fn learn(&mut self, now: UnixTime, pod: &str, needs: Needs) {
        let today = self.days.entry(now.0.div_euclid(SECONDS_A_DAY)).or_default();
        let known = today.entry(pod.to_owned()).or_default();
        known.working_set_bytes = known.working_set_bytes.max(needs.working_set_bytes);
        known.whole_bytes = known.whole_bytes.max(needs.whole_bytes);
        if today.len() > PODS {
            let least = today.iter().min_by_key(|(_, needs)| needs.whole_bytes);
            if let Some(least) = least.map(|(name, _)| name.clone()) {
                today.remove(&least);
            }
        }
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
    }

    /// Returns the advice; `None` if nothing is known yet.
    pub fn advice(&self) -> Option<Advice> {
        let sum = |pods: &BTreeMap<String, Needs>| {
            pods.values().fold(Needs::default(), |sum, needs| Needs {
                working_set_bytes: sum.working_set_bytes.saturating_add(needs.working_set_bytes),
                whole_bytes: sum.whole_bytes.saturating_add(needs.whole_bytes),
            })
        };
        let needs = self.days.values().map(sum).max_by_key(|needs| needs.working_set_bytes)?;
        let percent =
            u128::from(needs.whole_bytes) * 100 / u128::from(needs.working_set_bytes.max(1));
        let would_have_held_percent = u64::try_from(percent).unwrap_or(u64::MAX).max(100);
        Some(Advice { days: self.days.len(), needs, would_have_held_percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_day_counts_and_the_file_stays_small() {
        let mut sets = WorkingSets::default();
        assert_eq!(sets.advice(), None);
        let needs = |working_set_bytes, whole_bytes| Needs { working_set_bytes, whole_bytes };
        sets.learn(UnixTime(10 * SECONDS_A_DAY), "default/a", needs(100, 400));
        sets.learn(UnixTime(10 * SECONDS_A_DAY + 60), "default/a", needs(50, 500));
        sets.learn(UnixTime(10 * SECONDS_A_DAY), "default/b", needs(100, 100));
        sets.learn(UnixTime(11 * SECONDS_A_DAY), "default/b", needs(90, 100));
        let advice = sets.advice().unwrap();
        let of_the_first = needs(200, 600);
        assert_eq!(advice, Advice { days: 2, needs: of_the_first, would_have_held_percent: 300 });
        let text = serde_json::to_string(&sets).unwrap();
        assert_eq!(serde_json::from_str::<WorkingSets>(&text).unwrap(), sets);
        for day in 0..100 {
            for pod in 0..600 {
                sets.learn(UnixTime(day * SECONDS_A_DAY), &format!("n/p{pod}"), needs(1, pod));
            }
        }
        assert_eq!((sets.days.len(), sets.days[&99].len()), (DAYS, PODS));
        assert!(sets.days[&99].contains_key("n/p599") && !sets.days[&99].contains_key("n/p0"));
    }
}
