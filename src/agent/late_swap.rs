//! Handles a swap partition whose device appears after `wasp-swap.service` has given up waiting for
//! it.

use std::{io, path::Path};

use nix::sys::inotify::AddWatchFlags;

use super::{Agent, effects::Effects};
use crate::{
    config::settings::SwapKind,
    decide::provision::{Late, device_missing, late},
    messages,
    model::protection::DeviceNumber,
    observe::{disks::device_number, events::Events, node::swap_devices, swap::unescaped},
    provision::awaited::Awaited,
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
}

impl<E: Effects> Agent<E> {
    /// Has swap switched on whose device has appeared; returns a problem while it has not.
    pub(super) fn check_late_swap(&mut self) -> Option<String> {
        let swap = &self.settings.swap;
        if swap.kind != SwapKind::Partition {
            self.late_swap = LateSwap::default();
            return None;
        }
        // Watch before looking, so that no change in between is missed.
        let watch = self.late_swap.watch.take().or_else(|| watch(&self.roots.path(UDEV)).ok());
        let device = device_number(&self.roots, &swap.path);
        let active: Vec<DeviceNumber> = swap_devices(&self.roots)
            .iter()
            .filter_map(|active| device_number(&self.roots, &unescaped(&active.path)))
            .collect();
        let note = StateFile::<Awaited>::new(&self.roots);
        // An unreadable note names no device.
        let noted = note.load().ok().flatten().is_some_and(|awaited| awaited.path == swap.path);
        let late = late(swap, device, &active, self.late_swap.awaited || noted);
        self.late_swap.awaited = late == Late::Awaited;
        let path = swap.path.display();
        match late {
            Late::No => None,
            Late::Awaited => {
                self.late_swap.watch = watch;
                Some(device_missing(&swap.path))
            }
            Late::Here => {
                messages::ProvisionStep
                    .emit(format_args!("{path} exists now: restarting {SERVICE} to switch it on"));
                // It is written again if the device is gone by then.
                let _ = self.effects.remove_file(note.path());
                self.effects.restart_unit(SERVICE);
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
