//! Computes how much memory of the node's own services to protect from reclaim, so that they work
//! while pods thrash.
//!
//! `MemorySwapMax=0` keeps their anonymous memory in RAM, but not their file pages: programs,
//! libraries, files that they read repeatedly. `memory.min` keeps both. It applies only up to the
//! value of each cgroup above, so the slices above a service get the sum of their services' values.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, memory.min.

use std::collections::BTreeMap;

use crate::{
    config::settings::ProtectionSettings,
    model::{
        host::NodeMemory,
        protection::{HeldMemory, Reserve, Reserves, ServiceMemory},
    },
};

/// The least amount for a service, even if it uses little when it starts, in bytes.
const LEAST: u64 = 32 << 20;
/// Amounts are multiples of this number of bytes, so that they do not change all the time.
const STEP: u64 = 4 << 20;

/// Returns the bytes that a service needs: everything but file cache, plus the cache that is mapped
/// or used again.
pub fn needs(memory: &ServiceMemory) -> u64 {
    let kept = memory.active_file_bytes.saturating_add(memory.mapped_file_bytes);
    let cache = kept.min(memory.file_bytes);
    let needs = memory.current_bytes.saturating_sub(memory.file_bytes).saturating_add(cache);
    // The use grows over time.
    needs.saturating_add(needs / 8).max(LEAST).next_multiple_of(STEP)
}

/// Returns `MemoryMin` for services and for the slices above them. Earlier services come first,
/// until `percent` of RAM is used up. The value of a service never decreases: under thrash it uses
/// less than it needs.
pub fn reserves(
    services: &[ServiceMemory],
    held: &HeldMemory,
    node: &NodeMemory,
    percent: u64,
) -> BTreeMap<String, u64> {
    let mut left = node.ram_bytes / 100 * percent;
    let mut reserves = BTreeMap::new();
    for service in services {
        let had = held.get(&service.unit).copied().unwrap_or(0);
        let reserve = needs(service).max(had).min(left);
        left -= reserve;
        for unit in service.slices.iter().chain([&service.unit]) {
            *reserves.entry(unit.clone()).or_insert(0) += reserve;
        }
    }
    reserves
}

/// The values that systemd should hold for a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub unit: String,
    pub what: Reserve,
    pub value: u64,
}

/// Returns all configured values, and the previous values of all that are no longer configured.
/// Never less memory than the unit's own setting.
pub fn wanted(
    settings: &ProtectionSettings,
    reserves: &BTreeMap<String, u64>,
    before: &Reserves,
) -> Vec<Wanted> {
    let had = |unit: &str, what| before.get(unit).and_then(|unit| unit.get(&what)).copied();
    let mut wanted = BTreeMap::new();
    for (unit, bytes) in reserves.iter().filter(|(_, bytes)| **bytes > 0) {
        let bytes =
            at_least(Reserve::MemoryMin, had(unit, Reserve::MemoryMin).unwrap_or(0), *bytes);
        wanted.insert((unit.clone(), Reserve::MemoryMin), bytes);
    }
    let weights =
        [(Reserve::IOWeight, settings.io_weight), (Reserve::CPUWeight, settings.cpu_weight)];
    for (what, weight) in weights {
        for (slice, weight) in settings.slices.iter().zip(weight.into_iter().cycle()) {
            wanted.insert((slice.clone(), what), weight);
        }
    }
    for (unit, had) in before {
        for (what, value) in had {
            wanted.entry((unit.clone(), *what)).or_insert(*value);
        }
    }
    wanted.into_iter().map(|((unit, what), value)| Wanted { unit, what, value }).collect()
}

/// Returns the value to set if the unit's own is `own`: never less than another program has given
/// it.
pub fn at_least(what: Reserve, own: u64, value: u64) -> u64 {
    // A weight of this value means that none is set.
    let is_set = what == Reserve::MemoryMin || own != u64::MAX;
    if is_set { own.max(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    const MIB: u64 = 1 << 20;

    /// In MiB: all memory, its file cache, and the active and mapped parts of that.
    fn service(unit: &str, [current, file, active, mapped]: [u64; 4]) -> ServiceMemory {
        ServiceMemory {
            unit: unit.to_owned(),
            slices: vec!["system.slice".to_owned()],
            current_bytes: current * MIB,
            file_bytes: file * MIB,
            active_file_bytes: active * MIB,
            mapped_file_bytes: mapped * MIB,
        }
    }

    fn shown(services: &[ServiceMemory], held: &HeldMemory, percent: u64) -> Vec<(String, u64)> {
        let node = NodeMemory { ram_bytes: 4000 * MIB, swap_bytes: 0, page_bytes: 4096 };
        let reserves = reserves(services, held, &node, percent);
        reserves.into_iter().map(|(unit, bytes)| (unit, bytes / MIB)).collect()
    }

    #[test]
    fn cache_that_is_used_once_is_not_kept() {
        // A kubelet with figures from a real node: 145 MB of file pages, most of them its
        // program's.
        let kubelet = service("kubelet.service", [230, 145, 60, 100]);
        assert_eq!(
            needs(&kubelet) / MIB,
            260,
            "all of its cache is active or mapped, an eighth more"
        );
        // CRI-O after pulling images.
        let crio = service("crio.service", [3000, 2940, 10, 60]);
        assert_eq!(needs(&crio) / MIB, 148);
        assert_eq!(needs(&service("wasp-agent.service", [2, 0, 0, 0])) / MIB, 32);
    }

    #[test]
    fn slices_have_the_sum_and_the_first_are_served_first() {
        let services = [
            service("kubelet.service", [230, 145, 145, 145]),
            service("crio.service", [400, 0, 0, 0]),
        ];
        let all = |kubelet, crio| {
            [("crio.service", crio), ("kubelet.service", kubelet), ("system.slice", kubelet + crio)]
                .map(|(unit, mib)| (unit.to_owned(), mib))
        };
        assert_eq!(shown(&services, &HeldMemory::new(), 50), all(260, 452));
        assert_eq!(
            shown(&services, &HeldMemory::new(), 10),
            all(260, 140),
            "10 % of RAM are 400 MiB"
        );
        assert_eq!(shown(&services, &HeldMemory::new(), 0), all(0, 0));
    }

    #[test]
    fn a_service_that_lost_its_cache_keeps_its_reserve() {
        let thrashed = [service("kubelet.service", [90, 8, 4, 4])];
        let held = HeldMemory::from([("kubelet.service".to_owned(), 260 * MIB)]);
        assert_eq!(shown(&thrashed, &held, 10)[0].1, 260);
    }

    #[test]
    fn nobody_gets_less_than_somebody_else_has_given() {
        assert_eq!(at_least(Reserve::CPUWeight, u64::MAX, 800), 800, "not set");
        assert_eq!(at_least(Reserve::CPUWeight, 2000, 800), 2000);
        assert_eq!(at_least(Reserve::MemoryMin, u64::MAX, 32), u64::MAX, "all of it");
        assert_eq!(at_least(Reserve::MemoryMin, 500, 32), 500);
    }

    #[test]
    fn what_is_configured_no_longer_goes_back() {
        let mut settings = Settings::defaults().protection;
        let before = Reserves::from([
            (
                "system.slice".to_owned(),
                [(Reserve::MemoryMin, 0), (Reserve::CPUWeight, 100)].into(),
            ),
            ("wasp-agent.service".to_owned(), [(Reserve::MemoryMin, 32 * MIB)].into()),
        ]);
        let reserves = |mib: u64| {
            ["system.slice", "wasp-agent.service"]
                .map(|unit| (unit.to_owned(), mib * MIB))
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        };
        let decided = |settings: &ProtectionSettings, mib| {
            let wanted = wanted(settings, &reserves(mib), &before).into_iter();
            wanted.map(|w| (w.unit, w.what, w.value)).collect::<Vec<_>>()
        };
        let expected = |slice, agent, cpu| {
            vec![
                ("system.slice".to_owned(), Reserve::MemoryMin, slice),
                ("system.slice".to_owned(), Reserve::CPUWeight, cpu),
                ("wasp-agent.service".to_owned(), Reserve::MemoryMin, agent),
            ]
        };
        settings.cpu_weight = Some(800);
        assert_eq!(decided(&settings, 40), expected(40 * MIB, 40 * MIB, 800));
        settings.cpu_weight = None;
        assert_eq!(decided(&settings, 0), expected(0, 32 * MIB, 100));
        assert_eq!(wanted(&settings, &BTreeMap::new(), &Reserves::new()), []);
    }
}
