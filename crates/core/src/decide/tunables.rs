//! Which of the kernel's settings are to be other than they are.

use super::watermarks::{align, swap_comes_first, wanted_bytes};
use crate::{
    config::settings::KernelSettings,
    model::{swap::human_bytes, watermarks::Watermarks},
};

/// A file of the kernel's and what it is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunable {
    pub path: &'static str,
    pub value: String,
}

pub const SCALE_FACTOR: &str = "/proc/sys/vm/watermark_scale_factor";
pub const MIN_FREE: &str = "/proc/sys/vm/min_free_kbytes";
pub const SWAPPINESS: &str = "/proc/sys/vm/swappiness";
pub const ZSWAP: &str = "/sys/module/zswap/parameters/enabled";

/// Every file that is ever written.
pub const PATHS: [&str; 4] = [SCALE_FACTOR, MIN_FREE, SWAPPINESS, ZSWAP];

/// All that is configured; `threshold` is what the kubelet evicts below, in bytes. The second is
/// what cannot be met.
pub fn tunables(
    settings: &KernelSettings,
    watermarks: &Watermarks,
    threshold: u64,
) -> (Vec<Tunable>, Option<String>) {
    let mut wanted = Vec::new();
    let mut want = |path, value: String| wanted.push(Tunable { path, value });
    let mut unmet = None;
    if settings.align_watermarks {
        match align(watermarks, wanted_bytes(threshold)) {
            Some(aligned) => {
                // First what raises more for less memory that is never used.
                if aligned.scale_factor != watermarks.scale_factor {
                    want(SCALE_FACTOR, aligned.scale_factor.to_string());
                }
                if aligned.min_free_kbytes != watermarks.min_free_kbytes {
                    want(MIN_FREE, aligned.min_free_kbytes.to_string());
                }
            }
            None => {
                unmet = Some(format!(
                    "kernel.align-watermarks: the kubelet evicts below {}, and the kernel cannot \
                     be made to swap so early without keeping more than a quarter of RAM free: \
                     lower evictionHard or evictionSoft memory.available",
                    human_bytes(threshold)
                ));
            }
        }
    }
    if let Some(swappiness) = settings.swappiness {
        want(SWAPPINESS, swappiness.to_string());
    }
    if let Some(on) = settings.zswap {
        want(ZSWAP, if on { "Y" } else { "N" }.to_owned());
    }
    (wanted, unmet)
}

/// What to say where the kubelet evicts before the kernel swaps.
pub fn swap_not_reached(watermarks: &Watermarks, threshold: u64) -> Option<String> {
    (!swap_comes_first(watermarks, threshold)).then(|| {
        format!(
            "the kubelet evicts below {} of available memory, the kernel swaps only below {}: set \
             kernel.align-watermarks = true and restart wasp-swap.service",
            human_bytes(threshold),
            human_bytes(watermarks.swaps_below_bytes())
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::watermarks::Zone;

    #[test]
    fn only_what_is_configured_is_wanted() {
        let watermarks = Watermarks {
            zones: vec![Zone { managed: 1 << 20, min: 2816, low: 3864 }],
            page_bytes: 4096,
            min_free_kbytes: 11_264,
            scale_factor: 10,
        };
        let none = KernelSettings { align_watermarks: false, swappiness: None, zswap: None };
        assert_eq!(tunables(&none, &watermarks, 100 << 20), (vec![], None));
        assert!(swap_not_reached(&watermarks, 100 << 20).unwrap().contains("below 15.1 MiB"));
        assert_eq!(swap_not_reached(&watermarks, 15 << 20), None);

        let all =
            KernelSettings { align_watermarks: true, swappiness: Some(80), zswap: Some(true) };
        let (wanted, unmet) = tunables(&all, &watermarks, 100 << 20);
        let shown: Vec<_> = wanted.iter().map(|t| (t.path, &*t.value)).collect();
        assert_eq!(shown, [(SCALE_FACTOR, "248"), (SWAPPINESS, "80"), (ZSWAP, "Y")]);
        assert_eq!(unmet, None);
        let (_, unmet) = tunables(&all, &watermarks, 2 << 30);
        assert!(unmet.unwrap().contains("a quarter of RAM"));
    }
}
