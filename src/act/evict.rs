//! Asks the API server to evict a pod, with the node's own credentials.
//!
//! Source: Kubernetes "API-initiated Eviction"; KubeVirt's `pods/eviction` webhook.

use std::time::Duration;

use kube::{
    Api, Client, Error,
    api::{DeleteParams, EvictParams, Preconditions},
    core::Status,
};

use crate::{
    config::settings::Settings,
    decide::evict::{
        machine::{Answer, Victim},
        select::{Ranked, Spared, spared_as_such},
    },
    failpoint,
    model::plain::plain,
    observe::kube::{
        credentials::{chain, load},
        wire::{self, WirePod},
    },
    roots::Roots,
};

/// The server may hold a request, as when a webhook does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The API server has given up on a request that may yet be carried out.
const GATEWAY_TIMEOUT: u16 = 504;
const MIGRATION_BEGINS: &str = "Eviction triggered evacuation of VMI";

impl kube::api::Evict for WirePod {}

/// Asks for the eviction of the very pod that `victim` is, by its own grace period; as the last
/// resort, for its deletion. It is read once more before: what was watched may be old.
pub async fn evict(roots: &Roots, settings: &Settings, victim: &Victim) -> Answer {
    let client = match load(roots, settings).await {
        Ok(credentials) => credentials.client,
        Err(error) => return Answer::Unreachable(error.to_string()),
    };
    match in_time(look_again(client.clone(), settings, victim), Answer::Unreachable).await {
        Ok(None) => {}
        Ok(Some(answer)) | Err(answer) => return answer,
    }
    match in_time(ask(client, victim), Answer::Unknown).await {
        Ok(()) => Answer::Accepted,
        Err(answer) => answer,
    }
}

/// `unanswered` says what a request is that brings no answer.
async fn in_time<T>(
    request: impl Future<Output = kube::Result<T>>,
    unanswered: fn(String) -> Answer,
) -> Result<T, Answer> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Error::Api(status))) if status.code == GATEWAY_TIMEOUT => {
            Err(unanswered(format!("{} {}", status.code, status.message)))
        }
        Ok(Err(Error::Api(status))) => Err(answer(&status)),
        Ok(Err(error)) => Err(unanswered(chain(&error))),
        Err(_) => Err(unanswered(format!("no answer in {} s", TIMEOUT.as_secs()))),
    }
}

/// What there is to say instead of asking.
async fn look_again(
    client: Client,
    settings: &Settings,
    victim: &Victim,
) -> kube::Result<Option<Answer>> {
    let Ranked { uid, namespace, name, .. } = &victim.ranked;
    let now = Api::<WirePod>::namespaced(client, namespace).get(name).await?;
    Ok(match wire::pod(now) {
        Some(now) if now.uid != *uid => Some(Answer::Gone),
        Some(now) => spared_as_such(&settings.eviction, &now).map(|spared| match spared {
            Spared::Terminating | Spared::Finished => Answer::Gone,
            spared => Answer::Refused(format!("it may not be evicted: {spared}")),
        }),
        None => Some(Answer::Refused("the API server's pod makes no sense".to_owned())),
    })
}

async fn ask(client: Client, victim: &Victim) -> kube::Result<()> {
    let Ranked { uid, namespace, name, .. } = &victim.ranked;
    let failed = |error: std::io::Error| Error::Service(error.into());
    failpoint::at("evict.ask").map_err(failed)?;
    let pods: Api<WirePod> = Api::namespaced(client, namespace);
    let preconditions = Some(Preconditions { uid: Some(uid.to_string()), resource_version: None });
    let delete = DeleteParams { preconditions, ..DeleteParams::default() };
    if victim.last_resort {
        pods.delete(name, &delete).await?;
    } else {
        let parameters = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
        pods.evict(name, &parameters).await?;
    }
    failpoint::at("evict.asked").map_err(failed)
}

/// What a refusal means.
fn answer(status: &Status) -> Answer {
    let details = status.details.as_ref();
    match status.code {
        429 if status.message.contains(MIGRATION_BEGINS) => Answer::Migrating,
        429 => {
            let seconds = details.map_or(0, |details| details.retry_after_seconds);
            let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            Answer::Budget { retry_after }
        }
        404 => Answer::Gone,
        // A node is told so of a pod that has just been deleted.
        403 if status.message.contains("no relationship found between node") => Answer::Gone,
        // Another pod has its name by now.
        409 if status.message.contains("uid") || status.message.contains("UID") => Answer::Gone,
        code => Answer::Refused(format!("{code} {}", plain(&status.message))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_meaning() {
        let of = |code: u16, message: &str, retry_after_seconds: u32| {
            let json = serde_json::json!({
                "status": "Failure", "code": code, "message": message,
                "details": {"retryAfterSeconds": retry_after_seconds},
            });
            answer(&serde_json::from_value(json).unwrap())
        };
        let migrating = "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied \
                         the request: Eviction triggered evacuation of VMI \"vms/vm\"";
        assert_eq!(of(429, migrating, 0), Answer::Migrating);
        let budget = "Cannot evict pod as it would violate the pod's disruption budget.";
        assert_eq!(of(429, budget, 0), Answer::Budget { retry_after: None });
        let ten = Some(Duration::from_secs(10));
        assert_eq!(of(429, budget, 10), Answer::Budget { retry_after: ten });
        assert_eq!(of(404, "pods \"x\" not found", 0), Answer::Gone);
        let gone = "pods \"x\" is forbidden: User \"system:node:node-a\" cannot create: no relationship \
                    found between node 'node-a' and this object";
        assert_eq!(of(403, gone, 0), Answer::Gone);
        let other = "Precondition failed: UID in precondition: a, UID in object meta: b";
        assert_eq!(of(409, other, 0), Answer::Gone);
        assert_eq!(of(403, "no\n\u{1b}[2J", 0), Answer::Refused("403 no \\u{1b}[2J".into()));
        assert_eq!(of(500, "etcd", 0), Answer::Refused("500 etcd".into()));
    }
}
