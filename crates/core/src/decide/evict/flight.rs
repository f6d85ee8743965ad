//! A pod that is leaving the node after an eviction request.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{select::Ranked, workload::Workload};
use crate::model::{
    clock::{SinceBoot, UnixTime},
    pod::{Migration, Pod, PodUid, Pods},
};

/// The longest time from a request to its answer; longer than [`ASKING`].
pub(super) const ANSWER: Duration = Duration::from_secs(120);
/// The agent aborts a request after this time: reading the pod, asking, and reading it again.
pub const ASKING: Duration = Duration::from_secs(100);
/// Time allowed beyond the grace period, for stopping containers and unmounting volumes.
pub(super) const LEAVES_WITHIN: Duration = Duration::from_secs(60);
/// The longest grace period that the agent waits for if none is configured.
pub(super) const LONGEST_GRACE: Duration = Duration::from_secs(3600);
/// A launcher that no longer shows its migration must end within this time.
const MIGRATION_ENDS_WITHIN: Duration = Duration::from_secs(120);

crate::vocabulary! {
    pub enum FlightStage {
        /// The API server has not answered yet.
        Asked = "asked",
        /// The agent sent the request and does not know if the server carried it out.
        InDoubt = "in-doubt",
        Leaving = "leaving",
        Migrating = "migrating",
    }
}

impl FlightStage {
    /// Describes the event that the agent waits for.
    pub(super) fn waits_for(self) -> &'static str {
        match self {
            Self::Asked => "the API server has not answered yet for",
            Self::InDoubt => "the API server's answer was lost for",
            Self::Leaving => "waiting for the end of",
            Self::Migrating => "waiting for the migration of",
        }
    }
}

fn an_hour() -> Duration {
    LONGEST_GRACE
}

/// A pod that is leaving the node. Times are since boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub uid: PodUid,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    pub stage: FlightStage,
    pub since: SinceBoot,
    pub deadline: SinceBoot,
    /// Time allowed for the pod to end and for its VM to migrate. State files of older agents lack
    /// it.
    #[serde(default = "an_hour")]
    pub grace: Duration,
    #[serde(default = "an_hour")]
    pub migrates_within: Duration,
    #[serde(default)]
    pub workload: Option<Workload>,
    /// Pods of the same workload on this node at the time of the request, including this one.
    #[serde(default)]
    pub siblings: BTreeSet<PodUid>,
    /// True for the pod of a VM.
    #[serde(default)]
    pub launcher: bool,
    /// The launcher has shown the migration.
    #[serde(default)]
    pub shown: bool,
    /// The pod's `deletionTimestamp` before the request.
    #[serde(default)]
    pub deadline_before: Option<UnixTime>,
}

impl InFlight {
    pub(super) fn asked(ranked: &Ranked, pods: &Pods, now: SinceBoot) -> Self {
        let of_workload = |key: &str| -> BTreeSet<PodUid> {
            let same = |pod: &Pod| Workload::of(pod).is_some_and(|workload| workload.key == key);
            pods.values().filter(|pod| same(pod)).map(|pod| pod.uid.clone()).collect()
        };
        Self {
            uid: ranked.uid.clone(),
            namespace: ranked.namespace.clone(),
            name: ranked.name.clone(),
            stage: FlightStage::Asked,
            since: now,
            deadline: now + ANSWER,
            grace: Duration::from_secs(ranked.ends_within_seconds).min(LONGEST_GRACE),
            migrates_within: Duration::from_secs(ranked.migrates_within_seconds),
            siblings: ranked.workload.as_ref().map_or_else(BTreeSet::new, |w| of_workload(&w.key)),
            workload: ranked.workload.clone(),
            launcher: ranked.launcher,
            shown: false,
            deadline_before: pods.get(&ranked.uid).and_then(|pod| pod.deletion_deadline),
        }
    }

    /// The agent waits for the pod at least until it may evict another one as well.
    pub(super) fn leaves(&mut self, overtake_after: Duration, now: SinceBoot) {
        (self.stage, self.since) = (FlightStage::Leaving, now);
        self.deadline = now + self.grace + LEAVES_WITHIN.max(overtake_after);
    }

    pub(super) fn migrates(&mut self, now: SinceBoot) {
        (self.stage, self.since) = (FlightStage::Migrating, now);
        self.deadline = now + self.migrates_within;
    }

    /// A migration counts as running while the launcher shows it, but for at most twice the time
    /// allowed. A launcher that no longer shows it ends soon, or keeps running.
    pub(super) fn see_migration(&mut self, shows: Option<Migration>, now: SinceBoot) {
        if self.stage != FlightStage::Migrating {
            return;
        }
        if shows == Some(Migration::Leaving) {
            self.shown = true;
            let longest = self.since + self.migrates_within.saturating_mul(2);
            self.deadline = self.deadline.max(now + MIGRATION_ENDS_WITHIN).min(longest);
        } else if self.shown {
            self.deadline = self.deadline.min(now + MIGRATION_ENDS_WITHIN);
            self.shown = false;
        }
    }
}
