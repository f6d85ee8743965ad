//! Asks the API server to evict a pod, with the node's own credentials.
//!
//! This module builds the requests itself: kube 5.0.0 writes `delete_options` where the API has
//! `deleteOptions`, and an API server ignores unknown fields, so it would ignore the UID.
//!
//! Source: Kubernetes "API-initiated Eviction", `policy/v1` Eviction.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, header::RETRY_AFTER};
use k8s_openapi::{
    api::policy::v1::Eviction,
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions, Status},
};
use kube::{Client, client::Body};
use tokio::{sync::watch, time::sleep};

use crate::{
    config::settings::Settings,
    decide::evict::{
        answer::{EvictionAnswer, KUBEVIRT_BUDGET, Refusal, classify},
        select::Ranked,
        spared::{Spared, spared_as_such},
        verdict::Victim,
    },
    failpoint,
    model::{
        plain::plain,
        pod::{Migration, Pod},
    },
    observe::clock,
    observe::kube::{
        credentials::load,
        decode::{self, OddPod},
        errors::chain,
    },
    roots::Roots,
};

/// The server may hold a request, for example while a webhook does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The server may still carry out a request that it has not answered: the agent reads the pod this
/// many times, with this pause before each read.
const LOOKS: usize = 3;
const BEFORE_A_LOOK: Duration = Duration::from_secs(2);
/// The API server has no larger objects.
const LARGEST_BODY: usize = 4 << 20;

/// Requests the eviction of exactly the pod in `victim`, or as the last resort its deletion. Reads
/// the pod once more before, because the watched state may be old. Sends nothing when `wanted` is
/// false.
pub async fn evict(
    roots: &Roots,
    settings: &Settings,
    victim: &Victim,
    wanted: &watch::Receiver<bool>,
) -> EvictionAnswer {
    let client = match load(roots, settings).await {
        Ok(credentials) => credentials.client,
        Err(error) => return EvictionAnswer::Unreachable { text: error.to_string() },
    };
    let before = match read(&client, settings, victim).await {
        Ok(Ok(pod)) => pod,
        Ok(Err(odd)) => {
            return EvictionAnswer::Refused { text: format!("it cannot be read: {}", odd.reason) };
        }
        // The request was not sent, so nothing is in doubt.
        Err(Failed::Silent(text)) => return EvictionAnswer::Unreachable { text },
        Err(Failed::Refused(refusal)) => {
            return match classify(&refusal, victim.ranked.launcher) {
                EvictionAnswer::Unknown { text } => {
                    EvictionAnswer::Busy { retry_after: refusal.retry_after, text }
                }
                answer => answer,
            };
        }
    };
    if let Some(answer) = instead_of_asking(settings, victim, &before) {
        return answer;
    }
    if !*wanted.borrow() {
        return EvictionAnswer::Withdrawn {
            text: "before the request, the pressure ended, the configuration was reloaded, or the \
                connection to the API server was lost"
                .to_owned(),
        };
    }
    let mut retry_after = None;
    let answer = match ask(&client, victim).await {
        Ok(()) => return EvictionAnswer::Accepted,
        Err(Failed::Silent(text)) => EvictionAnswer::Unknown { text },
        Err(Failed::Refused(refusal)) => {
            retry_after = refusal.retry_after;
            classify(&refusal, victim.ranked.launcher)
        }
    };
    match answer {
        EvictionAnswer::Unknown { text } => {
            let found = look_after(&client, settings, victim, &before).await;
            found.unwrap_or_else(|seen| match seen {
                // KubeVirt may have put the VM into its queue of migrations, which shows nothing yet.
                true if !victim.ranked.launcher => EvictionAnswer::Busy {
                    retry_after,
                    text: format!("{text}; the pod still exists"),
                },
                _ => EvictionAnswer::Unknown { text },
            })
        }
        // KubeVirt since 1.3 shows each migration on the launcher when it begins. It may wait for others, or
        // never begin: without its webhook, KubeVirt's budget refuses all the same.
        EvictionAnswer::Migrating { text }
            if before.shows_migrations && text.contains(KUBEVIRT_BUDGET) =>
        {
            let found = look_after(&client, settings, victim, &before).await;
            found.unwrap_or(EvictionAnswer::Unknown { text })
        }
        answer => answer,
    }
}

/// The reason why a request has no useful answer.
enum Failed {
    Refused(Refusal),
    /// No answer arrived.
    Silent(String),
}

/// Reads the pod's current state.
///
/// # Errors
/// The reason why it cannot be read.
async fn read(
    client: &Client,
    settings: &Settings,
    victim: &Victim,
) -> Result<Result<Pod, OddPod>, Failed> {
    let body = call(client, Method::GET, &path(victim, ""), Vec::new()).await?;
    Ok(decode::pod(&body, &settings.eviction.opt_out_annotations))
}

/// Returns the answer for a pod whose current state forbids the request.
fn instead_of_asking(settings: &Settings, victim: &Victim, now: &Pod) -> Option<EvictionAnswer> {
    if now.uid != victim.ranked.uid {
        return Some(EvictionAnswer::Gone);
    }
    if victim.last_resort && now.migration == Some(Migration::Leaving) {
        return Some(EvictionAnswer::Withdrawn { text: "its VM is migrating".to_owned() });
    }
    let wall_clock = clock::unix_time();
    spared_as_such(&settings.eviction, now, wall_clock).map(|spared| match spared {
        Spared::Finished => EvictionAnswer::Gone,
        // The pod leaves without the agent's request.
        Spared::Terminating => EvictionAnswer::Gone,
        spared => EvictionAnswer::Refused { text: format!("it may not be evicted: {spared}") },
    })
}

async fn ask(client: &Client, victim: &Victim) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed::Silent(error.to_string());
    failpoint::at("evict.ask").map_err(failed)?;
    let Ranked { uid, namespace, name, grace_seconds, .. } = &victim.ranked;
    let grace = grace_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let delete = DeleteOptions {
        preconditions: Some(Preconditions { uid: Some(uid.to_string()), resource_version: None }),
        grace_period_seconds: grace,
        ..DeleteOptions::default()
    };
    if victim.last_resort {
        let body = serde_json::to_vec(&delete).map_err(|error| failed(error.into()))?;
        call(client, Method::DELETE, &path(victim, ""), body).await?;
    } else {
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        };
        let eviction = Eviction { metadata, delete_options: Some(delete) };
        let body = serde_json::to_vec(&eviction).map_err(|error| failed(error.into()))?;
        call(client, Method::POST, &path(victim, "/eviction"), body).await?;
    }
    failpoint::at("evict.asked").map_err(failed)
}

/// Finds the effect of a request without an answer. `Err`: no effect is visible; the value is true
/// if the pod could be read.
async fn look_after(
    client: &Client,
    settings: &Settings,
    victim: &Victim,
    before: &Pod,
) -> Result<EvictionAnswer, bool> {
    let deadline_before = before.deletion_deadline;
    let mut seen = 0;
    for _ in 0..LOOKS {
        sleep(BEFORE_A_LOOK).await;
        match read(client, settings, victim).await {
            // The pod existed right before the request, so the server carried out the request.
            Ok(Ok(now)) if now.uid != victim.ranked.uid => return Ok(EvictionAnswer::Accepted),
            Ok(Ok(now)) if now.deletion_deadline != deadline_before => {
                return Ok(EvictionAnswer::Accepted);
            }
            Ok(Ok(now)) if now.migration == Some(Migration::Leaving) => {
                return Ok(EvictionAnswer::Migrating {
                    text: "its launcher pod shows a migration".to_owned(),
                });
            }
            Ok(_) => seen += 1,
            Err(Failed::Refused(refusal)) => {
                if classify(&refusal, victim.ranked.launcher) == EvictionAnswer::Gone {
                    return Ok(EvictionAnswer::Accepted);
                }
            }
            Err(Failed::Silent(_)) => {}
        }
    }
    Err(seen > 1)
}

/// Names are DNS names ([`crate::model::pod::is_name`]) and need no escaping.
fn path(victim: &Victim, subresource: &str) -> String {
    let Ranked { namespace, name, .. } = &victim.ranked;
    format!("/api/v1/namespaces/{namespace}/pods/{name}{subresource}")
}

/// Sends a request and returns the body of a success.
async fn call(
    client: &Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Vec<u8>, Failed> {
    let silent = |error: String| Failed::Silent(plain(&error).into_owned());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(Body::from(body))
        .map_err(|error| silent(error.to_string()))?;
    let answered = async {
        let response = client.send(request).await.map_err(|error| silent(chain(&error)))?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body.map_err(|error| silent(chain(error.as_ref())))?.to_bytes();
        match head.status.is_success() {
            true => Ok(body.to_vec()),
            false => Err(Failed::Refused(refusal(head.status.as_u16(), retry_after, &body))),
        }
    };
    match tokio::time::timeout(TIMEOUT, answered).await {
        Ok(result) => result,
        Err(_) => Err(Failed::Silent(format!("no answer within {} s", TIMEOUT.as_secs()))),
    }
}

/// `retry_after`: seconds, from the header.
fn refusal(code: u16, retry_after: Option<u64>, body: &[u8]) -> Refusal {
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let details = status.as_ref().and_then(|status| status.details.as_ref());
    let in_details = details.and_then(|details| details.retry_after_seconds);
    let in_details = in_details.and_then(|seconds| u64::try_from(seconds).ok());
    let causes = details.and_then(|details| details.causes.as_deref()).unwrap_or_default();
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or_default()).into_owned();
    let message = match &status {
        Some(status) => text(&status.message),
        // A load balancer answered, or API Priority and Fairness.
        None => {
            let shown: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            plain(&shown).into_owned()
        }
    };
    Refusal {
        code,
        reason: status.as_ref().map_or_else(String::new, |status| text(&status.reason)),
        message,
        causes: causes.iter().map(|cause| (text(&cause.reason), text(&cause.message))).collect(),
        retry_after: retry_after
            .or(in_details.filter(|seconds| *seconds > 0))
            .map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_with_its_causes_and_its_pause() {
        let body = br#"{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429,
            "message":"Cannot evict pod as it would violate the pod's disruption budget.",
            "details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web needs 1"}],
            "retryAfterSeconds":10}}"#;
        let read = refusal(429, None, body);
        assert_eq!(
            read.causes,
            [("DisruptionBudget".into(), "The disruption budget web needs 1".into())]
        );
        assert_eq!(read.retry_after, Some(Duration::from_secs(10)));
        assert_eq!(read.reason, "TooManyRequests");
        assert_eq!(
            refusal(429, Some(1), body).retry_after,
            Some(Duration::from_secs(1)),
            "the header"
        );
        let odd = refusal(429, Some(1), b"Too many requests, please try again later.\n\x1b[2J");
        assert_eq!(odd.message, "Too many requests, please try again later. \\u{1b}[2J");
        assert_eq!(refusal(503, None, b"").message, "");
    }

    #[test]
    fn the_body_of_an_eviction_has_the_names_of_the_api() {
        let delete = DeleteOptions {
            preconditions: Some(Preconditions { uid: Some("u".into()), resource_version: None }),
            grace_period_seconds: Some(60),
            ..DeleteOptions::default()
        };
        let metadata = ObjectMeta { name: Some("p".into()), ..ObjectMeta::default() };
        let eviction = Eviction { metadata, delete_options: Some(delete) };
        let expected = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
            "deleteOptions": {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 60},
        });
        let mut body = serde_json::to_value(&eviction).unwrap();
        let options = body["deleteOptions"].as_object_mut().unwrap();
        // In a body, DeleteOptions have their own kind.
        options.remove("apiVersion");
        options.remove("kind");
        assert_eq!(body, expected);
    }
}
