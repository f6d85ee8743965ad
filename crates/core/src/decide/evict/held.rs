//! The reasons for not evicting a pod although the node needs it, with commands that show the cause.

use crate::model::{counted::counted, shell::quoted};

/// The reason why the agent evicts no pod.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoneChosen {
    #[error("the agent does not know whether {pod} migrates")]
    InDoubt { pod: String },
    #[error("no pod may be evicted")]
    NoPod,
    #[error("no pod may be evicted now: {}", .first.text)]
    Spared { first: Obstacle },
    #[error("no pod may be evicted now: {}; {}", .first.text, counted(*more, "more is spared", "more are spared"))]
    AllSpared { first: Obstacle, more: usize },
}

/// The reason why no pod is evicted now, and commands that show its cause or end it.
#[derive(Debug)]
pub(super) struct Obstacle {
    pub(super) text: String,
    pub(super) look: Vec<String>,
}

impl NoneChosen {
    pub(super) fn look(self) -> Vec<String> {
        match self {
            Self::InDoubt { pod } => vec![format!("wasp-agent explain {}", quoted(&pod))],
            Self::NoPod => vec![RANKS.to_owned()],
            Self::Spared { first } | Self::AllSpared { first, .. } => first.look,
        }
    }
}

/// Lists all pods with the reason why each stays.
pub(super) const RANKS: &str = "wasp-agent status --all --sort eviction";
pub(super) const REPORT: &str = "wasp-agent report --since 1h";
pub(super) const CONNECTION: &str = "journalctl -u kubelet -b -p warning";

/// Returns commands about a pod that a budget keeps on the node.
pub(super) fn kept_by_budget(namespace: &str, name: &str) -> Vec<String> {
    vec![
        explain(namespace, name),
        format!("oc get poddisruptionbudget -n {}", quoted(namespace)),
        "# then move a VM to another node, or let the budget allow a disruption".to_owned(),
    ]
}

/// Returns the command that explains a pod's swap and its place in the order.
pub(super) fn explain(namespace: &str, name: &str) -> String {
    format!("wasp-agent explain {}/{}", quoted(namespace), quoted(name))
}
