//! Proactive reclaim: decides how much cold memory to swap out from which pod, and when.
//!
//! gates.rs: conditions that hold back all pods, or one · pods.rs: which pods take part · pace.rs:
//! how much, and the working set that a pod's reaction shows · history.rs: working sets by day ·
//! budget.rs: the bytes that it may write · zswap.rs: limits of compressed memory. This file
//! combines them.

mod budget;
mod gates;
pub mod history;
mod pace;
pub mod pods;
#[cfg(test)]
mod properties;
#[cfg(any(test, feature = "fixtures"))]
pub mod senpai;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod trace_tests;
pub mod zswap;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::settings::{ReclaimMode, ReclaimSettings},
    model::{
        clock::SinceBoot,
        pod::PodUid,
        reclaim::{HeldBack, Look, NodeLook, Reclaimed},
    },
};

pub use gates::NEAR;
pub use pace::{Learned, Phase};

use budget::WriteBudget;
use pace::Pace;

/// The interval between looks at the pods.
pub const INTERVAL: Duration = Duration::from_secs(6);

/// Memory that the kernel should reclaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReclaimStep {
    pub uid: PodUid,
    pub bytes: u64,
    /// For kernels that support it: 0 to 200; higher values prefer anonymous memory.
    pub swappiness: u8,
}

/// A change of state that is worth a message. A step is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Began(PodUid),
    BackedOff {
        uid: PodUid,
        why: HeldBack,
        pause: Duration,
    },
    /// All pods wait, for this reason.
    Paused(HeldBack),
    Resumed,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub steps: Vec<ReclaimStep>,
    /// The reasons why reclaim takes nothing from the other pods.
    pub held: BTreeMap<PodUid, HeldBack>,
    pub news: Vec<News>,
}

/// The state from look to look.
#[derive(Clone, Debug, Default)]
pub struct ReclaimPace {
    pods: BTreeMap<PodUid, Pace>,
    budget: WriteBudget,
    paused: Option<HeldBack>,
}

impl ReclaimPace {
    /// Decides for one sample of the node and of the pods that take part.
    pub fn decide(
        &mut self,
        settings: &ReclaimSettings,
        node: &NodeLook,
        looks: &[Look],
    ) -> Verdict {
        let mut verdict = Verdict::default();
        self.pods.retain(|uid, _| looks.iter().any(|look| look.uid == *uid));
        if settings.mode == ReclaimMode::Off {
            return verdict;
        }
        self.budget.refill(settings.write_bytes_per_second, node.at);
        let of_node = gates::of_node(settings, node);
        if of_node != self.paused {
            verdict.news.extend(match of_node {
                Some(held) => Some(News::Paused(held)),
                None => self.paused.map(|_| News::Resumed),
            });
            self.paused = of_node;
        }
        let mut node_room = gates::room(settings, node.swap_bytes, node.swap_used_bytes);
        // The pod that has waited longest comes first.
        let mut order: Vec<(Option<SinceBoot>, &Look)> = looks
            .iter()
            .map(|look| (self.pods.get(&look.uid).and_then(Pace::last_step), look))
            .collect();
        order.sort_by(|a, b| (a.0, &a.1.uid).cmp(&(b.0, &b.1.uid)));
        for (_, look) in order {
            let pace = self.pods.entry(look.uid.clone()).or_default();
            // Evaluate a pod's reaction even while the node holds all pods back.
            let wish = pace.look(settings, node, look);
            verdict.news.extend(pace.news(&look.uid));
            let wish = match (of_node, wish) {
                (Some(held), _) | (None, Err(held)) => Err(held),
                (None, Ok(wish)) => Ok(wish),
            };
            match wish.and_then(|wish| self.budget.take(wish.min(node_room))) {
                Ok(bytes) => {
                    node_room -= bytes;
                    let swappiness = pace.asks(settings, node.at, bytes);
                    verdict.news.extend(pace.news(&look.uid));
                    verdict.steps.push(ReclaimStep { uid: look.uid.clone(), bytes, swappiness });
                }
                Err(held) => {
                    pace.held = Some(held);
                    verdict.held.insert(look.uid.clone(), held);
                }
            }
        }
        verdict
    }

    /// Records the result of a step. A step that was only observed counts as if the kernel had done
    /// all of it.
    pub fn reclaimed(&mut self, uid: &PodUid, at: SinceBoot, done: Reclaimed) {
        self.budget.settle(done);
        if let Some(pace) = self.pods.get_mut(uid) {
            pace.reclaimed(at, done);
        }
    }

    /// Records a step that was decided and only reported.
    pub fn observed(&mut self, uid: &PodUid, at: SinceBoot, bytes: u64) {
        if let Some(pace) = self.pods.get_mut(uid) {
            pace.observed(at, bytes);
        }
    }

    /// Returns the reason why all pods wait.
    pub fn paused(&self) -> Option<HeldBack> {
        self.paused
    }

    /// Returns what reclaim has learned of each pod.
    pub fn learned(&self) -> impl Iterator<Item = (&PodUid, Learned)> {
        self.pods.iter().map(|(uid, pace)| (uid, pace.learned()))
    }

    /// The pod's working set: the memory below which it began to read pages back, or the memory
    /// that it holds now if that did not happen. `None` until reclaim has taken all that it can
    /// from the pod.
    pub fn working_set(&self, uid: &PodUid) -> Option<u64> {
        self.pods.get(uid).and_then(Pace::settled_working_set)
    }
}
