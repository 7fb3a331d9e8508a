//! The fleet's machines, through seeded faults: `cargo run --profile optimized -p e2e --bin simulate -- --help` for many more.

use e2e::simulation::{Mutant, Options, Violation, campaign, run};

/// Seeds of the short variant.
const SEEDS: u64 = 60;
/// A mutant has to be caught within so many.
const CAUGHT_WITHIN: u64 = 200;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

#[test]
fn the_invariants_hold() {
    let outcome = campaign(0, SEEDS, None, threads(), 1);
    let first = outcome.violations.first().map(ToString::to_string).unwrap_or_default();
    assert!(first.is_empty(), "{first}");
    assert_eq!(outcome.seeds, SEEDS);
    // A fleet in which nothing happens breaks nothing.
    assert!(outcome.total.applied > 20 * SEEDS, "{:?}", outcome.total);
    assert!(outcome.total.removed > 3 * SEEDS, "{:?}", outcome.total);
}

#[test]
fn each_mutant_is_caught_by_the_invariant_it_breaks() {
    for mutant in Mutant::ALL {
        // What breaks one invariant may break another first, in some seeds.
        let outcome = campaign(0, CAUGHT_WITHIN, Some(mutant), threads(), 8);
        let names: Vec<_> = outcome.violations.iter().map(Violation::name).collect();
        assert!(names.contains(&mutant.breaks()), "{mutant}, within {CAUGHT_WITHIN} seeds: {names:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 7] {
        let options = Options { seed, mutant: None, trace: false };
        assert_eq!(run(options).expect("it holds"), run(options).expect("it holds"));
    }
    let outcome = campaign(0, CAUGHT_WITHIN, Some(Mutant::KeepOldSession), 1, 1);
    let violation = outcome.violations.first().expect("it is caught");
    let options = Options { seed: violation.seed, mutant: Some(Mutant::KeepOldSession), trace: false };
    let again = run(options).expect_err("it is caught again");
    assert_eq!((again.step, &again.how, &again.last), (violation.step, &violation.how, &violation.last));
}
