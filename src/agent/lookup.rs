//! Looks up pods and containers by the data of the API server and of the cgroups.

use std::sync::Arc;

use crate::{
    act::events::PodReference,
    model::{
        host::Holder,
        pod::{Pod, PodUid, Pods},
    },
    observe::{kube::decode::OddPod, tree::Tree},
};

/// Borrows what is known of the pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup<'a> {
    pub(super) pods: &'a Pods,
    pub(super) tree: &'a Tree,
}

impl<'a> Lookup<'a> {
    pub(super) fn uid_of<'h>(self, holder: &'h Holder) -> Option<&'h PodUid>
    where
        'a: 'h,
    {
        holder.pod().or_else(|| self.tree.pod_of(holder.container()?))
    }

    pub(super) fn pod_of(self, holder: &Holder) -> Option<Arc<Pod>> {
        self.pods.get(self.uid_of(holder)?).cloned()
    }

    /// Returns `namespace/name` of the holder's pod.
    pub(super) fn name_of(self, holder: &Holder) -> String {
        self.pod_of(holder).map_or_else(
            || "unknown/unknown".to_owned(),
            |pod| format!("{}/{}", pod.namespace, pod.name),
        )
    }

    pub(super) fn names_of(self, uid: &PodUid) -> (String, String) {
        self.pods.get(uid).map_or_else(
            || ("unknown".to_owned(), uid.to_string()),
            |pod| (pod.namespace.to_string(), pod.name.to_string()),
        )
    }

    pub(super) fn reference(self, uid: &PodUid) -> PodReference {
        let (namespace, name) = self.names_of(uid);
        PodReference { namespace, name, uid: uid.to_string() }
    }

    /// Returns the UID of an unreadable pod from when this pod was readable. An annotation may have another pod's UID.
    pub(super) fn find(self, odd: &OddPod) -> Option<PodUid> {
        let same = |pod: &Pod| {
            odd.name.is_empty() || (&*pod.namespace, &*pod.name) == (&*odd.namespace, &*odd.name)
        };
        match &odd.uid {
            Some(uid) if self.pods.get(uid).is_some_and(|pod| same(pod)) => Some(uid.clone()),
            _ if odd.name.is_empty() => None,
            _ => self.pods.values().find(|pod| same(pod)).map(|pod| pod.uid.clone()),
        }
    }
}
