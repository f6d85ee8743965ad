//! Derives the QoS class as Kubernetes does.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`, KEP-2837 for pod-level resources.

use crate::model::{
    pod::{ContainerKind, Pod, QosClass, ResourceList, Resources},
    quantity::Quantity,
};

/// Returns the class from the pod's status, or the class that the API server will set there.
pub fn qos_class(pod: &Pod) -> QosClass {
    pod.qos_class.unwrap_or_else(|| computed(pod))
}

fn computed(pod: &Pod) -> QosClass {
    let mut sum = Resources::default();
    let mut every_limit_set = true;
    let mut add = |resources: &Resources| {
        add_positive(&mut sum.requests, &resources.requests);
        add_positive(&mut sum.limits, &resources.limits);
        every_limit_set &=
            is_positive(resources.limits.cpu) && is_positive(resources.limits.memory);
    };
    if let Some(resources) = &pod.resources {
        add(resources);
    } else {
        let counted = pod.containers.iter().filter(|c| c.kind != ContainerKind::Ephemeral);
        counted.for_each(|container| add(&container.spec));
    }

    if sum == Resources::default() {
        QosClass::BestEffort
    } else if every_limit_set && sum.requests == sum.limits {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

fn is_positive(quantity: Option<Quantity>) -> bool {
    quantity.is_some_and(Quantity::is_positive)
}

/// Adds only positive amounts: a request of 0 counts as none.
fn add_positive(sum: &mut ResourceList, more: &ResourceList) {
    for (sum, more) in [(&mut sum.cpu, more.cpu), (&mut sum.memory, more.memory)] {
        if let Some(amount) = more.filter(|quantity| quantity.is_positive()) {
            *sum = Some(sum.map_or(amount, |so_far| so_far + amount));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::pod;

    /// Each container as `cpu request/limit, memory request/limit`; `-` is absent.
    fn qos(containers: &[(ContainerKind, &str)]) -> QosClass {
        let mut pod = pod("p", &[]);
        for (kind, text) in containers {
            pod.containers.push(crate::fixtures::container("c", *kind, text));
        }
        qos_class(&pod)
    }

    #[test]
    fn classes_follow_kubernetes_rules() {
        use ContainerKind::{Ephemeral, Init, Regular, Sidecar};
        use QosClass::{BestEffort, Burstable, Guaranteed};
        for (containers, class) in [
            (&[(Regular, "- - - -")][..], BestEffort),
            (&[(Regular, "0 0 0 0")], BestEffort),
            (&[(Regular, "1 1 1Gi 1Gi")], Guaranteed),
            (&[(Regular, "1000m 1 1024Mi 1Gi")], Guaranteed),
            (&[(Regular, "- - 1Gi 1Gi")], Burstable),
            (&[(Regular, "1 1 - 1Gi")], Burstable),
            (&[(Regular, "- - 1Gi -")], Burstable),
            (&[(Regular, "- - - 1Gi")], Burstable),
            (&[(Regular, "1 1 1Gi 1Gi"), (Regular, "- - - -")], Burstable),
            (&[(Regular, "1 1 1Gi 1Gi"), (Init, "1 1 2Gi 2Gi")], Guaranteed),
            (&[(Regular, "1 1 1Gi 1Gi"), (Init, "- - - -")], Burstable),
            (&[(Regular, "1 1 1Gi 1Gi"), (Sidecar, "- - 1Mi -")], Burstable),
            (&[(Regular, "1 1 1Gi 1Gi"), (Ephemeral, "- - - -")], Guaranteed),
            (&[(Regular, "- - - -"), (Sidecar, "- - 1Mi -")], Burstable),
        ] {
            assert_eq!(qos(containers), class, "{containers:?}");
        }
    }

    #[test]
    fn pod_level_resources_decide_alone() {
        let mut pod = pod("p", &["- - 1Gi -"]);
        pod.resources = Some(crate::fixtures::resources("1 1 4Gi 4Gi"));
        assert_eq!(qos_class(&pod), QosClass::Guaranteed);
        pod.resources = Some(crate::fixtures::resources("1 1 4Gi 5Gi"));
        assert_eq!(qos_class(&pod), QosClass::Burstable);
        pod.resources = Some(Resources::default());
        assert_eq!(qos_class(&pod), QosClass::BestEffort);
    }

    #[test]
    fn the_api_servers_word_is_final() {
        let mut pod = pod("p", &["- - - -"]);
        pod.qos_class = Some(QosClass::Burstable);
        assert_eq!(qos_class(&pod), QosClass::Burstable);
    }
}
