//! Commands that configure the kubelets of a pool of OpenShift.
//!
//! Source: openshift/machine-config-operator, `pkg/controller/kubelet-config`: a pool takes the newest
//! KubeletConfig alone, and from 4.21 on one with failSwapOn or swapBehavior is rejected as a whole.

use serde_json::json;

use super::{
    kubelet::own_drop_in,
    remedy::{apply, file_by_pool, rollout},
};
use crate::model::{
    kubelet::{KubeletConfig, Origin},
    shell::quoted,
    system::CONTROL_PLANE,
};

/// Kubelets of this minor version and newer belong to an OpenShift that rejects keys of swap in a
/// KubeletConfig (4.21).
const BY_DROP_IN: u32 = 34;

/// Returns commands that set `key` for the nodes of a pool, whose kubelet the Machine Config Operator
/// configures: by a drop-in where the kubelet reads drop-ins, else by a KubeletConfig.
pub(super) fn set_in_pool(
    pool: &str,
    config: &KubeletConfig,
    origin: &Origin,
    key: &str,
    value: &str,
) -> Vec<String> {
    if let Origin::Flag(teller) = origin {
        return vec![
            "oc get machineconfig".to_owned(),
            format!("# then remove the flag of {teller} from the one that contains it"),
        ];
    }
    let (table, last) = key.rsplit_once('.').map_or((None, key), |(t, last)| (Some(t), last));
    if let Some(folder) = &config.drop_in_folder {
        let path = own_drop_in(folder, config.drop_ins.last(), last);
        let lines = match table {
            None => format!("{last}: {value}\n"),
            Some(table) => format!("{table}:\n  {last}: {value}\n"),
        };
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        return file_by_pool(pool, &format!("kubelet-{last}"), &path, &format!("{head}{lines}"));
    }
    if CONTROL_PLANE.contains(&pool) || config.minor.is_some_and(|minor| minor >= BY_DROP_IN) {
        return vec![format!(
            "# no swap is possible in pool {pool} before OpenShift 4.23, which rejects {key} in a \
             KubeletConfig from 4.21 on: remove the swap of these nodes"
        )];
    }
    let value = value.parse::<bool>().map_or_else(|_| json!(value), |truth| json!(truth));
    let keys = match table {
        None => json!({ last: value }),
        Some(table) => json!({ table: { last: value } }),
    };
    let label = format!("pools.operator.machineconfiguration.openshift.io/{pool}");
    let patch = quoted(&json!({ "spec": { "kubeletConfig": keys } }).to_string());
    let new = json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "KubeletConfig",
        "metadata": { "name": format!("wasp-agent-{pool}") },
        "spec": {
            "kubeletConfig": keys,
            "machineConfigPoolSelector": { "matchLabels": { &label: "" } },
        },
    });
    // The MachineConfig that the operator made of a KubeletConfig names it, the one in effect last.
    let owners = quoted(
        "jsonpath={range .items[*]}{range .metadata.ownerReferences[?(@.kind==\"KubeletConfig\")]}\
         {\" \"}{.name}{end}{end}",
    );
    vec![
        format!(
            "if found=$(oc get machineconfig -l machineconfiguration.openshift.io/role={pool} -o \
             {owners}); then found=${{found##* }}; if [ \"$found\" ]; then oc patch kubeletconfig \
             \"$found\" --type=merge -p {patch}; else oc label machineconfigpool {pool} {label}= \
             --overwrite && {}; fi; fi",
            apply(&new)
        ),
        rollout(pool),
        "# if it has patched performance-…, add the key to that PerformanceProfile instead"
            .to_owned(),
    ]
}
