//! Records the swap that the agent made, so that it can be removed when the configuration names
//! other swap, or none. Swap that should be removed and could not stays in the record.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    config::settings::SwapKind,
    errors::FileError,
    observe::disks::device_number,
    roots::Roots,
    state::{Description, StateContent, StateFile, files},
};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioned {
    pub areas: Vec<OwnArea>,
}

impl StateContent for Provisioned {
    const FILE: Description = files::PROVISIONED;
}

/// Returns true if the record names swap of the agent's.
pub fn has_provisioned(roots: &Roots) -> Result<bool, FileError> {
    let record = StateFile::<Provisioned>::new(roots).load()?;
    Ok(record.is_some_and(|record| !record.areas.is_empty()))
}

/// A swap area that the agent made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnArea {
    pub kind: SwapKind,
    /// Unused for zram.
    pub path: PathBuf,
}

impl OwnArea {
    /// Returns true if both name the same swap, which may have several names.
    pub fn is_same(&self, roots: &Roots, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        let paths = [&self.path, &other.path];
        let same = |[a, b]: [Option<(u64, u64)>; 2]| a.is_some() && a == b;
        self == other
            || match self.kind {
                SwapKind::Zram => true,
                SwapKind::File => same(paths.map(|path| {
                    let found = fs::metadata(roots.path(path)).ok()?;
                    Some((found.dev(), found.ino()))
                })),
                SwapKind::Partition => same(paths.map(|path| {
                    let number = device_number(roots, path)?;
                    Some((number.major.into(), number.minor.into()))
                })),
            }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Regression: after a change of the name alone, the old name was retired, and with it the swap.
    #[test]
    fn two_names_of_one_swap_are_the_same_area() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        for (path, text) in [
            ("/srv/a/swapfile", ""),
            ("/srv/b/swapfile", ""),
            ("/sys/class/block/vdb1/dev", "254:17\n"),
            ("/sys/class/block/vdb2/dev", "254:18\n"),
            ("/dev/vdb1", ""),
        ] {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        }
        fs::create_dir_all(roots.path("/dev/disk/by-partlabel")).unwrap();
        symlink("../../vdb1", roots.path("/dev/disk/by-partlabel/swap")).unwrap();
        let of = |kind| move |path: &str| OwnArea { kind, path: path.into() };
        let (file, partition) = (of(SwapKind::File), of(SwapKind::Partition));
        let labelled = "/dev/disk/by-partlabel/swap";
        for (one, other, same) in [
            (file("/srv/a/swapfile"), file("/srv/b/../a/swapfile"), true),
            (file("/srv/a/swapfile"), file("/srv/b/swapfile"), false),
            (file("/srv/gone"), file("/srv/gone"), true),
            (file("/srv/gone"), file("/srv/never"), false),
            (partition("/dev/vdb1"), partition(labelled), true),
            (partition("/dev/vdb2"), partition(labelled), false),
            (partition("/dev/gone"), partition("/dev/never"), false),
            (of(SwapKind::Zram)("/srv/a/swapfile"), file("/srv/a/swapfile"), false),
            (of(SwapKind::Zram)("/a"), of(SwapKind::Zram)("/b"), true),
        ] {
            assert_eq!(one.is_same(&roots, &other), same, "{one:?} {other:?}");
        }
    }
}
