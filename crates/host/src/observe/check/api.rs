//! Facts about the kubelet's credentials, and their permissions in the API server.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};

use crate::{
    config::{
        layers::Resolved,
        settings::{SchedulingGuard, Settings},
    },
    model::{
        check::{
            ACCESSES, AccessCheck, AccessSubject, ApiFacts, CredentialFacts, PATCH_NODE, Permission,
        },
        unknown::Unknown,
    },
    observe::kube::{
        credentials::{self, Credentials},
        errors::chain,
        node::WireNode,
    },
    roots::Roots,
};

/// Time for the first query, and for all others together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the credentials, queries the node, and then queries all permissions in parallel.
pub async fn facts(roots: &Roots, settings: &Settings, resolved: Option<&Resolved>) -> ApiFacts {
    let credentials = match credentials::load(roots, settings).await {
        Ok(credentials) => credentials,
        Err(error) => {
            return ApiFacts {
                remedy: error.remedy(),
                credentials: Err(Unknown::of(error)),
                permissions: [].into(),
                guard: None,
                taints: Err("not asked".into()),
                kubelet_minor: None,
            };
        }
    };
    // The first query also waits for the connection; if that fails, the others are skipped.
    let node = in_time(node(&credentials)).await;
    let (permissions, guard) = match &node {
        Err(late @ Unanswered::Late) => {
            let late = Unknown::of(late);
            (ACCESSES.iter().map(|access| (access.id, Err(late.clone()))).collect(), None)
        }
        _ => {
            let permissions = join_all(ACCESSES.iter().map(|access| {
                let answer = in_time(may(&credentials, access));
                async { (access.id, answer.await.map_err(Unknown::of)) }
            }));
            tokio::join!(permissions, guard(roots, settings, &credentials.node_name))
        }
    };
    ApiFacts {
        permissions: permissions.into_iter().collect(),
        guard,
        kubelet_minor: node.as_ref().ok().and_then(WireNode::kubelet_minor),
        taints: node.map(taints).map_err(Unknown::of),
        remedy: Vec::new(),
        credentials: Ok(CredentialFacts {
            kubeconfig: roots.shown(&credentials.kubeconfig).into_owned(),
            server: credentials.server,
            node_name: credentials.node_name,
            certificate_expires: credentials.certificate_expires,
            certificate_begins: credentials.certificate_begins,
            certificate_name: credentials.certificate_name,
            name_origin: resolved.and_then(|all| Some(all.get("node.name")?.1.clone())),
            now: SystemTime::now(),
        }),
    }
}

/// Returns the permissions of the taint's credentials, if a taint is configured.
async fn guard(
    roots: &Roots,
    settings: &Settings,
    node: &str,
) -> Option<Result<Permission, Unknown>> {
    let eviction = &settings.eviction;
    if eviction.guard != SchedulingGuard::Taint {
        return None;
    }
    let other = Settings {
        kubeconfig: eviction.guard_kubeconfig.clone(),
        node_name: Some(node.to_owned()),
        ..settings.clone()
    };
    Some(match credentials::load(roots, &other).await {
        Ok(credentials) => in_time(may(&credentials, &PATCH_NODE)).await.map_err(Unknown::of),
        Err(error) => Err(Unknown::of(error)),
    })
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("{}", chain(.0))]
    Failed(kube::Error),
}

async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Unanswered> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Unanswered::Failed),
        Err(_) => Err(Unanswered::Late),
    }
}

async fn may(credentials: &Credentials, access: &AccessCheck) -> kube::Result<Permission> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let node = &credentials.node_name;
    // Older API servers drop the selector; there, nodes may list all pods.
    let selector = FieldSelectorAttributes {
        raw_selector: Some(format!("spec.nodeName={node}")),
        requirements: None,
    };
    let attributes = ResourceAttributes {
        verb: some(access.verb),
        group: some(access.group),
        resource: some(access.resource),
        subresource: some(access.subresource),
        name: (access.about == AccessSubject::Node).then(|| node.clone()),
        field_selector: (access.about == AccessSubject::Pods).then_some(selector),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(credentials.client.clone());
    let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    Ok(match status.allowed {
        true => Permission::Allowed,
        false => Permission::Denied(status.reason.unwrap_or_default()),
    })
}

async fn node(credentials: &Credentials) -> kube::Result<WireNode> {
    let nodes: Api<WireNode> = Api::all(credentials.client.clone());
    nodes.get(&credentials.node_name).await
}

fn taints(node: WireNode) -> Vec<String> {
    node.spec.taints.unwrap_or_default().into_iter().map(|taint| taint.key).collect()
}
