//! Protects slices through systemd, and restores their previous values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zbus::{
    Connection,
    zvariant::{OwnedValue, Value},
};

use crate::{
    bus,
    decide::protection::PropertyChange,
    errors::FileError,
    model::{
        check::OomdFacts,
        protection::{Reserve, Reserves, SliceProperties},
        swap::SwapMax,
        unknown::Unknown,
    },
    observe::oomd,
    roots::Roots,
    state::{Description, StateContent, StateFile, files, unversioned},
};

const SWAP: &str = "MemorySwapMax";
const LATENCY: &str = "IODeviceLatencyTargetUSec";

/// Returns the properties that systemd holds for `slice`.
pub async fn properties(connection: &Connection, slice: &str) -> zbus::Result<SliceProperties> {
    let get = |property| bus::get(connection, slice, "Slice", property);
    let swap_max = SwapMax::from_systemd(u64::try_from(get(SWAP).await?)?);
    let io_latency: OwnedValue = get(LATENCY).await?;
    Ok(SliceProperties { swap_max, io_latency: io_latency.try_into()? })
}

/// Returns true if systemd-oomd may kill in `slice`.
async fn oomd_kills(connection: &Connection, slice: &str) -> zbus::Result<bool> {
    for property in ["ManagedOOMSwap", "ManagedOOMMemoryPressure"] {
        let value = String::try_from(bus::get(connection, slice, "Slice", property).await?)?;
        if value == "kill" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks systemd about the slices with pods in which systemd-oomd may kill.
pub async fn oomd_above_pods(connection: &Connection, roots: &Roots) -> OomdFacts {
    let mut facts = OomdFacts::default();
    let mut slices = oomd::candidates(roots).into_iter();
    while let Some(slice) = slices.next() {
        let answer = oomd_kills(connection, &slice).await;
        // No other answer will come.
        let is_last = answer.as_ref().is_err_and(bus::is_broken);
        take(&mut facts, slice, answer);
        if is_last && let Some((unknown, _)) = &mut facts.unknown {
            unknown.extend(slices.by_ref());
        }
    }
    facts
}

fn take(facts: &mut OomdFacts, slice: String, answer: zbus::Result<bool>) {
    match answer {
        Ok(true) => facts.kills.push(slice),
        Ok(false) => {}
        // Without such a slice, or without oomd, no program kills in it.
        Err(error) if bus::lacks(&error) => {}
        Err(error) => {
            let unknown = facts.unknown.get_or_insert_with(|| (Vec::new(), Unknown::of(error)));
            unknown.0.push(slice);
        }
    }
}

/// Sets the properties of `change` in systemd until the next boot.
pub async fn set(
    connection: &Connection,
    slice: &str,
    change: &PropertyChange,
) -> zbus::Result<()> {
    let mut properties = Vec::new();
    if let Some(swap_max) = change.swap_max {
        properties.push((SWAP, Value::U64(swap_max.to_systemd())));
    }
    if !change.io_latency.is_empty() {
        properties.push((LATENCY, Value::from(change.io_latency.clone())));
    }
    bus::set(connection, slice, &properties).await
}

/// Returns the cgroup of a service, below the root; empty if it does not run.
pub async fn control_group(connection: &Connection, service: &str) -> zbus::Result<String> {
    Ok(bus::get(connection, service, "Service", "ControlGroup").await?.try_into()?)
}

/// Returns systemd's interface for a unit of this name.
fn interface(unit: &str) -> &'static str {
    if unit.ends_with(".slice") { "Slice" } else { "Service" }
}

/// Returns the value that systemd holds for `unit`.
pub async fn reserve(connection: &Connection, unit: &str, what: Reserve) -> zbus::Result<u64> {
    Ok(bus::get(connection, unit, interface(unit), what.property()).await?.try_into()?)
}

/// Sets the value in systemd until the next boot.
pub async fn set_reserve(
    connection: &Connection,
    unit: &str,
    what: Reserve,
    value: u64,
) -> zbus::Result<()> {
    bus::set(connection, unit, &[(what.property(), Value::U64(value))]).await
}

/// The values that systemd held before the agent reserved memory or a share in this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservesBefore {
    /// Values by unit and property.
    pub units: Reserves,
}

impl StateContent for ReservesBefore {
    const FILE: Description = files::RESERVES;
}

/// Remembers `value`, unless a value is already remembered.
pub fn remember_reserve(
    roots: &Roots,
    unit: &str,
    what: Reserve,
    value: u64,
) -> Result<(), FileError> {
    let file = StateFile::<ReservesBefore>::new(roots);
    let mut before = file.load()?.unwrap_or_default();
    let unit = before.units.entry(unit.to_owned()).or_default();
    if unit.contains_key(&what) {
        return Ok(());
    }
    unit.insert(what, value);
    file.save(&before)
}

/// The properties that systemd held for each slice before the agent changed them in this boot. The
/// agent's own values do not outlive the boot either.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlicesBefore {
    /// Properties by slice.
    pub slices: BTreeMap<String, SliceProperties>,
}

impl StateContent for SlicesBefore {
    const FILE: Description = files::SLICES;

    fn convert(version: u64, old: serde_json::Value) -> Option<serde_json::Value> {
        unversioned(version, old, "slices")
    }
}

/// Remembers `properties`, unless some are already remembered for this slice.
pub fn remember(roots: &Roots, slice: &str, properties: &SliceProperties) -> Result<(), FileError> {
    let file = StateFile::<SlicesBefore>::new(roots);
    let mut before = file.load()?.unwrap_or_default();
    if before.slices.contains_key(slice) {
        return Ok(());
    }
    before.slices.insert(slice.to_owned(), properties.clone());
    file.save(&before)
}

/// Returns the change that restores a slice from `now` to `before`.
pub fn undoing(before: &SliceProperties, now: &SliceProperties) -> PropertyChange {
    // A target of 0 means none.
    let gone = now
        .io_latency
        .iter()
        .filter(|(path, _)| before.io_latency.iter().all(|(known, _)| known != path))
        .map(|(path, _)| (path.clone(), 0));
    let other = before.io_latency.iter().filter(|entry| !now.io_latency.contains(entry)).cloned();
    PropertyChange {
        swap_max: (before.swap_max != now.swap_max).then_some(before.swap_max),
        io_latency: gone.chain(other).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_bus_is_not_the_answer_that_oomd_does_not_kill() {
        let refused = |name: &'static str| {
            let call = zbus::message::Message::method_call("/", "Get").unwrap().build(&()).unwrap();
            let name = zbus::names::OwnedErrorName::try_from(name).unwrap();
            zbus::Error::MethodError(name, Some("why".to_owned()), call)
        };
        let mut facts = OomdFacts::default();
        let mut take = |slice: &str, answer| super::take(&mut facts, slice.to_owned(), answer);
        take("-.slice", Ok(false));
        take("a.slice", Ok(true));
        take("b.slice", Err(refused("org.freedesktop.DBus.Error.UnknownProperty")));
        take("c.slice", Err(refused("org.freedesktop.systemd1.NoSuchUnit")));
        take("d.slice", Err(refused("org.freedesktop.DBus.Error.AccessDenied")));
        take("e.slice", Err(zbus::Error::Failure("no answer".to_owned())));
        assert_eq!(facts.kills, ["a.slice"]);
        let (slices, why) = facts.unknown.unwrap();
        assert_eq!(slices, ["d.slice", "e.slice"]);
        assert!(why.to_string().contains("AccessDenied"), "{why}");
    }

    #[test]
    fn reserves_are_remembered_once() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let remember = |what, value| {
            remember_reserve(&roots, "kubelet.service", what, value).unwrap();
        };
        remember(Reserve::MemoryMin, 7);
        remember(Reserve::MemoryMin, 8);
        remember(Reserve::CPUWeight, u64::MAX);
        let expected = [(Reserve::MemoryMin, 7), (Reserve::CPUWeight, u64::MAX)];
        let file = StateFile::<ReservesBefore>::new(&roots);
        let before = file.load().unwrap().unwrap();
        assert_eq!(before.units["kubelet.service"], BTreeMap::from(expected));
    }

    #[test]
    fn the_first_that_was_found_is_remembered_and_undone() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let before = StateFile::<SlicesBefore>::new(&roots);
        let properties = |swap_max, latency: &[(&str, u64)]| SliceProperties {
            swap_max,
            io_latency: latency
                .iter()
                .map(|(path, micros)| ((*path).to_owned(), *micros))
                .collect(),
        };
        let first = properties(SwapMax::Max, &[("/dev/sdb", 75)]);
        remember(&roots, "system.slice", &first).unwrap();
        remember(&roots, "system.slice", &properties(SwapMax::ZERO, &[])).unwrap();
        assert_eq!(before.load().unwrap().unwrap().slices["system.slice"], first);

        let now = properties(SwapMax::ZERO, &[("/dev/sdb", 50), ("/dev/vda", 50)]);
        assert_eq!(
            undoing(&first, &now),
            PropertyChange {
                swap_max: Some(SwapMax::Max),
                io_latency: vec![("/dev/vda".into(), 0), ("/dev/sdb".into(), 75)]
            }
        );
        assert!(undoing(&first, &first).is_none());
        before.remove().unwrap();
        assert_eq!(before.load().unwrap(), None);
    }
}
