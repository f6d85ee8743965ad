//! What the kubelet's configuration means for swap.

use super::{Outcome, fail, ok, skip, swap::is_wanted, warn};
use crate::{
    config::settings::{Grants, Settings},
    decide::{
        kubelet::{fails_with_swap, grants_too, memory_threshold},
        tunables::swap_not_reached,
    },
    model::{check::Facts, kubelet::KubeletConfig, swap::human_bytes},
};

pub(super) fn config(facts: &Facts, _: &Settings) -> Outcome {
    match &facts.kubelet {
        Ok(Some(config)) => ok(config.path.display().to_string()),
        Ok(None) => {
            skip("no KubeletConfiguration at the usual places; node.kubelet-config names another")
        }
        Err(error) => fail(error.clone(), ["[node] kubelet-config = \"/path/of/kubelet.conf\""]),
    }
}

/// The configuration, or why there is none to go by.
fn known(facts: &Facts) -> Result<&KubeletConfig, Outcome> {
    match &facts.kubelet {
        Ok(Some(config)) => Ok(config),
        Ok(None) | Err(_) => Err(skip("the kubelet's configuration is not known")),
    }
}

pub(super) fn fail_swap_on(facts: &Facts, settings: &Settings) -> Outcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let mend = [
        &*format!("failSwapOn: false in {}, then systemctl restart kubelet", config.path.display()),
        "on OpenShift: a KubeletConfig with spec.kubeletConfig.failSwapOn: false",
    ];
    match fails_with_swap(config) {
        None => ok("false"),
        Some(why) if is_wanted(facts, settings) => fail(why, mend),
        Some(why) => warn(why, mend),
    }
}

pub(super) fn swap_behavior(facts: &Facts, settings: &Settings) -> Outcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    if let Some(why) = grants_too(config, settings.grants) {
        return warn(
            why,
            [
                &*format!("memorySwap.swapBehavior: NoSwap in {}, or", config.path.display()),
                "grants = \"kubelet\" in /etc/wasp-agent/config.d/90-swap.toml",
            ],
        );
    }
    let said = config.swap_behavior.as_deref();
    match (settings.grants, said) {
        (Grants::Kubelet, Some("LimitedSwap")) => ok("LimitedSwap: the kubelet grants"),
        (Grants::Kubelet, said) => fail(
            format!("{}, and grants = \"kubelet\": nobody grants swap", said.unwrap_or("not set")),
            [
                &*format!("memorySwap.swapBehavior: LimitedSwap in {}, or", config.path.display()),
                "grants = \"agent\" in /etc/wasp-agent/config.d/90-swap.toml",
            ],
        ),
        (Grants::Agent, said) => ok(format!("{}: the agent grants", said.unwrap_or("not set"))),
    }
}

pub(super) fn watermarks(facts: &Facts, settings: &Settings) -> Outcome {
    if !is_wanted(facts, settings) {
        return skip("no swap is on or configured");
    }
    let (node, watermarks) = match (&facts.node, &facts.watermarks) {
        (Ok(node), Ok(watermarks)) => (node, watermarks),
        (Err(error), _) | (_, Err(error)) => return skip(error.clone()),
    };
    let config = facts.kubelet.as_ref().ok().and_then(Option::as_ref);
    let threshold = memory_threshold(config, node.ram_bytes);
    match swap_not_reached(watermarks, threshold) {
        None => ok(format!(
            "the kernel swaps below {}, the kubelet evicts below {}",
            human_bytes(watermarks.swaps_below_bytes()),
            human_bytes(threshold)
        )),
        Some(why) => warn(
            why,
            [
                "in a new file of /etc/wasp-agent/config.d:",
                "[kernel]",
                "align-watermarks = true",
                "systemctl restart wasp-swap",
            ],
        ),
    }
}
