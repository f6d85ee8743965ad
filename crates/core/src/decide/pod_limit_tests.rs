use super::*;
use crate::{
    fixtures::{NODE, container, grant_settings as settings, pod},
    model::pod::ContainerKind::{Ephemeral, Init, Regular, Sidecar},
};

const GIB: u64 = 1 << 30;

/// The grant of a pod with containers of these kinds that request this many GiB of 16, of 8 GiB of
/// swap.
fn of(containers: &[(ContainerKind, u64)]) -> SwapMax {
    let mut pod = pod("a", &[]);
    let one = |(index, (kind, gib)): (usize, &(ContainerKind, u64))| {
        container(&format!("c{index}"), *kind, &format!("- - {gib}Gi -"))
    };
    pod.containers = containers.iter().enumerate().map(one).collect();
    pod_grant(&settings(), &NODE, Some(&pod)).swap_max
}

/// Expected: the memory that the kubelet reserves for such a pod, from the examples of KEP-753
/// ("Sidecar containers", "Resources calculation for scheduling and pod admission"), halved.
#[test]
fn the_most_that_run_together_counts() {
    for (containers, requested) in [
        (&[(Regular, 2), (Regular, 4)][..], 6),
        (&[(Init, 4), (Regular, 2)], 4),
        (&[(Init, 4), (Init, 6), (Regular, 2)], 6),
        (&[(Init, 2), (Regular, 2), (Regular, 2)], 4),
        (&[(Sidecar, 2), (Regular, 4)], 6),
        (&[(Sidecar, 2), (Init, 6), (Regular, 4)], 8),
        (&[(Init, 6), (Sidecar, 2), (Regular, 4)], 6),
        (&[(Init, 2), (Sidecar, 2), (Init, 5), (Sidecar, 4), (Init, 2), (Regular, 1)], 8),
        (&[(Regular, 2), (Ephemeral, 8)], 2),
        (&[], 0),
    ] {
        assert_eq!(of(containers), SwapMax::Bytes(requested * GIB / 2), "{containers:?}");
    }
}

#[test]
fn a_pod_whose_containers_get_none_gets_none() {
    let granted = |change: fn(&mut Pod)| {
        let mut pod = pod("a", &["- - 4Gi -"]);
        change(&mut pod);
        pod_grant(&settings(), &NODE, Some(&pod))
    };
    assert_eq!(granted(|_| {}).swap_max, SwapMax::Bytes(2 * GIB));
    assert_eq!(granted(|pod| pod.mirror = true).reason, Reason::MirrorPod);
    assert_eq!(granted(|pod| pod.priority = Some(2_000_000_000)).swap_max, SwapMax::ZERO);
    let guaranteed = pod("a", &["1 1 1Gi 1Gi"]);
    assert_eq!(pod_grant(&settings(), &NODE, Some(&guaranteed)).swap_max, SwapMax::ZERO);
    assert_eq!(pod_grant(&settings(), &NODE, None), none(Reason::UnknownPod));
    let max = GrantSettings { policy: crate::config::settings::Policy::Max, ..settings() };
    assert_eq!(pod_grant(&max, &NODE, Some(&pod("a", &["- - 4Gi -"]))).swap_max, SwapMax::Max);
}
