//! Many seeds, on many threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Mutant, Options, Summary, Violation, run};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Runs that ended, well or not.
    pub seeds: u64,
    /// All runs that went well, added up.
    pub total: Summary,
    /// Runs that did not, by seed.
    pub violations: Vec<Violation>,
}

/// Runs `count` seeds from `first` on, on `threads` threads, until `most` of them have gone wrong.
#[must_use]
pub fn campaign(first: u64, count: u64, mutant: Option<Mutant>, threads: usize, most: usize) -> Outcome {
    let (next, outcome) = (AtomicU64::new(first), Mutex::new(Outcome::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first.saturating_add(count) {
            return;
        }
        let result = run(Options { seed, mutant, trace: false });
        let Ok(mut outcome) = outcome.lock() else { return };
        outcome.seeds += 1;
        match result {
            Ok(summary) => outcome.total.add(summary),
            Err(violation) => outcome.violations.push(*violation),
        }
        if outcome.violations.len() >= most {
            // Whoever is at work ends its seed; nobody begins another.
            next.store(first.saturating_add(count), Ordering::Relaxed);
            return;
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcome = outcome.into_inner().unwrap_or_default();
    outcome.violations.sort_by_key(|violation| violation.seed);
    outcome
}

impl Summary {
    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.simulated_ms += other.simulated_ms;
        self.applied += other.applied;
        self.removed += other.removed;
    }
}
