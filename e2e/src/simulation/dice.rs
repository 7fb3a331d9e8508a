//! All chance of a run, from one seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Draws the same from the same seed.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Whether something of that many in a thousand comes to pass.
    pub(super) fn per_mille(&mut self, chance: u32) -> bool {
        self.0.random_range(0..1000) < chance
    }

    /// From `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    /// From 0 to `most`, both included.
    pub(super) fn up_to(&mut self, most: u32) -> u32 {
        self.0.random_range(0..=most)
    }

    /// A place in something of that length; 0 for something empty.
    pub(super) fn index(&mut self, length: usize) -> usize {
        if length == 0 { 0 } else { self.0.random_range(0..length) }
    }

    /// From 0 to 1, 1 excluded.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// A word that is new every time.
    pub(super) fn word(&mut self) -> String {
        format!("{:016x}", self.0.random::<u64>())
    }
}
