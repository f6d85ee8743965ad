//! Decides whether the kernel swaps before the kubelet evicts, and computes the smallest settings
//! for which it does.
//!
//! The kubelet's `memory.available` is free memory plus inactive file cache; once the cache is used
//! up, it is free memory alone. Two watermarks decide which of the two acts first:
//!
//! - Below **low**, kswapd begins to reclaim, and to swap if no cache is left, until free memory
//!   reaches **high**. Meanwhile an allocator that is faster than kswapd keeps taking pages.
//! - At **min**, an allocator must reclaim before it gets a page. However fast it is, it cannot
//!   outrun that. So the agent puts min just above the kubelet's threshold. This costs nothing:
//!   pods could not use the memory below the threshold anyway.
//!
//! Memory up to high stays free, so the distance from min to low counts twice. On a small node a
//! long runway costs more than it gains (docs/figures.md), so it is capped.
//!
//! Source: Linux `mm/page_alloc.c`, `__setup_per_zone_wmarks`; kubelet `pkg/kubelet/eviction`.

use crate::model::watermarks::Watermarks;

/// The kernel's upper bound for `vm.watermark_scale_factor`.
const LARGEST_FACTOR: u64 = 1000;
const MIB: u64 = 1 << 20;
/// kswapd begins this far above the kubelet's threshold, or at a hundredth of RAM above it.
const RUNWAY: u64 = 256 * MIB;
/// The runway is at most this part of RAM.
const RUNWAY_PART: u64 = 64;

/// Values for `vm.watermark_scale_factor` and `vm.min_free_kbytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aligned {
    pub scale_factor: u64,
    pub min_free_kbytes: u64,
}

impl Aligned {
    /// Returns the kernel's current values.
    pub fn now(watermarks: &Watermarks) -> Self {
        Self { scale_factor: watermarks.scale_factor, min_free_kbytes: watermarks.min_free_kbytes }
    }
}

/// The watermarks to reach where the kubelet evicts below a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Below this, allocators reclaim themselves.
    pub min_bytes: u64,
    /// Below this, kswapd begins to reclaim.
    pub low_bytes: u64,
    /// The runway is shorter than on a large node.
    pub is_capped: bool,
}

pub fn goal(watermarks: &Watermarks, threshold_bytes: u64) -> Goal {
    let ram = managed_bytes(watermarks);
    let full = RUNWAY.max(ram / 100);
    let runway = full.min(ram / RUNWAY_PART);
    // A sixteenth more, because each zone and each CPU keeps its own count.
    let min_bytes = threshold_bytes.saturating_add(threshold_bytes / 16);
    let low_bytes = threshold_bytes.saturating_add(runway).max(min_bytes);
    Goal { min_bytes, low_bytes, is_capped: runway < full }
}

/// Returns true if the kernel begins to swap before the kubelet evicts.
pub fn swap_comes_first(watermarks: &Watermarks, threshold_bytes: u64) -> bool {
    watermarks.swaps_below_bytes() >= threshold_bytes
}

/// Returns the smallest settings that reach the goal for `threshold_bytes`, none of them smaller
/// than `base`, the kernel's values before the alignment. `None` if more than a quarter of RAM
/// would stay unused.
pub fn align(watermarks: &Watermarks, base: Aligned, threshold_bytes: u64) -> Option<Aligned> {
    if threshold_bytes > managed_bytes(watermarks) / 4 {
        return None;
    }
    let goal = goal(watermarks, threshold_bytes);
    let min_free_kbytes = base.min_free_kbytes.max(goal.min_bytes.div_ceil(1024));
    let with_factor = |scale_factor| Aligned { scale_factor, min_free_kbytes };
    let reached = |factor| low_bytes(watermarks, with_factor(factor)) >= goal.low_bytes;
    smallest(base.scale_factor.min(LARGEST_FACTOR), LARGEST_FACTOR, reached).map(with_factor)
}

fn managed_bytes(watermarks: &Watermarks) -> u64 {
    let managed: u64 = watermarks.zones.iter().map(|zone| zone.managed).sum();
    managed.saturating_mul(watermarks.page_bytes)
}

/// Returns the smallest of `from..=to` for which `holds` is true; it must be true for all greater
/// values too.
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

/// Returns the sum of the low watermarks that the kernel would compute, in bytes.
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

    /// A node of this many GiB with the kernel's defaults.
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
        watermarks.scale_factor = aligned.scale_factor;
        watermarks.min_free_kbytes = aligned.min_free_kbytes;
    }

    #[test]
    fn defaults_swap_too_late_on_small_nodes_only() {
        assert!(!swap_comes_first(&node(4), 100 * MIB));
        assert!(swap_comes_first(&node(64), 100 * MIB));
        assert!(!swap_comes_first(&node(64), 1024 * MIB), "evictionSoft of 1Gi");
    }

    fn aligned(node: &Watermarks, threshold: u64) -> Aligned {
        align(node, Aligned::now(node), threshold).unwrap()
    }

    #[test]
    fn a_large_node_gets_the_whole_runway_and_no_more() {
        let node = node(64);
        let aligned = aligned(&node, 100 * MIB);
        // 106.25 MiB, a sixteenth above the threshold.
        assert_eq!(aligned.min_free_kbytes, 108_800);
        // 1 % of 64 GiB above 100 MiB, less 106 MiB of min: 99.05 ten-thousandths of RAM.
        assert_eq!(aligned.scale_factor, 100);
        assert!(low_bytes(&node, aligned) >= 100 * MIB + 655 * MIB);
        assert!(!goal(&node, 100 * MIB).is_capped);
        assert_eq!(goal(&self::node(24), 100 * MIB).low_bytes, 356 * MIB);
    }

    #[test]
    fn a_small_node_keeps_little_free() {
        let node = node(4);
        let goal = goal(&node, 100 * MIB);
        assert!(goal.is_capped);
        assert_eq!(goal.low_bytes, 164 * MIB, "a sixty-fourth of 4 GiB");
        let aligned = aligned(&node, 100 * MIB);
        let high = 2 * low_bytes(&node, aligned) - aligned.min_free_kbytes * 1024;
        assert!(high < 230 * MIB, "{}", high / MIB);
        // With a high threshold, the kernel's own distance, a quarter of min, exceeds the runway.
        let aligned = self::aligned(&node, 300 * MIB);
        let high = 2 * low_bytes(&node, aligned) - aligned.min_free_kbytes * 1024;
        assert!(high < 480 * MIB, "{}", high / MIB);
    }

    #[test]
    fn a_lower_threshold_lowers_both_but_not_below_what_was_there() {
        let mut node = node(4);
        let base = Aligned::now(&node);
        let high = align(&node, base, 600 * MIB).unwrap();
        apply(&mut node, high);
        let low = align(&node, base, 200 * MIB).unwrap();
        assert!(low.min_free_kbytes < high.min_free_kbytes);
        assert_eq!(align(&node, base, 0).unwrap().min_free_kbytes, base.min_free_kbytes);
        let generous = Aligned { scale_factor: 500, min_free_kbytes: 1 << 20 };
        assert_eq!(align(&node, generous, 100 * MIB), Some(generous));
    }

    #[test]
    fn more_than_a_quarter_is_refused() {
        let node = node(4);
        assert_eq!(align(&node, Aligned::now(&node), 1100 * MIB), None);
    }

    proptest! {
        #[test]
        fn aligned_is_enough_and_minimal(gib in 1_u64..2048, threshold_mib in 0_u64..100_000) {
            let mut node = node(gib);
            let threshold = threshold_mib * MIB;
            if let Some(aligned) = align(&node, Aligned::now(&node), threshold) {
                prop_assert!(aligned.scale_factor >= 10 && aligned.scale_factor <= 1000);
                prop_assert!(aligned.min_free_kbytes * 1024 >= threshold, "no allocator gets past it");
                let goal = goal(&node, threshold);
                if aligned.scale_factor > 10 {
                    let less = Aligned { scale_factor: aligned.scale_factor - 1, ..aligned };
                    prop_assert!(low_bytes(&node, less) < goal.low_bytes);
                }
                apply(&mut node, aligned);
                prop_assert!(node.swaps_below_bytes() >= goal.low_bytes);
                prop_assert!(swap_comes_first(&node, threshold));
            } else {
                prop_assert!(threshold > gib * 1024 * MIB / 4);
            }
        }
    }
}
