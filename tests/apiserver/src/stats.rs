//! Counts of requests: one small entry per user, verb, resource and selector.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::request::RequestInfo;

/// User, verb, resource, namespaced, selector.
type Kind = (String, String, String, bool, String);

#[derive(Debug, Default)]
pub struct Entry {
    count: AtomicU64,
    bytes: AtomicU64,
    codes: Mutex<BTreeMap<u16, u64>>,
}

impl Entry {
    pub fn answered(&self, code: u16) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        *codes.entry(code).or_default() += 1;
    }

    pub fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }
}

/// Requests by arrival, in tenths of a second since 1970, and verb.
pub type Arrivals = BTreeMap<(u128, &'static str), u64>;

#[derive(Debug, Default)]
pub struct Stats(Mutex<BTreeMap<Kind, Arc<Entry>>>, Mutex<Arrivals>);

impl Stats {
    fn entry(&self, kind: Kind) -> Arc<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().clone()
    }

    pub fn of(&self, user: &str, info: &RequestInfo) -> Arc<Entry> {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() / 100;
        let mut arrivals = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        *arrivals.entry((now, info.verb)).or_default() += 1;
        drop(arrivals);
        let query = |name| match info.query.get(name) {
            "" => None,
            value => Some(format!("{name}={value}")),
        };
        let selector: Vec<String> =
            ["fieldSelector", "labelSelector"].into_iter().filter_map(query).collect();
        self.entry((
            user.to_owned(),
            info.verb.to_owned(),
            info.full_resource(),
            !info.scope().is_empty(),
            selector.join("&"),
        ))
    }

    /// For requests that did not reach a resource.
    pub fn of_path(&self, user: &str, verb: &str, path: &str) -> Arc<Entry> {
        self.entry((user.to_owned(), verb.to_owned(), path.to_owned(), false, String::new()))
    }

    pub fn arrivals(&self) -> Arrivals {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn report(&self) -> Value {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<Value> = entries
            .iter()
            .map(|((user, verb, resource, namespaced, selector), e)| {
                let codes = e.codes.lock().unwrap_or_else(PoisonError::into_inner);
                let codes: serde_json::Map<String, Value> =
                    codes.iter().map(|(c, n)| (c.to_string(), json!(n))).collect();
                json!({"user": user, "verb": verb, "resource": resource, "namespaced": namespaced,
                       "selector": selector, "count": e.count.load(Ordering::Relaxed),
                       "bytes": e.bytes.load(Ordering::Relaxed), "codes": codes})
            })
            .collect();
        json!({"requests": rows})
    }
}
