//! Whom objects suit: of every cluster whether it has what some objects take, and how good it is for them.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use jiff::SignedDuration;

use super::Bits;
use crate::failover::{Limits, PerLane};
use crate::fleet::{Cluster, Fleet, PlacementKey};
use crate::need::Need;
use crate::packing::Left;
use crate::{
    CacheLocality, CapacityStrategy, Division, Policy, Reason, Request, Variants, Verdicts, Workload, filter,
    score,
};

/// All that decides which clusters have what objects take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassKey {
    /// The kind of each object, and what it takes.
    objects: Vec<(String, Need)>,
    /// Their places from the largest on.
    order: Vec<usize>,
    division: Division,
    /// Whether caches have to be there.
    is_local: bool,
    priority: i32,
}

impl ClassKey {
    pub(crate) fn of(policy: &Policy, workloads: &[Workload]) -> Self {
        Self {
            objects: workloads.iter().map(|one| (one.object.kind.clone(), one.need.clone())).collect(),
            order: Workload::places_largest_first(workloads),
            division: policy.division,
            is_local: policy.cache_locality == CacheLocality::Require,
            priority: policy.priority,
        }
    }
}

impl Hash for ClassKey {
    /// What tells most of them apart; the rest is compared.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.priority.hash(state);
        self.order.hash(state);
        for (kind, need) in &self.objects {
            kind.hash(state);
            (&need.gpu, &need.kind.products, need.kind.min_memory_mib, &need.cache).hash(state);
            (need.millicores, need.memory_mib, &need.platforms, need.replicas).hash(state);
        }
    }
}

/// What is known of whom such objects suit.
#[derive(Debug)]
pub(crate) struct Class {
    /// A request of nobody for such objects.
    probe: Request,
    workloads: Vec<Workload>,
    pub(crate) fits: Bits,
    /// Clusters with a report that do not have what it takes, by the first filter that fails.
    pub(crate) refused: BTreeMap<Reason, Bits>,
    /// Whether some object takes a GPU.
    pub(crate) takes_gpus: bool,
    /// Of those that fit: percent of the GPUs that would remain free, and of the caches that are there, by place.
    pub(crate) free: Vec<u8>,
    pub(crate) cached: Vec<u8>,
    /// What a GPU costs for an hour there; the greatest number where that is not known. Empty where nobody says what any costs.
    pub(crate) cost: Vec<u64>,
    /// Those that fit once an autoscaler has brought nodes, and how long that takes.
    pub(crate) waits: BTreeMap<usize, SignedDuration>,
    seen: u64,
    used: u64,
}

impl Class {
    pub(super) fn new(key: &ClassKey, workloads: &[Workload], clusters: usize) -> Self {
        let locality = if key.is_local { CacheLocality::Require } else { CacheLocality::Prefer };
        let policy = Policy {
            division: key.division,
            cache_locality: locality,
            priority: key.priority,
            ..Policy::default()
        };
        let probe = Request {
            placement: PlacementKey { namespace: String::new(), name: String::new() },
            policy,
            workloads: Vec::new(),
            variants: Variants::default(),
            verdicts: Verdicts::default(),
            previous: Vec::new(),
            denied: BTreeMap::new(),
            rejected: BTreeMap::new(),
            rebalance: None,
            told: 0,
            over_quota: BTreeMap::new(),
            now: jiff::Timestamp::UNIX_EPOCH,
            limits: Limits::default(),
            allowance: PerLane::FREE,
        };
        Self {
            probe,
            takes_gpus: workloads.iter().any(|workload| workload.need.gpu.is_some()),
            workloads: workloads.to_vec(),
            fits: Bits::none(clusters),
            refused: BTreeMap::new(),
            free: vec![0; clusters],
            cached: vec![0; clusters],
            cost: Vec::new(),
            waits: BTreeMap::new(),
            seen: 0,
            used: 0,
        }
    }

    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) const fn mark(&mut self, seen: u64, used: u64) {
        (self.seen, self.used) = (seen, used);
    }

    /// Clusters have other places.
    pub(super) fn remap(&mut self, from: &[Option<usize>]) {
        self.fits = self.fits.moved(from);
        for bits in self.refused.values_mut() {
            *bits = bits.moved(from);
        }
        let bytes = |list: &[u8]| from.iter().map(|before| before.map_or(0, |before| list[before])).collect();
        (self.free, self.cached) = (bytes(&self.free), bytes(&self.cached));
        if !self.cost.is_empty() {
            let cost = |before: &Option<usize>| before.map_or(u64::MAX, |before| self.cost[before]);
            self.cost = from.iter().map(cost).collect();
        }
        let waits = from.iter().enumerate();
        let waits = waits.filter_map(|(place, before)| Some((place, *self.waits.get(&(*before)?)?)));
        self.waits = waits.collect();
    }

    /// Finds out whether a cluster has what it takes.
    pub(super) fn ask(&mut self, fleet: &Fleet, place: usize, cluster: &Cluster) {
        self.fits.set(place, false);
        self.refused.values_mut().for_each(|bits| bits.set(place, false));
        if !self.waits.is_empty() {
            self.waits.remove(&place);
        }
        match filter::has_what_it_takes(&self.probe, &self.workloads, fleet, cluster) {
            None => {}
            Some(Err(refusal)) => {
                let none = || Bits::none(self.free.len());
                self.refused.entry(refusal.reason).or_insert_with(none).set(place, true);
            }
            Some(Ok(left)) => self.set(fleet, place, cluster, &left),
        }
    }

    fn set(&mut self, fleet: &Fleet, place: usize, cluster: &Cluster, left: &Left<'_>) {
        self.fits.set(place, true);
        self.free[place] = score::free(&self.workloads, cluster, left, CapacityStrategy::Spread);
        self.cached[place] = score::cached(&self.workloads, cluster);
        if fleet.is_priced() {
            if self.cost.is_empty() {
                self.cost = vec![u64::MAX; self.free.len()];
            }
            self.cost[place] = score::cost(&self.workloads, cluster).unwrap_or(u64::MAX);
        }
        if let Some(delay) = left.waits {
            self.waits.insert(place, delay);
        }
    }
}
