//! Every state file of the agent.

/// The lifetime of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Until the next boot: below `/run`, not synced.
    UntilBoot,
    /// Across boots and power cuts: below `/var/lib`, synced.
    OverBoots,
}

/// The treatment of a file by `wasp-agent cleanup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Removes,
    /// The file records changes that this command must undo first.
    LeavesTo(&'static str),
}

/// The description of a kind of state file.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Path on the host.
    pub path: &'static str,
    pub version: u64,
    pub lasts: Lasts,
    pub cleanup: Cleanup,
    /// The text for docs/security.md.
    pub holds: &'static str,
}

/// Declares the state files, and the list of all of them.
macro_rules! state_files {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $value:expr,)+ })+) => {
        $($(#[$doc])* pub(crate) const $name: Description = Description { $($field: $value,)+ };)+

        /// Every state file. The directory stands for pods' records, one file for each pod.
        pub const ALL: &[Description] = &[$($name,)+];
    };
}

state_files! {
    PROVISIONED {
        path: "/var/lib/wasp-agent/provisioned.json",
        version: 1,
        lasts: Lasts::OverBoots,
        cleanup: Cleanup::LeavesTo("wasp-agent deprovision"),
        holds: "the swap that the agent created",
    }

    AWAITED {
        path: "/run/wasp-agent/awaited-swap.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "the swap partition whose device did not exist",
    }

    TUNABLES {
        path: "/run/wasp-agent/tunables.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::LeavesTo("wasp-agent deprovision"),
        holds: "the kernel's settings before the agent changed them in this boot",
    }

    SLICES {
        path: "/run/wasp-agent/protection.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::LeavesTo("wasp-agent unprotect"),
        holds: "what systemd had for each slice before the agent changed it in this boot",
    }

    RESERVES {
        path: "/run/wasp-agent/reserves.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::LeavesTo("wasp-agent unprotect"),
        holds: "what systemd had for services and slices before the agent reserved memory or weights \
            for them in this boot",
    }

    EVICTIONS {
        path: "/run/wasp-agent/evictions.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "evictions in progress and of the last hour: names and UIDs of pods",
    }

    HOOK_SETTINGS {
        path: "/run/wasp-agent/hook.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "settings and sizes for the estimates of the OCI hook",
    }

    STATUS {
        path: "/run/wasp-agent/status.json",
        version: 2,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "what the agent publishes: pods' names, problems, signals, counters",
    }

    SUSPENDED {
        path: "/run/wasp-agent/suspended.json",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "which pods are suspended",
    }

    WORKING_SETS {
        path: "/var/lib/wasp-agent/history/working-sets.json",
        version: 1,
        lasts: Lasts::OverBoots,
        cleanup: Cleanup::Removes,
        holds: "the memory that pods need, by their names, as measured by proactive reclaim",
    }

    /// The directory of the files, one for each pod.
    RECORDS {
        path: "/run/wasp-agent/pods",
        version: 1,
        lasts: Lasts::UntilBoot,
        cleanup: Cleanup::Removes,
        holds: "for each pod of the node, its data from the API server and its containers' grants",
    }
}
