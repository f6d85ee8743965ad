//! Renders the cluster's objects: OS image, HyperConverged, namespace, permissions.

use serde_json::{Value, json};

use super::{Package, Rollout};
use crate::config::settings::SwapSize;

pub(super) const NAMESPACE: &str = "wasp-agent";
const GUARD: &str = "wasp-taint-guard";

/// Returns a Containerfile step that adds the package to an image, in one layer.
pub(super) fn containerfile_step(Package { url, sha256 }: &Package) -> String {
    format!(
        "RUN curl --fail --silent --show-error --location --output /tmp/wasp-agent.rpm '{url}' && \\\n    \
         echo '{sha256}  /tmp/wasp-agent.rpm' | sha256sum --check --quiet && \\\n    \
         rpm-ostree install /tmp/wasp-agent.rpm && \\\n    \
         rm /tmp/wasp-agent.rpm && \\\n    \
         systemctl enable wasp-swap.service wasp-agent.service && \\\n    \
         ostree container commit\n"
    )
}

/// Named after the pool, because a pool has one.
pub(super) fn machine_os_config(
    rollout: &Rollout,
    package: &Package,
    push_spec: &str,
    push_secret: &str,
) -> Value {
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineOSConfig",
        "metadata": { "name": rollout.pool },
        "spec": {
            "machineConfigPool": { "name": rollout.pool },
            "containerFile": [{
                "containerfileArch": "NoArch",
                "content": format!("FROM configs AS final\n{}", containerfile_step(package)),
            }],
            "imageBuilder": { "imageBuilderType": "Job" },
            "renderedImagePushSpec": push_spec,
            "renderedImagePushSecret": { "name": push_secret },
        },
    })
}

/// Returns the percentage to divide VMs' requests by; `None` if the configuration has only a size.
pub(super) fn overcommit_percent(rollout: &Rollout) -> Option<u64> {
    match rollout.settings.swap.size {
        SwapSize::Overcommit { percent } if percent > 100 => Some(percent),
        SwapSize::Overcommit { .. } | SwapSize::Bytes(_) => None,
    }
}

/// Uses an annotation: from 1.16 on, the operator deploys a DaemonSet agent on every node as soon
/// as memoryOvercommitPercentage is above 100 (controllers/handlers/wasp-agent/daemonset.go).
pub(super) fn hyperconverged(rollout: &Rollout, percent: u64) -> Value {
    let patch = json!([{
        "op": "add",
        "path": "/spec/configuration/developerConfiguration/memoryOvercommit",
        "value": percent,
    }]);
    json!({
        "apiVersion": format!("hco.kubevirt.io/{}", rollout.hyperconverged.label()),
        "kind": "HyperConverged",
        "metadata": {
            "name": "kubevirt-hyperconverged",
            "namespace": "openshift-cnv",
            "annotations": { "kubevirt.kubevirt.io/jsonpatch": patch.to_string() },
        },
    })
}

pub(super) fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": { "openshift.io/cluster-monitoring": "true" },
        },
    })
}

pub(super) fn taint_guard() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": { "name": GUARD, "namespace": NAMESPACE },
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": { "name": GUARD },
                "rules": [
                    { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"] },
                ],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": { "name": GUARD },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": GUARD },
                "subjects": [{ "kind": "ServiceAccount", "name": GUARD, "namespace": NAMESPACE }],
            },
        ],
    })
}
