//! I4: what a hub gives away fits into what was observed to be free.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Fact, Given, Invariant, World};

/// Nodes by their free GPUs, and GPUs that are bound, by uid.
type Observation = (BTreeMap<u32, u32>, BTreeMap<String, u32>);

#[derive(Default)]
pub(super) struct NoOvercommit {
    /// By cluster and time. What was observed later and looks the same is not told: it belongs to the first.
    observed: BTreeMap<(String, Timestamp), Vec<Observation>>,
    /// GPUs of a replica when it was given, by cluster and uid: what a user enlarges later where it runs is not given away,
    /// and its pods tell whether it fits.
    sizes: BTreeMap<String, BTreeMap<String, u32>>,
    /// When what each cluster looks like now was first observed.
    first: BTreeMap<String, (Timestamp, BTreeMap<u32, u32>)>,
}

impl Invariant for NoOvercommit {
    fn statement(&self) -> &'static str {
        "I4: when a hub gives GPUs of a cluster away, all that it has given away there and was not in use when the \
         cluster was observed fits into what was free then"
    }

    fn done(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Observed { cluster, at, free, bound } => {
                let first = self.first.entry(cluster.clone()).or_insert_with(|| (*at, free.clone()));
                if first.1 != *free {
                    *first = (*at, free.clone());
                }
                for at in BTreeSet::from([first.0, *at]) {
                    let observations = self.observed.entry((cluster.clone(), at)).or_default();
                    observations.push((free.clone(), bound.clone()));
                }
            }
            // Two clusters of one identity cannot be told apart.
            Fact::Granted { cluster, at, given }
                if world.spokes.iter().filter(|spoke| spoke.cluster == *cluster).count() == 1 =>
            {
                let sizes = self.sizes.entry(cluster.clone()).or_default();
                sizes.retain(|uid, _| given.contains_key(uid));
                let gpus = |(uid, Given { replicas, gpus }): (&String, &Given)| {
                    let size = sizes.entry(uid.clone()).or_insert(*gpus);
                    *size = (*size).min(*gpus);
                    (uid.clone(), *size * replicas)
                };
                let given: BTreeMap<String, u32> = given.iter().map(gpus).collect();
                let none = Vec::new();
                let observations = self.observed.get(&(cluster.clone(), *at)).unwrap_or(&none);
                let owed = |bound: &BTreeMap<String, u32>| {
                    let unbound = given.iter().map(|(uid, given)| {
                        given.saturating_sub(bound.get(uid).copied().unwrap_or_default())
                    });
                    unbound.sum::<u32>()
                };
                let total =
                    |free: &BTreeMap<u32, u32>| free.iter().map(|(free, nodes)| free * nodes).sum::<u32>();
                if !observations.iter().any(|(free, bound)| owed(bound) <= total(free)) {
                    return Err(format!(
                        "{cluster} has been promised {given:?} by the report of {at}: {observations:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
