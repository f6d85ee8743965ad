//! Reads the kernel's watermarks from `/proc/zoneinfo` and `/proc/sys/vm`.

use super::fields;
use crate::{
    errors::FileError,
    model::watermarks::{Watermarks, Zone},
    roots::Roots,
};

/// `page_bytes` is the kernel's page size.
pub fn watermarks(roots: &Roots, page_bytes: u64) -> Result<Watermarks, FileError> {
    let read = |name: &str| {
        let path = roots.proc(name);
        fields::read(&path).map_err(FileError::of("read", &path))
    };
    let invalid = |name: &str, why: &str| FileError::invalid(&roots.proc(name), why);
    let number = |name: &str| {
        fields::digits(read(name)?.trim()).ok_or_else(|| invalid(name, "it is not a number"))
    };
    let zones = zones(&read("zoneinfo")?);
    if zones.is_empty() {
        return Err(invalid("zoneinfo", "it has no zone with pages and watermarks"));
    }
    Ok(Watermarks {
        zones,
        page_bytes,
        min_free_kbytes: number("sys/vm/min_free_kbytes")?,
        scale_factor: number("sys/vm/watermark_scale_factor")?,
    })
}

/// No zone has so many pages: larger numbers are not the kernel's, and would overflow sums.
const TOO_MANY_PAGES: u64 = 1 << 48;

/// Parses the zones that hold pages.
fn zones(text: &str) -> Vec<Zone> {
    let mut zones = Vec::new();
    // Each zone begins with `Node 0, zone   Normal`; the pagesets and counters after it have no
    // lines of the same names.
    for zone in text.split("\nNode ").flat_map(|part| part.split_once("zone ")) {
        let value = |name: &str| -> Option<u64> {
            let mut words = zone.1.lines().map(|line| line.split_whitespace());
            words.find_map(|mut words| {
                (words.next() == Some(name))
                    .then(|| fields::digits(words.next()?).filter(|pages| *pages < TOO_MANY_PAGES))
                    .flatten()
            })
        };
        if let (Some(managed), Some(min), Some(low)) =
            (value("managed"), value("min"), value("low"))
            && managed > 0
        {
            // Shown since Linux 5.17: pages that a fragmented zone keeps free in addition, for a
            // while.
            let boost = value("boost").unwrap_or(0);
            let (min, low) = (min.saturating_sub(boost), low.saturating_sub(boost));
            zones.push(Zone { managed, min, low });
        }
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::watermarks::{Aligned, low_bytes};

    #[test]
    fn zones_with_pages_are_read() {
        let text = "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 4\n  pages free     \
                    2816\n        boost    0\n        min      10\n        low      13\n        high     16\n        \
                    spanned  4095\n        present  3998\n        managed  3840\n        cma      0\n  pagesets\n    cpu: 0\n              \
                    count: 0\n              high:  0\nNode 0, zone    DMA32\n  pages free 1\n  boost 300\n  min 1300\n  low 1550\n  \
                    high 1500\n  managed 400000\nNode 0, zone  Movable\n  pages free 0\n  min 32\n  low 32\n  high 32\n  \
                    managed  0\n";
        assert_eq!(
            zones(text),
            [
                Zone { managed: 3840, min: 10, low: 13 },
                Zone { managed: 400_000, min: 1000, low: 1250 }
            ]
        );
        assert_eq!(zones("nonsense"), []);
    }

    /// The kernel that runs this test agrees with the arithmetic.
    #[test]
    fn this_kernel_agrees() {
        let roots = Roots::host();
        let real = watermarks(&roots, 4096).unwrap();
        assert!(!real.zones.is_empty());
        let aligned =
            Aligned { scale_factor: real.scale_factor, min_free_kbytes: real.min_free_kbytes };
        let (computed, shown) = (low_bytes(&real, aligned), real.swaps_below_bytes());
        // Rounding by zone.
        let tolerance = 4096 * 4 * real.zones.len() as u64 + shown / 50;
        assert!(computed.abs_diff(shown) <= tolerance, "{computed} {shown} {real:?}");
    }
}
