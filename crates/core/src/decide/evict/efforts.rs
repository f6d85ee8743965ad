//! Measures how hard each pod works for its memory, and separates pods at their own limit from pods
//! that wait for the node: a pod at its own memory limit does not make the node short of memory.
//!
//! A pod is at its own limit if `max` in its `memory.events` grows faster than `allocstall_*` in
//! `/proc/vmstat`, which does not count reclaim of a cgroup. Its allocations then hit the pod's
//! limit more often than allocations on the node have to reclaim for the node.

use std::{collections::BTreeMap, time::Duration};

use crate::model::{
    clock::SinceBoot,
    pod::PodUid,
    pressure::{Effort, PodUsage, Sample, Stalled},
};

/// After a longer pause the previous sample is no base for a rate.
const LONGEST_GAP: Duration = Duration::from_secs(15);
/// The weight of the newest rate in the moving average.
const NEWEST: f64 = 0.3;
/// A pod that has hit its limit counts as at its limit for this long.
const REMEMBERED: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, PartialEq)]
struct Tracked {
    effort: Effort,
    pages_per_second: f64,
    waits_percent: f64,
    hit_limit: Option<SinceBoot>,
}

/// Rates of all pods, from one sample to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Efforts {
    last: Option<(SinceBoot, u64)>,
    pods: BTreeMap<PodUid, Tracked>,
    /// Time waited by pods that were not at their own limit, summed since the first sample.
    others: Stalled,
}

impl Efforts {
    /// Takes the pods' figures at the time of `sample`. Returns how long pods that are not at their
    /// own limit have waited since the first sample; `None` if there is no base yet.
    pub fn look(&mut self, sample: &Sample, usage: &[PodUsage]) -> Option<Stalled> {
        if !usage.iter().any(|pod| pod.effort.is_some()) {
            // Keep the sum: a caller that compares it with an older one must not see it decrease.
            *self = Self { others: self.others, ..Self::default() };
            return None;
        }
        let last = self.last.replace((sample.at, sample.direct_reclaims));
        let before = std::mem::take(&mut self.pods);
        let base = last.filter(|(at, _)| sample.at > *at && sample.at.since(*at) <= LONGEST_GAP);
        for pod in usage {
            let Some(effort) = pod.effort else { continue };
            let mut tracked = before.get(&pod.uid).cloned().unwrap_or_default();
            // A pod without a previous sample has no base.
            if let (Some((at, reclaims)), true) = (base, before.contains_key(&pod.uid)) {
                self.compare(&mut tracked, effort, sample, at, reclaims);
            }
            tracked.effort = effort;
            self.pods.insert(pod.uid.clone(), tracked);
        }
        base.map(|_| self.others)
    }

    #[expect(clippy::cast_precision_loss, reason = "rates and shares")]
    fn compare(
        &mut self,
        tracked: &mut Tracked,
        now: Effort,
        sample: &Sample,
        since: SinceBoot,
        reclaims: u64,
    ) {
        let before = tracked.effort;
        let seconds = sample.at.since(since).as_secs_f64();
        let hits = now.limit_hits.saturating_sub(before.limit_hits);
        let own = hits > sample.direct_reclaims.saturating_sub(reclaims);
        if own {
            tracked.hit_limit = Some(sample.at);
        }
        let pages = now.pages_in.saturating_sub(before.pages_in) as f64 / seconds;
        tracked.pages_per_second += NEWEST * (pages - tracked.pages_per_second);
        let (Some(now), Some(before)) = (now.stalled, before.stalled) else { return };
        let some = now.some_micros.saturating_sub(before.some_micros);
        let full = now.full_micros.saturating_sub(before.full_micros);
        let waits = some as f64 / (seconds * 10_000.0);
        tracked.waits_percent += NEWEST * (waits - tracked.waits_percent);
        if !own {
            self.others.some_micros += some;
            self.others.full_micros += full;
        }
    }

    /// Returns true if the pod was sampled at least twice, so that its rates are meaningful.
    pub fn knows(&self, uid: &PodUid) -> bool {
        self.last.is_some() && self.pods.contains_key(uid)
    }

    /// Pages per second that return from swap into the pod.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small rate")]
    pub fn pages_per_second(&self, uid: &PodUid) -> u64 {
        self.pods.get(uid).map_or(0, |pod| pod.pages_per_second.round() as u64)
    }

    /// The share of time, in percent, in which a process of the pod waits for memory.
    pub fn waits_percent(&self, uid: &PodUid) -> f64 {
        self.pods.get(uid).map_or(0.0, |pod| pod.waits_percent)
    }

    /// Returns true if the pod has recently hit its own memory limit while the node was not short
    /// of memory.
    pub fn is_at_own_limit(&self, uid: &PodUid) -> bool {
        let Some((now, _)) = self.last else { return false };
        let hit = self.pods.get(uid).and_then(|pod| pod.hit_limit);
        hit.is_some_and(|hit| now.since(hit) <= REMEMBERED)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{decide::evict::signals::tests::idle, fixtures::pod};

    pub(in crate::decide::evict) fn uses(name: &str, effort: Effort) -> PodUsage {
        let uid = pod(name, &[]).uid;
        PodUsage { uid, containers: Vec::new(), slice: None, effort: Some(effort) }
    }

    fn effort(stalled_seconds: u64, limit_hits: u64, pages_in: u64) -> Effort {
        let micros = stalled_seconds * 1_000_000;
        let stalled = Some(Stalled { some_micros: micros, full_micros: micros });
        Effort { stalled, limit_hits, pages_in }
    }

    #[test]
    fn waiting_at_ones_own_limit_is_told_from_the_nodes() {
        let mut efforts = Efforts::default();
        let look = |efforts: &mut Efforts, second: u64, reclaims: u64| {
            let sample = Sample { direct_reclaims: reclaims, ..idle(second) };
            let usage = [
                uses("own", effort(second, 100 * second, 500 * second)),
                uses("victim", effort(second / 2, 0, 0)),
            ];
            efforts.look(&sample, &usage)
        };
        assert_eq!(look(&mut efforts, 10, 0), None, "no base yet");
        assert_eq!(look(&mut efforts, 12, 3).unwrap().some_micros, 1_000_000, "the victim's");
        let uid = |name| pod(name, &[]).uid;
        assert!(efforts.is_at_own_limit(&uid("own")) && !efforts.is_at_own_limit(&uid("victim")));
        assert_eq!(efforts.pages_per_second(&uid("own")), 150, "an average that follows");
        assert_eq!(efforts.pages_per_second(&uid("victim")), 0);
        // The node reclaims for allocations more often than the pod hits its limit.
        assert_eq!(look(&mut efforts, 14, 1000).unwrap().some_micros, 4_000_000);
    }

    #[test]
    fn a_gap_or_pods_that_cannot_be_read_begin_anew() {
        let mut efforts = Efforts::default();
        let usage = [uses("a", effort(1, 0, 0))];
        let _ = efforts.look(&idle(1), &usage);
        assert!(efforts.look(&idle(2), &usage).is_some());
        assert_eq!(efforts.look(&idle(60), &usage), None, "too long ago");
        assert!(efforts.look(&idle(61), &usage).is_some());
        let sum = efforts.others;
        assert_eq!(efforts.look(&idle(62), &[]), None);
        assert_eq!(efforts, Efforts { others: sum, ..Efforts::default() });
        let new = [uses("new", effort(100, 9, 9))];
        let _ = efforts.look(&idle(63), &usage);
        assert_eq!(efforts.look(&idle(64), &new), Some(sum), "no base of its own");
    }
}
