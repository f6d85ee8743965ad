//! Renders the kubelet's configuration: a drop-in if its version reads drop-ins, else a
//! KubeletConfig.

use serde_json::{Value, json};

use super::{GrantsAsked, Rollout};
use crate::config::settings::Settings;

/// Sorts after 90-swap.conf of virt-platform-autopilot, because the kubelet merges drop-ins in the
/// order of their names.
pub(super) const DROP_IN: &str = "/etc/openshift/kubelet.conf.d/95-wasp-agent.conf";

/// Returns true if the settings require grants other than LimitedSwap's.
pub(super) fn grants_differently(rollout: &Rollout) -> bool {
    rollout.settings.grant != Settings::defaults().grant
}

/// Returns true if the kubelet grants swap itself, by swapBehavior: LimitedSwap.
fn kubelet_grants(rollout: &Rollout) -> bool {
    match rollout.grants {
        GrantsAsked::Kubelet => true,
        GrantsAsked::Agent => false,
        GrantsAsked::Auto => {
            rollout.openshift.reads_drop_ins(&rollout.pool) && !grants_differently(rollout)
        }
    }
}

/// Source: OpenShift Virtualization, "Configuring higher VM workload density".
fn settings(rollout: &Rollout) -> Value {
    let mut kubelet = json!({ "failSwapOn": false });
    if kubelet_grants(rollout) {
        kubelet["memorySwap"] = json!({ "swapBehavior": "LimitedSwap" });
    } else if rollout.openshift.reads_drop_ins(&rollout.pool) {
        // The agent grants, so this overrides other drop-ins.
        kubelet["memorySwap"] = json!({ "swapBehavior": "NoSwap" });
    }
    if let Some(soft) = &rollout.eviction_soft {
        kubelet["evictionSoft"] = json!({ "memory.available": soft.threshold });
        kubelet["evictionSoftGracePeriod"] = json!({ "memory.available": soft.grace_period });
    }
    kubelet
}

/// Returns the text of [`DROP_IN`].
pub(super) fn drop_in(rollout: &Rollout) -> String {
    let mut drop_in = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
    });
    if let (Value::Object(all), Value::Object(settings)) = (&mut drop_in, settings(rollout)) {
        all.extend(settings);
    }
    super::yaml(DROP_IN, "From `wasp-agent manifests`.", &drop_in).text
}

pub(super) fn kubelet_config(rollout: &Rollout) -> Value {
    let selector = format!("pools.operator.machineconfiguration.openshift.io/{}", rollout.pool);
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "KubeletConfig",
        "metadata": { "name": format!("wasp-agent-{}", rollout.pool) },
        "spec": {
            "machineConfigPoolSelector": { "matchLabels": { selector: "" } },
            "kubeletConfig": settings(rollout),
        },
    })
}
