use proptest::prelude::*;

use super::*;
use crate::{
    config::settings::GrantSettings,
    decide::{
        grant::{Reason, grant},
        pod_limit::pod_grant,
    },
    fixtures::{NODE, grant_settings, pod},
};

const GIB: u64 = 1 << 30;

fn annotated(annotations: &[(&str, &str)]) -> Pod {
    let annotations =
        annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Pod { annotations, ..pod("p", &["- - 4Gi -", "- - 2Gi -"]) }
}

/// Returns the limits of the two containers, whose grants are 2 and 1 GiB, and of the pod.
fn granted(settings: &GrantSettings, pod: &Pod) -> [SwapMax; 3] {
    let of = |index: usize| grant(settings, &NODE, pod, &pod.containers[index]).swap_max;
    [of(0), of(1), pod_grant(settings, &NODE, Some(pod)).swap_max]
}

#[test]
fn annotations_lower_the_grant_of_the_pod_or_of_one_container() {
    let bytes = |amounts: [u64; 3]| amounts.map(SwapMax::Bytes);
    for (annotations, expected) in [
        (&[][..], [2 * GIB, GIB, 3 * GIB]),
        (&[("swap.wasp.io/limit", "0")], [0, 0, 0]),
        (&[("swap.wasp.io/limit", "512Mi")], [GIB / 2, GIB / 2, GIB / 2]),
        (&[("swap.wasp.io/limit", "1.1Gi")], [1_181_116_007, GIB, 1_181_116_007]),
        (&[("swap.wasp.io/limit", "25%")], [GIB / 2, GIB / 4, GIB * 3 / 4]),
        (&[("swap.wasp.io/limit", "100%")], [2 * GIB, GIB, 3 * GIB]),
        (&[("swap.wasp.io/limit", "64Gi")], [2 * GIB, GIB, 3 * GIB]),
        (&[("swap.wasp.io/limit", ".5Gi")], [GIB / 2, GIB / 2, GIB / 2]),
        (&[("swap.wasp.io/limit.c1", "0")], [2 * GIB, 0, 2 * GIB]),
        (&[("swap.wasp.io/limit", "0"), ("swap.wasp.io/limit.c0", "50%")], [GIB, 0, GIB]),
        (&[("swap.wasp.io/limit.other", "0")], [2 * GIB, GIB, 3 * GIB]),
        // Regression: it lifted the limit of the pod as a whole.
        (
            &[("swap.wasp.io/limit", "512Mi"), ("swap.wasp.io/limit.other", "0")],
            [GIB / 2, GIB / 2, GIB / 2],
        ),
        (&[("swap.wasp.io/Limit", "0")], [2 * GIB, GIB, 3 * GIB]),
    ] {
        let pod = annotated(annotations);
        assert_eq!(granted(&grant_settings(), &pod), bytes(expected), "{annotations:?}");
    }
}

#[test]
fn an_invalid_value_counts_as_zero_and_is_reported() {
    let long = "0".repeat(LONGEST_ANNOTATION);
    // Regression: the second line counted as 0 or 1 byte without a report, and "+50%" as 50%.
    for value in [
        ["", "lots", "-1", "101%", "-5%", "%", "25 %", "1Zi", "9Ei9", &long].as_slice(),
        &["512m", "0.5", "1e-9", "Mi", "k", "-", "+", ".", "+50%"],
    ]
    .concat()
    {
        let pod = annotated(&[("swap.wasp.io/limit", value)]);
        assert_eq!(granted(&grant_settings(), &pod), [SwapMax::ZERO; 3], "{value}");
        let [problem] = &problems(&grant_settings().wishes, &pod)[..] else { panic!("{value}") };
        assert!(problem.contains(&format!("{value:?}")) && problem.contains("counts as 0"));
        let Reason::Lowered(lowered) =
            grant(&grant_settings(), &NODE, &pod, &pod.containers[0]).reason
        else {
            panic!("{value}")
        };
        assert_eq!(&lowered.to_string(), problem);
    }
    let typo = annotated(&[("swap.wasp.io/limit.compue", "0")]);
    assert_eq!(
        problems(&grant_settings().wishes, &typo),
        ["its annotation swap.wasp.io/limit.compue names a container that the pod does not have"]
    );
    assert!(problems(&grant_settings().wishes, &annotated(&[])).is_empty());
}

#[test]
fn namespaces_get_none_or_must_opt_in() {
    let rules = |none: &[&str], opt_in: &[&str], annotations| WishRules {
        annotations,
        no_swap_namespaces: none.iter().map(|name| (*name).to_owned()).collect(),
        opt_in_namespaces: opt_in.iter().map(|name| (*name).to_owned()).collect(),
    };
    let all = annotated(&[("swap.wasp.io/limit", "100%")]);
    let zero = annotated(&[("swap.wasp.io/limit", "0")]);
    let silent = annotated(&[]);
    for (rules, pod, expected) in [
        (rules(&["def*"], &[], true), &all, 0),
        (rules(&["other"], &[], true), &all, 2 * GIB),
        (rules(&[], &["default"], true), &all, 2 * GIB),
        (rules(&[], &["default"], true), &silent, 0),
        (rules(&[], &["default"], true), &zero, 0),
        // A pod cannot opt in by an annotation that does not count.
        (rules(&[], &["default"], false), &all, 0),
        (rules(&[], &[], false), &zero, 2 * GIB),
    ] {
        let settings = GrantSettings { wishes: rules.clone(), ..grant_settings() };
        assert_eq!(granted(&settings, pod)[0], SwapMax::Bytes(expected), "{rules:?}");
    }
}

#[test]
fn a_percentage_of_no_limit_is_one_of_the_swap_for_pods() {
    let settings =
        GrantSettings { policy: crate::config::settings::Policy::Max, ..grant_settings() };
    let of = |value: &str| granted(&settings, &annotated(&[("swap.wasp.io/limit", value)]))[0];
    assert_eq!(of("25%"), SwapMax::Bytes(2 * GIB));
    assert_eq!(of("100%"), SwapMax::Max);
    assert_eq!(of("1Gi"), SwapMax::Bytes(GIB));
}

#[test]
fn a_percentage_is_rounded_down_to_bytes() {
    let rules = grant_settings().wishes;
    for (value, granted, expected) in [
        ("33%", 1001, 330),
        ("1%", 99, 0),
        ("99%", u64::MAX, 18_262_276_632_972_456_098),
        ("0%", 1001, 0),
    ] {
        let wish = of(|key| (key == SWAP_LIMIT).then_some(value), "c0");
        let (lowered, _) = lower(&rules, "default", wish, SwapMax::Bytes(granted), 0);
        assert_eq!(lowered, SwapMax::Bytes(expected), "{value} of {granted}");
    }
}

proptest! {
    #[test]
    fn a_wish_never_raises(value in "[0-9]{1,20}(%|Mi|Gi|Ei|)", key in 0..2_usize) {
        let key = ["swap.wasp.io/limit", "swap.wasp.io/limit.c0"][key];
        let before = granted(&grant_settings(), &annotated(&[]));
        let after = granted(&grant_settings(), &annotated(&[(key, &value)]));
        for (before, after) in before.iter().zip(after) {
            prop_assert!(after <= *before, "{value}");
        }
    }
}
