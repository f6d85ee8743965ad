//! A pod that is on its way off the node.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{select::Ranked, workload::Workload};
use crate::model::{
    host::Monotonic,
    pod::{Migration, Pod, PodUid, Pods},
};

/// How long an answer to a request may take: more than [`ASKING`].
pub(super) const ANSWER: Duration = Duration::from_secs(120);
/// A request is given up after this time: reading the pod, asking, and looking after it.
pub const ASKING: Duration = Duration::from_secs(100);
/// What a pod is given beyond its grace period: stopping containers, unmounting volumes.
pub(super) const LEAVES_WITHIN: Duration = Duration::from_secs(60);
/// Grace beyond this is not waited for where none is configured.
pub(super) const LONGEST_GRACE: Duration = Duration::from_secs(3600);
/// A launcher that no longer shows its migration has this long to end.
const MIGRATION_ENDS_WITHIN: Duration = Duration::from_secs(120);

crate::vocabulary! {
    pub enum Stage {
        /// The API server has not answered yet.
        Asked = "asked",
        /// The request was sent, and whether it was carried out is not known.
        InDoubt = "in-doubt",
        Leaving = "leaving",
        Migrating = "migrating",
    }
}

impl Stage {
    /// What the agent waits for.
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

/// A pod on its way. Times are since boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub uid: PodUid,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    pub stage: Stage,
    pub since: Monotonic,
    pub deadline: Monotonic,
    /// How long it may take to end, and its VM to migrate. The agent before this one did not write it.
    #[serde(default = "an_hour")]
    pub grace: Duration,
    #[serde(default = "an_hour")]
    pub migrates_within: Duration,
    #[serde(default)]
    pub workload: Option<Workload>,
    /// Pods of its workload on this node when it was asked, itself included.
    #[serde(default)]
    pub siblings: BTreeSet<PodUid>,
    /// It is a VM's.
    #[serde(default)]
    pub launcher: bool,
    /// Its launcher has shown the migration.
    #[serde(default)]
    pub shown: bool,
    /// Its `deletionTimestamp` before it was asked, in seconds since the epoch.
    #[serde(default)]
    pub deadline_before: Option<i64>,
}

impl InFlight {
    pub(super) fn asked(ranked: &Ranked, pods: &Pods, now: Monotonic) -> Self {
        let of_workload = |uid: &str| -> BTreeSet<PodUid> {
            let same = |pod: &Pod| pod.owner.as_ref().is_some_and(|o| &*o.uid == uid);
            pods.values().filter(|pod| same(pod)).map(|pod| pod.uid.clone()).collect()
        };
        Self {
            uid: ranked.uid.clone(),
            namespace: ranked.namespace.clone(),
            name: ranked.name.clone(),
            stage: Stage::Asked,
            since: now,
            deadline: now + ANSWER,
            grace: Duration::from_secs(ranked.ends_within_seconds).min(LONGEST_GRACE),
            migrates_within: Duration::from_secs(ranked.migrates_within_seconds),
            siblings: ranked.workload.as_ref().map_or_else(BTreeSet::new, |w| of_workload(&w.uid)),
            workload: ranked.workload.clone(),
            launcher: ranked.launcher,
            shown: false,
            deadline_before: pods.get(&ranked.uid).and_then(|pod| pod.deletion_deadline),
        }
    }

    /// It is not given up before it may be overtaken.
    pub(super) fn leaves(&mut self, overtake_after: Duration, now: Monotonic) {
        (self.stage, self.since) = (Stage::Leaving, now);
        self.deadline = now + self.grace + LEAVES_WITHIN.max(overtake_after);
    }

    pub(super) fn migrates(&mut self, now: Monotonic) {
        (self.stage, self.since) = (Stage::Migrating, now);
        self.deadline = now + self.migrates_within;
    }

    /// A migration is under way for as long as the launcher shows it, but no longer than twice the time
    /// that it may take. A launcher that no longer shows it ends soon, or runs on.
    pub(super) fn see_migration(&mut self, shows: Option<Migration>, now: Monotonic) {
        if self.stage != Stage::Migrating {
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
