//! Checks that a file can run as a program: enough of ELF (elf(5)) to decide before a container
//! depends on it.

use std::path::PathBuf;

use serde::Serialize;

use super::unknown::Unknown;

/// Facts about a program file on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    pub path: PathBuf,
    /// The file's mode; `None` if there is no file.
    pub mode: Option<u32>,
    pub is_file: bool,
    /// The program that loads it, if that is missing.
    pub no_interpreter: Option<PathBuf>,
    /// The reason why it did not start when it was run once, such as a missing library.
    pub not_started: Option<String>,
    /// The `noexec` mount point that the file is on.
    pub noexec: Option<PathBuf>,
    /// The program's target and version; `Err` is the reason why it cannot run.
    pub image: Result<Image, Unknown>,
    /// The target of this machine's programs; `None` if unknown.
    pub machine: Option<ProgramTarget>,
    /// `None` if the kernel runs without SELinux.
    pub selinux: Option<SeLinux>,
}

/// SELinux' view of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeLinux {
    pub enforces: bool,
    /// `None` if the file has no readable label.
    pub label: Option<String>,
}

impl SeLinux {
    /// Returns true if a container runtime may execute a file with this label, because its type is
    /// one for programs.
    pub fn allows(&self) -> bool {
        // The label's form is user:role:type:level.
        let kind = self.label.as_deref().and_then(|label| label.split(':').nth(2));
        kind.is_some_and(|kind| kind == "bin_t" || kind.ends_with("_exec_t"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub target: ProgramTarget,
    /// The program that loads it, a path of the host.
    pub interpreter: Option<PathBuf>,
    /// The version of `wasp-hook`; `None` for another program.
    pub version: Option<String>,
}

/// The machine that a program is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramTarget {
    pub class: u8,
    pub data: u8,
    pub machine: u16,
}

/// The header of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    pub target: ProgramTarget,
    /// Offset and length of read-only segments, which hold the constants.
    pub constants: Vec<(u64, u64)>,
    /// Offset and length of the path of the program that loads it.
    pub interpreter: Option<(u64, u64)>,
}

/// The reason why a file is not a complete program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("the file is empty")]
    Empty,
    #[error("it is not an ELF program")]
    NoElf,
    #[error("it is an ELF file, but not a program")]
    NoProgram,
    #[error("the file is incomplete")]
    Cut,
}

const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const READ_ONLY: u32 = 4;
/// `ET_EXEC` and `ET_DYN`.
const PROGRAMS: [u16; 2] = [2, 3];

/// Parses the beginning of a file of `length` bytes.
pub fn elf(head: &[u8], length: u64) -> Result<Elf, ElfError> {
    if length == 0 {
        return Err(ElfError::Empty);
    }
    if !head.starts_with(b"\x7fELF") {
        return Err(ElfError::NoElf);
    }
    let byte = |at: usize| head.get(at).copied().ok_or(ElfError::Cut);
    let (class, data) = (byte(4)?, byte(5)?);
    // Reads a number in the file's own byte order.
    let number = |at: usize, size: usize| -> Result<u64, ElfError> {
        let bytes = at.checked_add(size).and_then(|end| head.get(at..end)).ok_or(ElfError::Cut)?;
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Ok(if data == 2 { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    };
    let small = |at: usize| u16::try_from(number(at, 2)?).map_err(|_| ElfError::Cut);
    let target = ProgramTarget { class, data, machine: small(18)? };
    if !PROGRAMS.contains(&small(16)?) {
        return Err(ElfError::NoProgram);
    }
    let wide = class == 2;
    let (table, size, count) = match wide {
        true => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
        false => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
    };
    let (mut constants, mut interpreter) = (Vec::new(), None);
    for index in 0..count {
        let at = usize::try_from(table.saturating_add(index * size)).map_err(|_| ElfError::Cut)?;
        let (flags, offset, bytes) = match wide {
            true => (
                number(at.saturating_add(4), 4)?,
                number(at.saturating_add(8), 8)?,
                number(at.saturating_add(32), 8)?,
            ),
            false => (
                number(at.saturating_add(24), 4)?,
                number(at.saturating_add(4), 4)?,
                number(at.saturating_add(16), 4)?,
            ),
        };
        let kind = number(at, 4)?;
        if kind == u64::from(INTERPRETER) {
            interpreter = Some((offset, bytes));
        }
        if kind != u64::from(LOAD) {
            continue;
        }
        if offset.saturating_add(bytes) > length {
            return Err(ElfError::Cut);
        }
        if flags == u64::from(READ_ONLY) {
            constants.push((offset, bytes));
        }
    }
    Ok(Elf { target, constants, interpreter })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses a program that the compiler and the linker have made: this test.
    #[test]
    fn a_real_program_is_one_and_a_cut_one_is_not() {
        // The test itself is a program for this machine.
        #[allow(clippy::disallowed_methods)]
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let length = own.len() as u64;
        let found = elf(&own, length).unwrap();
        assert_eq!(found.target.class, if cfg!(target_pointer_width = "64") { 2 } else { 1 });
        assert!(!found.constants.is_empty());
        assert_eq!(elf(&own, 4096), Err(ElfError::Cut));
        for cut in [4, 16, 40, 63, 100] {
            assert!(elf(&own[..cut], length).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_program_is_told() {
        assert_eq!(elf(b"", 0), Err(ElfError::Empty));
        assert_eq!(elf(b"#!/bin/sh\n", 10), Err(ElfError::NoElf));
    }
}
