//! `wasp-agent unprotect`: restores the slices' properties from before the agent's changes.

use anyhow::{Context, anyhow};

use super::alone::alone;
use crate::{
    act::slices::{ReservesBefore, SlicesBefore, properties, set, set_reserve, undoing},
    bus,
    roots::Roots,
    state::{StateContent, StateFile},
};

pub(crate) fn unprotect(roots: &Roots) -> anyhow::Result<()> {
    // A running agent would protect the slices again, with what this restores as its record.
    let _alone = alone(roots, "first run systemctl stop wasp-agent")?;
    super::runtime()?.block_on(async {
        let before = StateFile::<SlicesBefore>::new(roots);
        let slices = before.load()?.unwrap_or_default().slices;
        let reserves_before = StateFile::<ReservesBefore>::new(roots);
        let reserves = reserves_before.load()?.unwrap_or_default().units;
        if slices.is_empty() && reserves.is_empty() {
            return super::print("nothing to restore: no slice was changed since the last boot\n");
        }
        let path = roots.system_bus();
        let connection = bus::connect(&path)
            .await
            .with_context(|| format!("cannot reach systemd at {}", path.display()))?;
        let (mut failed, mut left) = (Vec::new(), SlicesBefore::default());
        for (slice, was) in slices {
            let undone = async {
                let change = undoing(&was, &properties(&connection, &slice).await?);
                if !change.is_none() {
                    set(&connection, &slice, &change).await?;
                }
                zbus::Result::Ok(())
            };
            // A failure must not keep the other slices from being restored.
            if let Err(error) = undone.await {
                failed.push(format!("cannot restore {slice}: {error}"));
                left.slices.insert(slice, was);
                continue;
            }
            super::print(&format!("restored {slice}: MemorySwapMax={}\n", was.swap_max))?;
        }
        keep(&before, &left, left.slices.is_empty())?;
        let mut left = ReservesBefore::default();
        for (unit, properties) in reserves {
            for (what, value) in properties {
                // A service that was removed since has nothing to restore.
                if let Err(error) = set_reserve(&connection, &unit, what, value).await
                    && !bus::is_unit_gone(&error)
                {
                    failed.push(format!("cannot restore {} of {unit}: {error}", what.property()));
                    left.units.entry(unit.clone()).or_default().insert(what, value);
                    continue;
                }
                let value =
                    if value == u64::MAX { "not set".to_owned() } else { value.to_string() };
                super::print(&format!("restored {unit}: {} is {value}\n", what.property()))?;
            }
        }
        keep(&reserves_before, &left, left.units.is_empty())?;
        if failed.is_empty() { Ok(()) } else { Err(anyhow!(failed.join("; "))) }
    })
}

/// Saves the part that could not be restored, for the next `unprotect`.
fn keep<T: StateContent>(file: &StateFile<T>, left: &T, is_empty: bool) -> anyhow::Result<()> {
    Ok(if is_empty { file.remove() } else { file.save(left) }?)
}
