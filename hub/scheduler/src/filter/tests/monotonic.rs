//! Property: a refusal names what is wrong, and repairing that alone ends it. Over every filter and every reason that one
//! gives, whatever else is wrong at the same time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    faults::{FAULTS, Fault},
    world::{EAST, Wish, World},
};
use crate::Reason;
use crate::tests::schedule;

/// Every filter's file.
const FILTERS: &[(&str, &str)] = &[
    ("affinity", include_str!("../affinity.rs")),
    ("agent", include_str!("../agent.rs")),
    ("denied", include_str!("../denied.rs")),
    ("devices", include_str!("../devices.rs")),
    ("drain", include_str!("../drain.rs")),
    ("expression", include_str!("../expression.rs")),
    ("free_block", include_str!("../free_block.rs")),
    ("gpu_kind", include_str!("../gpu_kind.rs")),
    ("joined", include_str!("../joined.rs")),
    ("locality", include_str!("../locality.rs")),
    ("namespace", include_str!("../namespace.rs")),
    ("nodes", include_str!("../nodes.rs")),
    ("overrides", include_str!("../overrides.rs")),
    ("platform", include_str!("../platform.rs")),
    ("potential", include_str!("../potential.rs")),
    ("profile", include_str!("../profile.rs")),
    ("quota", include_str!("../quota.rs")),
    ("report", include_str!("../report.rs")),
    ("storage", include_str!("../storage.rs")),
    ("taint", include_str!("../taint.rs")),
    ("tier", include_str!("../tier.rs")),
    ("topology", include_str!("../topology.rs")),
];

/// A cluster and a request with these faults.
fn world(wish: Wish, faults: &BTreeSet<usize>) -> World {
    let mut world = World::good(wish);
    for fault in faults {
        (FAULTS[*fault].breaks)(&mut world);
    }
    world
}

/// What is decided of the cluster: accepted, or why not.
fn verdict(world: &World) -> Result<(), (Reason, String)> {
    let decision = schedule(&world.request, &world.fleet());
    match decision.refused.into_iter().find(|refused| refused.cluster == EAST) {
        Some(refused) => Err((refused.reason, refused.message)),
        None if decision.outcome.complete => Ok(()),
        None => panic!("neither taken nor refused: {:?}", decision.outcome),
    }
}

impl Fault {
    /// Whether a refusal is for this fault. What is said of GPUs that do not come either is no part of the reason.
    fn is_named(&self, reason: Reason, message: &str) -> bool {
        let now = message.split("; with all of spec.potential: ").next().unwrap_or(message);
        self.reason == reason && now.contains(self.says)
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let taken = (2u32..=8, 1u32..=3, 1u32..=3, any::<bool>());
    (taken, any::<bool>(), any::<bool>(), 0u32..3).prop_map(
        |((per_pod, pods, replicas, divided), named, elastic, spare)| Wish {
            per_pod,
            pods,
            replicas,
            divided,
            named,
            elastic,
            spare,
        },
    )
}

/// Requests of which every fault concerns at least one.
fn wishes() -> Vec<Wish> {
    let mut wishes = Vec::new();
    for (pods, replicas, divided) in [(1, 1, false), (1, 2, false), (2, 2, false), (1, 3, true), (3, 2, true)]
    {
        for elastic in [false, true] {
            wishes.push(Wish { per_pod: 4, pods, replicas, divided, named: elastic, elastic, spare: 1 });
        }
    }
    wishes
}

#[test]
fn each_fault_alone_is_refused_for_its_own_reason_and_nothing_else_is_wrong() {
    let mut told = BTreeSet::new();
    for wish in wishes() {
        assert_eq!(verdict(&World::good(wish)), Ok(()), "{wish:?}");
        for (at, fault) in FAULTS.iter().enumerate().filter(|(_, fault)| (fault.concerns)(wish)) {
            let (reason, message) = verdict(&world(wish, &[at].into())).expect_err(fault.says);
            assert!(fault.is_named(reason, &message), "{wish:?}: {fault:?}: {reason}: {message}");
            told.insert(at);
        }
    }
    assert_eq!(told.len(), FAULTS.len(), "every fault concerns one of the requests");
}

#[test]
fn every_filter_and_every_reason_that_it_gives_has_a_fault() {
    let modules: BTreeSet<&str> = include_str!("../../filter.rs")
        .lines()
        .filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'))
        .filter(|module| *module != "tests")
        .collect();
    assert_eq!(modules, FILTERS.iter().map(|(filter, _)| *filter).collect(), "the files of the filters");
    for (filter, source) in FILTERS {
        let words = source.split("Reason::").skip(1);
        let gives: BTreeSet<&str> =
            words.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next()).collect();
        let of_filter = FAULTS.iter().filter(|fault| fault.filter == *filter);
        let broken: BTreeSet<&str> = of_filter.map(|fault| fault.reason.as_str()).collect();
        assert_eq!(gives, broken, "{filter}");
        // It asks the others again.
        assert!(!gives.is_empty() || *filter == "potential", "{filter} gives no reason that can be found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_refused_is_accepted_once_what_is_named_is_repaired(
        wish in wish(),
        drawn in prop::collection::btree_set(0..FAULTS.len(), 1..9),
    ) {
        let mut left: BTreeSet<usize> =
            drawn.into_iter().filter(|fault| (FAULTS[*fault].concerns)(wish)).collect();
        let mut repaired: Vec<usize> = Vec::new();
        while let Some(first) = left.first().copied() {
            let refused = verdict(&world(wish, &left));
            prop_assert!(refused.is_err(), "accepted with {:?}", left.iter().map(|at| &FAULTS[*at]).collect::<Vec<_>>());
            let (reason, message) = refused.unwrap_err();
            let again = repaired.iter().find(|at| FAULTS[**at].is_named(reason, &message));
            prop_assert!(again.is_none(), "repaired, and named again: {reason}: {message}");
            let named = left.iter().copied().find(|at| FAULTS[*at].is_named(reason, &message));
            prop_assert_eq!(named, Some(first), "{}: {}, not {:?}", reason, message, FAULTS[first]);
            left.remove(&first);
            repaired.push(first);
        }
        prop_assert_eq!(verdict(&world(wish, &left)), Ok(()));
    }
}
