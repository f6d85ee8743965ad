//! The content of the state files, and the conversion of older versions' content. Content that
//! module `act` or `provision` defines is declared there.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::files::{self, Description};
use crate::{
    decide::{evict::evictions::Evictions, reclaim::history::WorkingSets, suspend::Suspensions},
    model::{hook::EstimateSettings, published::Published},
};

/// The content of a state file.
pub trait StateContent: Serialize + DeserializeOwned {
    const FILE: Description;

    /// Converts content of `version` to the current one; `None` if that version is unknown.
    fn convert(_version: u64, _old: Value) -> Option<Value> {
        None
    }
}

impl StateContent for Suspensions {
    const FILE: Description = files::SUSPENDED;
}

impl StateContent for Evictions {
    const FILE: Description = files::EVICTIONS;

    /// Before version 1 the file had no version. Missing fields have defaults.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then_some(old)
    }
}

impl StateContent for WorkingSets {
    const FILE: Description = files::WORKING_SETS;
}

impl StateContent for EstimateSettings {
    const FILE: Description = files::HOOK_SETTINGS;
}

impl StateContent for Published {
    const FILE: Description = files::STATUS;

    /// Version 1 had other names, and its problems three times: as texts, words and objects.
    fn convert(version: u64, mut old: Value) -> Option<Value> {
        if version != 1 {
            return None;
        }
        let mut problems = old.get_mut("problem_list").map(Value::take).unwrap_or(json!([]));
        for problem in problems.as_array_mut().into_iter().flatten() {
            rename(Some(problem), "about", "kind");
        }
        old["problems"] = problems;
        rename(old.get_mut("node"), "swap_wanted_bytes", "swap_configured_bytes");
        rename(old.get_mut("containers"), "above", "above_grant");
        let counters = old.get_mut("reclaim").and_then(|reclaim| reclaim.get_mut("counters"));
        if let Some(counters) = counters {
            rename(Some(counters), "would_bytes", "observed_bytes");
            rename(Some(counters), "micros", "duration_micros");
        }
        Some(old)
    }
}

/// Before version 1 some files had no version, and were the value of `key` itself.
pub(crate) fn unversioned(version: u64, old: Value, key: &str) -> Option<Value> {
    (version == 0).then(|| json!({ key: old }))
}

/// Renames a key of an object.
fn rename(object: Option<&mut Value>, from: &str, to: &str) {
    let Some(object) = object.and_then(Value::as_object_mut) else { return };
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
