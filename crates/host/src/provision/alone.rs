//! One process at a time provisions, deprovisions, or decides by what provisioning has left.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::ledger::Provisioned;
use crate::{messages, roots::Roots, state::StateFile};

/// No other process provisions or deprovisions as long as this lives. A host whose directory of records
/// cannot be locked has no such guarantee.
#[derive(Debug)]
pub struct Alone {
    lock: Option<File>,
}

impl Alone {
    /// Waits until the other process has ended.
    pub(super) fn wait(roots: &Roots) -> Self {
        if let Some(alone) = Self::now(roots) {
            return alone;
        }
        messages::ProvisionStep.emit(format_args!(
            "waiting for another wasp-agent, which provisions or deprovisions (systemctl status \
             wasp-swap)"
        ));
        let locked = open(roots).filter(|file| file.lock().is_ok());
        Self { lock: locked }
    }

    /// `None` while another process provisions or deprovisions.
    pub fn now(roots: &Roots) -> Option<Self> {
        let file = open(roots);
        match file.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => None,
            Some(Ok(())) => Some(Self { lock: file }),
            Some(Err(TryLockError::Error(_))) | None => Some(Self { lock: None }),
        }
    }
}

/// A child that is being started has a copy of the descriptor, and would keep the lock.
impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.lock.as_ref().map(File::unlock);
    }
}

fn open(roots: &Roots) -> Option<File> {
    let records = StateFile::<Provisioned>::new(roots);
    File::open(records.path().parent().unwrap_or(Path::new("/"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let records = StateFile::<Provisioned>::new(&roots);
        // Without the directory, there is nothing to lock.
        let unlocked = Alone::now(&roots).unwrap();
        std::fs::create_dir_all(records.path().parent().unwrap()).unwrap();
        let first = Alone::now(&roots).unwrap();
        assert!(Alone::now(&roots).is_none());
        drop(unlocked);
        assert!(Alone::now(&roots).is_none());
        let second = std::thread::spawn(move || Alone::wait(&roots));
        drop(first);
        drop(second.join().unwrap());
        assert!(Alone::now(&Roots::at(folder.path())).is_some());
    }
}
