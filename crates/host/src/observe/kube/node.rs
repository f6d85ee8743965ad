//! The Node object, reduced to the needed fields. Decoding the complete object, with each image and
//! each volume, would need code and memory without any use.
//!
//! Source: Kubernetes API reference, `core/v1 Node`.

use std::borrow::Cow;

use k8s_openapi::{
    api::core::v1::{NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Serialize};

/// A node in the form that kube's `Api` requires.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WireNode {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default, skip_serializing)]
    pub spec: NodeSpec,
    #[serde(default, skip_serializing)]
    pub status: NodeObjectStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: Option<bool>,
    pub taints: Option<Vec<Taint>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeObjectStatus {
    pub conditions: Option<Vec<NodeCondition>>,
    pub node_info: Option<NodeInfo>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeInfo {
    /// `v1.36.2`, for example.
    pub kubelet_version: String,
    pub swap: Option<NodeSwap>,
}

/// Kubernetes 1.34 and later.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSwap {
    /// The swap that the kubelet found when it started, in bytes.
    pub capacity: Option<u64>,
}

impl WireNode {
    /// Returns the minor version of the kubelet, 36 for v1.36.2; `None` if unknown.
    pub fn kubelet_minor(&self) -> Option<u32> {
        let info = self.status.node_info.as_ref()?;
        info.kubelet_version.strip_prefix("v1.")?.split('.').next()?.parse().ok()
    }

    /// Returns the swap that the kubelet counts, in bytes; `None` if it does not report it.
    pub fn kubelet_swap_bytes(&self) -> Option<u64> {
        self.status.node_info.as_ref()?.swap.as_ref()?.capacity
    }
}

impl kube::Resource for WireNode {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
