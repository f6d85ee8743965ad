//! Plans for a swapfile: create it, switch it on, replace it by one of another size.
//!
//! The kernel allows neither renaming nor removing a file while it is swap. So there are two names:
//! a file that replaces another in use has the second name until the next boot.

use std::path::{Path, PathBuf};

use super::{ProvisionPlan, ProvisionRefusal, ProvisionStep, WantedSwap, fits};
use crate::model::{
    host::SwapDevice,
    storage::{Area, FilePlace, MemoryFacts},
};

/// Plans the steps to a swapfile of the wanted size. `other_free` is the number of free bytes in
/// other swap; `reserve` bytes must stay free on the file system.
pub fn plan_file(
    wanted: WantedSwap,
    place: &FilePlace,
    reserve: u64,
    other_free: u64,
    memory: &MemoryFacts,
) -> Result<ProvisionPlan, ProvisionRefusal> {
    for (path, area) in [(&place.path, &place.found), (&place.next_path, &place.next)] {
        if let Area::Other(what) = area {
            return Err(ProvisionRefusal::Foreign { path: path.clone(), what: what.clone() });
        }
    }
    // A second file in its place would double the swap.
    for (path, area, active) in [
        (&place.path, &place.found, &place.active),
        (&place.next_path, &place.next, &place.next_active),
    ] {
        if *area == Area::Nothing && active.is_some() {
            return Err(ProvisionRefusal::Lost { path: path.clone() });
        }
    }
    let file = |path: &PathBuf, area: &Area, active: &Option<SwapDevice>| match *area {
        Area::Ours { bytes, allocated_bytes } => {
            let (path, active) = (path.clone(), active.clone());
            Some(OurSwapfile { path, bytes, allocated: allocated_bytes, active })
        }
        _ => None,
    };
    let first = file(&place.path, &place.found, &place.active);
    let second = file(&place.next_path, &place.next, &place.next_active);
    let exchange = Exchange { wanted, place, reserve, other_free, memory };
    // If there are two, the one to keep comes first: the right size, in use, with the first name.
    let mut files: Vec<OurSwapfile> = [first, second].into_iter().flatten().collect();
    files.sort_by_key(|file| (!wanted.is_met_by(file.bytes), file.active.is_none()));
    let mut files = files.into_iter();
    match (files.next(), files.next()) {
        (None, _) => exchange.make_first(),
        (Some(stays), other) if wanted.is_met_by(stays.bytes) => Ok(exchange.keep(&stays, other)),
        (Some(old), other) => exchange.replace(old, other),
    }
}

/// A swapfile of the agent.
struct OurSwapfile {
    path: PathBuf,
    bytes: u64,
    allocated: u64,
    active: Option<SwapDevice>,
}

impl OurSwapfile {
    fn free(&self) -> u64 {
        self.active.as_ref().map_or(0, |d| d.size_bytes.saturating_sub(d.used_bytes))
    }

    fn on(&self) -> ProvisionStep {
        ProvisionStep::SwapOn { path: self.path.clone() }
    }

    fn remove(&self) -> ProvisionStep {
        ProvisionStep::RemoveFile { path: self.path.clone() }
    }
}

struct Exchange<'a> {
    wanted: WantedSwap,
    place: &'a FilePlace,
    reserve: u64,
    other_free: u64,
    memory: &'a MemoryFacts,
}

impl Exchange<'_> {
    fn make(&self, path: &Path) -> [ProvisionStep; 2] {
        [
            ProvisionStep::MakeFile { path: path.to_owned(), bytes: self.wanted.bytes },
            ProvisionStep::SwapOn { path: path.to_owned() },
        ]
    }

    /// Returns an error if the file system has no room for the wanted file after `freed` bytes are
    /// released.
    fn room(&self, freed: u64) -> Result<(), ProvisionRefusal> {
        let filesystem = &self.place.filesystem;
        let path = self.place.path.clone();
        if let Some(why) = &filesystem.obstacle {
            return Err(ProvisionRefusal::FileSystem { path, why: why.clone() });
        }
        let available = filesystem.available_bytes.saturating_add(freed);
        let (bytes, reserve) = (self.wanted.bytes, self.reserve);
        if bytes.saturating_add(reserve) > available {
            return Err(ProvisionRefusal::DiskFull { path, bytes, available, reserve });
        }
        Ok(())
    }

    /// Switches `file` off, if it is on, and removes it; other swap has `elsewhere` bytes free for
    /// its pages.
    fn drop(
        &self,
        file: &OurSwapfile,
        elsewhere: u64,
    ) -> Result<Vec<ProvisionStep>, ProvisionRefusal> {
        let Some(active) = &file.active else { return Ok(vec![file.remove()]) };
        let elsewhere = self.other_free.saturating_add(elsewhere);
        fits(&file.path, active.used_bytes, elsewhere, self.memory)?;
        Ok(vec![ProvisionStep::SwapOff { path: file.path.clone() }, file.remove()])
    }

    fn make_first(&self) -> Result<ProvisionPlan, ProvisionRefusal> {
        self.room(0)?;
        Ok(ProvisionPlan { steps: self.make(&self.place.path).into(), kept: None })
    }

    /// Keeps `file`, which has the right size, and removes the other.
    fn keep(&self, file: &OurSwapfile, other: Option<OurSwapfile>) -> ProvisionPlan {
        let mut steps = Vec::new();
        let mut kept = None;
        let other_is_in_use = other.as_ref().is_some_and(|other| other.active.is_some());
        if file.active.is_none() && other_is_in_use {
            steps.push(file.on());
        }
        if let Some(other) = other {
            let elsewhere = if file.active.is_some() { file.free() } else { self.wanted.bytes };
            match self.drop(&other, elsewhere) {
                Ok(dropping) => steps.extend(dropping),
                Err(refusal) => kept = Some(refusal),
            }
        }
        if file.active.is_none() && !other_is_in_use {
            let (from, to) = (file.path.clone(), self.place.path.clone());
            if from != to {
                steps.push(ProvisionStep::Rename { from, to: to.clone() });
            }
            steps.push(ProvisionStep::SwapOn { path: to });
        }
        ProvisionPlan { steps, kept }
    }

    /// Replaces files that all have the wrong size. If that is impossible, the existing swap stays
    /// in use.
    fn replace(
        &self,
        mut old: OurSwapfile,
        other: Option<OurSwapfile>,
    ) -> Result<ProvisionPlan, ProvisionRefusal> {
        let mut steps = Vec::new();
        let mut freed = 0;
        if let Some(other) = other {
            match self.drop(&other, old.free()) {
                Ok(dropping) => steps = dropping,
                Err(refusal) => return Ok(ProvisionPlan { steps, kept: Some(refusal) }),
            }
            freed = other.allocated;
            // The pages of the other file have to move again when the old file is removed.
            if let (Some(old), Some(other)) = (&mut old.active, other.active) {
                old.used_bytes = old.used_bytes.saturating_add(other.used_bytes);
            }
        }
        let kept = match self.exchange(&old, freed) {
            Ok(exchanging) => {
                steps.extend(exchanging);
                None
            }
            Err(refusal) => {
                if old.active.is_none() {
                    steps.push(old.on());
                }
                Some(refusal)
            }
        };
        Ok(ProvisionPlan { steps, kept })
    }

    fn exchange(
        &self,
        old: &OurSwapfile,
        freed: u64,
    ) -> Result<Vec<ProvisionStep>, ProvisionRefusal> {
        let Self { place, wanted, .. } = self;
        if old.active.is_some() && self.room(freed).is_ok() {
            // Both files are in use for a moment, so the pages have a place to go.
            let is_first = old.path == place.path;
            let new = if is_first { &place.next_path } else { &place.path };
            let mut steps = Vec::from(self.make(new));
            steps.extend(self.drop(old, wanted.bytes)?);
            return Ok(steps);
        }
        self.room(freed.saturating_add(old.allocated))?;
        let mut steps = self.drop(old, 0)?;
        steps.extend(self.make(&place.path));
        Ok(steps)
    }
}
