//! Keeps new pods off a node under swap pressure, by `spec.unschedulable` or a taint, and never
//! overrides an administrator or another operator.
//!
//! Source: Kubernetes "Server-Side Apply", "Taints and Tolerations"; the Machine Config Operator's
//! node annotations.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::pod::{OwnerKind, Pod, PodUid, Pods};

/// The agent's field manager in server-side apply.
pub const FIELD_MANAGER: &str = "wasp-agent";

/// The annotation of a Node that is drained under a cordon of the agent's, which the agent then leaves
/// in place. It outlives the agent and the node's boot; the agent removes it when the node is
/// schedulable again.
pub const CORDON_LEFT: &str = "wasp-agent.kubevirt.io/cordon-left";

/// The facts about the Node object that the guard needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub unschedulable: bool,
    /// The agent owns `spec.unschedulable` by server-side apply, and no other client has changed it
    /// since.
    pub ours: bool,
    /// The agent's taint is set, with either effect.
    pub tainted: bool,
    /// The taint is set with the configured effect.
    pub tainted_as_wanted: bool,
    /// The Machine Config Operator's annotations, by name without their prefix.
    pub machine_config: BTreeMap<String, String>,
    /// Another program, such as `kubectl drain`, is evicting pods of this node.
    pub others_leave: bool,
    /// Others have evicted pods of this node, and a drain has nothing left to evict.
    pub drained: bool,
    /// The Node has the annotation [`CORDON_LEFT`].
    pub left: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardStep {
    Nothing,
    Set,
    Unset,
    /// The guard changes nothing, for this reason.
    Leave(String),
}

/// Decides about `spec.unschedulable`. `set` is true if the agent has set it since the pressure
/// began.
pub fn cordon(pressed: bool, set: bool, facts: &NodeFacts) -> GuardStep {
    let wanted = match (pressed, facts.unschedulable, facts.ours) {
        (true, false, _) if set => {
            return GuardStep::Leave("another user has made the node schedulable again".to_owned());
        }
        (true, false, _) => GuardStep::Set,
        (true, true, false) => {
            return GuardStep::Leave("another user has cordoned the node already".to_owned());
        }
        (false, _, true) => GuardStep::Unset,
        _ => return GuardStep::Nothing,
    };
    if let Some(why) = maintenance(&facts.machine_config) {
        return GuardStep::Leave(why);
    }
    // `kubectl cordon` on a cordoned node changes nothing and leaves no trace.
    if wanted == GuardStep::Unset && (facts.others_leave || facts.left) {
        if !facts.others_leave {
            let why = "the node was drained under the agent's cordon; `kubectl uncordon` ends it";
            return GuardStep::Leave(why.to_owned());
        }
        let why = "pods that the agent did not evict are being evicted: the node is being drained";
        return GuardStep::Leave(why.to_owned());
    }
    wanted
}

/// Decides about the annotation [`CORDON_LEFT`]: true to set it, false to remove it, `None` for no
/// change.
pub fn leave(facts: &NodeFacts) -> Option<bool> {
    let drained = facts.unschedulable && facts.ours && facts.drained;
    match (facts.left, facts.unschedulable) {
        (false, _) if drained => Some(true),
        (true, false) => Some(false),
        _ => None,
    }
}

/// Returns true if a drain has nothing left to evict on a node with `pods`: it leaves static pods and
/// those of DaemonSets. A program that moves a single pod, such as the descheduler, leaves others.
/// Containers of the pods `deleted` still run, although the API server no longer has these pods.
pub fn is_drained(pods: &Pods, deleted: &BTreeSet<PodUid>) -> bool {
    let of_daemonset = |pod: &Pod| {
        pod.owner
            .as_ref()
            .is_some_and(|owner| owner.controller && owner.kind == OwnerKind::DaemonSet)
    };
    let stays = |pod: &Pod| pod.finished || pod.mirror || of_daemonset(pod);
    pods.iter().all(|(uid, pod)| stays(pod) || deleted.contains(uid))
}

/// Decides about the taint.
pub fn taint(pressed: bool, facts: &NodeFacts) -> GuardStep {
    match (pressed, if pressed { facts.tainted_as_wanted } else { facts.tainted }) {
        (true, false) => GuardStep::Set,
        (false, true) => GuardStep::Unset,
        _ => GuardStep::Nothing,
    }
}

/// Returns a text if the Machine Config Operator is at work on the node: it drains, reboots and
/// uncordons by itself.
fn maintenance(annotations: &BTreeMap<String, String>) -> Option<String> {
    let value = |name: &str| annotations.get(name).map_or("", String::as_str);
    let (desired, applied) = (value("desiredDrain"), value("lastAppliedDrain"));
    let state = value("state");
    if desired.starts_with("drain-") || desired != applied {
        Some(format!("the Machine Config Operator drains the node (desiredDrain {desired})"))
    } else if !matches!(state, "" | "Done") {
        Some(format!("the Machine Config Operator is at work on the node (state {state})"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, model::pod::Owner};

    fn node(unschedulable: bool, ours: bool) -> NodeFacts {
        NodeFacts { unschedulable, ours, ..NodeFacts::default() }
    }

    #[test]
    fn only_what_is_ours_is_undone() {
        assert_eq!(cordon(true, false, &node(false, false)), GuardStep::Set);
        assert_eq!(cordon(true, true, &node(true, true)), GuardStep::Nothing);
        assert_eq!(cordon(false, true, &node(true, true)), GuardStep::Unset);
        assert_eq!(cordon(false, false, &node(true, true)), GuardStep::Unset, "after a crash");
        assert!(
            matches!(cordon(true, false, &node(true, false)), GuardStep::Leave(_)),
            "another's"
        );
        assert_eq!(cordon(false, false, &node(true, false)), GuardStep::Nothing);
        assert!(
            matches!(cordon(true, true, &node(false, false)), GuardStep::Leave(_)),
            "uncordoned"
        );
    }

    #[test]
    fn a_drain_by_the_machine_config_operator_is_left_alone() {
        let with = |pairs: &[(&str, &str)], mut facts: NodeFacts| {
            facts.machine_config =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            facts
        };
        for pairs in [
            &[("desiredDrain", "drain-a"), ("lastAppliedDrain", "uncordon-z")][..],
            &[("desiredDrain", "drain-a"), ("lastAppliedDrain", "drain-a")],
            &[("desiredDrain", "uncordon-a"), ("lastAppliedDrain", "drain-a")],
            &[("state", "Working")],
            &[("state", "Degraded")],
        ] {
            for facts in [node(false, false), node(true, true)] {
                let pressed = !facts.unschedulable;
                let step = cordon(pressed, false, &with(pairs, facts));
                let GuardStep::Leave(why) = step else { panic!("{pairs:?}: {step:?}") };
                assert!(why.starts_with("the Machine Config Operator"), "{why}");
            }
        }
        let rest =
            [("desiredDrain", "uncordon-a"), ("lastAppliedDrain", "uncordon-a"), ("state", "Done")];
        assert_eq!(cordon(true, false, &with(&rest, node(false, false))), GuardStep::Set);
    }

    #[test]
    fn the_taint_follows_the_pressure() {
        let tainted =
            |tainted| NodeFacts { tainted, tainted_as_wanted: tainted, ..NodeFacts::default() };
        assert_eq!(taint(true, &tainted(false)), GuardStep::Set);
        assert_eq!(taint(true, &tainted(true)), GuardStep::Nothing);
        assert_eq!(taint(false, &tainted(true)), GuardStep::Unset);
        assert_eq!(taint(false, &tainted(false)), GuardStep::Nothing);
        let other_effect = NodeFacts { tainted: true, ..NodeFacts::default() };
        assert_eq!(taint(true, &other_effect), GuardStep::Set);
        assert_eq!(taint(false, &other_effect), GuardStep::Unset);
    }

    #[test]
    fn a_drain_leaves_static_pods_and_those_of_daemonsets() {
        let pods = |pods: Vec<Pod>| -> Pods {
            pods.into_iter().map(|pod| (pod.uid.clone(), std::sync::Arc::new(pod))).collect()
        };
        let pod = |number: u32| Pod {
            uid: PodUid::new(&format!("{number:08x}-0000-4444-9bb8-9701e3620c02")).unwrap(),
            ..fixtures::pod("p", &[])
        };
        let owner =
            |kind| Some(Owner { kind, name: "o".into(), uid: "o".into(), controller: true });
        let of_daemonset = Pod { owner: owner(OwnerKind::DaemonSet), ..pod(1) };
        let of_job = Pod { owner: owner(OwnerKind::Job), ..pod(2) };
        let mirror = Pod { mirror: true, ..pod(3) };
        let finished = Pod { finished: true, ..pod(4) };
        let left = vec![of_daemonset, mirror, finished];
        let none = BTreeSet::new();
        assert!(is_drained(&pods(left.clone()), &none));
        let gone = [left.clone(), vec![pod(5)]].concat();
        assert!(is_drained(&pods(gone), &BTreeSet::from([pod(5).uid])));
        for other in [pod(5), of_job] {
            assert!(!is_drained(&pods([left.clone(), vec![other]].concat()), &none));
        }
    }

    #[test]
    fn a_cordon_stays_while_somebody_drains_the_node() {
        let drained = NodeFacts { others_leave: true, ..node(true, true) };
        assert!(
            matches!(cordon(false, true, &drained), GuardStep::Leave(why) if why.contains("drained"))
        );
        let later = NodeFacts { left: true, ..node(true, true) };
        assert!(matches!(cordon(false, false, &later), GuardStep::Leave(_)), "after a reboot too");
        assert_eq!(leave(&drained), None, "one pod that another program evicts is no drain");
        let drained = NodeFacts { drained: true, ..drained };
        assert_eq!((leave(&drained), leave(&later)), (Some(true), None));
        let uncordoned = NodeFacts { left: true, ..node(false, false) };
        assert_eq!(leave(&uncordoned), Some(false));
        assert_eq!(cordon(true, false, &uncordoned), GuardStep::Set);
        let anothers = NodeFacts { drained: true, ..node(true, false) };
        assert_eq!((leave(&anothers), leave(&node(true, true))), (None, None));
        let fresh = NodeFacts { others_leave: true, ..node(false, false) };
        assert_eq!(cordon(true, false, &fresh), GuardStep::Set);
    }
}
