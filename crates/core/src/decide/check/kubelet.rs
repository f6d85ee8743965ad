//! What the kubelet's configuration means for swap.

use super::{Outcome, fail, ok, skip, swap::is_wanted, warn};
use crate::{
    config::settings::{Grants, Settings},
    decide::{
        kubelet::{fails_with_swap, grants_otherwise, in_force, memory_threshold, unusable},
        tunables::swap_not_reached,
    },
    model::{
        check::Facts,
        kubelet::{KubeletConfig, MEMORY_AVAILABLE, Origin, Sourced},
        swap::human_bytes,
    },
};

pub(super) fn config(facts: &Facts, _: &Settings) -> Outcome {
    match &facts.kubelet {
        Ok(Some(config)) => match (unusable(config), config.warnings.first()) {
            (Some(why), _) => fail(why, ["journalctl -u kubelet -b, then the file that it names"]),
            (None, Some(warning)) => warn(warning.clone(), ["correct the key in that file"]),
            (None, None) => ok(config.described()),
        },
        Ok(None) => skip(
            "no kubelet runs, no kubelet.service, no KubeletConfiguration at the usual places; \
             node.kubelet-config names another",
        ),
        Err(error) => fail(
            error.clone(),
            [
                "correct that file, or the command line of the kubelet",
                "if the kubelet reads another: [node] kubelet-config = \"/path/of/kubelet.conf\"",
            ],
        ),
    }
}

/// The configuration, or why there is none to go by.
fn known(facts: &Facts) -> Result<&KubeletConfig, Outcome> {
    match &facts.kubelet {
        Ok(Some(config)) => Ok(config),
        Ok(None) | Err(_) => Err(skip("the kubelet's configuration is not known")),
    }
}

/// Where to set `key` so that it counts: flags win over drop-ins, and these over the file.
fn remedy(config: &KubeletConfig, origin: &Origin, key: &str, flag: Option<&str>) -> String {
    match (origin, flag) {
        (Origin::Flag(teller), Some(flag)) => {
            format!("remove {flag} from the command line of {teller}, and set {key}")
        }
        (Origin::DropIn(path), _) => format!("{key} in {}", path.display()),
        _ => match (config.drop_ins.last(), &config.file) {
            (None, Some(path)) => format!("{key} in {}", path.display()),
            (Some(last), _) => format!("{key} in {} or a file after it", last.display()),
            (None, None) => format!("{key} in the file of the kubelet's --config"),
        },
    }
}

pub(super) fn fail_swap_on(facts: &Facts, settings: &Settings) -> Outcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let origin = &config.fail_swap_on.origin;
    let remedy = remedy(config, origin, "failSwapOn: false", Some("--fail-swap-on"));
    let mend = [
        &*format!("{remedy}, then systemctl restart kubelet"),
        "on OpenShift: `wasp-agent manifests` renders a drop-in for 4.21 and later, a KubeletConfig before",
    ];
    match fails_with_swap(config) {
        None => ok(format!("false ({origin})")),
        Some(why) if is_wanted(facts, settings) => fail(why, mend),
        Some(why) => warn(why, mend),
    }
}

pub(super) fn swap_behavior(facts: &Facts, settings: &Settings) -> Outcome {
    let config = match known(facts) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let Sourced { value, origin } = &config.swap_behavior;
    let key = |behavior: &str| {
        let key = format!("memorySwap.swapBehavior: {behavior}");
        format!("{}, or", remedy(config, origin, &key, None))
    };
    let configured = (settings.grants, settings.grant);
    let (grants, _) = in_force(configured, Some(config));
    let auto = "remove grants in /etc/wasp-agent: the default, \"auto\", follows the kubelet";
    match (grants_otherwise(configured, config), settings.grants) {
        (Some(why), Grants::Kubelet) => return fail(why, [&*key("LimitedSwap"), auto]),
        (Some(why), Grants::Agent) => return warn(why, [&*key("NoSwap"), auto]),
        (Some(why), Grants::Auto) => return warn(why, [&*key("NoSwap"), "remove these keys"]),
        (None, _) => {}
    }
    let said = match value.as_str() {
        "" => format!("not set ({origin})"),
        value => format!("{value} ({origin})"),
    };
    match grants {
        Grants::Kubelet => ok(format!("{said}: the kubelet grants")),
        Grants::Agent | Grants::Auto => ok(format!("{said}: the agent grants")),
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
            "the kernel swaps below {}, the kubelet evicts below {}{}",
            human_bytes(watermarks.swaps_below_bytes()),
            human_bytes(threshold),
            config.map_or_else(String::new, thresholds_from)
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

/// Which thresholds of memory there are, and where they come from.
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
