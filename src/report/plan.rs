//! Formats the plan as a table for people and as JSON for programs.

use crate::model::counted::counted;
use std::fmt::Write;

use serde::Serialize;

use super::overview::{THE_POD, effective};
use crate::{
    config::settings::{Grants, Settings},
    decide::{
        decision::{Action, Decision, Notice, Snapshot},
        grant::{Grant, Reason, grant_by_role, swap_for_pods},
        pod_limit::pod_grant,
        qos::qos_class,
    },
    model::{
        host::{Holder, NodeMemory, PodFacts, Role, SwapDevice, SwapTraffic},
        obstacles::Ancestor,
        pod::{ContainerId, Pod, PodUid, QosClass},
        quantity::Quantity,
        swap::{SwapMax, human_bytes},
    },
};

#[derive(Debug, Serialize)]
pub struct NodePlan {
    pub node: NodeMemory,
    pub swap_devices: Vec<SwapDevice>,
    pub swap_traffic: Option<SwapTraffic>,
    pub swap_for_pods_bytes: u64,
    pub containers: Vec<PlanRow>,
    /// The pods' own cgroups.
    pub pods: Vec<PodRow>,
    /// The limits to change. Does not include properties that only systemd holds.
    pub actions: Vec<Action>,
    /// Number of limits that differ from the kubelet's, where it grants and the agent leaves them.
    #[serde(skip)]
    differing: usize,
    /// True if it is unknown which program grants.
    #[serde(skip)]
    in_doubt: bool,
    /// Facts that the plan could not take into account.
    pub notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlanRow {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub id: ContainerId,
    pub qos_class: Option<QosClass>,
    pub memory_request: Option<Quantity>,
    pub memory_limit: Option<Quantity>,
    pub grant: SwapMax,
    /// The lowest of its own limit and those of the cgroups above it.
    pub in_force: SwapMax,
    /// The cgroup with that limit, if it is not its own.
    pub bound_by: Option<String>,
    pub used_bytes: u64,
    pub why: String,
    #[serde(skip)]
    helper: bool,
}

/// A pod's own cgroup, with the memory of its containers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodRow {
    pub namespace: String,
    pub pod: String,
    pub uid: PodUid,
    pub qos_class: Option<QosClass>,
    pub grant: SwapMax,
    /// The lowest of its own limit and those of the cgroups above it.
    pub in_force: SwapMax,
    /// The cgroup with that limit, if it is not its own.
    pub bound_by: Option<String>,
    pub used_bytes: u64,
    /// The part of it that belongs to no container.
    pub in_no_container_bytes: u64,
    pub why: String,
}

impl NodePlan {
    pub fn new(
        settings: &Settings,
        snapshot: Snapshot<'_>,
        decision: &Decision,
        above: &[Ancestor],
        swap_devices: Vec<SwapDevice>,
        swap_traffic: Option<SwapTraffic>,
        notes: Vec<String>,
    ) -> Self {
        let mut containers: Vec<PlanRow> = snapshot
            .containers
            .iter()
            .map(|facts| {
                let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
                let Grant { swap_max, reason } =
                    grant_by_role(&settings.grant_rules(), &snapshot.node, pod, &facts.role);
                let name = match &facts.role {
                    Role::Container(name) => Some(&**name),
                    Role::Helper | Role::Unknown => None,
                };
                let resources = pod.zip(name).and_then(|(pod, name)| pod.container(name));
                let resources = resources.map(|container| container.effective());
                let (namespace, shown) = names(pod, &facts.pod);
                let own = facts.levels.iter().map(|l| l.swap_max).min().unwrap_or(SwapMax::Max);
                let of_pod = snapshot.slices.iter().find(|slice| slice.uid == facts.pod);
                let of_pod = of_pod.map(|slice| slice.level.swap_max);
                let (in_force, bound_by) = effective(own, of_pod, &facts.path, above);
                PlanRow {
                    namespace,
                    pod: shown,
                    container: name.unwrap_or("-").to_owned(),
                    id: facts.id.clone(),
                    qos_class: pod.map(qos_class),
                    memory_request: resources.and_then(|resources| resources.requests.memory),
                    memory_limit: resources.and_then(|resources| resources.limits.memory),
                    grant: swap_max,
                    in_force,
                    bound_by,
                    used_bytes: facts.levels.iter().map(|l| l.swap_used_bytes).max().unwrap_or(0),
                    helper: reason == Reason::Helper,
                    why: reason.to_string(),
                }
            })
            .collect();
        containers.sort();
        let mut pods: Vec<PodRow> = snapshot
            .slices
            .iter()
            .map(|facts| pod_row(settings, &snapshot, facts, above))
            .collect();
        pods.sort();
        Self {
            node: snapshot.node,
            swap_devices,
            swap_traffic,
            swap_for_pods_bytes: swap_for_pods(&settings.grant, &snapshot.node),
            containers,
            pods,
            actions: decision.actions.iter().filter(|a| is_write(a)).cloned().collect(),
            in_doubt: settings.grants == Grants::Auto,
            differing: decision
                .notices
                .iter()
                .filter(|notice| matches!(notice, Notice::Differs { .. }))
                .count(),
            notes,
        }
    }

    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Formats a table; with `all`, includes sandboxes and monitors. Includes a pod's own cgroup if
    /// it is noteworthy.
    pub fn table(&self, all: bool) -> String {
        let mut text = String::new();
        for note in &self.notes {
            let _ = writeln!(text, "NOTE: {note}");
        }
        text.push_str(&self.summary());
        let header = [
            "NAMESPACE",
            "POD",
            "CONTAINER",
            "QOS",
            "REQUEST",
            "LIMIT",
            "SWAP GRANT",
            "IN EFFECT",
            "USED",
            "WHY",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        let wrong = |uid: &PodUid| {
            let is_of = |action: &Action| match action {
                Action::WriteLimit { owner: Holder::Pod(of), .. } => of == uid,
                _ => false,
            };
            self.actions.iter().any(is_of)
        };
        let told = |row: &&PodRow| all || row.in_no_container_bytes > 0 || wrong(&row.uid);
        let key = |namespace: &str, pod: &str| (namespace.to_owned(), pod.to_owned());
        let of_containers = self.containers.iter().filter(|row| all || !row.helper);
        let mut sorted: Vec<((String, String), [String; 10])> =
            of_containers.map(|row| (key(&row.namespace, &row.pod), row.cells())).collect();
        let of_pods = self.pods.iter().filter(told);
        sorted.extend(of_pods.map(|row| (key(&row.namespace, &row.pod), row.cells())));
        // The sort is stable: a pod comes after its containers.
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        rows.extend(sorted.into_iter().map(|(_, cells)| cells));
        text.push_str(&super::columns(&rows));
        let _ = writeln!(text, "\n{}", self.verdict());
        super::for_terminal(&text)
    }
}

impl NodePlan {
    /// Summarizes the plan, without claims about limits that were not compared.
    fn verdict(&self) -> String {
        let containers = self.containers.len();
        // While other containers hold more than their grants, a raise waits for free bytes.
        let page = self.node.page_bytes;
        // A limit above the pods has a note.
        let waits = |row: &&PlanRow| row.in_force < row.grant.as_kernel_shows(page);
        let waiting = self.containers.iter().filter(waits).count();
        let bound = self.containers.iter().filter(waits).filter_map(|row| row.bound_by.as_deref());
        let bound: Vec<&str> = bound.filter(|by| *by != THE_POD).collect();
        if let ([by, ..], true) = (&bound[..], self.actions.is_empty()) {
            return format!(
                "{} less than the grant, by the limit of {by} (wasp-agent check).",
                counted(bound.len(), "container may swap", "containers may swap")
            );
        }
        if self.in_doubt && self.actions.is_empty() {
            return "No limit is raised: it is not known whether the kubelet sets swap limits, see \
                the notes above."
                .to_owned();
        }
        let unknown = |row: &&PlanRow| !row.helper && row.qos_class.is_none();
        let unknown = self.containers.iter().filter(unknown).count();
        let compared = containers - unknown;
        if let (0, 0, 1..) = (self.actions.len(), self.differing, unknown) {
            return format!(
                "The limits of {} are right. {} not compared: the pod is not known (yet).",
                counted(compared, "container", "containers"),
                counted(unknown, "container was", "containers were")
            );
        }
        match (self.actions.len(), self.differing, self.notes.is_empty()) {
            (0, 0, _) if unknown > 0 => format!(
                "The limits of {} are right. {} not compared: the pod is not known.",
                counted(containers - unknown, "container", "containers"),
                counted(unknown, "container was", "containers were")
            ),
            (0, 0, complete) if waiting > 0 => format!(
                "No limit to set: {} of {containers} for swap that others use beyond their grants.{}",
                counted(waiting, "container waits", "containers wait"),
                if complete { "" } else { " See the notes above." }
            ),
            (0, 0, true) => "Every limit is right.".to_owned(),
            (0, 0, false) => format!(
                "The limits of {} are right. See the notes above for what was not compared, or limits \
                 the pods otherwise.",
                counted(containers, "container", "containers")
            ),
            (0, count, _) => format!(
                "{} from the kubelet's LimitedSwap; the agent repairs none (limits.repair; or the \
                 swap that the kubelet counts is not known).",
                counted(count, "limit differs", "limits differ")
            ),
            (count, ..) => format!("{} to set; see --json.", counted(count, "limit", "limits")),
        }
    }

    fn summary(&self) -> String {
        let devices: Vec<&str> = self.swap_devices.iter().map(|swap| &*swap.path).collect();
        let devices = match devices[..] {
            [] => String::new(),
            _ => format!(" ({})", devices.join(", ")),
        };
        let traffic = self.swap_traffic.map_or(String::new(), |traffic| {
            let bytes = |pages: u64| human_bytes(pages.saturating_mul(self.node.page_bytes));
            let (came, went) = (bytes(traffic.pages_in), bytes(traffic.pages_out));
            format!("; swapped in {came}, out {went} since boot")
        });
        format!(
            "RAM {}, swap {}{devices}, {} of it for pods{traffic}\n\n",
            human_bytes(self.node.ram_bytes),
            human_bytes(self.node.swap_bytes),
            human_bytes(self.swap_for_pods_bytes),
        )
    }
}

/// Returns namespace and name, if they are known.
fn names(pod: Option<&Pod>, uid: &PodUid) -> (String, String) {
    let namespace = pod.map_or("?", |pod| &pod.namespace);
    (namespace.to_owned(), pod.map_or(uid.as_str(), |pod| &pod.name).to_owned())
}

fn pod_row(
    settings: &Settings,
    snapshot: &Snapshot<'_>,
    facts: &PodFacts,
    above: &[Ancestor],
) -> PodRow {
    let pod = snapshot.pods.get(&facts.uid).map(AsRef::as_ref);
    let (namespace, name) = names(pod, &facts.uid);
    let Grant { swap_max, reason } = pod_grant(&settings.grant_rules(), &snapshot.node, pod);
    let of_pod = snapshot.containers.iter().filter(|container| container.pod == facts.uid);
    let in_containers = of_pod
        .filter_map(|container| container.levels.first())
        .fold(0, |sum: u64, level| sum.saturating_add(level.swap_used_bytes));
    let used_bytes = facts.level.swap_used_bytes;
    let (in_force, bound_by) = effective(facts.level.swap_max, None, &facts.path, above);
    PodRow {
        namespace,
        pod: name,
        uid: facts.uid.clone(),
        qos_class: pod.map(qos_class),
        grant: swap_max,
        in_force,
        bound_by,
        used_bytes,
        in_no_container_bytes: used_bytes.saturating_sub(in_containers),
        why: reason.to_string(),
    }
}

fn is_write(action: &Action) -> bool {
    matches!(action, Action::WriteLimit { .. })
}

impl PodRow {
    fn cells(&self) -> [String; 10] {
        let outside = match self.in_no_container_bytes {
            0 => String::new(),
            bytes => format!(", of that {} outside its containers", human_bytes(bytes)),
        };
        [
            self.namespace.clone(),
            self.pod.clone(),
            "(pod)".to_owned(),
            self.qos_class.map_or_else(|| "?".to_owned(), |class| class.to_string()),
            "-".to_owned(),
            "-".to_owned(),
            self.grant.to_string(),
            self.in_force.to_string(),
            self.used_bytes.to_string(),
            format!("uses {}{outside}; {}", human_bytes(self.used_bytes), self.why),
        ]
    }
}

impl PlanRow {
    fn cells(&self) -> [String; 10] {
        let quantity = |q: Option<Quantity>| q.map_or_else(|| "-".to_owned(), |q| q.to_string());
        [
            self.namespace.clone(),
            self.pod.clone(),
            self.container.clone(),
            self.qos_class.map_or_else(|| "?".to_owned(), |class| class.to_string()),
            quantity(self.memory_request),
            quantity(self.memory_limit),
            self.grant.to_string(),
            self.in_force.to_string(),
            self.used_bytes.to_string(),
            self.why.clone(),
        ]
    }
}
