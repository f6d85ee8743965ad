//! Fuzzes pods in the form of the API server's watch.

use std::sync::Arc;

use kube::core::WatchEvent;
use wasp_agent::{
    config::settings::Settings,
    decide::{
        evict::{
            efforts::Efforts,
            select::{Circumstances, rank},
            spared::spared,
        },
        grant::{critical, grant, share, swap_for_pods},
        qos::qos_class,
    },
    model::{
        clock::UnixTime,
        host::NodeMemory,
        pod::{Pod, Pods, QosClass},
        pressure::{ContainerUsage, PodUsage},
        swap::SwapMax,
    },
    observe::kube::{
        decode::{self, PodEvent},
        wire::{WirePod, pod},
    },
};

const NODE: NodeMemory = NodeMemory { ram_bytes: 64 << 30, swap_bytes: 32 << 30, page_bytes: 4096 };

/// Any bytes as a line of the watch: grants are LimitedSwap's shares, and protected pods are not
/// evicted.
pub fn watch_events(line: &[u8]) {
    let event = decode::event(line, &[]).map(|(event, _)| event);
    if let Some(PodEvent::Applied(Err(odd)) | PodEvent::Deleted(Err(odd))) = &event {
        assert!(!odd.to_string().contains(char::is_control), "{odd}");
    }
    let wire = match serde_json::from_slice::<WatchEvent<WirePod>>(line) {
        Ok(WatchEvent::Added(wire) | WatchEvent::Modified(wire) | WatchEvent::Deleted(wire)) => {
            wire
        }
        _ => return,
    };
    let mirror_of = wire.metadata.annotations.as_ref();
    let mirror_of = mirror_of.and_then(|a| a.get("kubernetes.io/config.mirror").cloned());
    let own = wire.metadata.uid.clone();
    let Some(pod) = pod(wire, &[]) else { return };
    let Some(PodEvent::Applied(decoded) | PodEvent::Deleted(decoded)) = event else { return };
    assert_eq!(decoded.as_ref(), Ok(&pod), "as it is decoded by itself");
    let uid = pod.uid.as_str();
    match mirror_of {
        Some(hash) if pod.mirror => {
            assert!(hash == uid && !uid.contains('-'), "{uid} is another pod's");
        }
        _ => assert_eq!(own.as_deref(), Some(uid)),
    }
    holds(&pod);
    let text = serde_json::to_string(&pod).unwrap();
    assert_eq!(serde_json::from_str::<Pod>(&text).unwrap(), pod, "as the agent remembers it");
}

/// Checks the invariants of any pod, whatever its source.
pub fn holds(pod: &Pod) {
    let settings = Settings::defaults();
    let most = swap_for_pods(&settings.grant, &NODE);
    for container in &pod.containers {
        let grant = grant(&settings.grant, &NODE, pod, container);
        let request = container.effective().requests.memory.unwrap_or_default().value();
        match grant.swap_max {
            SwapMax::ZERO => {}
            SwapMax::Max => panic!("no limit: {grant:?}"),
            SwapMax::Bytes(bytes) => {
                let request = u64::try_from(request).unwrap();
                assert!(bytes <= most && request <= NODE.ram_bytes, "{grant:?}");
                assert_eq!(bytes, share(request, NODE.ram_bytes, most));
                assert_eq!(qos_class(pod), QosClass::Burstable);
                assert_eq!(critical(pod), None);
            }
        }
        let shown = format!("{}/{} {} {}", pod.namespace, pod.name, container.name, grant.reason);
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
    let name = pod.containers.first().map(|container| container.name.clone());
    let used = ContainerUsage { name, working_set_bytes: 1 << 40, swap_bytes: 1 << 30 };
    let usage =
        PodUsage { uid: pod.uid.clone(), containers: vec![used], slice: None, effort: None };
    let pods = Pods::from([(pod.uid.clone(), Arc::new(pod.clone()))]);
    let efforts = Efforts::default();
    let at =
        Circumstances { now: UnixTime::default(), ram_bytes: NODE.ram_bytes, efforts: &efforts };
    let ranked = rank(&settings.eviction, &pods, std::slice::from_ref(&usage), at);
    let may_not = critical(pod).is_some() || pod.finished;
    assert!(ranked.is_empty() || !may_not, "{ranked:?}");
    let spared = spared(&settings.eviction, &pods, pod, Some(&usage), UnixTime::default());
    assert_eq!(ranked.is_empty(), spared.is_some());
}
