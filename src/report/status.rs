//! Formats the status line that `systemctl status` shows.

use crate::model::counted::counted;
use crate::{
    config::settings::{Grants, Settings},
    decide::state::LimitStates,
    model::{
        host::NodeMemory,
        swap::{SwapMax, human_bytes},
        trouble::{Problem, sentence},
    },
};

/// The input of the line.
#[derive(Debug)]
pub struct StatusFacts<'a> {
    pub settings: &'a Settings,
    pub node: NodeMemory,
    pub state: &'a LimitStates,
    pub pods: usize,
    /// Slices that never swap and that have priority for memory and disk.
    pub protected: &'a [String],
    /// The problems, the worst first.
    pub problems: &'a [Problem],
}

/// Returns one sentence about swap and containers, after any problems.
pub fn line(facts: &StatusFacts<'_>) -> String {
    let (mut containers, mut granted, mut unlimited, mut bytes, mut used) = (0, 0, 0, 0, 0_u64);
    for (_, container) in facts.state.containers() {
        containers += 1;
        match container.grant.swap_max {
            SwapMax::ZERO => {}
            SwapMax::Bytes(grant) => {
                granted += 1;
                bytes += grant;
            }
            SwapMax::Max => unlimited += 1,
        }
        used += container.used_bytes;
    }
    // Memory outside of containers counts too.
    let pods_used = facts.state.pods().map(|(_, pod)| pod.used_bytes).sum();
    let used = used.max(pods_used);

    let all = format!(
        "{} in {}",
        counted(containers, "container", "containers"),
        counted(facts.pods, "pod", "pods")
    );
    let share = match (unlimited, facts.settings.grants) {
        (0, Grants::Agent) => format!("{granted} of {all} may swap up to {}", human_bytes(bytes)),
        (0, Grants::Kubelet) => {
            let bytes = human_bytes(bytes);
            format!("{granted} of {all} may swap up to {bytes} by the kubelet's grants")
        }
        (0, Grants::Auto) => format!("it is not known which of {all} may swap"),
        _ => format!("{unlimited} of {all} may swap without limit"),
    };
    let summary = format!(
        "Swap {}: {share}; {} used.{}",
        human_bytes(facts.node.swap_bytes),
        human_bytes(used),
        match facts.protected {
            [] => String::new(),
            slices => format!(" Protected: {}.", slices.join(", ")),
        },
    );
    match sentence(facts.problems) {
        None => summary,
        Some(problems) => format!("{problems}. {summary}"),
    }
}
