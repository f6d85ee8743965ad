//! Decides which kernel parameters to change.

use std::collections::BTreeMap;

use super::watermarks::{Aligned, align, goal, swap_comes_first};
use crate::{
    config::settings::KernelSettings,
    model::{swap::human_bytes, watermarks::Watermarks},
};

/// A file of the kernel and its new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunable {
    pub path: &'static str,
    pub value: String,
}

pub const SCALE_FACTOR: &str = "/proc/sys/vm/watermark_scale_factor";
pub const MIN_FREE: &str = "/proc/sys/vm/min_free_kbytes";
pub const SWAPPINESS: &str = "/proc/sys/vm/swappiness";
pub const ZSWAP: &str = "/sys/module/zswap/parameters/enabled";

/// Every file that the agent may write.
pub const PATHS: [&str; 4] = [SCALE_FACTOR, MIN_FREE, SWAPPINESS, ZSWAP];

/// The kernel's values before the agent changed them in this boot, by path.
pub type Before = BTreeMap<String, String>;

/// Returns the values for all configured parameters, and the problems that make a setting
/// impossible; `threshold` is the kubelet's eviction threshold in bytes. Restores watermarks that
/// are no longer wanted.
pub fn tunables(
    settings: &KernelSettings,
    watermarks: &Watermarks,
    threshold: u64,
    before: &Before,
) -> (Vec<Tunable>, Option<String>) {
    let (mut wanted, unmet) = match settings.align_watermarks {
        true => match alignment(watermarks, threshold, before) {
            Some(changes) => (changes, None),
            None => (Vec::new(), Some(too_high(threshold))),
        },
        false => (put_back(watermarks, before), None),
    };
    let mut want = |path, value: String| wanted.push(Tunable { path, value });
    if let Some(swappiness) = settings.swappiness {
        want(SWAPPINESS, swappiness.to_string());
    }
    if let Some(on) = settings.zswap {
        want(ZSWAP, if on { "Y" } else { "N" }.to_owned());
    }
    (wanted, unmet)
}

/// Returns the changes that make the kernel swap before the kubelet evicts. `None`: no setting
/// achieves that.
pub fn alignment(watermarks: &Watermarks, threshold: u64, before: &Before) -> Option<Vec<Tunable>> {
    align(watermarks, base(watermarks, before), threshold)
        .map(|aligned| differing(watermarks, aligned))
}

fn put_back(watermarks: &Watermarks, before: &Before) -> Vec<Tunable> {
    differing(watermarks, base(watermarks, before))
}

/// Returns the kernel's values without the agent's changes.
fn base(watermarks: &Watermarks, before: &Before) -> Aligned {
    let known = |path: &str| before.get(path).and_then(|value| value.parse().ok());
    let now = Aligned::now(watermarks);
    Aligned {
        scale_factor: known(SCALE_FACTOR).unwrap_or(now.scale_factor),
        min_free_kbytes: known(MIN_FREE).unwrap_or(now.min_free_kbytes),
    }
}

fn differing(watermarks: &Watermarks, aligned: Aligned) -> Vec<Tunable> {
    let now = Aligned::now(watermarks);
    let changes = [
        (SCALE_FACTOR, now.scale_factor, aligned.scale_factor),
        (MIN_FREE, now.min_free_kbytes, aligned.min_free_kbytes),
    ];
    let changed = changes.into_iter().filter(|(_, now, wanted)| now != wanted);
    changed.map(|(path, _, wanted)| Tunable { path, value: wanted.to_string() }).collect()
}

fn too_high(threshold: u64) -> String {
    format!(
        "kernel.align-watermarks: the kubelet evicts below {}, and the kernel cannot swap that \
         early unless it keeps more than a quarter of RAM free: lower evictionHard or \
         evictionSoft memory.available",
        human_bytes(threshold)
    )
}

/// Explains the alignment, for the journal.
pub fn explained(watermarks: &Watermarks, threshold: u64) -> String {
    let goal = goal(watermarks, threshold);
    let capped = match goal.is_capped {
        true => " (1/64 of RAM, so that a small node does not lose too much memory)",
        false => "",
    };
    format!(
        "the kubelet evicts below {}: kswapd starts at {}, {} above that{capped}; processes \
         reclaim memory themselves below {}",
        human_bytes(threshold),
        human_bytes(goal.low_bytes),
        human_bytes(goal.low_bytes.saturating_sub(threshold)),
        human_bytes(goal.min_bytes)
    )
}

/// Explains why pods are evicted before the kernel swaps.
pub fn swap_not_reached(
    settings: &KernelSettings,
    watermarks: &Watermarks,
    threshold: u64,
) -> Option<String> {
    let remedy = match settings.align_watermarks {
        true => "restart wasp-swap.service, which aligns them, and read its journal",
        false => "set kernel.align-watermarks = true and restart wasp-swap.service",
    };
    (!swap_comes_first(watermarks, threshold)).then(|| {
        format!(
            "the kubelet evicts below {} of available memory, the kernel swaps only below {}: {remedy}",
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
        let fresh = Before::new();
        assert_eq!(tunables(&none, &watermarks, 100 << 20, &fresh), (vec![], None));
        assert!(
            swap_not_reached(&none, &watermarks, 100 << 20).unwrap().contains("below 15.1 MiB")
        );
        assert_eq!(swap_not_reached(&none, &watermarks, 15 << 20), None);

        let all =
            KernelSettings { align_watermarks: true, swappiness: Some(80), zswap: Some(true) };
        let (wanted, unmet) = tunables(&all, &watermarks, 100 << 20, &fresh);
        assert_eq!(
            shown(&wanted),
            [(SCALE_FACTOR, "141"), (MIN_FREE, "108800"), (SWAPPINESS, "80"), (ZSWAP, "Y")]
        );
        assert_eq!(unmet, None);
        let (_, unmet) = tunables(&all, &watermarks, 2 << 30, &fresh);
        assert!(unmet.unwrap().contains("a quarter of RAM"));
        assert!(explained(&watermarks, 100 << 20).contains("kswapd starts at 164.0 MiB"));
    }

    fn shown(wanted: &[Tunable]) -> Vec<(&str, &str)> {
        wanted.iter().map(|t| (t.path, &*t.value)).collect()
    }

    #[test]
    fn watermarks_follow_the_threshold_down_and_go_back_when_nobody_wants_them() {
        // As aligned to a threshold of 300Mi, on a node that had 10 and 11264.
        let watermarks = Watermarks {
            zones: vec![Zone { managed: 1 << 20, min: 81_600, low: 102_000 }],
            page_bytes: 4096,
            min_free_kbytes: 326_400,
            scale_factor: 12,
        };
        let before = Before::from([
            (SCALE_FACTOR.to_owned(), "10".to_owned()),
            (MIN_FREE.to_owned(), "11264".to_owned()),
        ]);
        let align = KernelSettings { align_watermarks: true, swappiness: None, zswap: None };
        let (wanted, _) = tunables(&align, &watermarks, 100 << 20, &before);
        assert_eq!(shown(&wanted), [(SCALE_FACTOR, "141"), (MIN_FREE, "108800")]);
        let leave = KernelSettings { align_watermarks: false, ..align };
        let (wanted, _) = tunables(&leave, &watermarks, 100 << 20, &before);
        assert_eq!(shown(&wanted), [(SCALE_FACTOR, "10"), (MIN_FREE, "11264")]);
    }
}
