//! The one line that `systemctl status` shows.

use crate::{
    config::settings::{Grants, Settings},
    decide::state::{State, Told},
    model::{
        host::NodeMemory,
        swap::{SwapMax, human_bytes},
    },
};

/// What the line is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    pub settings: &'a Settings,
    pub node: NodeMemory,
    pub state: &'a State,
    pub pods: usize,
    /// Slices that never swap and are served first.
    pub protected: &'a [String],
    /// What does not work, the worst first, in the administrator's words.
    pub problems: Vec<String>,
}

/// One sentence about swap and containers; before it, what is wrong.
pub fn line(facts: &Facts<'_>) -> String {
    let (mut containers, mut granted, mut unlimited, mut bytes, mut used) = (0, 0, 0, 0, 0);
    let (mut above, mut contended, mut differing, mut untold) = (0, 0, 0, 0);
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
        above += usize::from(container.above);
        contended += usize::from(container.contended);
        differing += usize::from(container.differs);
        untold += usize::from(matches!(container.told, Told::Failed { .. }));
    }

    // What is in no container counts too.
    let (mut pods_used, mut pods_above) = (0, 0);
    for (_, pod) in facts.state.pods() {
        pods_used += pod.used_bytes;
        pods_above += usize::from(pod.above);
        contended += usize::from(pod.contended);
        differing += usize::from(pod.differs);
        untold += usize::from(matches!(pod.told, Told::Failed { .. }));
    }
    let used = pods_used.max(used);

    let mut problems = facts.problems.clone();
    for (count, what) in [
        (untold, "limits that systemd could not be told and a daemon-reload would undo"),
        (contended, "limits that another writer keeps changing"),
        (differing, "limits that are not what the kubelet's LimitedSwap gives"),
        (above, "containers still above their grant"),
        (pods_above, "pods that still hold more swap than their containers may have together"),
    ] {
        if count > 0 {
            problems.push(format!("{count} {what}"));
        }
    }
    let share = match (unlimited, facts.settings.grants) {
        (0, Grants::Agent) => format!("{granted} may swap {}", human_bytes(bytes)),
        (0, Grants::Kubelet) => {
            format!("{granted} may swap {} by the kubelet's grants", human_bytes(bytes))
        }
        (0, Grants::Auto) => "nobody knows who may swap".to_owned(),
        _ => format!("{unlimited} may swap without limit"),
    };
    let summary = format!(
        "Swap {}: of {containers} containers in {} pods {share}, {} used.{}",
        human_bytes(facts.node.swap_bytes),
        facts.pods,
        human_bytes(used),
        match facts.protected {
            [] => String::new(),
            slices => format!(" Protected: {}.", slices.join(", ")),
        },
    );
    if problems.is_empty() { summary } else { format!("{}. {summary}", problems.join("; ")) }
}
