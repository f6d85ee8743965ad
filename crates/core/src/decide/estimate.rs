//! Estimates the swap limit of a container that is about to start and whose grant is unknown, from
//! its OCI configuration and its cgroup.
//!
//! The estimate is never above the grant, with two exceptions that the configuration does not
//! reveal: for sidecars the kubelet encodes the pod's share. If the pod as a whole requests memory
//! (`spec.resources`), it adds to each container an equal part of the memory that no container
//! requests. In both cases the containers of a pod together get at most the share of the pod's
//! request.
//!
//! The kubelet gives a Burstable container `oomScoreAdj = 1000 - 1000 × request / RAM`, rounded so
//! that the share computed back from it is never above the request's.
//!
//! Source: kubelet `pkg/kubelet/qos/policy.go`, `GetContainerOOMScoreAdjust`.

use std::fmt;

use super::wish::{self, Lowered, Wish};
use crate::{
    config::settings::{Eligibility, Policy, Share},
    model::{
        hook::{EstimateSettings, WhenUnknown},
        pattern::matches,
        pod::QosClass,
        swap::SwapMax,
    },
};

/// Facts about the container, from its OCI configuration and its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// From the cgroup's path.
    pub qos_class: QosClass,
    /// From annotations that match the cgroup's pod; `None` if they do not match.
    pub annotated: Option<Annotated>,
    /// `process.oomScoreAdj`.
    pub oom_score_adj: Option<i64>,
    /// `linux.resources.memory.limit`, in bytes.
    pub memory_limit: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotated {
    pub namespace: String,
    /// The limit or share that the pod's annotation asks for.
    pub wish: Option<Wish>,
    /// True for a container, false for a sandbox.
    pub is_container: bool,
    /// `kubernetes.io/config.source`.
    pub config_source: Option<String>,
    pub virt_launcher: bool,
}

/// The reason for a container's first limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Published,
    NotPublishedForThisContainer,
    NothingPublished,
    Denied(&'static str),
    DeniedNamespace(String),
    Estimated { per_mille: u64, swap_for_pods_bytes: u64 },
    PolicyMax,
    Lowered(Lowered),
}

impl Why {
    /// Returns true for a reason that is certain, or the same for all containers, and so not worth
    /// a message.
    pub fn is_usual(&self) -> bool {
        !matches!(self, Self::NothingPublished | Self::Estimated { .. } | Self::PolicyMax)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published => f.write_str("from the agent's status"),
            Self::NotPublishedForThisContainer => {
                f.write_str("the agent knows the pod, but not this container of it")
            }
            Self::NothingPublished => {
                f.write_str("the agent has not run since the last boot, so no pod is known")
            }
            Self::Denied(why) => f.write_str(why),
            Self::DeniedNamespace(name) => {
                write!(
                    f,
                    "containers of namespace {name:?} get no swap until the agent knows the \
                    pod"
                )
            }
            Self::Estimated { per_mille, swap_for_pods_bytes } => write!(
                f,
                "estimated: requests {per_mille} thousandths of RAM by its oomScoreAdj, of \
                 {swap_for_pods_bytes} bytes of swap"
            ),
            Self::PolicyMax => f.write_str("policy is \"max\""),
            Self::Lowered(lowered) => lowered.fmt(f),
        }
    }
}

/// Returns the first limit of a container, with its reason.
pub fn estimate(settings: &EstimateSettings, claims: &Claims) -> (SwapMax, Why) {
    match share(settings, claims) {
        Ok((swap_max, why)) => {
            let (swap_max, lowered) = lower(settings, claims, swap_max);
            (swap_max, lowered.map_or(why, Why::Lowered))
        }
        Err(why) => (SwapMax::ZERO, why),
    }
}

/// Lowers `granted` to the pod's own wish.
fn lower(
    settings: &EstimateSettings,
    claims: &Claims,
    granted: SwapMax,
) -> (SwapMax, Option<Lowered>) {
    let Some(annotated) = &claims.annotated else { return (granted, None) };
    let for_pods = settings.swap_for_pods_bytes;
    let wish = annotated.wish.clone();
    wish::lower(&settings.wishes, &annotated.namespace, wish, granted, for_pods)
}

/// Returns a published grant, lowered to the wish in the container's own configuration. That has the
/// annotations from when the sandbox was created, but there may be no publication since. The lower
/// one is safe either way. A published grant already includes a wish in percent.
pub fn published(
    settings: &EstimateSettings,
    claims: &Claims,
    granted: SwapMax,
) -> (SwapMax, Option<Lowered>) {
    let percentage = |wish: &Wish| matches!(wish.share, Some(Share::Percent(_)));
    match claims.annotated.as_ref().and_then(|annotated| annotated.wish.as_ref()) {
        Some(wish) if !percentage(wish) => lower(settings, claims, granted),
        _ => (granted, None),
    }
}

fn share(settings: &EstimateSettings, claims: &Claims) -> Result<(SwapMax, Why), Why> {
    if claims.qos_class != QosClass::Burstable {
        return Err(Why::Denied("only Burstable pods may swap"));
    }
    let annotated =
        claims.annotated.as_ref().ok_or(Why::Denied("its annotations do not name its pod"))?;
    if !annotated.is_container {
        return Err(Why::Denied("sandboxes may not swap"));
    }
    if settings.policy == Policy::None {
        return Err(Why::Denied("policy is \"none\""));
    }
    if settings.when_unknown == WhenUnknown::Deny {
        return Err(Why::Denied("the agent does not know its pod (hook.when-unknown = \"deny\")"));
    }
    if annotated.config_source.as_deref() != Some("api") {
        return Err(Why::Denied("static pod, or its source may not be the API server"));
    }
    if matches(&settings.denied_namespaces, &annotated.namespace) {
        return Err(Why::DeniedNamespace(annotated.namespace.clone()));
    }
    if settings.eligibility == Eligibility::VirtLauncher && !annotated.virt_launcher {
        return Err(Why::Denied("no VM, and eligibility is \"virt-launcher\""));
    }
    // The kubelet also writes 999 for a container without a request, and -997 for a critical one.
    let per_mille = match claims.oom_score_adj {
        Some(adj @ 3..=998) => u64::try_from(1000 - adj).unwrap_or(0),
        _ => return Err(Why::Denied("its oomScoreAdj encodes no memory request")),
    };
    if settings.policy == Policy::Max {
        return Ok((SwapMax::Max, Why::PolicyMax));
    }
    let request = |per_mille| part(settings.ram_bytes, per_mille);
    let may_be_request = |limit| (request(per_mille)..=request(per_mille + 1)).contains(&limit);
    let limit = claims.memory_limit.and_then(|limit| u64::try_from(limit).ok()).filter(|l| *l > 0);
    // A container cannot request more than its limit.
    if limit.is_some_and(|limit| limit < request(per_mille)) {
        return Err(Why::Denied("its oomScoreAdj encodes its pod's memory request, not its own"));
    }
    if limit.is_some_and(may_be_request) {
        return Err(Why::Denied("its memory request may equal its limit"));
    }
    let swap_for_pods_bytes = settings.swap_for_pods_bytes;
    let swap_max = SwapMax::Bytes(part(swap_for_pods_bytes, per_mille));
    Ok((swap_max, Why::Estimated { per_mille, swap_for_pods_bytes }))
}

fn part(whole: u64, per_mille: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(per_mille) / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{config::settings::Settings, decide::grant::grant, model::host::NodeMemory};

    use crate::fixtures::hook_settings as settings;

    fn claims() -> Claims {
        Claims {
            qos_class: QosClass::Burstable,
            annotated: Some(Annotated {
                namespace: "vms".into(),
                wish: None,
                is_container: true,
                config_source: Some("api".into()),
                virt_launcher: false,
            }),
            oom_score_adj: Some(950),
            memory_limit: None,
        }
    }

    #[test]
    fn the_share_of_ram_is_the_share_of_swap() {
        let (swap_max, why) = estimate(&settings(), &claims());
        assert_eq!(swap_max, SwapMax::Bytes(50));
        assert!(why.to_string().starts_with("estimated: requests 50 thousandths"), "{why}");
        let mut max = settings();
        max.policy = Policy::Max;
        assert_eq!(estimate(&max, &claims()).0, SwapMax::Max);
    }

    #[test]
    fn what_is_in_doubt_gets_none() {
        type Change = fn(&mut EstimateSettings, &mut Claims);
        fn annotated(claims: &mut Claims) -> &mut Annotated {
            claims.annotated.as_mut().unwrap()
        }
        let cases: [(&str, Change); 18] = [
            ("Guaranteed", |_, c| c.qos_class = QosClass::Guaranteed),
            ("BestEffort", |_, c| c.qos_class = QosClass::BestEffort),
            ("annotations of another pod", |_, c| c.annotated = None),
            ("a sandbox", |_, c| annotated(c).is_container = false),
            ("a static pod", |_, c| annotated(c).config_source = Some("file".into())),
            ("no source", |_, c| annotated(c).config_source = None),
            ("a denied namespace", |_, c| annotated(c).namespace = "openshift-etcd".into()),
            ("another denied namespace", |_, c| annotated(c).namespace = "kube-system".into()),
            ("openshift itself", |_, c| annotated(c).namespace = "openshift".into()),
            ("a prefix", |_, c| annotated(c).namespace = "kube-system-2".into()),
            ("critical", |_, c| c.oom_score_adj = Some(-997)),
            ("perhaps no request", |_, c| c.oom_score_adj = Some(999)),
            ("no oomScoreAdj", |_, c| c.oom_score_adj = None),
            ("perhaps request = limit", |_, c| c.memory_limit = Some(205 << 20)),
            ("a request above its limit", |_, c| c.memory_limit = Some(100 << 20)),
            ("policy none", |s, _| s.policy = Policy::None),
            ("deny", |s, _| s.when_unknown = WhenUnknown::Deny),
            ("no VM", |s, _| s.eligibility = Eligibility::VirtLauncher),
        ];
        for (name, change) in cases {
            let (mut settings, mut claims) = (settings(), claims());
            change(&mut settings, &mut claims);
            assert_eq!(estimate(&settings, &claims).0, SwapMax::ZERO, "{name}");
        }
        for other in ["kube-public", "my-openshift", "default", ""] {
            assert!(!matches(&settings().denied_namespaces, other), "{other}");
        }
    }

    proptest! {
        /// Computes oomScoreAdj as the kubelet does where the pod requests memory as a whole: each
        /// container has an equal part of the memory that no container requests.
        #[test]
        fn estimates_of_a_pod_together_are_within_its_requests_share(
            ram in 1_u64 << 30..1 << 42,
            swap in 0_u64..1 << 42,
            requests in prop::collection::vec(0_u64..1 << 30, 1..8),
            rest in 0_u64..1 << 33,
        ) {
            let all = requests.iter().sum::<u64>() + rest;
            prop_assume!(all < ram);
            let of_each = rest / requests.len() as u64;
            let mut settings = settings();
            settings.ram_bytes = ram;
            settings.swap_for_pods_bytes = swap;
            let mut together = 0;
            for request in &requests {
                let adj = 1000 * u128::from(request + of_each) / u128::from(ram);
                let adj = 1000 - i64::try_from(adj).unwrap();
                let mut claims = claims();
                claims.oom_score_adj = Some(if adj == 1000 { 999 } else { adj.max(3) });
                let (SwapMax::Bytes(bytes), _) = estimate(&settings, &claims) else { panic!() };
                together += bytes;
            }
            let share = u128::from(swap) * u128::from(all) / u128::from(ram);
            prop_assert!(u128::from(together) <= share + 1, "{together} of {share}");
        }

        /// Compares the oomScoreAdj that the kubelet writes for a request with the grant that the
        /// agent computes.
        #[test]
        fn an_estimate_is_never_above_the_grant(
            ram in 1_u64..1 << 42,
            swap in 0_u64..1 << 42,
            request in 0_u64..1 << 42,
            limit in prop::option::of(0_u64..1 << 42),
        ) {
            let adj = 1000 - i64::try_from(1000 * u128::from(request) / u128::from(ram)).unwrap();
            let adj = if adj < 3 { 3 } else if adj == 1000 { 999 } else { adj };
            let mut settings = settings();
            settings.ram_bytes = ram;
            settings.swap_for_pods_bytes = swap;
            let mut claims = claims();
            claims.oom_score_adj = Some(adj);
            claims.memory_limit = limit.map(|limit| i64::try_from(limit).unwrap());
            let (estimated, _) = estimate(&settings, &claims);

            let limit = limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
            let pod = crate::fixtures::pod("a", &[&format!("- - {request} {limit}")]);
            let node = NodeMemory { ram_bytes: ram, swap_bytes: swap, page_bytes: 4096 };
            let grant = grant(&Settings::defaults().grant, &node, &pod, &pod.containers[0]);
            // The agent computes the grant in float64, as the kubelet does, so it may be a few
            // bytes less.
            let SwapMax::Bytes(granted) = grant.swap_max else { panic!() };
            let SwapMax::Bytes(estimated) = estimated else { panic!() };
            let in_reach = request <= ram && request > 0;
            prop_assert!(!in_reach || estimated <= granted + 1, "{estimated} {:?}", grant);
        }
    }
}
