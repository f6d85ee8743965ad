//! Faults on demand. [`Fault`] describes the JSON for `POST /_test/faults`.

use serde::{Deserialize, Serialize};

use crate::answers::{Row, named};
use crate::request::RequestInfo;
use crate::status::{ApiError, reason_of};

/// One fault. Empty match fields match everything; without `times` it stays until cleared.
///
/// ```json
/// {"verb": "list", "resource": "pods/eviction", "user": "system:node:node-a", "times": 2,
///  "skip": 1, "code": 429, "retryAfter": 5, "message": "slow down", "delayMs": 100}
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// get, list, watch, create, update, patch, delete
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
    /// "pods", or with the subresource "pods/eviction"
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Namespace of the object; for pods/eviction of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The number of requests that it affects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The number of matching requests that it lets pass first.
    pub skip: u64,
    /// A delay before anything else.
    pub delay_ms: u64,
    /// Answers with this code and a Status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Answers with a row of `data/answers.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The server carries the request out before this answer, or before it closes the connection.
    pub after_commit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Breaks a watch's connection after this many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_events: Option<u64>,
    /// Replaces the body (of a watch: its first event) by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub garbage: Option<Garbage>,
    /// Accepts the request and never answers.
    pub hang: bool,
    /// Closes the connection without an answer.
    pub reset: bool,
    /// Matches no request: closes the listener and all connections immediately, for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_listener_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Garbage {
    /// Not JSON at all.
    Invalid,
    /// The right answer, truncated, with a matching Content-Length.
    Truncated,
}

impl Fault {
    fn matches(&self, user: &str, info: &RequestInfo) -> bool {
        let fits = |want: &str, have: &str| want.is_empty() || want == have;
        fits(&self.verb, info.verb)
            && fits(&self.resource, &info.full_resource())
            && fits(&self.user, user)
            && fits(&self.namespace, info.scope())
            && fits(&self.name, &info.name)
    }

    /// Returns the row that it answers with.
    pub fn row(&self) -> Option<&'static Row> {
        named(&self.answer)
    }

    /// Returns the problem of the fault's definition, if there is one.
    pub fn problem(&self) -> Option<String> {
        let unknown = !self.answer.is_empty() && self.row().is_none();
        unknown.then(|| format!("no answer is named {:?}; see data/answers.json", self.answer))
    }

    /// Returns the error to answer with, for a fault that has a code.
    pub fn error(&self) -> Option<ApiError> {
        let code = self.code?;
        let message = self.message.clone().unwrap_or_else(|| format!("injected fault: {code}"));
        let error = ApiError::new(code, reason_of(code), message);
        Some(error.retry_after(self.retry_after.unwrap_or(0)))
    }
}

/// The active faults, in the order of their arrival.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn all(&self) -> &[Fault] {
        &self.0
    }

    /// Returns the first fault that applies to this request, and counts it down.
    pub fn take(&mut self, user: &str, info: &RequestInfo) -> Option<Fault> {
        let at = self.0.iter_mut().position(|fault| {
            let hit = fault.matches(user, info);
            if hit && fault.skip > 0 {
                fault.skip -= 1;
                return false;
            }
            hit
        })?;
        let fault = self.0[at].clone();
        if let Some(left) = &mut self.0[at].times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}
