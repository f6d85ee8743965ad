//! Things that go wrong on demand. See [`Fault`] for the JSON that `POST /_test/faults` takes.

use serde::{Deserialize, Serialize};

use crate::answers::{Row, named};
use crate::request::RequestInfo;
use crate::status::{ApiError, reason_of};

/// One kind of trouble. Empty match fields match everything; `times` absent means until cleared.
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
    /// Of the object; of pods/eviction the pod's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How many requests it hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How many matching requests it lets pass first.
    pub skip: u64,
    /// Waits before anything else is done.
    pub delay_ms: u64,
    /// Answers with this code and a Status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Answers with a row of `data/answers.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The request is carried out before it is answered so, or before the connection is closed.
    pub after_commit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Cuts a watch's connection after so many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_events: Option<u64>,
    /// What the body is instead of JSON (a watch: instead of its first event).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub garbage: Option<Garbage>,
    /// Takes the request and never answers.
    pub hang: bool,
    /// Closes the connection instead of answering.
    pub reset: bool,
    /// Matches no request: at once, closes the listener and all connections for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_listener_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Garbage {
    /// No JSON at all.
    Invalid,
    /// The right answer, cut in the middle, with a matching Content-Length.
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

    /// The row that it answers with.
    pub fn row(&self) -> Option<&'static Row> {
        named(&self.answer)
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let unknown = !self.answer.is_empty() && self.row().is_none();
        unknown.then(|| format!("no answer is named {:?}; see data/answers.json", self.answer))
    }

    /// The error to answer with, for a fault that has a code.
    pub fn error(&self) -> Option<ApiError> {
        let code = self.code?;
        let message = self.message.clone().unwrap_or_else(|| format!("injected fault: {code}"));
        let error = ApiError::new(code, reason_of(code), message);
        Some(error.retry_after(self.retry_after.unwrap_or(0)))
    }
}

/// The faults that are set, in the order they came.
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

    /// The first fault that this request runs into, counted down.
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
