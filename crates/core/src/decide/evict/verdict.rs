//! The result of a decision about evictions.

use super::{flight::InFlight, select::Ranked, signals::Reading, workload::Returned};

/// The result of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineVerdict {
    pub readings: Vec<Reading>,
    pub evict: Option<Victim>,
    /// The reason for not evicting any pod although a signal is active.
    pub held_back: Option<String>,
    /// Commands that show the cause of that, or end it.
    pub look: Vec<String>,
    /// Pods that did not leave in time.
    pub overdue: Vec<InFlight>,
    /// Workloads that returned to the node after an eviction.
    pub returned: Vec<Returned>,
}

/// The pod to evict, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Victim {
    pub ranked: Ranked,
    pub why: String,
    /// The pod's eviction has been refused for long enough, so the agent deletes the pod.
    pub last_resort: bool,
}
