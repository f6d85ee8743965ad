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
    let name = super::ignition::name(pool);
    let jsonpath = |object: &str, path: &str| format!("oc get {object} -o jsonpath='{{{path}}}'");
    let rendered = jsonpath(&format!("mcp/{pool}"), ".spec.configuration.name");
    let layered = matches!(rollout.install, Install::Layer { .. });
    let paused = |paused: bool| {
        format!("oc patch mcp/{pool} --type=merge --patch '{{\"spec\":{{\"paused\":{paused}}}}}'\n")
    };
    let mut text = String::new();
    text += &format!(
        "if [ \"$({})\" = true ]; then\n    echo 'mcp/{pool} is paused: resume it first' >&2\n    exit 1\nfi\n",
        jsonpath(&format!("mcp/{pool}"), ".spec.paused")
    );
    text += "# KubeletConfig selects pools by this label, which only worker and master have by themselves.\n";
    text += &format!(
        "oc label mcp/{pool} pools.operator.machineconfiguration.openshift.io/{pool}= --overwrite\n"
    );
    text += &format!("before=$({rendered})\n");
    if layered {
        let object = format!("machineosconfig/{pool} --ignore-not-found");
        let image = jsonpath(&object, ".status.currentImagePullSpec");
        text += &format!("image() {{\n    {image}\n}}\nimage_before=$(image)\n");
    }
    text +=
        "# All of the nodes' configuration at once: each node reboots once, when it is its turn.\n";
    text += &format!(
        "trap '[ $? = 0 ] || echo \"mcp/{pool} may be paused still: oc get mcp/{pool}, docs/rollout.md\" >&2' EXIT\n"
    );
    text += &paused(true);
    text += &apply(&["10-kubeletconfig.yaml", "30-machineconfig.yaml"]);
    text += "# Until the operator has rendered both into the pool's configuration.\n";
    if has("10-kubeletconfig.yaml") {
        text += &format!(
            "oc wait kubeletconfig/wasp-agent-{pool} --for=condition=Success --timeout=5m\n"
        );
    }
    text += &format!(
        "timeout 5m sh -c 'until oc get mcp/{pool} -o \
         jsonpath=\"{{.spec.configuration.source[*].name}}\" | grep -q {name}; do sleep 2; \
         done'\n"
    );
    if layered {
        // MachineOSBuild takes no notice of the pause, and kernel arguments alone make it build anew.
        text += "# The image is built of that, once, and while the pool is paused: each node reboots into \
                 both.\n";
        text += &format!("built=$({})\n", apply(&["20-machineosconfig.yaml"]).trim_end());
        text += "case $built in\n*unchanged*) ;;\n*)\n    tries=0\n    until [ \"$(image)\" != \
                 \"$image_before\" ]; do\n        tries=$((tries + 1))\n        # An hour.\n        \
                 [ $tries -lt 360 ]\n        sleep 10\n    done\n    ;;\nesac\n";
    }
    text += &paused(false);
    text += &format!("if [ \"$({rendered})\" != \"$before\" ]; then\n");
    text += &format!("    oc wait mcp/{pool} --for=condition=Updating=True --timeout=10m\nfi\n");
    text += &format!("oc wait mcp/{pool} --for=condition=Updated=True --timeout=-1s\n");
    text += &apply(&[
        "40-namespace.yaml",
        "41-prometheusrule.yaml",
        "42-alertingrule.yaml",
        "43-console-dashboard.yaml",
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
