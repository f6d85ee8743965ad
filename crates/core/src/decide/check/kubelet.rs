//! Checks of the kubelet's configuration for swap.

use super::{CheckOutcome, fail, ok, skip, swap::is_wanted, warn};
use crate::{
    config::settings::{Grants, Settings},
    decide::{
        kubelet::{
            by_journal, commands_to_set, fails_with_swap, grants_otherwise, grants_remedy,
            in_force, memory_threshold, unusable,
        },
        kubelet_refuses::refuses,
        remedy::set,
        tunables::swap_not_reached,
    },
    model::{
        check::HostFacts,
        kubelet::{KubeletConfig, MEMORY_AVAILABLE, Sourced},
        swap::human_bytes,
    },
};

pub(super) fn config(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.kubelet {
        Ok(Some(config)) => match (unusable(config), config.warnings.first()) {
            (Some(why), _) => fail(why, []).with(by_journal(&facts.system)),
            (None, Some(warning)) => warn(
                warning.clone(),
                ["# correct the key in that file", "systemctl restart kubelet"],
            ),
            (None, None) => ok(config.described()),
        },
        Ok(None) => skip(
            "no kubelet runs, and there is no kubelet.service and no KubeletConfiguration in the \
             usual places; set node.kubelet-config",
        ),
        Err(error) => fail(error.clone(), []).with(facts.kubelet_remedy.clone()),
    }
}

/// Returns the kubelet's configuration, or the outcome that explains why it is unknown.
fn known(facts: &HostFacts) -> Result<&KubeletConfig, CheckOutcome> {
    match &facts.kubelet {
        Ok(Some(config)) => Ok(config),
        Ok(None) | Err(_) => Err(skip("the kubelet's configuration is not known")),
    }
}

pub(super) fn fail_swap_on(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let origin = &config.fail_swap_on.origin;
    let (system, flag) = (&facts.system, "--fail-swap-on");
    let fix = commands_to_set(system, config, origin, "failSwapOn", "false", flag);
    match fails_with_swap(config) {
        None => ok(format!("false ({origin})")),
        Some(why) if is_wanted(facts, settings) => fail(why, []).with(fix),
        Some(why) => warn(why, []).with(fix),
    }
}

pub(super) fn swap_behavior(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    if refuses(config).is_some() {
        return skip("the kubelet does not start with its configuration");
    }
    let Sourced { value, origin } = &config.swap_behavior;
    let configured = (settings.grants, settings.grant.clone());
    let (grants, _) = in_force(configured.clone(), Some(config));
    if let Some(why) = grants_otherwise(configured, config) {
        let fix = grants_remedy(&facts.system, settings.grants, config);
        return match settings.grants {
            Grants::Kubelet => fail(why, []).with(fix),
            Grants::Agent | Grants::Auto => warn(why, []).with(fix),
        };
    }
    let said = match value.as_str() {
        "" => format!("not set ({origin})"),
        value => format!("{value} ({origin})"),
    };
    match grants {
        Grants::Kubelet => ok(format!("{said}: the kubelet sets swap limits")),
        Grants::Agent | Grants::Auto => ok(format!("{said}: the agent sets swap limits")),
    }
}

pub(super) fn watermarks(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    if !is_wanted(facts, settings) {
        return skip("no swap is on or configured");
    }
    let (node, watermarks) = match (&facts.node, &facts.watermarks) {
        (Ok(node), Ok(watermarks)) => (node, watermarks),
        (Err(error), _) | (_, Err(error)) => return skip(error.clone()),
    };
    let config = facts.kubelet.as_ref().ok().and_then(Option::as_ref);
    let threshold = memory_threshold(config, node.ram_bytes);
    match swap_not_reached(&settings.kernel, watermarks, threshold) {
        None => ok(format!(
            "the kernel swaps below {}, the kubelet evicts below {}{}",
            human_bytes(watermarks.swaps_below_bytes()),
            human_bytes(threshold),
            config.map_or_else(String::new, thresholds_from)
        )),
        Some(why) if settings.kernel.align_watermarks => {
            warn(why, ["systemctl restart wasp-swap", "journalctl -u wasp-swap -b"])
        }
        Some(why) => {
            let keys = [("kernel.align-watermarks", "true")];
            let mut fix = set(&facts.origins, "watermarks", &keys);
            fix.push("systemctl restart wasp-swap".to_owned());
            warn(why, []).with(fix)
        }
    }
}

/// Describes the memory thresholds in effect and their source.
fn thresholds_from(config: &KubeletConfig) -> String {
    let texts = [("evictionHard", &config.eviction_hard), ("evictionSoft", &config.eviction_soft)];
    let texts = texts.iter().filter_map(|(key, of)| {
        let Sourced { value, origin } = of.get(MEMORY_AVAILABLE)?;
        Some(format!("{key} {value} ({origin})"))
    });
    match texts.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => " (no threshold of memory.available)".to_owned(),
        texts => format!(": {texts}"),
    }
}
