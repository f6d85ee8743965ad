//! A swapfile: made, switched on, exchanged for one of another size.

use super::{Plan, Refusal, Step, Wanted, fits};
use crate::model::{
    host::SwapDevice,
    storage::{Area, FilePlace, MemoryFacts},
};

/// Brings the swapfile to the wanted size. `other_free` bytes are free in swap that is not ours,
/// `reserve` bytes must stay free on the file system.
pub fn plan_file(
    wanted: Wanted,
    place: &FilePlace,
    reserve: u64,
    other_free: u64,
    memory: &MemoryFacts,
) -> Result<Plan, Refusal> {
    for (path, area) in [(&place.path, &place.found), (&place.next_path, &place.next)] {
        if let Area::Other(what) = area {
            return Err(Refusal::Foreign { path: path.clone(), what: what.clone() });
        }
    }
    let exchange = Exchange { wanted, place, reserve, other_free, memory };
    match place.next {
        Area::Ours { bytes, .. } if wanted.is_met_by(bytes) => Ok(exchange.finish()),
        Area::Ours { allocated_bytes, .. } => exchange.abandon(allocated_bytes),
        _ => exchange.begin(0, Vec::new()),
    }
}

struct Exchange<'a> {
    wanted: Wanted,
    place: &'a FilePlace,
    reserve: u64,
    other_free: u64,
    memory: &'a MemoryFacts,
}

fn used(active: Option<&SwapDevice>) -> u64 {
    active.map_or(0, |device| device.used_bytes)
}

fn free(active: Option<&SwapDevice>) -> u64 {
    active.map_or(0, |device| device.size_bytes.saturating_sub(device.used_bytes))
}

impl Exchange<'_> {
    fn switch_on(&self) -> Step {
        Step::SwapOn { path: self.place.path.clone() }
    }

    fn make(&self, path: &std::path::Path) -> Step {
        Step::MakeFile { path: path.to_owned(), bytes: self.wanted.bytes }
    }

    /// Whether the wanted file has room once `freed` bytes are given back.
    fn room(&self, freed: u64) -> Result<(), Refusal> {
        let filesystem = &self.place.filesystem;
        let path = self.place.path.clone();
        if let Some(why) = &filesystem.obstacle {
            return Err(Refusal::FileSystem { path, why: why.clone() });
        }
        let available = filesystem.available_bytes.saturating_add(freed);
        let left = available.saturating_sub(self.wanted.bytes);
        if left < self.reserve || available < self.wanted.bytes {
            let (bytes, reserve) = (self.wanted.bytes, self.reserve);
            return Err(Refusal::DiskFull { path, bytes, left, reserve });
        }
        Ok(())
    }

    /// The new file is complete; the old one goes, if there is one.
    fn finish(&self) -> Plan {
        let Self { place, .. } = self;
        let mut steps = Vec::new();
        let next_is_on = place.next_active.is_some();
        if let Some(old) = &place.active {
            if !next_is_on {
                steps.push(Step::SwapOn { path: place.next_path.clone() });
            }
            let elsewhere = match &place.next_active {
                Some(next) => free(Some(next)),
                None => self.wanted.bytes,
            };
            let room = self.other_free.saturating_add(elsewhere);
            if let Err(refusal) = fits(&place.path, old.used_bytes, room, self.memory) {
                return Plan { steps, kept: Some(refusal) };
            }
            steps.push(Step::SwapOff { path: place.path.clone() });
        }
        steps.push(Step::Rename { from: place.next_path.clone(), to: place.path.clone() });
        if place.active.is_none() && !next_is_on {
            steps.push(self.switch_on());
        }
        Plan { steps, kept: None }
    }

    /// The new file is for a size that is no longer wanted.
    fn abandon(&self, allocated_bytes: u64) -> Result<Plan, Refusal> {
        let Self { place, .. } = self;
        let mut steps = Vec::new();
        if let Some(next) = &place.next_active {
            let room = self.other_free.saturating_add(free(place.active.as_ref()));
            if let Err(refusal) = fits(&place.next_path, next.used_bytes, room, self.memory) {
                return Ok(Plan { steps, kept: Some(refusal) });
            }
            steps.push(Step::SwapOff { path: place.next_path.clone() });
        }
        steps.push(Step::RemoveFile { path: place.next_path.clone() });
        self.begin(allocated_bytes, steps)
    }

    /// There is one file, or none; `steps` come first and give back `freed` bytes.
    fn begin(&self, freed: u64, mut steps: Vec<Step>) -> Result<Plan, Refusal> {
        let Self { place, .. } = self;
        let (bytes, allocated) = match place.found {
            Area::Ours { bytes, allocated_bytes } => (bytes, allocated_bytes),
            _ => {
                self.room(freed)?;
                steps.extend([self.make(&place.path), self.switch_on()]);
                return Ok(Plan { steps, kept: None });
            }
        };
        let active = place.active.as_ref();
        if self.wanted.is_met_by(bytes) {
            if active.is_none() {
                steps.push(self.switch_on());
            }
            return Ok(Plan { steps, kept: None });
        }
        let kept = match self.replace(freed, allocated) {
            Ok(replacing) => {
                steps.extend(replacing);
                None
            }
            Err(refusal) => {
                if active.is_none() {
                    steps.push(self.switch_on());
                }
                Some(refusal)
            }
        };
        Ok(Plan { steps, kept })
    }

    /// The file has the wrong size.
    fn replace(&self, freed: u64, allocated: u64) -> Result<Vec<Step>, Refusal> {
        let Self { place, wanted, other_free, memory, .. } = self;
        let path = &place.path;
        let remove = Step::RemoveFile { path: path.clone() };
        let Some(old) = &place.active else {
            self.room(freed.saturating_add(allocated))?;
            return Ok(vec![remove, self.make(path), self.switch_on()]);
        };
        let off = Step::SwapOff { path: path.clone() };
        if self.room(freed).is_ok() {
            // Both for a moment: the pages have a place to go.
            let elsewhere = other_free.saturating_add(wanted.bytes);
            fits(path, used(Some(old)), elsewhere, memory)?;
            let next = &place.next_path;
            let rename = Step::Rename { from: next.clone(), to: path.clone() };
            return Ok(vec![self.make(next), Step::SwapOn { path: next.clone() }, off, rename]);
        }
        self.room(freed.saturating_add(allocated))?;
        fits(path, used(Some(old)), *other_free, memory)?;
        Ok(vec![off, remove, self.make(path), self.switch_on()])
    }
}
