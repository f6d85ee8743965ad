//! The plan as a table for people and as JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    config::settings::Settings,
    decide::{
        decision::{Action, Decision, Notice, Snapshot},
        grant::{Grant, Reason, grant_by_role, swap_for_pods},
        qos::qos_class,
    },
    model::{
        host::{NodeMemory, Role, SwapDevice, SwapTraffic},
        pod::{ContainerId, QosClass},
        quantity::Quantity,
        swap::{SwapMax, human_bytes},
    },
};

#[derive(Debug, Serialize)]
pub struct Plan {
    pub node: NodeMemory,
    pub swap_devices: Vec<SwapDevice>,
    pub swap_traffic: Option<SwapTraffic>,
    pub swap_for_pods_bytes: u64,
    pub containers: Vec<Row>,
    /// The limits that are wrong. What systemd holds is not asked.
    pub actions: Vec<Action>,
    /// Limits that differ and are left alone, since the kubelet grants.
    #[serde(skip)]
    differing: usize,
    /// What the plan could not take into account.
    pub notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Row {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub id: ContainerId,
    pub qos_class: Option<QosClass>,
    pub memory_request: Option<Quantity>,
    pub memory_limit: Option<Quantity>,
    pub grant: SwapMax,
    /// The lowest limit of the container's cgroups.
    pub in_force: SwapMax,
    pub used_bytes: u64,
    pub why: String,
    #[serde(skip)]
    helper: bool,
}

impl Plan {
    pub fn new(
        settings: &Settings,
        snapshot: Snapshot<'_>,
        decision: &Decision,
        swap_devices: Vec<SwapDevice>,
        swap_traffic: Option<SwapTraffic>,
        notes: Vec<String>,
    ) -> Self {
        let mut containers: Vec<Row> = snapshot
            .containers
            .iter()
            .map(|facts| {
                let pod = snapshot.pods.get(&facts.pod).map(AsRef::as_ref);
                let Grant { swap_max, reason } =
                    grant_by_role(&settings.grant, &snapshot.node, pod, &facts.role);
                let name = match &facts.role {
                    Role::Container(name) => Some(&**name),
                    Role::Helper | Role::Unknown => None,
                };
                let resources = pod.zip(name).and_then(|(pod, name)| pod.container(name));
                let resources = resources.map(|container| container.effective());
                Row {
                    namespace: pod.map_or("?", |pod| &pod.namespace).to_owned(),
                    pod: pod.map_or(facts.pod.as_str(), |pod| &pod.name).to_owned(),
                    container: name.unwrap_or("-").to_owned(),
                    id: facts.id.clone(),
                    qos_class: pod.map(qos_class),
                    memory_request: resources.and_then(|resources| resources.requests.memory),
                    memory_limit: resources.and_then(|resources| resources.limits.memory),
                    grant: swap_max,
                    in_force: facts.levels.iter().map(|l| l.swap_max).min().unwrap_or(SwapMax::Max),
                    used_bytes: facts.levels.iter().map(|l| l.swap_used_bytes).max().unwrap_or(0),
                    helper: reason == Reason::Helper,
                    why: reason.to_string(),
                }
            })
            .collect();
        containers.sort();
        Self {
            node: snapshot.node,
            swap_devices,
            swap_traffic,
            swap_for_pods_bytes: swap_for_pods(&settings.grant, &snapshot.node),
            containers,
            actions: decision.actions.iter().filter(|a| is_write(a)).cloned().collect(),
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

    /// Sandboxes and monitors only where `all`.
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
            "IN FORCE",
            "USED",
            "WHY",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.containers.iter().filter(|row| all || !row.helper).map(Row::cells));
        text.push_str(&super::columns(&rows));
        let _ = writeln!(text, "\n{}", self.verdict());
        super::for_terminal(&text)
    }
}

impl Plan {
    /// Nothing is claimed of what was not compared.
    fn verdict(&self) -> String {
        let containers = self.containers.len();
        match (self.actions.len(), self.differing, self.notes.is_empty()) {
            (0, 0, true) => "Every limit is right.".to_owned(),
            (0, 0, false) => format!(
                "The limits of the {containers} containers that were found are right. The notes \
                 above tell what was not compared."
            ),
            (0, count, _) => format!(
                "{count} limits are not what LimitedSwap gives; grants = \"kubelet\" leaves them alone."
            ),
            (count, ..) => format!("{count} limits to set; --json lists them."),
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
            "RAM {}, swap {}{devices}, of that for pods {}{traffic}\n\n",
            human_bytes(self.node.ram_bytes),
            human_bytes(self.node.swap_bytes),
            human_bytes(self.swap_for_pods_bytes),
        )
    }
}

fn is_write(action: &Action) -> bool {
    matches!(action, Action::WriteLimit { .. })
}

impl Row {
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
