//! Checks a program file on the host: could a runtime start it?

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{
    mounts::{mount_of, mounts_of_host},
    trial::Trial,
};
use crate::{
    decide::hook::version,
    model::{
        program::{Elf, ElfError, Image, ProgramFacts, SeLinux, elf},
        unknown::Unknown,
    },
    roots::Roots,
};

/// Bytes that contain the headers of any program.
const HEAD: u64 = 64 << 10;
/// Upper bound of the constants to search, in bytes.
const CONSTANTS: u64 = 32 << 20;
/// `PATH_MAX`.
const LONGEST_PATH: u64 = 4096;
/// Size of the pieces; each overlaps the end of the one before.
const PIECE: usize = 64 << 10;
const ACROSS: usize = 256;

/// Facts about a program, valid while it is the same file.
#[derive(Debug, Default)]
pub struct Known {
    stamp: Option<Stamp>,
    image: Option<Image>,
    trial: Trial,
}

impl Known {
    /// Returns true if the program was started to see whether it can run, and the result is not known
    /// yet.
    pub fn is_undecided(&self) -> bool {
        self.trial.undecided
    }
}

/// The reason why a file is not a program that can run.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Device, inode, size, and the seconds and nanoseconds of the last change of content and of inode.
type Stamp = (u64, u64, u64, [i64; 4]);

/// Returns facts about the program at `file`, whose path on the host is `shown`; `own` is a program
/// of this machine.
pub fn facts(roots: &Roots, file: &Path, shown: &Path, own: &Path) -> ProgramFacts {
    facts_again(roots, file, shown, own, &mut Known::default())
}

/// As [`facts`], but reads the file only if it differs from `known`.
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
        *known = Known { stamp, ..Known::default() };
    }
    let image = match is_file {
        true => match &known.image {
            Some(image) => Ok(image.clone()),
            None => {
                let image = image(file);
                // Try an unreadable file again the next time.
                known.image = image.as_ref().ok().cloned();
                image.map_err(Unknown::of)
            }
        },
        false => Err("it is not a file".into()),
    };
    let mounts = mounts_of_host(roots);
    // The runtime that runs it follows links.
    let real = std::fs::canonicalize(file).ok();
    let real = real.map_or_else(|| shown.to_owned(), |real| roots.shown(&real).into_owned());
    let noexec = mount_of(&mounts, &real).filter(|mount| mount.noexec);
    let interpreter = image.as_ref().ok().and_then(|image| image.interpreter.clone());
    // In the directory of a host, or in an image, it may be a link to an absolute path.
    let is_there = |path: &PathBuf| {
        let place = roots.path(path);
        place.exists() || place.is_symlink() || path.exists()
    };
    let no_interpreter = interpreter.filter(|path| !is_there(path));
    let may_run = metadata.as_ref().is_some_and(|m| m.mode() & 0o111 != 0) && noexec.is_none();
    // Another program could do anything; that of an image needs the image's libraries.
    let is_ours = image.as_ref().is_ok_and(|image| image.version.is_some()) && file == shown;
    known.trial.undecided = false;
    let not_started = match may_run && is_ours && no_interpreter.is_none() {
        true => known.trial.fault(file),
        false => None,
    };
    ProgramFacts {
        no_interpreter,
        not_started,
        path: shown.to_owned(),
        mode: metadata.as_ref().map(MetadataExt::mode),
        is_file,
        noexec: noexec.map(|mount| mount.mount_point.clone()),
        image,
        machine: image_head(own).ok().map(|(_, elf)| elf.target),
        selinux: enforces(roots).map(|enforces| SeLinux { enforces, label: label(file) }),
    }
}

/// `None` if the kernel has no SELinux, it is disabled, or there is no policy
/// (is_selinux_enabled(3) uses the same two files).
fn enforces(roots: &Roots) -> Option<bool> {
    if !roots.path("/etc/selinux/config").exists() {
        return None;
    }
    let enforce = std::fs::read_to_string(roots.path("/sys/fs/selinux/enforce")).ok()?;
    Some(enforce.trim_end() == "1")
}

/// Reads the label of a link's target, which is the file that a runtime executes.
fn label(path: &Path) -> Option<String> {
    let mut buffer = [0_u8; 256];
    let length = rustix::fs::getxattr(path, "security.selinux", &mut buffer).ok()?;
    let label = String::from_utf8_lossy(buffer.get(..length)?);
    let label = label.trim_end_matches('\0');
    (!label.is_empty()).then(|| label.to_owned())
}

fn image_head(path: &Path) -> Result<(File, Elf), ImageError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let head = read_at(&file, 0, length.min(HEAD))?;
    let elf = elf(&head, length)?;
    Ok((file, elf))
}

fn image(path: &Path) -> Result<Image, ImageError> {
    let (file, elf) = image_head(path)?;
    let version = elf.constants.iter().find_map(|(offset, length)| {
        let end = offset.saturating_add((*length).min(CONSTANTS));
        // The overlap contains a match that crosses the border of two pieces.
        (*offset..end)
            .step_by(PIECE - ACROSS)
            .find_map(|at| version(&read_at(&file, at, (end - at).min(PIECE as u64)).ok()?))
    });
    let interpreter = elf.interpreter.and_then(|(offset, length)| {
        let bytes = read_at(&file, offset, length.min(LONGEST_PATH)).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(PathBuf::from(OsStr::from_bytes(&bytes[..end])))
    });
    Ok(Image { target: elf.target, interpreter, version })
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
