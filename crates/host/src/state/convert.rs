//! The content of each state file, and the conversion of older versions' content.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Cleanup, Description, Lasts};
use crate::{
    act::{
        records::{Granted, Record},
        slices::{ReservesBefore, SlicesBefore},
        tunables::TunablesBefore,
    },
    decide::{evict::evictions::Evictions, reclaim::history::WorkingSets, suspend::Suspensions},
    model::{hook::EstimateSettings, published::Published},
    provision::{awaited::Awaited, ledger::Provisioned},
};

/// The content of a state file.
pub trait StateContent: Serialize + DeserializeOwned {
    const FILE: Description;

    /// Converts content of `version` to the current one; `None` if that version is unknown.
    fn convert(_version: u64, _old: Value) -> Option<Value> {
        None
    }
}

pub(super) const EVICTIONS: Description = Description {
    path: "/run/wasp-agent/evictions.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "evictions in progress and of the last hour: names and UIDs of pods",
};

pub(super) const HOOK_SETTINGS: Description = Description {
    path: "/run/wasp-agent/hook.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "settings and sizes for the estimates of the OCI hook",
};

pub(super) const STATUS: Description = Description {
    path: "/run/wasp-agent/status.json",
    version: 2,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "what the agent publishes: pods' names, problems, signals, counters",
};

pub(super) const SUSPENDED: Description = Description {
    path: "/run/wasp-agent/suspended.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "which pods are suspended",
};

impl StateContent for Suspensions {
    const FILE: Description = SUSPENDED;
}

impl StateContent for Evictions {
    const FILE: Description = EVICTIONS;

    /// Before version 1 the file had no version. Missing fields have defaults.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then_some(old)
    }
}

pub(super) const WORKING_SETS: Description = Description {
    path: "/var/lib/wasp-agent/history/working-sets.json",
    version: 1,
    lasts: Lasts::OverBoots,
    cleanup: Cleanup::Removes,
    holds: "the memory that pods need, by their names, as measured by proactive reclaim",
};

impl StateContent for WorkingSets {
    const FILE: Description = WORKING_SETS;
}

impl StateContent for EstimateSettings {
    const FILE: Description = HOOK_SETTINGS;
}

impl StateContent for Published {
    const FILE: Description = STATUS;

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

/// Renames a key of an object.
fn rename(object: Option<&mut Value>, from: &str, to: &str) {
    let Some(object) = object.and_then(Value::as_object_mut) else { return };
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

impl StateContent for Record {
    const FILE: Description = crate::act::records::FOLDER;
}

impl StateContent for Granted {
    const FILE: Description = crate::act::records::FOLDER;
}

impl StateContent for Provisioned {
    const FILE: Description = crate::provision::ledger::FILE;
}

impl StateContent for Awaited {
    const FILE: Description = crate::provision::awaited::FILE;
}

impl StateContent for TunablesBefore {
    const FILE: Description = crate::act::tunables::FILE;

    /// Before version 1 the file was the map itself.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then(|| json!({ "values": old }))
    }
}

impl StateContent for SlicesBefore {
    const FILE: Description = crate::act::slices::FILE;

    /// Before version 1 the file was the map itself.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then(|| json!({ "slices": old }))
    }
}

impl StateContent for ReservesBefore {
    const FILE: Description = crate::act::slices::RESERVES_FILE;
}
