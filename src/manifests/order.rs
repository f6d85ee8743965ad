//! Renders apply.sh, the script that applies the manifests, with the rollout's names at its start.

use super::{Install, Manifest, Rollout};

const SCRIPT: &str = include_str!("apply.sh");
const NAME: &str = "apply.sh";

/// Returns the script. It expects the manifests in its own directory.
pub(super) fn script(rollout: &Rollout) -> Manifest {
    let Rollout { pool, openshift, hyperconverged, install, .. } = rollout;
    let program = match install {
        Install::FirstBoot { .. } => "/usr/local/bin/wasp-agent",
        Install::Layer { .. } | Install::Present => "/usr/bin/wasp-agent",
    };
    let swap_in_kubelet_config = if openshift.kubelet_config_takes_swap() { "yes" } else { "no" };
    let names = [
        ("pool", pool.as_str()),
        ("openshift", &openshift.to_string()),
        ("hyperconverged", hyperconverged.label()),
        ("percentage", hyperconverged.percentage_field()),
        ("machine_config", &super::ignition::name(pool)),
        ("kubelet_config", &format!("wasp-agent-{pool}")),
        ("swap_in_kubelet_config", swap_in_kubelet_config),
        ("program", program),
    ];
    let names: String = names.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    Manifest { name: NAME.to_owned(), text: SCRIPT.replacen("@NAMES@\n", &names, 1) }
}
