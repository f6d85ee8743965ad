//! Properties that hold for every node.

use proptest::prelude::*;

use super::*;

fn limit() -> impl Strategy<Value = SwapMax> {
    prop_oneof![
        Just(SwapMax::Max),
        Just(SwapMax::ZERO),
        (0u64..(8 << 18)).prop_map(|p| bytes(p * 4096))
    ]
}

fn nodes() -> impl Strategy<Value = (Vec<Pod>, Vec<ContainerFacts>)> {
    let one = (0usize..40, 0u64..(1 << 30), limit(), limit(), any::<bool>(), 0u64..GIB);
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let mut seen = std::collections::BTreeSet::new();
        let all = all.into_iter().filter(|(name, ..)| seen.insert(*name));
        all.map(|(name, request, scope, child, nested, used)| {
            let name = format!("p{name}");
            let mut facts = if nested { crun(&name, scope, child) } else { runc(&name, scope, 0) };
            facts.levels[0].swap_used_bytes = used;
            (pod(&name, &[&format!("- - {request} -")]), facts)
        })
        .unzip()
    })
}

proptest! {
    #[test]
    fn a_node_that_is_right_is_left_alone((pods, mut containers) in nodes()) {
        let mut case = Case::new(pods);
        for second in [1, 3, 5, 7] {
            let decision = case.pass(&containers, at(second));
            case.apply(&decision, &mut containers);
        }
        let decision = case.pass(&containers, at(9));
        prop_assert_eq!(decision.actions, vec![]);
        prop_assert_eq!(decision.notices, vec![]);
    }

    #[test]
    fn order_does_not_matter((pods, containers) in nodes(), seed in any::<u64>()) {
        let mut shuffled = containers.clone();
        shuffled.sort_by_key(|c| c.id.as_str().bytes().fold(seed, |h, b| h.rotate_left(5) ^ u64::from(b)));
        let one = Case::new(pods.clone()).pass(&containers, at(1));
        let other = Case::new(pods).pass(&shuffled, at(1));
        prop_assert_eq!(one, other);
    }

    /// The kubelet may grant swap itself in this case.
    #[test]
    fn in_doubt_no_limit_is_raised((pods, containers) in nodes(), passes in 1..4_u64) {
        let mut case = Case::new(pods);
        case.settings.grants = Grants::Auto;
        let mut containers = containers;
        let slices: Vec<PodFacts> =
            case.pods.values().map(|pod| slice(&pod.name, SwapMax::Max, 0)).collect();
        for pass in 0..passes {
            let decision = case.pass_with(&containers, &slices, at(pass * 100));
            for action in &decision.actions {
                let Action::WriteLimit { owner, from, to, .. } = action else { continue };
                let id = owner.container();
                prop_assert!(id.is_some(), "a pod's own limit stays");
                let facts = containers.iter().find(|c| Some(&c.id) == id).unwrap();
                let used = facts.levels.first().unwrap().swap_used_bytes;
                // A limit that is less than two steps above the use stays, at every level.
                prop_assert!(to < from || *to <= bytes(used + 2 * MIB), "{from} becomes {to}");
            }
            case.apply(&decision, &mut containers);
        }
    }

    #[test]
    fn no_write_exceeds_both_the_grant_and_what_use_demands((pods, containers) in nodes()) {
        let mut case = Case::new(pods);
        let decision = case.first_pass(&containers, at(1));
        for action in &decision.actions {
            let Action::WriteLimit { owner, from, to, .. } = action else { continue };
            let grant = case.state.get(owner).unwrap().grant.swap_max;
            let id = owner.container().unwrap();
            let facts = containers.iter().find(|c| c.id == *id).unwrap();
            let used = facts.levels.iter().map(|l| l.swap_used_bytes).max().unwrap();
            // Room above use, and the same again, which is not worth a write.
            prop_assert!(*to <= grant.max(bytes(used + 2 * MIB)));
            // Never lowered below use, whatever the limit was before.
            let in_force = facts.levels.iter().map(|l| l.swap_max).min().unwrap();
            prop_assert!(to >= from || *to >= bytes(used).min(in_force).min(*from) || *to >= grant);
        }
    }
}
