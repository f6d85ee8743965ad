//! In which order the manifests are applied, and what is waited for: a script for `sh -e`.

use super::{Install, Manifest, Rollout};

/// Commands that apply `manifests` from `folder`.
pub fn apply_order(rollout: &Rollout, manifests: &[Manifest], folder: &str) -> String {
    let pool = &rollout.pool;
    let has = |name: &str| manifests.iter().any(|manifest| manifest.name == name);
    let apply = |names: &[&str]| {
        let mut line = "oc apply".to_owned();
        for name in names.iter().filter(|name| has(name)) {
            line += &format!(" -f {folder}/{name}");
        }
        line + "\n"
    };
    let mut text = String::new();
    text +=
        "# All of the nodes' configuration at once: each node reboots once, when it is its turn.\n";
    text +=
        &format!("oc patch mcp/{pool} --type=merge --patch '{{\"spec\":{{\"paused\":true}}}}'\n");
    text += &apply(&["10-kubeletconfig.yaml", "30-machineconfig.yaml"]);
    text += "# Until the operator has rendered both into the pool's configuration.\n";
    text +=
        &format!("oc wait kubeletconfig/wasp-agent-{pool} --for=condition=Success --timeout=5m\n");
    text += &format!(
        "timeout 5m sh -c 'until oc get mcp/{pool} -o \
         jsonpath=\"{{.spec.configuration.source[*].name}}\" | grep -q 90-{pool}-wasp-agent; do sleep 2; \
         done'\n"
    );
    if matches!(rollout.install, Install::Layer { .. }) {
        // MachineOSBuild takes no notice of the pause, and kernel arguments alone make it build anew.
        text += "# The image is built of that, once, and while the pool is paused: a node never has the \
                 units without the programs.\n";
        text += &apply(&["20-machineosconfig.yaml"]);
        text += &format!(
            "oc wait machineosconfig/{pool} --for=jsonpath='{{.status.currentImagePullSpec}}' \
             --timeout=1h\n"
        );
    }
    text +=
        &format!("oc patch mcp/{pool} --type=merge --patch '{{\"spec\":{{\"paused\":false}}}}'\n");
    text += &format!("oc wait mcp/{pool} --for=condition=Updating=True --timeout=10m\n");
    text += &format!("oc wait mcp/{pool} --for=condition=Updated=True --timeout=-1s\n");
    text += &apply(&[
        "40-namespace.yaml",
        "41-prometheusrule.yaml",
        "42-alertingrule.yaml",
        "50-taint-guard.yaml",
    ]);
    if has("60-hyperconverged.yaml") {
        text += "# Every node has its swap: VMs may count on it. Refused where the annotation is there \
                 with other patches: add this one to yours.\n";
        text += &format!(
            "oc apply --server-side --field-manager=wasp-agent -f {folder}/60-hyperconverged.yaml\n"
        );
    } else {
        text += "# No overcommit-percent, nothing for HyperConverged: give it what the swap is worth \
                 (docs/rollout.md).\n";
    }
    text
}
