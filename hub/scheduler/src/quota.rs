//! Quotas of GPUs: what placements are charged, and a decision that stays within what is left.
//!
//! A placement is charged for what it shall run: in every cluster that counts, all replicas that an autoscaler may come to.
//! What leaves is not charged, so that a move costs nothing. Only growth is refused: a quota that is lowered, or that comes
//! late, leaves what runs as it is.

mod custom_resource;
mod product;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::fleet::{ClusterName, Fleet, PlacementKey};
use crate::need::{GpuNeed, Need};
use crate::{Decision, Division, Request, Workload, schedule, suits};

pub use custom_resource::{Use, status};

/// The quotas that placements of a namespace must keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Name of the GPUQuota.
    pub name: String,
    /// Its limits, in their order.
    pub limits: Vec<Limit>,
}

/// The most GPUs of some products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Products as somebody named them.
    pub product: String,
    /// GPUs.
    pub gpus: u32,
}

/// What a placement takes in one cluster for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The cluster.
    pub cluster: ClusterName,
    /// What a replica takes.
    pub need: Need,
    /// GPUs of all replicas.
    pub gpus: u32,
}

/// What every placement is charged.
pub type Charged = BTreeMap<PlacementKey, Vec<Charge>>;

/// A limit that a placement would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Name of the GPUQuota.
    pub quota: String,
    /// The limit.
    pub limit: Limit,
    /// GPUs that the placement needs beside what it has.
    pub needs: u32,
    /// GPUs that are left.
    pub left: u32,
    /// Where it is already and would take more, the cluster that would take most, and all that it would take there.
    pub growing: Option<(ClusterName, u32)>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota, limit, needs, left, growing } = self;
        let gpus = if limit.product == "*" { "GPUs".to_owned() } else { format!("GPUs ({})", limit.product) };
        write!(
            f,
            "needs {needs} {gpus}, {left} of {} left in GPUQuota {quota}; ask its owner for more, or free some",
            limit.gpus
        )?;
        match growing {
            Some((cluster, gpus)) => write!(f, "; it runs in {cluster}, where it would take {gpus}"),
            None => Ok(()),
        }
    }
}

/// Most times that a decision is tried anew with only those clusters refused in which the placement takes most: after these all
/// are refused for which the limit counts.
const TRIES: u32 = 8;

/// Decides like [`schedule`], within the quotas of the placement's namespace: clusters where it would exceed one are
/// refused, and others asked. Gives what the decision is charged; or the limit that it cannot keep where it is already.
pub fn decide(
    request: &mut Request,
    fleet: &mut Fleet,
    quotas: &[Quota],
    ledger: &Charged,
) -> Result<(Decision, Vec<Charge>), Exceeded> {
    let mut tries = 0;
    loop {
        let decision = schedule(request, fleet);
        let charges = charges(request, fleet, &decision);
        let Some(exceeded) = exceeded(request, fleet, quotas, ledger, &charges) else {
            return Ok((decision, charges));
        };
        // All of these, not only the ones that were chosen now: the next best would exceed it as well. Where overrides make it
        // take more in some clusters than in others, those first that take most.
        let fits = fleet.clusters().filter(|cluster| !request.is_in(&cluster.name));
        let counted: Vec<(&ClusterName, u32)> = fits
            .filter(|cluster| !request.over_quota.contains_key(cluster.name.as_str()))
            .filter_map(|cluster| {
                Some((&cluster.name, request.takes(fleet, &cluster.name, &exceeded.limit)?))
            })
            .collect();
        let new: BTreeSet<&ClusterName> = decision.chosen.iter().map(|chosen| &chosen.cluster).collect();
        let chosen = counted.iter().filter(|(name, _)| new.contains(name));
        let Some(most) = chosen.map(|(_, takes)| *takes).max() else {
            let growing = growing(request, ledger, &charges);
            return Err(Exceeded { growing, ..exceeded });
        };
        tries += 1;
        let is_alike = request.variants.is_empty() || tries > TRIES;
        let refused =
            counted.into_iter().filter(|(_, takes)| is_alike || *takes >= most).map(|(name, takes)| {
                // In place of the one that takes most.
                let needs = if request.policy.division == Division::Divided || request.variants.is_empty() {
                    exceeded.needs
                } else {
                    exceeded.needs.saturating_sub(most).saturating_add(takes)
                };
                (name.to_string(), Exceeded { needs, ..exceeded.clone() }.to_string())
            });
        let refused: Vec<(String, String)> = refused.collect();
        request.over_quota.extend(refused);
    }
}

/// The cluster in which a placement is and would take most of what it takes more than it has, and all that it would take there.
fn growing(request: &Request, ledger: &Charged, charges: &[Charge]) -> Option<(ClusterName, u32)> {
    let own = ledger.get(&request.placement).map(Vec::as_slice).unwrap_or_default();
    let of = |charges: &[Charge], cluster: &ClusterName| {
        let here = charges.iter().filter(|charge| charge.cluster == *cluster);
        here.map(|charge| charge.gpus).fold(0, u32::saturating_add)
    };
    let there = request.previous.iter().map(|row| &row.cluster);
    let grown = there.map(|cluster| (of(charges, cluster), of(own, cluster), cluster));
    let grown = grown.filter(|(takes, has, _)| takes > has);
    let (takes, _, cluster) = grown.max_by_key(|(takes, has, _)| takes - has)?;
    Some((cluster.clone(), takes))
}

/// The first limit that the placement would exceed by growing.
fn exceeded(
    request: &Request,
    fleet: &Fleet,
    quotas: &[Quota],
    ledger: &Charged,
    charges: &[Charge],
) -> Option<Exceeded> {
    let own = ledger.get(&request.placement).map(Vec::as_slice).unwrap_or_default();
    quotas.iter().flat_map(|quota| quota.limits.iter().map(move |limit| (quota, limit))).find_map(
        |(quota, limit)| {
            let has = total(own, limit, fleet);
            let needs = total(charges, limit, fleet).saturating_sub(has);
            let left = limit.gpus.saturating_sub(used(&request.placement.namespace, limit, fleet, ledger));
            (needs > left).then(|| Exceeded {
                quota: quota.name.clone(),
                limit: limit.clone(),
                needs,
                left,
                growing: None,
            })
        },
    )
}

/// GPUs that all placements of a namespace are charged under a limit.
#[must_use]
pub fn used(namespace: &str, limit: &Limit, fleet: &Fleet, ledger: &Charged) -> u32 {
    let first = PlacementKey { namespace: namespace.to_owned(), name: String::new() };
    let of_namespace = ledger.range(first..).take_while(|(key, _)| key.namespace == namespace);
    of_namespace.map(|(_, charges)| total(charges, limit, fleet)).fold(0, u32::saturating_add)
}

fn total(charges: &[Charge], limit: &Limit, fleet: &Fleet) -> u32 {
    let counted = charges.iter().filter(|charge| counts(&charge.need, &charge.cluster, limit, fleet));
    counted.map(|charge| charge.gpus).fold(0, u32::saturating_add)
}

/// Whether GPUs for that need in that cluster count: if they can be of a product of the limit, and where nobody knows of
/// which product they are.
fn counts(need: &Need, cluster: &ClusterName, limit: &Limit, fleet: &Fleet) -> bool {
    let Some(gpu) = &need.gpu else { return false };
    let cluster = fleet.cluster(cluster.as_str());
    let report = cluster.and_then(|cluster| cluster.grown.as_ref().or(cluster.capacity.as_ref()));
    let pools = report.into_iter().flat_map(|report| &report.pools);
    let mut products = pools.filter(|pool| suits(pool, gpu, &need.kind)).map(|pool| &pool.product).peekable();
    products.peek().is_none() || products.any(|product| product::is_of(product, &limit.product))
}

/// What a decision is charged: everything that is chosen and counts, as it shall be, whether or not there is room yet.
/// What has run to its end is charged no more.
fn charges(request: &Request, fleet: &Fleet, decision: &Decision) -> Vec<Charge> {
    let mut charges = Vec::new();
    for chosen in decision.chosen.iter().filter(|chosen| !chosen.is_replaced()) {
        for Workload { object, need } in request.workloads_in(&chosen.cluster) {
            let heard = fleet.statuses().get(&chosen.cluster, &object.uid);
            if heard.is_some_and(|heard| need.has_ended(&heard.status)) {
                continue;
            }
            let granted = chosen.replicas.iter().find(|granted| granted.uid == object.uid);
            let replicas = match granted {
                Some(granted) if granted.divided => granted.replicas,
                Some(granted) => granted.replicas.max(need.replicas),
                None => need.granted(None),
            };
            charges.extend(Charge::of(&chosen.cluster, need, replicas));
        }
    }
    charges
}

impl Charge {
    /// What so many replicas are charged; none if they take no GPU.
    #[must_use]
    pub fn of(cluster: &ClusterName, need: Need, replicas: u32) -> Option<Self> {
        let gpus = need.gpu.as_ref()?.total().saturating_mul(replicas.max(need.most_replicas));
        (gpus > 0).then(|| Self { cluster: cluster.clone(), need, gpus })
    }
}

impl Request {
    fn is_in(&self, cluster: &ClusterName) -> bool {
        self.previous.iter().any(|row| row.cluster == *cluster)
    }

    /// GPUs that count under the limit if all of the placement runs in that cluster; none if nothing of it would count there.
    fn takes(&self, fleet: &Fleet, cluster: &ClusterName, limit: &Limit) -> Option<u32> {
        let all = self.workloads_in(cluster).into_iter();
        let counted = all.filter(|one| counts(&one.need, cluster, limit, fleet));
        let gpus = counted.map(|Workload { need, .. }| {
            let replicas = need.granted(Some(need.replicas)).max(need.most_replicas);
            need.gpu.as_ref().map_or(0, GpuNeed::total).saturating_mul(replicas)
        });
        gpus.reduce(u32::saturating_add)
    }
}
