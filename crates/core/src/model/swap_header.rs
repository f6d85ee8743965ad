//! The header of a swap area, as mkswap(8) writes it and swapon(2) reads it.
//!
//! Source: Linux `include/linux/swap.h`, `union swap_header`: the area's first page has these
//! fields at offset 1024: version, last page and number of bad pages (native 32-bit words), a UUID
//! of 16 bytes, a label of 16 bytes. Its last ten bytes are the magic.

use uuid::Uuid;

const MAGIC: &[u8; 10] = b"SWAPSPACE2";
const INFO: usize = 1024;
const VERSION: u32 = 1;
const LABEL_BYTES: usize = 16;
/// The page sizes of x86, arm64 (4, 16 and 64 KiB), POWER and s390x, in bytes.
const PAGES: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];
/// In bytes.
pub const LARGEST_PAGE: u64 = 64 << 10;
/// The label by which the agent recognizes its own swap areas.
pub const LABEL: &str = "wasp-agent";

/// A swap area of version 1 without bad pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapHeader {
    /// Number of pages of the area, including the header's.
    pub pages: u32,
    pub uuid: Uuid,
    pub label: String,
}

impl SwapHeader {
    /// Returns a header for an area of `bytes`; `None` if the area is too small (mkswap requires
    /// ten pages) or has more pages than the header can express.
    pub fn ours(bytes: u64, page_bytes: u64, uuid: Uuid) -> Option<Self> {
        let pages = u32::try_from(bytes / page_bytes).ok().filter(|pages| *pages >= 10)?;
        Some(Self { pages, uuid, label: LABEL.to_owned() })
    }

    pub fn is_ours(&self) -> bool {
        self.label == LABEL
    }

    /// Formats the area's first page.
    pub fn to_page(&self, page_bytes: usize) -> Vec<u8> {
        let mut page = vec![0; page_bytes];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(INFO, &VERSION.to_ne_bytes());
        put(INFO + 4, &(self.pages - 1).to_ne_bytes());
        put(INFO + 12, self.uuid.as_bytes());
        let label = self.label.as_bytes();
        put(INFO + 28, &label[..label.len().min(LABEL_BYTES)]);
        put(page_bytes - MAGIC.len(), MAGIC);
        page
    }

    /// Finds the header of an area that a kernel with any page size may have made, in its first
    /// [`LARGEST_PAGE`] bytes; returns it with that page size.
    pub fn of_any_page(first: &[u8]) -> Option<(Self, u64)> {
        PAGES.into_iter().find_map(|bytes| {
            let page = first.get(..usize::try_from(bytes).ok()?)?;
            Some((Self::from_page(page)?, bytes))
        })
    }

    /// Parses the area's first page; `None` if it is not a swap header with this page size.
    pub fn from_page(page: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = page.get(INFO + at..INFO + at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        if !page.ends_with(MAGIC) || word(0)? != VERSION {
            return None;
        }
        let label = page.get(INFO + 28..INFO + 28 + LABEL_BYTES)?;
        let label = label.split(|byte| *byte == 0).next()?;
        Some(Self {
            pages: word(4)?.checked_add(1)?,
            uuid: Uuid::from_slice(page.get(INFO + 12..INFO + 28)?).ok()?,
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }
}

// The tests let util-linux read the output of this module.
#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = SwapHeader::ours(1 << 20, 4096, Uuid::from_u128(7)).unwrap();
        let page = header.to_page(4096);
        assert_eq!(page.len(), 4096);
        assert_eq!(SwapHeader::from_page(&page), Some(header.clone()));
        assert!(header.is_ours());
        assert_eq!(header.pages, 256);
        assert_eq!(SwapHeader::from_page(&page[..2048]), None, "another page size");
        assert_eq!(SwapHeader::from_page(&[]), None);
    }

    #[test]
    fn the_header_of_a_kernel_with_another_page_size_is_known() {
        for bytes in [4096, 16384, 65536] {
            let header = SwapHeader::ours(4 << 20, bytes, Uuid::nil()).unwrap();
            let mut area = header.to_page(usize::try_from(bytes).unwrap());
            area.resize(65536, 0);
            assert_eq!(SwapHeader::of_any_page(&area), Some((header, bytes)));
        }
        assert_eq!(SwapHeader::of_any_page(&[0; 65536]), None);
        assert_eq!(SwapHeader::of_any_page(&[]), None);
    }

    #[test]
    fn an_area_has_at_least_ten_pages() {
        let pages = |bytes| SwapHeader::ours(bytes, 4096, Uuid::nil()).map(|header| header.pages);
        assert_eq!(pages(40_959), None);
        assert_eq!(pages(40_960), Some(10));
        assert_eq!(pages(u64::MAX), None);
    }

    /// `mkswap` (util-linux) and this module agree: each reads the other's header.
    #[test]
    fn util_linux_agrees() {
        use std::{fs, process::Command};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swap");
        let uuid = Uuid::new_v4();
        let page = SwapHeader::ours(1 << 20, 4096, uuid).unwrap().to_page(4096);
        let area = |page: &[u8]| [page, &vec![0; (1 << 20) - page.len()]].concat();
        fs::write(&file, area(&page)).unwrap();
        let run = |tool: &str, arguments: &[&str]| {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let output = Command::new(tool).args(arguments).arg(&file).env("PATH", path).output();
            let output = output.expect("util-linux is not installed");
            assert!(output.status.success(), "{tool}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let shown = run("swaplabel", &[]);
        assert!(shown.contains(&format!("UUID:  {uuid}")), "{shown}");
        assert!(shown.contains("LABEL: wasp-agent"), "{shown}");
        let shown = run("blkid", &["-p", "-o", "export"]);
        assert!(shown.contains("TYPE=swap") && shown.contains(&uuid.to_string()), "{shown}");

        let other = Uuid::new_v4();
        run("mkswap", &["--pagesize", "4096", "--label", "another", "--uuid", &other.to_string()]);
        let bytes = fs::read(&file).unwrap();
        let read = SwapHeader::from_page(&bytes[..4096]).unwrap();
        assert_eq!((read.pages, read.uuid, read.label.as_str()), (256, other, "another"));
        assert!(!read.is_ours());
        // Byte for byte the same, except for content that mkswap may put before byte 1024.
        let expected = SwapHeader { pages: 256, uuid: other, label: "another".into() };
        assert_eq!(expected.to_page(4096)[1024..], bytes[1024..4096]);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = SwapHeader::from_page(&bytes);
            let mut page = bytes;
            page.extend(MAGIC);
            let _ = SwapHeader::from_page(&page);
        }
    }
}
