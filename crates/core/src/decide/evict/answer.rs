//! What the answer to an eviction means: for the pod, and for the API server.
//!
//! Source: Kubernetes `pkg/registry/core/pod/storage/eviction.go` and API Priority and Fairness;
//! KubeVirt `pod-eviction-admitter.go` of 1.0 to 1.9. docs/evictions.md has the same as a table.

use std::time::Duration;

/// What came of asking for an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 201: the pod will stop.
    Accepted,
    /// KubeVirt migrates the VM; its launcher pod ends afterwards.
    Migrating { text: String },
    /// 429 by a PodDisruptionBudget, and when to ask again, if the server told.
    Budget { retry_after: Option<Duration>, text: String },
    /// KubeVirt does not move this VM.
    Unwilling { text: String },
    /// The pod is gone, or another one has its name.
    Gone,
    /// Any other refusal of this pod.
    Refused { text: String },
    /// The server is overloaded or broken, and nothing was carried out: no fault of the pod.
    Busy { retry_after: Option<Duration>, text: String },
    /// The request was not sent, since the server cannot be reached or does not know us.
    Unreachable { text: String },
    /// The request was sent, and nobody knows whether it was carried out.
    Unknown { text: String },
    /// The request was not sent, since it was not needed any more.
    Withdrawn { text: String },
}

crate::vocabulary! {
    /// What became of a pod's eviction: an [`Answer`] without its details, or `observed` where nobody was asked.
    pub enum Outcome {
        Accepted = "accepted",
        Migrating = "migrating",
        Budget = "budget",
        Unwilling = "unwilling",
        Gone = "gone",
        Refused = "refused",
        Busy = "busy",
        Unreachable = "unreachable",
        Unknown = "unknown",
        Withdrawn = "withdrawn",
        /// `eviction.mode = "observe"`: the pod would have been evicted.
        Observed = "observed",
    }
}

impl Answer {
    /// Without the details.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Accepted => Outcome::Accepted,
            Self::Migrating { .. } => Outcome::Migrating,
            Self::Budget { .. } => Outcome::Budget,
            Self::Unwilling { .. } => Outcome::Unwilling,
            Self::Gone => Outcome::Gone,
            Self::Refused { .. } => Outcome::Refused,
            Self::Busy { .. } => Outcome::Busy,
            Self::Unreachable { .. } => Outcome::Unreachable,
            Self::Unknown { .. } => Outcome::Unknown,
            Self::Withdrawn { .. } => Outcome::Withdrawn,
        }
    }

    /// The server's own words, or ours where it said nothing.
    pub fn text(&self) -> &str {
        match self {
            Self::Accepted | Self::Gone => "",
            Self::Migrating { text }
            | Self::Budget { text, .. }
            | Self::Unwilling { text }
            | Self::Refused { text }
            | Self::Busy { text, .. }
            | Self::Unreachable { text }
            | Self::Unknown { text }
            | Self::Withdrawn { text } => text,
        }
    }
}

/// An answer of the API server that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    /// `Status.reason`
    pub reason: String,
    /// `Status.message`, or the body where it is no Status.
    pub message: String,
    /// `reason` and `message` of each of `Status.details.causes`.
    pub causes: Vec<(String, String)>,
    /// Of the header Retry-After, or `Status.details.retryAfterSeconds`.
    pub retry_after: Option<Duration>,
}

const BUDGET: &str = "DisruptionBudget";
/// KubeVirt's budgets: `kubevirt-disruption-budget-` and five letters.
const KUBEVIRT_BUDGET: &str = "The disruption budget kubevirt-disruption-budget-";
/// A refusal by an admission webhook.
const WEBHOOK: &str = "denied the request";
/// Words of KubeVirt's webhook, each with what they mean.
const EVACUATES: [&str; 2] = ["Eviction triggered evacuation of VMI", "Evacuation in progress"];
const STAYS: [&str; 5] = [
    "is not live-migratable",
    "Eviction request for target Pod",
    "kubevirt failed getting the vmi",
    "cannot evict hotplug pod",
    "failed getting owner for hotplug pod",
];
const FAILED_MARKING: &str = "kubevirt failed marking the vmi for eviction";

/// What `refusal` of a pod's eviction means. `launcher`: the pod is a VM's.
///
/// Typed fields first (code, causes, Retry-After), and words only where nothing else tells.
pub fn classify(refusal: &Refusal, launcher: bool) -> Answer {
    let retry_after = refusal.retry_after;
    let text = match refusal.code {
        0 => refusal.message.clone(),
        code => format!("{code} {}", refusal.message),
    };
    let contains = |words: &str| refusal.message.contains(words);
    match refusal.code {
        429 => {
            let budget = refusal.causes.iter().find(|(reason, _)| reason == BUDGET);
            if let Some((_, cause)) = budget {
                let of_kubevirt = launcher && cause.starts_with(KUBEVIRT_BUDGET);
                // KubeVirt up to 1.4 marks the VM for a migration, and has its own budget refuse.
                let text = format!("{text} ({cause})");
                return match of_kubevirt {
                    true => Answer::Migrating { text },
                    false => Answer::Budget { retry_after, text },
                };
            }
            if EVACUATES.iter().any(|words| contains(words)) {
                return Answer::Migrating { text };
            }
            if STAYS.iter().any(|words| contains(words)) {
                return Answer::Unwilling { text };
            }
            match contains(WEBHOOK) && !contains(FAILED_MARKING) {
                true => Answer::Refused { text },
                false => Answer::Busy { retry_after, text },
            }
        }
        404 => Answer::Gone,
        // A node is told so of a pod that has just been deleted.
        403 if contains("no relationship found between node") => Answer::Gone,
        409 if contains("UID in precondition") => Answer::Gone,
        // Somebody else changed the pod in between; API Priority and Fairness or a server that ends.
        409 => Answer::Busy { retry_after, text },
        401 => Answer::Unreachable { text },
        // The API server refuses such a pod for as long as it has them. A VM's webhook was asked before.
        500 if contains("more than one PodDisruptionBudget") && !launcher => {
            Answer::Refused { text }
        }
        // A request that was begun may be carried out whatever the server reports then.
        408 | 500..=599 => Answer::Unknown { text },
        _ => Answer::Refused { text },
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
