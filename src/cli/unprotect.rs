//! `wasp-agent unprotect`: slices as they were before the agent came.

use anyhow::Context;

use crate::{
    act::{
        bus,
        slices::{ReservesBefore, SlicesBefore, properties, set, set_reserve, undoing},
    },
    roots::Roots,
    state::StateFile,
};

pub fn unprotect(roots: &Roots) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let before = StateFile::<SlicesBefore>::new(roots);
        let slices = before.load()?.unwrap_or_default().slices;
        let reserves_before = StateFile::<ReservesBefore>::new(roots);
        let reserves = reserves_before.load()?.unwrap_or_default().units;
        if slices.is_empty() && reserves.is_empty() {
            return super::print("nothing to undo: no slice was changed since the last boot\n");
        }
        let path = roots.system_bus();
        let connection = bus::connect(&path)
            .await
            .with_context(|| format!("cannot reach systemd at {}", path.display()))?;
        for (slice, was) in slices {
            let undone = async {
                let change = undoing(&was, &properties(&connection, &slice).await?);
                if !change.is_none() {
                    set(&connection, &slice, &change).await?;
                }
                zbus::Result::Ok(())
            };
            undone.await.with_context(|| format!("cannot put {slice} back"))?;
            super::print(&format!("{slice} is as it was: MemorySwapMax={}\n", was.swap_max))?;
        }
        before.remove()?;
        for (unit, properties) in reserves {
            for (what, value) in properties {
                match set_reserve(&connection, &unit, what, value).await {
                    // A service that was removed meanwhile has nothing to put back.
                    Err(error) if !bus::is_unit_gone(&error) => Err(error),
                    _ => Ok(()),
                }
                .with_context(|| format!("cannot put {} of {unit} back", what.property()))?;
                let value =
                    if value == u64::MAX { "not set".to_owned() } else { value.to_string() };
                super::print(&format!("{unit}: {} is {value} again\n", what.property()))?;
            }
        }
        Ok(reserves_before.remove()?)
    })
}
