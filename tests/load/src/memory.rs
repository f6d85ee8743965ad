//! Anonymous memory in mappings of 1 MiB, which the kernel counts separately.
#![allow(unsafe_code, clippy::cast_possible_truncation)]

use std::{fs, io, ptr};

pub(crate) const CHUNK: usize = 1 << 20;
pub(crate) const PAGE: usize = 4096;

pub(crate) struct Memory {
    chunks: Vec<*mut u8>,
    noise: fastrand::Rng,
    /// Keeps the compiler from removing reads.
    sum: u64,
}

impl Memory {
    pub(crate) fn new(mib: usize, half: bool) -> io::Result<Self> {
        let mut memory = Self { chunks: Vec::new(), noise: fastrand::Rng::with_seed(7), sum: 0 };
        for _ in 0..mib {
            memory.grow(half)?;
        }
        Ok(memory)
    }

    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// `half`: half of each page is the same everywhere, so that it can be compressed.
    pub(crate) fn grow(&mut self, half: bool) -> io::Result<()> {
        // SAFETY: a new mapping overlaps no other memory; it is never unmapped.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                CHUNK + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: within the mapping. The page behind it keeps it apart from the next one.
        let kept_apart = unsafe {
            libc::madvise(at, CHUNK, libc::MADV_NOHUGEPAGE)
                | libc::mprotect(at.cast::<u8>().add(CHUNK).cast(), PAGE, libc::PROT_NONE)
        };
        if kept_apart != 0 {
            return Err(io::Error::last_os_error());
        }
        let at = at.cast::<u8>();
        for page in 0..CHUNK / PAGE {
            let filled = if half { PAGE / 2 } else { PAGE };
            for word in 0..filled / 8 {
                let noise = self.noise.u64(..);
                // SAFETY: within the mapping, and aligned like it.
                #[allow(clippy::cast_ptr_alignment)]
                unsafe {
                    at.add(page * PAGE + word * 8).cast::<u64>().write(noise);
                }
            }
        }
        self.chunks.push(at);
        Ok(())
    }

    pub(crate) fn touch_page(&mut self, page: usize) {
        let (chunk, page) = (page * PAGE / CHUNK, page % (CHUNK / PAGE));
        let Some(at) = self.chunks.get(chunk) else { return };
        // SAFETY: within the mapping.
        self.sum = self.sum.wrapping_add(u64::from(unsafe { at.add(page * PAGE).read_volatile() }));
    }

    /// Touches all pages of the chunks `from..to`.
    pub(crate) fn touch(&mut self, from: usize, to: usize) {
        for page in from * CHUNK / PAGE..to * CHUNK / PAGE {
            self.touch_page(page);
        }
    }

    /// Returns the number of pages of each chunk that were accessed since the marks were cleared,
    /// as counted by the kernel.
    pub(crate) fn referenced(&self) -> io::Result<Vec<u64>> {
        let smaps = fs::read_to_string("/proc/self/smaps")?;
        let mut counts = vec![0; self.chunks.len()];
        let mut current = None;
        for line in smaps.lines() {
            if let Some((start, _)) = line.split_once('-')
                && let Ok(start) = usize::from_str_radix(start, 16)
            {
                current = self.chunks.iter().position(|chunk| chunk.addr() == start);
            } else if let (Some(chunk), Some(rest)) = (current, line.strip_prefix("Referenced:")) {
                let kib = rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
                counts[chunk] = kib / 4;
            }
        }
        Ok(counts)
    }
}
