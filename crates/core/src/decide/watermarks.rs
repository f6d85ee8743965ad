//! Whether the kernel swaps before the kubelet evicts, and the smallest settings that make it so.
//!
//! The kubelet's `memory.available` is free memory and inactive file cache; when the cache is used
//! up, it is what is free. kswapd begins to reclaim, and with no cache left to swap, when free
//! memory falls below the low watermarks of the zones.
//!
//! Source: Linux `mm/page_alloc.c`, `__setup_per_zone_wmarks`; kubelet `pkg/kubelet/eviction`.

use crate::model::watermarks::Watermarks;

/// The kernel's own limits of `vm.watermark_scale_factor`.
const LARGEST_FACTOR: u64 = 1000;

/// `vm.watermark_scale_factor` and `vm.min_free_kbytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aligned {
    pub scale_factor: u64,
    pub min_free_kbytes: u64,
}

/// What watermarks are wanted for a kubelet that evicts below `threshold_bytes`: an eighth more,
/// since an allocation that wakes kswapd goes on taking pages until the first are reclaimed.
pub fn wanted_bytes(threshold_bytes: u64) -> u64 {
    threshold_bytes.saturating_add(threshold_bytes / 8)
}

/// Whether the kernel begins to swap first.
pub fn swap_comes_first(watermarks: &Watermarks, threshold_bytes: u64) -> bool {
    watermarks.swaps_below_bytes() >= threshold_bytes
}

/// The smallest settings, none smaller than it is, whose low watermarks reach `wanted` bytes.
/// `None` where there are none that make sense (more than a quarter of RAM).
pub fn align(watermarks: &Watermarks, wanted: u64) -> Option<Aligned> {
    let now = Aligned {
        scale_factor: watermarks.scale_factor,
        min_free_kbytes: watermarks.min_free_kbytes,
    };
    let reached = |aligned: Aligned| low_bytes(watermarks, aligned) >= wanted;
    if watermarks.swaps_below_bytes() >= wanted {
        return Some(now);
    }
    let managed: u64 = watermarks.zones.iter().map(|zone| zone.managed).sum();
    if wanted > managed.saturating_mul(watermarks.page_bytes) / 4 {
        return None;
    }
    let with_factor = |scale_factor| Aligned { scale_factor, ..now };
    if let Some(factor) =
        smallest(now.scale_factor, LARGEST_FACTOR, |factor| reached(with_factor(factor)))
    {
        return Some(with_factor(factor));
    }
    let with_min = |min_free_kbytes| Aligned { scale_factor: LARGEST_FACTOR, min_free_kbytes };
    smallest(now.min_free_kbytes, wanted / 1024, |kbytes| reached(with_min(kbytes))).map(with_min)
}

/// The smallest of `from..=to` that `holds`, which holds for all above it too.
fn smallest(from: u64, to: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if from > to || !holds(to) {
        return None;
    }
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

/// The sum of the low watermarks that the kernel would compute.
pub fn low_bytes(watermarks: &Watermarks, aligned: Aligned) -> u64 {
    let share = |part: u64, of: u64, whole: u64| {
        u64::try_from(u128::from(part) * u128::from(of) / u128::from(whole.max(1))).unwrap_or(0)
    };
    let managed: u64 = watermarks.zones.iter().map(|zone| zone.managed).sum();
    let min_pages = aligned.min_free_kbytes.saturating_mul(1024) / watermarks.page_bytes;
    let low_pages: u64 = watermarks
        .zones
        .iter()
        .map(|zone| {
            let min = share(min_pages, zone.managed, managed);
            min + (min / 4).max(share(zone.managed, aligned.scale_factor, 10_000))
        })
        .sum();
    low_pages.saturating_mul(watermarks.page_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::watermarks::Zone;

    const MIB: u64 = 1 << 20;

    /// A node of 64 GiB with the kernel's defaults.
    fn node(gib: u64) -> Watermarks {
        let managed = gib << 18;
        let mut watermarks = Watermarks {
            zones: vec![Zone { managed, min: 0, low: 0 }],
            page_bytes: 4096,
            min_free_kbytes: 67_584,
            scale_factor: 10,
        };
        let (factor, kbytes) = (10, 67_584);
        apply(&mut watermarks, Aligned { scale_factor: factor, min_free_kbytes: kbytes });
        watermarks
    }

    fn apply(watermarks: &mut Watermarks, aligned: Aligned) {
        watermarks.zones[0].low = low_bytes(watermarks, aligned) / 4096;
    }

    #[test]
    fn defaults_swap_too_late_on_small_nodes_only() {
        assert!(!swap_comes_first(&node(4), 100 * MIB));
        assert!(swap_comes_first(&node(64), 100 * MIB));
        assert!(!swap_comes_first(&node(64), 1024 * MIB), "evictionSoft of 1Gi");
    }

    #[test]
    fn the_factor_is_raised_no_more_than_needed() {
        let node = node(64);
        let wanted = wanted_bytes(1024 * MIB);
        let aligned = align(&node, wanted).unwrap();
        assert_eq!(aligned.min_free_kbytes, node.min_free_kbytes);
        // 1152 MiB less 66 MiB of min is 165.7 ten-thousandths of 64 GiB.
        assert_eq!(aligned.scale_factor, 166);
        assert!(low_bytes(&node, Aligned { scale_factor: 165, ..aligned }) < wanted);
    }

    #[test]
    fn more_than_a_tenth_needs_min_free_too_and_more_than_a_quarter_is_refused() {
        let node = node(4);
        let aligned = align(&node, 600 * MIB).unwrap();
        assert_eq!(aligned.scale_factor, 1000);
        assert!(aligned.min_free_kbytes > node.min_free_kbytes);
        assert_eq!(align(&node, 1100 * MIB), None);
    }

    proptest! {
        #[test]
        fn aligned_is_enough_and_minimal(gib in 1_u64..2048, wanted_mib in 1_u64..100_000) {
            let mut node = node(gib);
            let wanted = wanted_mib * MIB;
            if let Some(aligned) = align(&node, wanted) {
                prop_assert!(aligned.scale_factor >= 10 && aligned.scale_factor <= 1000);
                if aligned.scale_factor > 10 && aligned.min_free_kbytes == 67_584 {
                    let less = Aligned { scale_factor: aligned.scale_factor - 1, ..aligned };
                    prop_assert!(low_bytes(&node, less) < wanted);
                }
                apply(&mut node, aligned);
                prop_assert!(node.swaps_below_bytes() >= wanted);
            } else {
                prop_assert!(wanted > gib * 1024 * MIB / 4);
            }
        }
    }
}
