//! Handles a swap partition whose device appears after `wasp-swap.service` has given up waiting for
//! it.

use std::{io, path::Path};

use nix::sys::inotify::AddWatchFlags;

use crate::{
    act::Actuator,
    config::settings::{SwapKind, SwapSettings},
    decide::provision::{Late, device_missing, late},
    messages,
    model::protection::DeviceNumber,
    observe::{disks::device_number, events::Events, node::swap_devices, swap::unescaped},
    provision::{alone::Alone, awaited::Awaited},
    roots::Roots,
    state::StateFile,
};

pub(super) const SERVICE: &str = "wasp-swap.service";
/// udev writes a file for each device. The unit's own /dev has no disks.
const UDEV: &str = "/run/udev/data";

#[derive(Debug, Default)]
pub(super) struct LateSwap {
    awaited: bool,
    /// Exists while a device is awaited. Without it, the resync serves.
    watch: Option<Events>,
}

impl LateSwap {
    /// Returns when udev has seen a block device; never if none is awaited.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        let is_block = |name: &std::ffi::OsString| name.as_encoded_bytes().first() == Some(&b'b');
        while !watch.next().await?.iter().any(|event| event.name.as_ref().is_none_or(is_block)) {}
        Ok(())
    }

    /// Makes wasp-swap.service switch on swap whose device has appeared; returns a problem while the
    /// device is missing.
    pub(super) fn check(
        &mut self,
        effects: &impl Actuator,
        roots: &Roots,
        swap: &SwapSettings,
    ) -> Option<String> {
        if swap.kind != SwapKind::Partition {
            *self = Self::default();
            return None;
        }
        // A running `provision` switches the device on by itself.
        let Some(_alone) = Alone::now(roots) else {
            return self.awaited.then(|| device_missing(&swap.path));
        };
        // Watch before looking, so that no change in between is missed.
        let watch = self.watch.take().or_else(|| watch(&roots.path(UDEV)).ok());
        let device = device_number(roots, &swap.path);
        let active: Vec<DeviceNumber> = swap_devices(roots)
            .iter()
            .filter_map(|active| device_number(roots, &unescaped(&active.path)))
            .collect();
        let note = StateFile::<Awaited>::new(roots);
        // A record that cannot be read names no device.
        let noted = note.load().ok().flatten().is_some_and(|awaited| awaited.path == swap.path);
        let late = late(swap, device, &active, self.awaited || noted);
        self.awaited = late == Late::Awaited;
        let path = swap.path.display();
        match late {
            Late::No => None,
            Late::Awaited => {
                self.watch = watch;
                Some(device_missing(&swap.path))
            }
            Late::Here => {
                messages::ProvisionStep
                    .emit(format_args!("{path} exists now: restarting {SERVICE} to switch it on"));
                // It is written again if the device is gone by then.
                let _ = effects.remove_file(note.path());
                effects.restart_unit(SERVICE);
                None
            }
        }
    }
}

fn watch(folder: &Path) -> io::Result<Events> {
    let events = Events::new()?;
    events.watch(folder, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)?;
    Ok(events)
}
