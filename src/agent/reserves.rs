//! Reserves memory and weights for the node's own services, in the task that repairs the slices.

use zbus::Connection;

use super::protection::effects::{SliceEffects, shown};
use crate::{
    act::slices::{ReservesBefore, control_group, reserve},
    bus,
    config::settings::ProtectionSettings,
    decide::working_set::{Wanted, at_least, reserves, wanted},
    model::protection::{HeldMemory, Reserve},
    observe::{node, slices::service_memory},
    roots::Roots,
    state::StateFile,
};

/// Changes systemd's values to the configured and needed ones; returns those that could not be set.
pub(super) async fn ensure(
    roots: &Roots,
    connection: &Connection,
    settings: &ProtectionSettings,
    effects: &impl SliceEffects,
) -> zbus::Result<Vec<String>> {
    let before = match StateFile::<ReservesBefore>::new(roots).load() {
        Ok(before) => before.unwrap_or_default().units,
        // The previous values could not be restored.
        Err(error) => return Ok(vec![format!("cannot reserve memory for services: {error}")]),
    };
    let Ok(node) = node::memory(roots) else { return Ok(Vec::new()) };
    let (mut services, mut held) = (Vec::new(), HeldMemory::new());
    for unit in &settings.services {
        let group = match control_group(connection, unit).await {
            Ok(group) => group,
            Err(error) if bus::is_unit_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        // Consider only values that the agent has set: another program's do not show the service's
        // needs.
        let is_ours = before.get(unit).is_some_and(|had| had.contains_key(&Reserve::MemoryMin));
        match service_memory(roots, unit, &group) {
            Some(memory) => services.push(memory),
            // The service is restarting: its reservation stays until it runs.
            None if is_ours => return Ok(Vec::new()),
            None => continue,
        }
        if is_ours {
            held.insert(unit.clone(), reserve(connection, unit, Reserve::MemoryMin).await?);
        }
    }
    let reserves = reserves(&services, &held, &node, settings.working_set_percent);
    let mut failed = Vec::new();
    for Wanted { unit, what, value } in wanted(settings, &reserves, &before) {
        let set = async {
            let now = reserve(connection, &unit, what).await?;
            let own = before.get(&unit).and_then(|had| had.get(&what)).copied().unwrap_or(now);
            let value = at_least(what, own, value);
            if now == value {
                return Ok(());
            }
            effects.reserve(roots, connection, &unit, what, now, value).await
        };
        match set.await {
            Ok(()) => {}
            Err(error) if bus::is_unit_gone(&error) => {}
            Err(error) if bus::is_broken(&error) => return Err(error),
            Err(error) => failed.push(format!(
                "cannot set {} of {unit} to {}: {error}",
                what.property(),
                shown(what, value)
            )),
        }
    }
    Ok(failed)
}
