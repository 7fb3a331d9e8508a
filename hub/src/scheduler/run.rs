//! The order of a decision: who stays, who could come, who comes, and what is said about the rest.

use super::{
    Chosen, Decision, Division, Outcome, Reason, Refused, Removed, Request, Workload, duplicate,
    filter::{self, Refusal},
    keep::{self, Kept, Sorted},
    packing::Left,
    replace, score, share,
};
use crate::fleet::{Cluster, ClusterName, Fleet};

/// A cluster that the placement is not in and could come to.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) cluster: &'a Cluster,
    /// What is left there: for Duplicated after the placement, for Divided after all of it that is not
    /// divided.
    pub(super) left: Left<'a>,
    pub(super) score: i32,
}

/// What a way of spreading replicas makes of the clusters at hand.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) chosen: Vec<Chosen>,
    pub(super) removed: Vec<Removed>,
    /// Lost clusters whose place others have taken.
    pub(super) replaced: Vec<Chosen>,
    /// Those of them that were given up by this very decision.
    pub(super) failovers: usize,
    /// The first cluster that is lost and finds no replacement.
    pub(super) stuck: Option<ClusterName>,
    pub(super) wanted_clusters: u32,
    pub(super) wanted_replicas: u32,
    /// What does not fit where the placement stays.
    pub(super) shortfalls: Vec<String>,
}

/// Chooses clusters for a placement. A pure function: same input, same output.
#[must_use]
pub fn schedule(request: &Request, fleet: &Fleet) -> Decision {
    if request.workloads.is_empty() {
        return nothing_selected(request);
    }
    let workloads = request.narrowed();
    let Sorted { kept, replaced, mut removed, losses } = keep::keep(request, &workloads, fleet);
    let (candidates, refused, settles_at) = candidates(request, &workloads, fleet);
    let loses_at = replace::loses_at(request, &kept).into_iter().chain(losses.retry_at(request));
    let back_at = replace::settles_at(request, fleet);
    let retry_at = loses_at.chain(settles_at).chain(back_at).min();

    let names: Vec<_> = candidates.iter().map(|candidate| candidate.cluster.name.clone()).collect();
    let mut spread = match request.policy.division {
        Division::Duplicated => duplicate::spread(request, &workloads, kept, candidates),
        Division::Divided => share::spread(request, &workloads, kept, &candidates),
    };
    let outcome = outcome(&spread, &refused);
    replace::conclude(request, fleet, &replaced, &mut spread);
    removed.append(&mut spread.removed);
    spread.chosen.append(&mut spread.replaced);
    removed.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    spread.chosen.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    for chosen in &mut spread.chosen {
        chosen.replicas.sort_by(|a, b| a.uid.cmp(&b.uid));
    }
    let mut spare: Vec<_> =
        names.into_iter().filter(|name| spread.chosen.iter().all(|chosen| chosen.cluster != *name)).collect();
    spare.sort();
    let hold = losses.hold(request, spread.stuck.as_ref());
    let (chosen, failovers) = (spread.chosen, spread.failovers);
    Decision { chosen, removed, refused, spare, outcome, hold, failovers, retry_at }
}

type Candidates<'a> = (Vec<Candidate<'a>>, Vec<Refused>, Option<jiff::Timestamp>);

/// Sorts the clusters that the placement is not in: those that could take it, the best first, and those that
/// cannot, by name.
fn candidates<'a>(request: &'a Request, workloads: &[Workload], fleet: &'a Fleet) -> Candidates<'a> {
    let (mut candidates, mut refused, mut settles) = (Vec::new(), missing(request, fleet), Vec::new());
    for cluster in fleet.clusters() {
        if request.previous.iter().any(|row| row.cluster == cluster.name) {
            continue;
        }
        match filter::may_come(request, workloads, fleet, cluster) {
            Ok(left) => {
                let score = score::score(workloads, cluster, Some(&left), false);
                candidates.push(Candidate { cluster, left, score });
            }
            Err(Refusal { reason, message, settles_at }) => {
                settles.extend(settles_at);
                refused.push(Refused { cluster: cluster.name.to_string(), reason, message });
            }
        }
    }
    candidates.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.cluster.name.cmp(&b.cluster.name)));
    refused.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    (candidates, refused, settles.into_iter().min())
}

/// Names in `clusterNames` that no cluster has.
fn missing(request: &Request, fleet: &Fleet) -> Vec<Refused> {
    let names: std::collections::BTreeSet<_> = request.policy.affinity.cluster_names.iter().collect();
    let missing = names.into_iter().filter(|name| fleet.cluster(name).is_none());
    let refuse = |name: &String| {
        let known: Vec<_> = fleet.clusters().take(10).map(|cluster| cluster.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message =
            format!("spec.clusterAffinity.clusterNames: no GPUCluster has this name; there are: {known}");
        Refused { cluster: name.clone(), reason: Reason::ClusterNotFound, message }
    };
    missing.map(refuse).collect()
}

fn nothing_selected(request: &Request) -> Decision {
    let reason = Reason::NothingSelected;
    let message = "spec.resourceSelectors: no object in this namespace is selected".to_owned();
    Decision {
        chosen: Vec::new(),
        removed: request.previous.iter().map(|row| row.removed(reason, message.clone())).collect(),
        refused: Vec::new(),
        spare: Vec::new(),
        outcome: Outcome {
            complete: false,
            reason,
            message,
            wanted_clusters: request.policy.clusters.unwrap_or(1),
            wanted_replicas: 0,
            given_replicas: 0,
        },
        hold: None,
        failovers: 0,
        retry_at: None,
    }
}

fn outcome(spread: &Spread, refused: &[Refused]) -> Outcome {
    let clusters = u32::try_from(spread.chosen.len()).unwrap_or(u32::MAX);
    let given = spread.chosen.iter().flat_map(|chosen| &chosen.replicas).map(|granted| granted.replicas);
    let given_replicas: u32 = given.fold(0, u32::saturating_add);
    let complete = clusters >= spread.wanted_clusters
        && given_replicas >= spread.wanted_replicas
        && spread.shortfalls.is_empty();
    let reason = match (complete, clusters) {
        (true, _) => Reason::Placed,
        // Everything else fits there: somebody has to be asked, and the message of the refusal says whom.
        (false, 0) if refused.iter().any(|one| one.reason == Reason::PolicyDenied) => Reason::PolicyDenied,
        (false, 0) => Reason::NoClusterFits,
        (false, _) => Reason::PartiallyScheduled,
    };
    let counts = format!(
        "{clusters} of {} clusters, {given_replicas} of {} replicas",
        spread.wanted_clusters, spread.wanted_replicas
    );
    let mut parts = vec![if clusters == 0 { "no cluster fits".to_owned() } else { counts }];
    if !complete {
        parts.extend(spread.shortfalls.iter().cloned());
        parts.extend(super::explain::tally(refused));
    }
    Outcome {
        complete,
        reason,
        message: parts.join("; "),
        wanted_clusters: spread.wanted_clusters,
        wanted_replicas: spread.wanted_replicas,
        given_replicas,
    }
}

impl Kept<'_> {
    /// The row of a cluster that stays.
    pub(super) fn chosen(&self, replicas: Vec<super::Granted>) -> Chosen {
        Chosen {
            cluster: self.cluster.name.clone(),
            reason: Reason::Sticky,
            score: self.score,
            since: self.row.since,
            replicas,
            message: "runs here already".to_owned(),
        }
    }
}

impl Candidate<'_> {
    /// The row of a cluster that is new.
    pub(super) fn chosen(&self, request: &Request, replicas: Vec<super::Granted>) -> Chosen {
        Chosen {
            cluster: self.cluster.name.clone(),
            reason: Reason::Placed,
            score: self.score,
            since: request.now,
            replicas,
            message: format!("fits, score {}", self.score),
        }
    }
}
