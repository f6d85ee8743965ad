//! A program as it lies on the host: whether a runtime could start it.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use super::mounts::{mount_of, mounts};
use crate::{
    decide::hook::version,
    model::program::{Elf, Image, ProgramFacts, elf},
    roots::Roots,
};

/// So much holds the head of any program.
const HEAD: u64 = 64 << 10;
/// So much of its constants is looked through.
const CONSTANTS: u64 = 32 << 20;
/// In pieces, each of which begins so far before the end of the one before.
const PIECE: usize = 64 << 10;
const ACROSS: usize = 256;

/// What was found in a program, for as long as it is the same file.
#[derive(Debug, Default)]
pub struct Known {
    stamp: Option<Stamp>,
    image: Option<Result<Image, String>>,
}

/// Device, inode, size, and the seconds and nanoseconds of the last change of content and of inode.
type Stamp = (u64, u64, u64, [i64; 4]);

/// What is at `file`, which the host names `shown`; `own` is a program that runs here.
pub fn facts(roots: &Roots, file: &Path, shown: &Path, own: &Path) -> ProgramFacts {
    facts_again(roots, file, shown, own, &mut Known::default())
}

/// As [`facts`]; the file is read only where it is another than `known`.
pub fn facts_again(
    roots: &Roots,
    file: &Path,
    shown: &Path,
    own: &Path,
    known: &mut Known,
) -> ProgramFacts {
    let metadata = std::fs::metadata(file).ok();
    let is_file = metadata.as_ref().is_some_and(std::fs::Metadata::is_file);
    let stamp = metadata.as_ref().map(|m| {
        (m.dev(), m.ino(), m.size(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()])
    });
    if known.stamp != stamp {
        *known = Known { stamp, image: None };
    }
    let image = match is_file {
        true => match &known.image {
            Some(image) => image.clone(),
            None => {
                let image = image(file);
                // What could not be read is read again the next time.
                known.image = image.is_ok().then(|| image.clone());
                image
            }
        },
        false => Err("it is not a file".to_owned()),
    };
    let mounts = mounts(roots);
    // Links are followed by whoever runs it.
    let real = std::fs::canonicalize(file).ok();
    let real = real.map_or_else(|| shown.to_owned(), |real| roots.shown(&real).into_owned());
    let noexec = mount_of(&mounts, &real).filter(|mount| mount.noexec);
    ProgramFacts {
        path: shown.to_owned(),
        mode: metadata.as_ref().map(MetadataExt::mode),
        is_file,
        noexec: noexec.map(|mount| mount.mount_point.clone()),
        image,
        machine: image_head(own).ok().map(|(_, elf)| elf.target),
    }
}

fn image_head(path: &Path) -> Result<(File, Elf), String> {
    let failed = |error: io::Error| format!("it cannot be read: {error}");
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let head = read_at(&file, 0, length.min(HEAD)).map_err(failed)?;
    let elf = elf(&head, length)?;
    Ok((file, elf))
}

fn image(path: &Path) -> Result<Image, String> {
    let (file, elf) = image_head(path)?;
    let version = elf.constants.iter().find_map(|(offset, length)| {
        let end = offset.saturating_add((*length).min(CONSTANTS));
        // What lies across two pieces is in the second one.
        (*offset..end)
            .step_by(PIECE - ACROSS)
            .find_map(|at| version(&read_at(&file, at, (end - at).min(PIECE as u64)).ok()?))
    });
    Ok(Image { target: elf.target, version })
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
