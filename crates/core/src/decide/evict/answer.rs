//! Interprets the answer to an eviction request, for the pod and for the API server.
//!
//! Source: Kubernetes `pkg/registry/core/pod/storage/eviction.go` and API Priority and Fairness;
//! KubeVirt `pod-eviction-admitter.go` of 1.0 to 1.9. docs/evictions.md has the same as a table.

use std::time::Duration;

/// The result of one eviction request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionAnswer {
    /// 201: the pod will stop.
    Accepted,
    /// KubeVirt migrates the VM; its launcher pod ends afterwards.
    Migrating { text: String },
    /// 429 from a PodDisruptionBudget; `retry_after` if the server gave a time.
    Budget { retry_after: Option<Duration>, text: String },
    /// KubeVirt refuses to migrate this VM.
    Unwilling { text: String },
    /// The pod no longer exists, or another pod has its name.
    Gone,
    /// Any other refusal of this pod.
    Refused { text: String },
    /// The server is overloaded or broken, and carried out nothing; the pod is not the cause.
    Busy { retry_after: Option<Duration>, text: String },
    /// The agent did not send the request: it cannot reach the server, or the server rejects its
    /// credentials.
    Unreachable { text: String },
    /// The agent sent the request and does not know if the server carried it out.
    Unknown { text: String },
    /// The agent did not send the request, because it was no longer needed.
    Withdrawn { text: String },
}

crate::vocabulary! {
    /// The result of a pod's eviction: an [`Answer`] without its details, or `observed` if the
    /// agent sent no request.
    pub enum EvictionOutcome {
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
        /// `eviction.mode = "observe"`: the agent would have evicted the pod.
        Observed = "observed",
    }
}

impl EvictionAnswer {
    /// The answer without its details.
    pub fn outcome(&self) -> EvictionOutcome {
        match self {
            Self::Accepted => EvictionOutcome::Accepted,
            Self::Migrating { .. } => EvictionOutcome::Migrating,
            Self::Budget { .. } => EvictionOutcome::Budget,
            Self::Unwilling { .. } => EvictionOutcome::Unwilling,
            Self::Gone => EvictionOutcome::Gone,
            Self::Refused { .. } => EvictionOutcome::Refused,
            Self::Busy { .. } => EvictionOutcome::Busy,
            Self::Unreachable { .. } => EvictionOutcome::Unreachable,
            Self::Unknown { .. } => EvictionOutcome::Unknown,
            Self::Withdrawn { .. } => EvictionOutcome::Withdrawn,
        }
    }

    /// The server's own text, or a text of ours if it sent none.
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

/// An answer of the API server other than success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    /// `Status.reason`.
    pub reason: String,
    /// `Status.message`, or the body if it is not a Status.
    pub message: String,
    /// `reason` and `message` of each of `Status.details.causes`.
    pub causes: Vec<(String, String)>,
    /// From the header Retry-After, or from `Status.details.retryAfterSeconds`.
    pub retry_after: Option<Duration>,
}

const BUDGET: &str = "DisruptionBudget";
/// The message's beginning for KubeVirt's budgets: `kubevirt-disruption-budget-` and five letters.
pub const KUBEVIRT_BUDGET: &str = "The disruption budget kubevirt-disruption-budget-";
/// The mark of a refusal by an admission webhook.
const WEBHOOK: &str = "denied the request";
/// Messages of KubeVirt's webhook that announce a migration.
const EVACUATES: [&str; 2] = ["Eviction triggered evacuation of VMI", "Evacuation in progress"];
const STAYS: [&str; 4] = [
    "is not live-migratable",
    "Eviction request for target Pod",
    "cannot evict hotplug pod",
    "kubevirt failed getting the vmi",
];
/// KubeVirt could not reach the API server. The second is also [`STAYS`] if there is no such VM.
const FAILED: [&str; 3] = [
    "kubevirt failed marking the vmi for eviction",
    "kubevirt failed getting the vmi",
    "failed getting owner for hotplug pod",
];
/// The name of KubeVirt's webhook for evictions.
const KUBEVIRT_WEBHOOK: &str = "virt-launcher-eviction-interceptor.kubevirt.io";
/// The reasons for which a webhook has not received a request.
const NOT_CALLED: [&str; 5] = [
    "no endpoints available for service",
    "connection refused",
    "no route to host",
    "no such host",
    "\" not found", // service "virt-api" not found
];

/// Interprets the refusal of a pod's eviction. `launcher` is true for the pod of a VM.
///
/// Uses typed fields first (code, causes, Retry-After), and the text only if nothing else
/// distinguishes the cases.
pub fn classify(refusal: &Refusal, launcher: bool) -> EvictionAnswer {
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
                // KubeVirt up to 1.4 marks the VM for a migration and lets its own budget refuse
                // the request.
                let text = format!("{text} ({cause})");
                return match of_kubevirt {
                    true => EvictionAnswer::Migrating { text },
                    false => EvictionAnswer::Budget { retry_after, text },
                };
            }
            if EVACUATES.iter().any(|words| contains(words)) {
                return EvictionAnswer::Migrating { text };
            }
            let failed = FAILED.iter().any(|words| contains(words)) && !contains("not found");
            if !failed && STAYS.iter().any(|words| contains(words)) {
                return EvictionAnswer::Unwilling { text };
            }
            match contains(WEBHOOK) && !failed {
                true => EvictionAnswer::Refused { text },
                false => EvictionAnswer::Busy { retry_after, text },
            }
        }
        404 => EvictionAnswer::Gone,
        // A node gets this answer for a pod that has just been deleted.
        403 if contains("no relationship found between node") => EvictionAnswer::Gone,
        // The texts of the eviction, and of the storage behind it.
        409 if contains("UID in the precondition") || contains("UID in precondition") => {
            EvictionAnswer::Gone
        }
        // Another client changed the pod meanwhile, API Priority and Fairness refused, or the
        // server shuts down.
        409 => EvictionAnswer::Busy { retry_after, text },
        401 => EvictionAnswer::Unreachable { text },
        // The API server refuses a pod for as long as it has several budgets. A VM's webhook
        // answers before that.
        500 if contains("more than one PodDisruptionBudget") && !launcher => {
            EvictionAnswer::Refused { text }
        }
        // Webhooks run before the eviction, so the server carried out nothing. KubeVirt's own webhook
        // begins a migration, if it has received the request.
        500 if contains("failed calling webhook")
            && (!launcher || contains(KUBEVIRT_WEBHOOK))
            && NOT_CALLED.iter().any(|words| contains(words)) =>
        {
            EvictionAnswer::Busy { retry_after, text }
        }
        // The server may carry out a request that it has begun, whatever it answers.
        408 | 500..=599 => EvictionAnswer::Unknown { text },
        _ => EvictionAnswer::Refused { text },
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
