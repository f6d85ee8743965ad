//! What follows from the kubelet's configuration.
//!
//! Source: Kubernetes `pkg/kubelet/apis/config/v1beta1/defaults.go` (failSwapOn: true; evictionHard
//! memory.available 100Mi, nodefs.available 10%), "Node-pressure Eviction".

use crate::{
    config::{
        keys::{percent, size},
        settings::{Grants, Share},
    },
    model::kubelet::KubeletConfig,
};

/// What `memory.available` evicts below: the higher of hard and soft threshold, in bytes.
pub fn memory_threshold(config: Option<&KubeletConfig>, ram_bytes: u64) -> u64 {
    let default = Share::Bytes(100 << 20);
    highest(config, default, ram_bytes, |c| [&c.eviction_hard_memory, &c.eviction_soft_memory])
}

/// What a swapfile must leave free of a file system of `total_bytes`, where nothing is configured:
/// above the kubelet's `nodefs.available`, by a twentieth.
pub fn disk_reserve(config: Option<&KubeletConfig>, total_bytes: u64) -> u64 {
    let default = Share::Percent(10);
    let threshold = highest(config, default, total_bytes, |c| {
        [&c.eviction_hard_nodefs, &c.eviction_soft_nodefs]
    });
    threshold.saturating_add(total_bytes / 20)
}

fn highest(
    config: Option<&KubeletConfig>,
    default: Share,
    whole: u64,
    thresholds: impl Fn(&KubeletConfig) -> [&Option<String>; 2],
) -> u64 {
    let Some(config) = config else { return default.of(whole) };
    let [hard, soft] = thresholds(config).map(|threshold| threshold.as_deref().and_then(share));
    let hard = hard.or((!config.replaces_defaults).then_some(default));
    [hard, soft].into_iter().flatten().map(|share| share.of(whole)).max().unwrap_or(0)
}

fn share(text: &str) -> Option<Share> {
    percent(text).map(Share::Percent).or_else(|| size(text).map(Share::Bytes))
}

/// The kubelet would not start with swap on.
pub fn fails_with_swap(config: &KubeletConfig) -> Option<String> {
    (config.fail_swap_on != Some(false)).then(|| {
        let value = if config.fail_swap_on.is_none() { " (the default)" } else { "" };
        format!(
            "the kubelet does not start with swap on: {} says failSwapOn: true{value}; set it to \
             false (on OpenShift by a KubeletConfig)",
            config.path.display()
        )
    })
}

/// The kubelet grants swap itself.
pub fn grants_too(config: &KubeletConfig, grants: Grants) -> Option<String> {
    let limited = config.swap_behavior.as_deref() == Some("LimitedSwap");
    (limited && grants == Grants::Agent).then(|| {
        format!(
            "the kubelet grants swap itself: {} says swapBehavior: LimitedSwap, and grants = \
             \"agent\" here; its limits are left alone, as with grants = \"kubelet\"; choose one",
            config.path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const RAM: u64 = 4096 * MIB;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_higher_threshold_counts() {
        let memory = |config: &KubeletConfig| memory_threshold(Some(config), RAM) / MIB;
        let mut config = KubeletConfig::default();
        assert_eq!(memory_threshold(None, RAM), 100 * MIB);
        assert_eq!(memory(&config), 100);
        config.eviction_soft_memory = text("1Gi");
        assert_eq!(memory(&config), 1024);
        config.eviction_hard_memory = text("50%");
        assert_eq!(memory(&config), 2048);
        let only_disk = KubeletConfig { replaces_defaults: true, ..KubeletConfig::default() };
        assert_eq!(memory(&only_disk), 0, "evictionHard without memory.available is none");
    }

    #[test]
    fn the_reserve_is_above_the_kubelets() {
        assert_eq!(disk_reserve(None, 1000), 150);
        let config = KubeletConfig {
            eviction_hard_nodefs: text("100"),
            eviction_soft_nodefs: text("20%"),
            replaces_defaults: true,
            ..KubeletConfig::default()
        };
        assert_eq!(disk_reserve(Some(&config), 1000), 250);
    }

    #[test]
    fn conflicts_are_named_with_file_key_and_remedy() {
        let mut config = KubeletConfig { path: "/etc/k".into(), ..KubeletConfig::default() };
        let said = fails_with_swap(&config).unwrap();
        assert!(said.contains("/etc/k says failSwapOn: true (the default)"), "{said}");
        config.fail_swap_on = Some(true);
        assert!(fails_with_swap(&config).unwrap().contains("failSwapOn: true;"));
        config.fail_swap_on = Some(false);
        assert_eq!(fails_with_swap(&config), None);
        config.swap_behavior = text("LimitedSwap");
        assert!(grants_too(&config, Grants::Agent).unwrap().contains("LimitedSwap"));
        assert_eq!(grants_too(&config, Grants::Kubelet), None);
        config.swap_behavior = text("NoSwap");
        assert_eq!(grants_too(&config, Grants::Agent), None);
    }
}
