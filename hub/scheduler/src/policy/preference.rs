//! What makes one cluster better than another.

/// What each score weighs; 0 leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The models are there already.
    pub cache_locality: u32,
    /// GPUs remain free, or few do.
    pub free_capacity: u32,
    /// Its GPUs are cheap.
    pub cost: u32,
    /// Preferred terms match.
    pub preferred_affinity: u32,
    /// Few chosen clusters share its domains.
    pub topology_spread: u32,
    /// The placement is there.
    pub stickiness: u32,
    /// Its report is new.
    pub freshness: u32,
}

impl Default for Weights {
    /// What a person said counts for more than what a cache saves, and that for more than money and room, of which people
    /// who care say so; the age of a report only decides between equals.
    fn default() -> Self {
        Self {
            cache_locality: 40,
            free_capacity: 20,
            cost: 20,
            preferred_affinity: 40,
            topology_spread: 30,
            stickiness: 100,
            freshness: 5,
        }
    }
}

/// Where free GPUs shall remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapacityStrategy {
    /// Everywhere.
    #[default]
    Spread,
    /// In whole clusters.
    Pack,
}

/// What a model that is in a cluster's caches already is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheLocality {
    /// Nothing.
    Ignore,
    /// A score.
    #[default]
    Prefer,
    /// Only such clusters may be chosen.
    Require,
}
