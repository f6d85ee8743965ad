//! Formats `wasp-agent status --brief`: one line of three fields, for a rollout that queries every
//! node.

use crate::model::trouble::Severity;
use crate::{
    model::swap::human_bytes,
    report::overview::{Overview, OverviewPodRow},
};

/// One field for each subject of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node's swap, and the configured amount if that is larger.
    pub swap: String,
    /// `ready`, or the kinds of its problems.
    pub agent: String,
    /// `right`, the number of containers whose limit differs from their grant, or `not compared` if
    /// a container could not be compared.
    pub limits: String,
}

impl NodeVerdict {
    pub fn of(overview: &Overview) -> Self {
        let published = overview.published.as_ref();
        let bytes = overview
            .swap_devices
            .iter()
            .fold(0_u64, |sum, device| sum.saturating_add(device.size_bytes));
        let wanted =
            published.and_then(|published| published.node.swap_configured_bytes).unwrap_or(0);
        // A device's first page is its header.
        let too_small = bytes < wanted.saturating_sub(wanted / 50);
        let swap = match (bytes, too_small) {
            (0, false) => "none".to_owned(),
            (_, false) => human_bytes(bytes),
            (_, true) => format!("{} of {}", human_bytes(bytes), human_bytes(wanted)),
        };
        let agent = match published {
            _ if overview.agent.unreadable => "not readable".to_owned(),
            _ if !overview.agent.running => "not running".to_owned(),
            Some(_) if overview.agent.warning.is_some() => "stopped publishing".to_owned(),
            _ if too_small => "too little swap".to_owned(),
            Some(published) => {
                // Problems of severity Note pass without action.
                let lasting = published.problems.iter().filter(|p| p.severity > Severity::Note);
                let kinds: Vec<&str> = lasting.map(|p| p.kind.as_str()).collect();
                match kinds.is_empty() {
                    true => "ready".to_owned(),
                    false => format!("problems: {}", kinds.join(",")),
                }
            }
            None => "not running".to_owned(),
        };
        let page_bytes = published.map_or(0, |published| published.node.page_bytes);
        let wrong: usize =
            overview.pods.iter().map(|pod| wrong_limits(pod, page_bytes.max(1))).sum();
        let limits = match (wrong, &overview.notes[..]) {
            (0, _) if overview.unknown_containers > 0 => {
                format!("{} not known", overview.unknown_containers)
            }
            (0, []) => "right".to_owned(),
            (0, _) => "not compared".to_owned(),
            (wrong, _) => format!("{wrong} wrong"),
        };
        Self { swap, agent, limits }
    }

    pub fn is_right(&self) -> bool {
        self.agent == "ready" && self.limits == "right"
    }

    /// Returns the fields, separated by tabs.
    pub fn line(&self) -> String {
        format!("{}\t{}\t{}\n", self.swap, self.agent, self.limits)
    }
}

/// Counts wrong limits. A limit above the grant that follows the use down is not wrong.
fn wrong_limits(pod: &OverviewPodRow, page_bytes: u64) -> usize {
    let wrong = pod.containers.iter().filter(|container| {
        let bytes = |text: &str| text.parse::<u64>().ok();
        match (bytes(&container.swap_grant), bytes(&container.swap_max_in_force)) {
            (Some(grant), Some(in_force)) => {
                in_force != grant - grant % page_bytes
                    && !(in_force > grant && container.swap_bytes >= grant - grant % page_bytes)
            }
            (grant, in_force) => grant != in_force,
        }
    });
    wrong.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::screen::tests::healthy;

    #[test]
    fn a_node_is_right_when_nothing_is_wrong() {
        let right = healthy();
        let verdict = NodeVerdict::of(&right);
        assert!(verdict.is_right(), "{verdict:?}");
        assert_eq!(verdict.line().matches('\t').count(), 2);

        let changed = |change: fn(&mut Overview)| {
            let mut overview = right.clone();
            change(&mut overview);
            let verdict = NodeVerdict::of(&overview);
            assert!(!verdict.is_right(), "{verdict:?}");
            verdict
        };
        assert_eq!(changed(|o| o.unknown_containers = 2).limits, "2 not known");
        assert_eq!(changed(|o| o.agent.running = false).agent, "not running");
        assert_eq!(changed(|o| o.agent.unreadable = true).agent, "not readable");
        let silent = changed(|o| o.agent.warning = Some("silent".into()));
        assert_eq!(silent.agent, "stopped publishing");
        let problem = |kind: &str, severity| crate::model::published::ProblemStatus {
            kind: kind.to_owned(),
            severity,
            ..Default::default()
        };
        let mut noted = right.clone();
        noted.published.as_mut().unwrap().problems = vec![problem("above-grant", Severity::Note)];
        assert!(NodeVerdict::of(&noted).is_right(), "a note passes by itself");
        let failing = changed(|o| {
            let found = ["hook", "swap"].map(|kind| crate::model::published::ProblemStatus {
                kind: kind.to_owned(),
                ..Default::default()
            });
            o.published.as_mut().unwrap().problems = found.into();
        });
        assert_eq!(failing.agent, "problems: hook,swap");
        let small = changed(|o| {
            o.swap_devices[0].size_bytes = 1 << 30;
            o.swap_devices.truncate(1);
            o.published.as_mut().unwrap().node.swap_configured_bytes = Some(4 << 30);
        });
        assert_eq!((&*small.swap, &*small.agent), ("1.0 GiB of 4.0 GiB", "too little swap"));
        let max = changed(|o| o.pods[0].containers[0].swap_max_in_force = "max".into());
        assert_eq!(max.limits, "1 wrong");
        assert_eq!(changed(|o| o.notes = vec!["cannot read x".into()]).limits, "not compared");
    }

    #[test]
    fn a_limit_is_compared_in_pages_and_may_follow_a_use() {
        let mut pod = healthy().pods[0].clone();
        let mut wrong = |grant: &str, in_force: &str, used| {
            let container = &mut pod.containers[0];
            (container.swap_grant, container.swap_max_in_force) = (grant.into(), in_force.into());
            container.swap_bytes = used;
            wrong_limits(&pod, 4096)
        };
        // The figures of the README.
        assert_eq!(wrong("72759745", "72757248", 0), 0);
        assert_eq!(wrong("72759745", "72753152", 0), 1);
        assert_eq!(wrong("4096", "1052672", 4096), 0);
        assert_eq!(wrong("4096", "1052672", 0), 1);
        assert_eq!(wrong("max", "max", 0), 0);
        assert_eq!(wrong("0", "max", 0), 1);
    }
}
