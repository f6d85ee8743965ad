//! Grants while the agent cannot read the kubelet's configuration and so does not know which of the
//! two grants (`Grants::Auto` in effect). The kubelet may grant swap itself, so the agent raises no
//! limit and lowers only limits that neither can have granted.

use super::grant::{Grant, Reason};
use crate::model::swap::SwapMax;

/// Returns the grant of a container that has the limit `found`. `before` is the limit that the
/// agent has set, if it has set one.
///
/// A limit up to the share stays: the kubelet's LimitedSwap or the agent has set it. A higher limit
/// is lowered to the share. A container without a limit gets no swap, because neither grants that.
/// The limit of a container that the agent does not know (yet) stays.
pub fn held(found: SwapMax, before: Option<SwapMax>, share: Grant, page_bytes: u64) -> Grant {
    let shown = share.swap_max.as_kernel_shows(page_bytes);
    let is_own = before.is_some_and(|before| before.as_kernel_shows(page_bytes) == found);
    let is_known = !matches!(share.reason, Reason::UnknownPod | Reason::UnknownContainer);
    if found == shown || share.reason == Reason::Helper || (found > shown && is_own) {
        return share;
    }
    let swap_max = match found {
        SwapMax::Max => SwapMax::ZERO,
        _ if is_known && found > shown => share.swap_max,
        _ => found,
    };
    Grant { swap_max, reason: Reason::KubeletInDoubt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_raised_and_none_above_the_share_is_kept() {
        let share = || Grant { swap_max: SwapMax::Bytes(10_000), reason: Reason::PolicyMax };
        let bytes = SwapMax::Bytes;
        let of = |found, before| held(found, before, share(), 4096).swap_max;
        for (found, before, expected) in [
            (SwapMax::ZERO, None, SwapMax::ZERO),
            (bytes(4096), None, bytes(4096)),
            (bytes(8192), None, bytes(10_000)),
            (bytes(12_288), None, bytes(10_000)),
            (SwapMax::Max, None, SwapMax::ZERO),
            (bytes(12_288), Some(bytes(12_300)), bytes(10_000)),
            (SwapMax::Max, Some(bytes(10_000)), SwapMax::ZERO),
        ] {
            assert_eq!(of(found, before), expected, "{found} {before:?}");
        }
        let unknown = |found| {
            let share = Grant { swap_max: SwapMax::ZERO, reason: Reason::UnknownPod };
            held(found, None, share, 4096).swap_max
        };
        assert_eq!(unknown(bytes(4096)), bytes(4096));
        assert_eq!(unknown(SwapMax::Max), SwapMax::ZERO);
        assert_eq!(held(bytes(8192), None, share(), 4096).reason, Reason::PolicyMax);
        assert_eq!(held(SwapMax::Max, None, share(), 4096).reason, Reason::KubeletInDoubt);
    }
}
