//! Small objects for tests of all crates.
#![allow(clippy::expect_used)]

use crate::{
    config::settings::{Eligibility, GrantSettings, Policy},
    model::{
        clock::UnixTime,
        hook::{EstimateSettings, WhenUnknown},
        host::NodeMemory,
        pod::{Container, ContainerKind, Pod, PodUid, ResourceList, Resources},
        policy::WishRules,
        quantity::Quantity,
    },
};

const GIB: u64 = 1 << 30;

/// The default policy.
pub fn grant_settings() -> GrantSettings {
    GrantSettings {
        policy: Policy::Limited,
        eligibility: Eligibility::Burstable,
        system_reserved_percent: 0,
        wishes: WishRules { annotations: true, ..WishRules::default() },
    }
}

/// 16 GiB of RAM, 8 GiB of swap.
pub const NODE: NodeMemory =
    NodeMemory { ram_bytes: 16 * GIB, swap_bytes: 8 * GIB, page_bytes: 4096 };

/// Parses `cpu-request cpu-limit memory-request memory-limit`; `-` means absent.
pub fn resources(text: &str) -> Resources {
    let amounts: Vec<Option<Quantity>> =
        text.split(' ').map(|word| (word != "-").then(|| word.parse().expect("valid"))).collect();
    Resources {
        requests: ResourceList { cpu: amounts[0], memory: amounts[2] },
        limits: ResourceList { cpu: amounts[1], memory: amounts[3] },
    }
}

pub fn container(name: &str, kind: ContainerKind, text: &str) -> Container {
    Container {
        name: name.into(),
        kind,
        spec: resources(text),
        actual: None,
        id: None,
        running: false,
        request_unknown: false,
        probed: false,
    }
}

/// Builds a pod with a regular container `c0`, `c1`, … for each text.
pub fn pod(name: &str, containers: &[&str]) -> Pod {
    let uid = format!("{name:0>8}-uid");
    Pod {
        uid: PodUid::new(&uid).expect("valid"),
        namespace: "default".into(),
        name: name.into(),
        priority: Some(0),
        mirror: false,
        owner: None,
        annotations: Vec::new(),
        qos_class: None,
        resources: None,
        virt_launcher: false,
        vm_paused: false,
        migration: None,
        shows_migrations: false,
        deletion_deadline: None,
        evicted_by_api: false,
        disrupted: false,
        local_storage: false,
        overhead: None,
        finished: false,
        created: UnixTime::default(),
        grace_seconds: 30,
        containers: containers
            .iter()
            .enumerate()
            .map(|(i, text)| container(&format!("c{i}"), ContainerKind::Regular, text))
            .collect(),
    }
}

/// The settings that the agent writes for the hook on a node of 4 GiB.
pub fn hook_settings() -> EstimateSettings {
    EstimateSettings {
        policy: Policy::Limited,
        eligibility: Eligibility::Burstable,
        when_unknown: WhenUnknown::Estimate,
        denied_namespaces: crate::config::settings::Settings::defaults().hook.denied_namespaces,
        ram_bytes: 4 << 30,
        swap_for_pods_bytes: 1000,
        wishes: WishRules { annotations: true, ..WishRules::default() },
        pods: Vec::new(),
    }
}
