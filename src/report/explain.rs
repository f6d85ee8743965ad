//! Formats the output of `wasp-agent explain POD`: the swap grants of its containers with their
//! reasons, and its rank for eviction.

use crate::model::counted::counted;
use std::fmt::Write;

use super::overview::{ContainerRow, Overview, OverviewPodRow, may_swap};
use crate::model::swap::human_bytes;

pub fn explain(overview: &Overview, pod: &OverviewPodRow) -> String {
    let mut text = String::new();
    let OverviewPodRow { namespace, pod: name, uid, qos_class, .. } = pod;
    let _ = writeln!(text, "{namespace}/{name} ({uid})\n");
    let _ = writeln!(text, "Swap");
    let rule = match may_swap(qos_class) {
        true => "such pods may swap, unless they are critical",
        false => "only Burstable pods may swap",
    };
    let _ = writeln!(text, "  Its QoS class is {qos_class}: {rule}.");
    let for_pods = human_bytes(overview.swap_for_pods_bytes);
    let _ = writeln!(text, "  All pods of the node together may swap {for_pods}.");
    for container in &pod.containers {
        let ContainerRow { name, swap_grant, swap_max_in_force, swap_bytes, why, .. } = container;
        let or_none = |quantity: &Option<String>| quantity.clone().unwrap_or("none".to_owned());
        let (request, limit) =
            (or_none(&container.memory_request), or_none(&container.memory_limit));
        let _ = writeln!(text, "\n  Container {name} (memory request {request}, limit {limit})");
        let _ = writeln!(text, "    may swap   {}: {why}", readable(swap_grant));
        let whose = container
            .bound_by
            .as_ref()
            .map_or_else(String::new, |name| format!(", by the limit of {name}"));
        let _ = writeln!(text, "    in effect  {}{whose}", readable(swap_max_in_force));
        let _ = writeln!(text, "    uses       {}", human_bytes(*swap_bytes));
        if let Some(hits @ 1..) = container.swap_limit_hits {
            let _ = writeln!(
                text,
                "    hit limit  {}: its grant limits it",
                counted(hits, "time", "times")
            );
        }
        if let Some(kills @ 1..) = container.oom_kills {
            let _ = writeln!(text, "    OOM kills  {kills}");
        }
    }
    let _ = writeln!(text, "\n  All of the pod");
    let _ = writeln!(
        text,
        "    may swap   {}: as much as those of its containers that run at the same time",
        readable(&pod.swap_grant)
    );
    if let Some(in_force) = &pod.swap_max_in_force {
        let _ = writeln!(text, "    in effect  {}", readable(in_force));
    }
    let outside = match pod.swap_outside_containers_bytes {
        0 => String::new(),
        bytes => format!(
            ", of that {} outside its containers: shared memory or files in memory that outlived \
             one",
            human_bytes(bytes)
        ),
    };
    let _ = writeln!(text, "    uses       {}{outside}", human_bytes(pod.swap_bytes));
    let _ = writeln!(text, "\nEviction");
    let usage = (human_bytes(pod.working_set_bytes), human_bytes(pod.swap_bytes));
    let _ = writeln!(text, "  It uses {} of memory and {} of swap.", usage.0, usage.1);
    match pod.eviction_order {
        None => {
            let _ = writeln!(text, "  It is never evicted: {}.", pod.eviction_reason);
        }
        Some(place) => {
            let all = overview.pods.iter().filter(|pod| pod.eviction_order.is_some()).count();
            let _ = writeln!(text, "  It is number {place} of {all}: {}.", pod.eviction_reason);
            if let Some(cost) = &pod.eviction_cost {
                let _ = writeln!(text, "  The price: {cost}.");
            }
            let neighbour =
                |place: usize| overview.pods.iter().find(|pod| pod.eviction_order == Some(place));
            for (word, other) in [("After", place.wrapping_sub(1)), ("Before", place + 1)] {
                if let Some(OverviewPodRow { namespace, pod, eviction_reason, .. }) =
                    neighbour(other)
                {
                    let _ = writeln!(text, "  {word} {namespace}/{pod}: {eviction_reason}.");
                }
            }
            let _ = writeln!(
                text,
                "The order: pods with a container above its memory limit, pods above their \
                 request, lower priority, further above the request (in steps of 1 % of RAM). \
                 Then: least data lost, reading own pages from swap, most memory freed after what \
                 a migration reads back, longest on the node. Pods with an annotation that prefers \
                 no eviction come last."
            );
        }
    }
    super::for_terminal(&text)
}

/// Formats bytes, as a number and in binary units.
fn readable(swap_max: &str) -> String {
    match swap_max.parse::<u64>() {
        Ok(0) => "nothing".to_owned(),
        Ok(bytes) => format!("{bytes} bytes ({})", human_bytes(bytes)),
        Err(_) => "without limit".to_owned(),
    }
}
