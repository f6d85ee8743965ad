//! `wasp-agent unprotect`: slices as they were before the agent came.

use anyhow::Context;

use crate::{
    act::{
        bus,
        slices::{SlicesBefore, properties, set, undoing},
    },
    roots::Roots,
    state::StateFile,
};

pub fn unprotect(roots: &Roots) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let before = StateFile::<SlicesBefore>::new(roots);
        let slices = before.load()?.unwrap_or_default().slices;
        if slices.is_empty() {
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
        Ok(before.remove()?)
    })
}
