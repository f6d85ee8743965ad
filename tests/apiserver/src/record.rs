//! Records the requests for resources, one by one, for tests to compare.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT};
use serde::Serialize;
use serde_json::Value;

use crate::request::RequestInfo;

/// Number of requests kept.
const KEPT: usize = 10_000;

/// One request.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    pub user: String,
    pub verb: String,
    /// "pods", "pods/eviction"
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub query: Vec<(String, String)>,
    pub user_agent: String,
    pub content_type: String,
    /// Null if there is none, a string if it is not JSON.
    pub body: Value,
    /// Code of the answer; none while the request is in progress, or if the connection broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// The kept requests, and the number of requests before the first of them.
#[derive(Debug, Default)]
pub struct Record(Mutex<(usize, VecDeque<Recorded>)>);

impl Record {
    /// Records the request; the returned number identifies it.
    pub fn add(&self, user: &str, info: &RequestInfo, headers: &HeaderMap, body: &Bytes) -> usize {
        let header = |name: &HeaderName| {
            headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let body = match serde_json::from_slice(body) {
            _ if body.is_empty() => Value::Null,
            Ok(value) => value,
            Err(_) => Value::String(String::from_utf8_lossy(body).into_owned()),
        };
        let recorded = Recorded {
            user: user.to_owned(),
            verb: info.verb.to_owned(),
            resource: info.full_resource(),
            namespace: info.scope().to_owned(),
            name: info.name.clone(),
            query: info.query.pairs().to_vec(),
            user_agent: header(&USER_AGENT),
            content_type: header(&CONTENT_TYPE),
            body,
            code: None,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.push_back(recorded);
        if kept.1.len() > KEPT {
            kept.1.pop_front();
            kept.0 += 1;
        }
        kept.0 + kept.1.len() - 1
    }

    pub fn answered(&self, number: usize, code: u16) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = number.checked_sub(kept.0);
        if let Some(recorded) = at.and_then(|at| kept.1.get_mut(at)) {
            recorded.code = Some(code);
        }
    }

    pub fn all(&self) -> Vec<Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.iter().cloned().collect()
    }

    pub fn clear(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += kept.1.len();
        kept.1.clear();
    }
}
