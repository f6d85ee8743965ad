//! What each state file holds, and how content of older versions becomes that of today.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Cleanup, Description, Lasts};
use crate::{
    act::{
        records::{Granted, Record},
        slices::{ReservesBefore, SlicesBefore},
        tunables::TunablesBefore,
    },
    decide::{evict::machine::Evictions, reclaim::history::WorkingSets, suspend::Suspensions},
    model::{hook::HookSettings, published::Published},
    provision::{awaited::Awaited, ledger::Provisioned},
};

/// Content of a state file.
pub trait State: Serialize + DeserializeOwned {
    const FILE: Description;

    /// Content of `version` as content of today's; `None` where that version is not known.
    fn convert(_version: u64, _old: Value) -> Option<Value> {
        None
    }
}

pub(super) const EVICTIONS: Description = Description {
    path: "/run/wasp-agent/evictions.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "evictions under way and of the last hour: names and UIDs of pods",
};

pub(super) const HOOK_SETTINGS: Description = Description {
    path: "/run/wasp-agent/hook.json",
    version: 1,
    lasts: Lasts::UntilBoot,
    cleanup: Cleanup::Removes,
    holds: "settings and sizes that the OCI hook estimates with",
};

pub(super) const STATUS: Description = Description {
    path: "/run/wasp-agent/status.json",
    version: 1,
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

impl State for Suspensions {
    const FILE: Description = SUSPENDED;
}

impl State for Evictions {
    const FILE: Description = EVICTIONS;

    /// Before version 1 the file had no version. Fields that it lacks have defaults.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then_some(old)
    }
}

pub(super) const WORKING_SETS: Description = Description {
    path: "/var/lib/wasp-agent/history/working-sets.json",
    version: 1,
    lasts: Lasts::OverBoots,
    cleanup: Cleanup::Removes,
    holds: "the memory that pods need, by their names, as proactive reclaim has learned it",
};

impl State for WorkingSets {
    const FILE: Description = WORKING_SETS;
}

impl State for HookSettings {
    const FILE: Description = HOOK_SETTINGS;
}

impl State for Published {
    const FILE: Description = STATUS;
}

impl State for Record {
    const FILE: Description = crate::act::records::FOLDER;
}

impl State for Granted {
    const FILE: Description = crate::act::records::FOLDER;
}

impl State for Provisioned {
    const FILE: Description = crate::provision::ledger::FILE;
}

impl State for Awaited {
    const FILE: Description = crate::provision::awaited::FILE;
}

impl State for TunablesBefore {
    const FILE: Description = crate::act::tunables::FILE;

    /// Before version 1 the file was the map itself.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then(|| json!({ "values": old }))
    }
}

impl State for SlicesBefore {
    const FILE: Description = crate::act::slices::FILE;

    /// Before version 1 the file was the map itself.
    fn convert(version: u64, old: Value) -> Option<Value> {
        (version == 0).then(|| json!({ "slices": old }))
    }
}

impl State for ReservesBefore {
    const FILE: Description = crate::act::slices::RESERVES_FILE;
}
