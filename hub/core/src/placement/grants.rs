//! What the assignments of a placement take from clusters, and what quotas charge for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::fleet::{NIMPlacement, PlacedObject};
use jiff::Timestamp;
use serde_json::Value;

use super::assignments::{Assignments, SECRET};
use super::variants::{Needs, cache_named, variants};
use crate::fleet::{Cluster, ClusterName, Grant, GrantedObject, PlacementKey};
use crate::need::{self, Need};
use crate::quota::Charge;
use crate::resolve;
use crate::scheduler::{Granted, Policy};

/// What rows of a placement of that priority take from the clusters, leaving ones included: their GPUs are free when the spoke
/// says that they are gone. `needs`: what a replica takes, by cluster and uid.
#[must_use]
pub fn grants<'a>(
    rows: &Assignments,
    needs: impl Fn(&str, &str) -> Option<&'a Need>,
    priority: i32,
) -> Vec<Grant> {
    let mut grants: BTreeMap<&str, (Timestamp, Vec<GrantedObject>)> = BTreeMap::new();
    let since = |cluster: &str| {
        let placed = rows.placed.get(cluster).map(|row| row.since);
        placed.or_else(|| rows.removing.get(cluster).map(|row| row.since)).unwrap_or_default()
    };
    // A Secret that leaves is held by nobody: another placement that lists it keeps it.
    for (cluster, object) in rows.objects().filter(|(_, o)| o.kind != SECRET || o.policy.is_none()) {
        let need = needs(cluster, &object.uid).cloned().unwrap_or_default();
        let told = object.replicas.and_then(|replicas| u32::try_from(replicas).ok());
        let granted = need.parts().map(|part| GrantedObject {
            uid: object.uid.clone(),
            need: part.clone(),
            replicas: told.unwrap_or_else(|| part.granted(None)),
        });
        grants.entry(cluster).or_insert_with(|| (since(cluster), Vec::new())).1.extend(granted);
    }
    let grants = grants.into_iter().filter_map(|(cluster, (since, objects))| {
        Some(Grant { cluster: cluster.parse().ok()?, since, priority, objects })
    });
    grants.collect()
}

/// What rows are charged, as far as they tell.
#[must_use]
pub fn charges_of(rows: &Assignments, needs: &Needs) -> Vec<Charge> {
    let counting = rows.placed.iter().filter(|(_, row)| !row.replaced);
    let objects = counting.flat_map(|(cluster, row)| row.objects.iter().map(move |object| (cluster, object)));
    let told = objects.filter_map(|(cluster, object)| {
        let replicas = object.replicas.and_then(|replicas| u32::try_from(replicas).ok());
        Some((cluster.parse().ok()?, needs.get(cluster, &object.uid)?, replicas))
    });
    let charge = |(cluster, need, replicas): (ClusterName, &Need, Option<u32>)| {
        let of_part =
            |part: &Need| Charge::of(&cluster, part.clone(), replicas.unwrap_or_else(|| part.granted(None)));
        need.parts().filter_map(of_part).collect::<Vec<_>>()
    };
    told.flat_map(charge).collect()
}

/// The replicas that objects of an assignment were granted.
#[must_use]
pub fn granted(objects: &[PlacedObject]) -> Vec<Granted> {
    let granted = objects.iter().filter_map(|object| {
        let replicas = u32::try_from(object.replicas?).ok()?;
        Some(Granted { uid: object.uid.clone(), replicas, divided: false })
    });
    granted.collect()
}

/// What the objects of a placement take in each of `clusters`, by uid, as far as it can be told: for rows that were made by an
/// earlier process.
#[must_use]
pub fn narrowed(
    key: &PlacementKey,
    placement: Option<&NIMPlacement>,
    objects: &[(String, Value)],
    rows: &Assignments,
    clusters: &[Arc<Cluster>],
) -> Needs {
    let mut needs = Needs::default();
    let policy = placement.and_then(|placement| Policy::try_from(&placement.spec).ok()).unwrap_or_default();
    let all = || objects.iter().map(|(_, object)| object);
    let told = objects.iter().filter_map(|(uid, object)| {
        let need = need::of(object, |name| cache_named(name, all())).ok()?;
        Some((uid.as_str(), object, need))
    });
    let told: Vec<(&str, &Value, Need)> = told.collect();
    for (uid, _, need) in &told {
        needs.set(uid, policy.narrow(need));
    }
    let overrides = placement.and_then(|placement| resolve::read(key, &placement.spec.overrides).ok());
    let uids: Vec<&str> = told.iter().map(|(uid, _, _)| *uid).collect();
    let objects: Vec<&Value> = told.iter().map(|(_, object, _)| *object).collect();
    let plain: Vec<&Need> = told.iter().map(|(_, _, need)| need).collect();
    let there = clusters.iter().map(Arc::as_ref).filter(|cluster| {
        let name = cluster.name.as_str();
        rows.placed.contains_key(name) || rows.removing.contains_key(name)
    });
    if let Ok(variants) = variants(key, (&objects, &[]), &plain, &overrides.unwrap_or_default(), there) {
        needs.keep(rows, &uids, &variants, |need| policy.narrow(need));
    }
    needs
}
