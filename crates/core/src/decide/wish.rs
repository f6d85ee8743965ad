//! Reads the annotations by which a pod's owner lowers the swap grant. The agent and the OCI hook
//! both read them here. An annotation can only lower a grant.
//!
//! Sources, the first one present applies:
//! 1. the annotation `swap.wasp.io/limit.CONTAINER`;
//! 2. the annotation `swap.wasp.io/limit`, for each container without an annotation with its name.
//!
//! `resources.limits.swap` (KEP-5359) belongs before both, in [`of`], as soon as an API server
//! accepts it.

use std::fmt;

use serde::Serialize;

use crate::{
    config::{keys::percent, settings::Share},
    model::{
        pattern::matches,
        pod::{LONGEST_ANNOTATION, Pod, SWAP_LIMIT, SWAP_LIMIT_OF},
        policy::WishRules,
        quantity::Quantity,
        swap::{SwapMax, human_bytes},
    },
};

/// The wish in an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub key: String,
    pub value: String,
    /// `None`: the value is invalid, and counts as 0.
    pub share: Option<Share>,
}

/// The reason why a container gets less than policy grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lowered {
    Asked { key: String, value: String, granted: SwapMax },
    Invalid { key: String, value: String },
    NoSwapNamespace,
    NotOptedIn,
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { key, value, granted: SwapMax::Bytes(granted) } => {
                let granted = human_bytes(*granted);
                write!(f, "its annotation {key} is {value:?}; the policy would grant {granted}")
            }
            Self::Asked { key, value, granted: SwapMax::Max } => {
                write!(f, "its annotation {key} is {value:?}; the policy would set no limit")
            }
            Self::Invalid { key, value } => f.write_str(&invalid(key, value)),
            Self::NoSwapNamespace => {
                f.write_str("its namespace gets no swap (limits.no-swap-namespaces)")
            }
            Self::NotOptedIn => write!(
                f,
                "its namespace must opt in (limits.opt-in-namespaces), but the pod has no \
                 annotation {SWAP_LIMIT}"
            ),
        }
    }
}

/// Describes a value that cannot be read.
fn invalid(key: &str, value: &str) -> String {
    format!(
        "its annotation {key} is {value:?}, which is invalid and counts as 0; valid values are a \
         quantity (\"512Mi\"), a percentage of the grant (\"25%\") and \"0\""
    )
}

/// Parses `"0"`, a quantity of bytes, or a percentage. A value that may have been truncated is
/// invalid. Kubernetes reads `512m` bytes as 1 byte and `Mi` (a template's empty variable) as 0,
/// which no user intends.
fn parse(value: &str) -> Option<Share> {
    if value.len() >= LONGEST_ANNOTATION {
        return None;
    }
    if value.ends_with('%') {
        return percent(value).filter(|_| !value.starts_with('+')).map(Share::Percent);
    }
    let quantity = value.parse::<Quantity>().ok().filter(|quantity| {
        let is_of_bytes = quantity.is_whole() || quantity.value() > 1;
        quantity.fits() && is_of_bytes && value.contains(|c: char| c.is_ascii_digit())
    })?;
    u64::try_from(quantity.value()).ok().map(Share::Bytes)
}

/// Returns the wish for `container` in a pod's annotations.
pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>, container: &str) -> Option<Wish> {
    let own = format!("{SWAP_LIMIT_OF}{container}");
    let (key, value) = match annotation(&own) {
        Some(value) => (own, value),
        None => (SWAP_LIMIT.to_owned(), annotation(SWAP_LIMIT)?),
    };
    Some(Wish { key, value: value.to_owned(), share: parse(value) })
}

/// Returns the part of `granted` that a container in `namespace` gets, and the reason if that is
/// less. `for_pods` is the whole for a percentage if policy sets no limit.
pub fn lower(
    rules: &WishRules,
    namespace: &str,
    wish: Option<Wish>,
    granted: SwapMax,
    for_pods: u64,
) -> (SwapMax, Option<Lowered>) {
    if granted == SwapMax::ZERO {
        return (granted, None);
    }
    if matches(&rules.no_swap_namespaces, namespace) {
        return (SwapMax::ZERO, Some(Lowered::NoSwapNamespace));
    }
    let Some(Wish { key, value, share }) = wish.filter(|_| rules.annotations) else {
        return match matches(&rules.opt_in_namespaces, namespace) {
            true => (SwapMax::ZERO, Some(Lowered::NotOptedIn)),
            false => (granted, None),
        };
    };
    let Some(share) = share else { return (SwapMax::ZERO, Some(Lowered::Invalid { key, value })) };
    let asked = match (share, granted) {
        (Share::Percent(100), _) => granted,
        (share, SwapMax::Bytes(granted)) => SwapMax::Bytes(share.of(granted)),
        (share, SwapMax::Max) => SwapMax::Bytes(share.of(for_pods)),
    };
    match asked < granted {
        true => (asked, Some(Lowered::Asked { key, value, granted })),
        false => (granted, None),
    }
}

/// Returns the most that the pod as a whole may have, if its annotations bound all of its
/// containers.
pub fn of_pod(rules: &WishRules, pod: &Pod) -> SwapMax {
    // One that names no container has no effect.
    let own = |key: &str| {
        let container = key.strip_prefix(SWAP_LIMIT_OF);
        container.is_some_and(|name| pod.container(name).is_some())
    };
    if !rules.annotations || pod.annotations.iter().any(|(key, _)| own(key)) {
        return SwapMax::Max;
    }
    match pod.annotation(SWAP_LIMIT).and_then(parse) {
        Some(Share::Bytes(bytes)) => SwapMax::Bytes(bytes),
        _ => SwapMax::Max,
    }
}

/// Returns the problems in a pod's annotations: values that cannot be read, and keys that name no
/// container.
pub fn problems(rules: &WishRules, pod: &Pod) -> Vec<String> {
    if !rules.annotations {
        return Vec::new();
    }
    let wrong = |key: &str, value: &str| -> Option<String> {
        if key != SWAP_LIMIT {
            let container = key.strip_prefix(SWAP_LIMIT_OF)?;
            if pod.container(container).is_none() {
                return Some(format!(
                    "its annotation {key} names a container that the pod does not \
                    have"
                ));
            }
        }
        parse(value).is_none().then(|| invalid(key, value))
    };
    pod.annotations.iter().filter_map(|(key, value)| wrong(key, value)).collect()
}

#[cfg(test)]
#[path = "wish_tests.rs"]
mod tests;
