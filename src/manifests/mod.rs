//! Renders the manifests that give every node of a pool swap and an agent, from the same settings
//! that the nodes read. Pure; `wasp-agent manifests` does the reading and writing.

mod alerts;
mod check;
mod cluster;
pub mod dashboards;
mod ignition;
mod kubelet;
mod order;
#[cfg(test)]
mod tests;
mod version;

use serde_json::Value;

pub use alerts::alert_names;
pub use version::{HyperConverged, OpenShiftVersion};

use crate::config::settings::Settings;

/// A rollout: its target and its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Version of the cluster.
    pub openshift: OpenShiftVersion,
    /// The API version of HyperConverged that the cluster serves.
    pub hyperconverged: HyperConverged,
    /// The machine config pool.
    pub pool: String,
    pub control_plane_allowed: bool,
    /// The drop-ins that the nodes read, and the settings that result.
    pub drop_ins: Vec<DropIn>,
    pub settings: Settings,
    /// The program that grants swap, if the settings name it.
    pub grants: GrantsAsked,
    pub install: Install,
    pub eviction_soft: Option<EvictionSoft>,
    /// As given, in bytes, to reject swap that does not fit.
    pub node_ram: Option<u64>,
    pub node_disk: Option<u64>,
    pub taint_guard: bool,
}

/// The key `grants` in the rollout's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrantsAsked {
    /// Not set, or "auto": the version decides, and the agent follows the kubelet's configuration.
    #[default]
    Auto,
    Agent,
    Kubelet,
}

/// A file of `/etc/wasp-agent/config.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    pub name: &'static str,
    pub text: String,
}

impl DropIn {
    pub fn path(&self) -> String {
        format!("/etc/wasp-agent/config.d/{}", self.name)
    }
}

/// The way in which the nodes get the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install {
    /// The nodes have them already.
    Present,
    /// As a layer of their OS image, which the cluster builds.
    Layer { package: Package, push_spec: String, push_secret: String },
    /// By a unit that fetches the package at boot, if it is missing.
    FirstBoot { package: Package },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub url: String,
    pub sha256: String,
}

/// The kubelet's soft threshold for `memory.available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionSoft {
    pub threshold: String,
    pub grace_period: String,
}

/// A file for the cluster, or input for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    pub text: String,
}

/// Renders all manifests of `rollout`, in the order of application, and then the script that
/// applies them.
///
/// # Errors
/// All problems of the rollout.
pub fn render(rollout: &Rollout) -> Result<Vec<Manifest>, Vec<String>> {
    let problems = check::problems(rollout);
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = ignition::IgnitionConfig::of(rollout);
    let pool = &rollout.pool;
    let mut manifests = Vec::new();
    // Where the kubelet reads drop-ins, 30-machineconfig.yaml contains one.
    if !rollout.openshift.reads_drop_ins(pool) {
        manifests.push(yaml(
            "10-kubeletconfig.yaml",
            "Lets the kubelet start on a node that has swap. A pool takes one KubeletConfig: if \
             it has one, add these lines to its spec and delete this file.",
            &kubelet::kubelet_config(rollout),
        ));
    }
    if let Install::Layer { package, push_spec, push_secret } = &rollout.install {
        manifests.push(Manifest {
            name: "Containerfile".to_owned(),
            text: format!("FROM configs AS final\n{}", cluster::containerfile_step(package)),
        });
        manifests.push(yaml(
            "20-machineosconfig.yaml",
            "The cluster builds the pool's OS image with the package, again for each OS update.",
            &cluster::machine_os_config(rollout, package, push_spec, push_secret),
        ));
    }
    manifests.push(yaml(
        "30-machineconfig.yaml",
        &format!(
            "Rendered from {pool}.bu: configuration, units, {}and psi=1, which RHEL does not \
             enable.",
            match rollout.openshift.reads_drop_ins(pool) {
                true => "the kubelet's drop-in, ",
                false => "",
            }
        ),
        &config.machine_config(pool),
    ));
    manifests.push(yaml(
        &format!("{pool}.bu"),
        "Butane, for `butane --strict`: the same as 30-machineconfig.yaml, for reading.",
        &config.butane(pool),
    ));
    manifests
        .push(Manifest { name: format!("{pool}.ign"), text: format!("{:#}\n", config.ignition()) });
    manifests.push(yaml(
        "40-namespace.yaml",
        "Holds the alerts. The agent runs nothing in the cluster.",
        &cluster::namespace(),
    ));
    manifests.push(yaml(
        "41-prometheusrule.yaml",
        "Alerts about nodes that swap; most need the agent's own metrics (docs/metrics.md).",
        &alerts::prometheus_rule(),
    ));
    manifests.push(yaml(
        "42-alertingrule.yaml",
        "Alerts in the platform's own monitoring, which has node-exporter's metrics.",
        &alerts::alerting_rule(),
    ));
    manifests.push(yaml(
        "43-console-dashboard.yaml",
        "A dashboard in OpenShift's console (Observe, Dashboards). It needs the agent's own metrics \
         (docs/metrics.md).",
        &dashboards::console(),
    ));
    manifests.push(yaml(
        "44-perses-dashboard.yaml",
        "The same for Perses. Apply it yourself, if the Cluster Observability Operator is \
         installed with Perses.",
        &dashboards::perses(),
    ));
    if rollout.taint_guard {
        manifests.push(yaml(
            "50-taint-guard.yaml",
            "A node cannot taint itself (NodeRestriction): for eviction.scheduling-guard = \
             \"taint\" the user of eviction.guard-kubeconfig needs only these rights.",
            &cluster::taint_guard(),
        ));
    }
    if let Some(percent) = cluster::overcommit_percent(rollout) {
        manifests.push(yaml(
            "60-hyperconverged.yaml",
            "Last: from now on VMs request less memory than they are given. This annotation of \
             the operator sets KubeVirt's percentage: a value above 100 % in the operator's \
             spec would deploy its own agent.",
            &cluster::hyperconverged(rollout, percent),
        ));
    }
    manifests.push(order::script(rollout));
    Ok(manifests)
}

/// Returns the names of all files that a rollout to `pool` may have; this rollout may lack any of
/// them.
pub fn names(pool: &str) -> Vec<String> {
    [
        "10-kubeletconfig.yaml",
        "20-machineosconfig.yaml",
        "30-machineconfig.yaml",
        "40-namespace.yaml",
        "41-prometheusrule.yaml",
        "42-alertingrule.yaml",
        "43-console-dashboard.yaml",
        "44-perses-dashboard.yaml",
        "50-taint-guard.yaml",
        "60-hyperconverged.yaml",
        "Containerfile",
        "apply.sh",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(["bu", "ign"].map(|form| format!("{pool}.{form}")))
    .collect()
}

/// Formats `value` as YAML, below a comment with its purpose.
fn yaml(name: &str, purpose: &str, value: &Value) -> Manifest {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: true };
    let mut body = String::new();
    // Writing JSON values into a string cannot fail; a test parses every manifest.
    let _ = serde_saphyr::to_fmt_writer_with_options(&mut body, value, options);
    let mut text = String::new();
    for line in wrapped(purpose, 98) {
        text += &format!("# {line}\n");
    }
    text += &body;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Manifest { name: name.to_owned(), text }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
