//! The order of a decision: who stays, who could come, who comes, and what is said about the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::{
    Cause, Chosen, Decision, Division, NAMED, Outcome, Reason, Refused, Removed, Request, Spare, Workload,
    duplicate,
    filter::{self, Refusal},
    keep::{self, Kept, Sorted},
    packing::Left,
    replace,
    score::{self, Points, Scale},
    select::Choice,
    share,
    survey::{Groups, Survey},
    variants::Objects,
};
use crate::failover::PerLane;
use crate::fleet::{Cluster, ClusterName, Fleet};
use crate::index::Bits;

/// A cluster that the placement is not in and could come to.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) cluster: &'a Cluster,
    /// The objects, as it has them.
    pub(super) workloads: &'a [Workload],
    /// What is left there: for Duplicated after the placement, for Divided after all of it that is not
    /// divided.
    pub(super) left: Left<'a>,
    pub(super) points: Points,
    /// Its tier.
    pub(super) tier: usize,
}

/// What a way of spreading replicas makes of the clusters at hand.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) chosen: Vec<Chosen>,
    pub(super) removed: Vec<Removed>,
    /// Lost clusters whose place others have taken.
    pub(super) replaced: Vec<Chosen>,
    /// Those of them that were given up by this very decision, by why.
    pub(super) moves: PerLane<usize>,
    /// The first cluster that shall be left and finds no replacement, and why it shall.
    pub(super) stuck: Option<(ClusterName, Cause)>,
    /// When time alone may change the shares.
    pub(super) due_at: Option<Timestamp>,
    /// The wish to choose anew has been followed.
    pub(super) rebalanced: bool,
    pub(super) wanted_clusters: u32,
    pub(super) wanted_replicas: u32,
    /// What does not fit where the placement stays.
    pub(super) shortfalls: Vec<String>,
}

/// The clusters that a placement is not in, sorted.
pub(super) struct Found<'a> {
    /// Those that fit and may be chosen, by name: all of them, or the best.
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) refusals: Refusals,
    pub(super) settling: Option<Settling>,
    /// The cost of the cheapest that fits, of all of them.
    pub(super) cheapest: Option<u64>,
    pub(super) unchosen: Unchosen,
}

/// All clusters that fit, whether or not they may be chosen.
pub(super) struct Unchosen {
    /// Names that are in order, some of which fit.
    pub(super) names: Arc<[ClusterName]>,
    /// The places of those that fit.
    pub(super) places: Bits,
    pub(super) groups: Groups,
}

/// Chooses clusters for a placement. Same input, same output: the fleet changes only in what it remembers of answers.
#[must_use]
pub fn schedule(request: &Request, fleet: &mut Fleet) -> Decision {
    if request.workloads.is_empty() {
        return nothing_selected(request);
    }
    let mut index = fleet.follow();
    let objects = Objects::of(request);
    let known: &Fleet = fleet;
    let decision = decide(request, &objects, known, |scale, kept, refusals| {
        let mut survey = Survey { request, objects: &objects, fleet: known, index: &mut index };
        survey.find(scale, kept, refusals)
    });
    fleet.put_index(index);
    decision
}

/// The same without an index: it asks one cluster after the other. Tests hold [`schedule`] against it.
#[cfg(test)]
pub(super) fn scan(request: &Request, fleet: &Fleet) -> Decision {
    if request.workloads.is_empty() {
        return nothing_selected(request);
    }
    let objects = Objects::of(request);
    decide(request, &objects, fleet, |scale, _, refusals| {
        candidates(request, &objects, fleet, scale, refusals)
    })
}

fn decide<'a>(
    request: &'a Request,
    objects: &'a Objects<'a>,
    fleet: &'a Fleet,
    find: impl FnOnce(&Scale, &[Kept<'a>], Refusals) -> Found<'a>,
) -> Decision {
    let scale = Scale::of(request, objects.plain(), fleet);
    let Sorted { mut kept, replaced, mut removed, mut losses, due_at } =
        keep::keep(request, objects, fleet, &scale);
    let mut refusals = Refusals::new(request.told);
    for Refused { cluster, reason, message } in missing(request, fleet) {
        refusals.add(&cluster, Refusal { reason, message, settles_at: None });
    }
    let Found { mut candidates, mut refusals, settling, cheapest, unchosen } = find(&scale, &kept, refusals);
    let all = kept.iter_mut().map(|kept| (kept.cluster, &mut kept.points));
    let all = all.chain(candidates.iter_mut().map(|candidate| (candidate.cluster, &mut candidate.points)));
    scale.compare(objects, all, cheapest);
    let back_at = replace::settles_at(request, fleet);
    let retry_at = due_at.into_iter().chain(back_at);

    let choice = Choice { request, scale: &scale };
    let mut spread = match request.policy.division {
        Division::Duplicated => {
            duplicate::spread(&choice, objects.plain(), fleet, kept, &candidates, &mut losses)
        }
        Division::Divided => share::spread(&choice, objects.plain(), fleet, kept, &candidates),
    };
    let paced_until = losses.paced_until(request);
    let retry_at = retry_at.chain(paced_until.failover).chain(paced_until.relocation);
    let retry_at = retry_at.chain(spread.due_at).min();
    let spare = spare(&choice, fleet, &candidates, unchosen, &spread, &mut refusals);
    refusals.told.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    let outcome = outcome(&spread, &refusals);
    replace::conclude(request, fleet, &replaced, &mut spread);
    removed.append(&mut spread.removed);
    spread.chosen.append(&mut spread.replaced);
    removed.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    spread.chosen.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    for chosen in &mut spread.chosen {
        chosen.replicas.sort_by(|a, b| a.uid.cmp(&b.uid));
    }
    let others = super::explain::tally(&refusals.counts, &refusals.told);
    let hold = losses.hold(request, spread.stuck.as_ref(), others.as_deref());
    let rebalanced = request.rebalance.clone().filter(|_| spread.rebalanced);
    let (chosen, moves) = (spread.chosen, spread.moves);
    let Refusals { told: refused, counts, .. } = refusals;
    let mut decision = Decision {
        chosen,
        removed,
        refused,
        counts,
        spare,
        outcome,
        hold,
        moves,
        paced_until,
        rebalanced,
        retry_at,
    };
    let is_waiting = decision.is_waiting(request.rebalance.as_deref());
    let settled_at = settling.map(|settling| settling.asked_again(is_waiting));
    decision.retry_at = decision.retry_at.into_iter().chain(settled_at).min();
    decision
}

/// When clusters that came back count again: the first of them, and the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Settling {
    pub(super) fn and(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Who waits tries each second in which one more counts; for who has what it wants it is enough that what is said of
    /// the others is true again in the end: a whole fleet may come back at once.
    fn asked_again(self, is_waiting: bool) -> Timestamp {
        let at = if is_waiting { self.first } else { self.last };
        at.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)).unwrap_or(at)
    }
}

/// Who was refused, as far as it is told.
pub(super) struct Refusals {
    most: usize,
    pub(super) told: Vec<Refused>,
    counts: BTreeMap<Reason, u32>,
}

impl Refusals {
    const fn new(most: usize) -> Self {
        Self { most, told: Vec::new(), counts: BTreeMap::new() }
    }

    /// Counts one; says whether it is to be told.
    fn count(&mut self, reason: Reason) -> bool {
        let count = self.counts.entry(reason).or_default();
        *count += 1;
        usize::try_from(*count).unwrap_or(usize::MAX) <= self.most
    }

    fn add(&mut self, cluster: &str, refusal: Refusal) {
        if self.count(refusal.reason) {
            let Refusal { reason, message, .. } = refusal;
            self.told.push(Refused { cluster: cluster.to_owned(), reason, message });
        }
    }

    /// Of how many more of that reason it is told.
    pub(super) fn may_tell(&self, reason: Reason) -> usize {
        let count = self.counts.get(&reason).copied().unwrap_or(0);
        self.most.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Counts so many more; of those that are told it has been told.
    pub(super) fn add_to(&mut self, reason: Reason, count: usize) {
        let counted = self.counts.entry(reason).or_default();
        *counted = counted.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Sorts the clusters that the placement is not in by asking each: those that could take it, and those that cannot, both by
/// name.
#[cfg(test)]
fn candidates<'a>(
    request: &'a Request,
    objects: &'a Objects<'a>,
    fleet: &'a Fleet,
    scale: &Scale,
    mut refusals: Refusals,
) -> Found<'a> {
    use super::variants::InCluster as _;

    let mut candidates = Vec::new();
    let mut settling: Option<Settling> = None;
    let there: BTreeSet<&ClusterName> = request.previous.iter().map(|row| &row.cluster).collect();
    for cluster in fleet.clusters().filter(|cluster| !there.contains(&cluster.name)) {
        let workloads = objects.in_cluster(&cluster.name);
        match filter::may_come(request, workloads, fleet, cluster) {
            Ok((left, tier)) => {
                let points = scale.points(request, workloads, cluster, Some(&left), false);
                candidates.push(Candidate { cluster, workloads, left, points, tier });
            }
            Err(refusal) => {
                let settles = refusal.settles_at.map(|at| Settling { first: at, last: at });
                settling = settling.into_iter().chain(settles).reduce(Settling::and);
                refusals.add(cluster.name.as_str(), refusal);
            }
        }
    }
    let count = candidates.len();
    let unchosen = Unchosen {
        names: candidates.iter().map(|candidate| candidate.cluster.name.clone()).collect(),
        places: Bits::all(count),
        groups: Groups {
            of: (0..count).map(|place| u32::try_from(place).unwrap_or(u32::MAX)).collect(),
            first: (0..count).collect(),
        },
    };
    Found { candidates, refusals, settling, cheapest: None, unchosen }
}

/// Clusters that fit and are not chosen: those that are merely not needed; those of which one more would break the spread are
/// refused.
fn spare<'a>(
    choice: &Choice<'a>,
    fleet: &'a Fleet,
    candidates: &[Candidate<'a>],
    unchosen: Unchosen,
    spread: &Spread,
    refusals: &mut Refusals,
) -> Spare {
    let Unchosen { names, mut places, groups } = unchosen;
    for chosen in &spread.chosen {
        if let Ok(place) = names.binary_search(&chosen.cluster) {
            places.set(place, false);
        }
    }
    if choice.request.policy.spread.iter().all(|constraint| !constraint.is_hard) {
        return Spare::new(names, places);
    }
    let chosen: BTreeSet<&ClusterName> = spread.chosen.iter().map(|chosen| &chosen.cluster).collect();
    let taken = chosen.iter().filter_map(|name| Some((fleet.cluster(name.as_str())?, 0)));
    let domains = choice.domains(candidates, &taken.collect::<Vec<_>>());
    let too_many = |place: &usize| {
        let cluster = fleet.cluster(names.get(*place)?.as_str())?;
        filter::topology::one_too_many(&domains, cluster)
    };
    let full: Vec<Option<Refusal>> = groups.first.iter().map(too_many).collect();
    let is_full = |place: &usize| groups.of.get(*place).is_some_and(|group| full[*group as usize].is_some());
    let refused: Vec<usize> = places.iter().filter(is_full).collect();
    for place in refused {
        places.set(place, false);
        if let Some(Some(refusal)) = groups.of.get(place).map(|group| &full[*group as usize])
            && refusals.count(refusal.reason)
        {
            let (cluster, message) = (names[place].to_string(), refusal.message.clone());
            refusals.told.push(Refused { cluster, reason: refusal.reason, message });
        }
    }
    Spare::new(names, places)
}

/// Names in `clusterNames` that no cluster has.
fn missing(request: &Request, fleet: &Fleet) -> Vec<Refused> {
    let names: BTreeSet<_> = request.policy.affinity.cluster_names.iter().collect();
    let missing = names.into_iter().filter(|name| fleet.cluster(name).is_none());
    let refuse = |name: &String| {
        let known: Vec<_> = fleet.clusters().take(NAMED).map(|cluster| cluster.name.as_str()).collect();
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
        counts: BTreeMap::new(),
        spare: Spare::default(),
        outcome: Outcome {
            complete: false,
            reason,
            message,
            wanted_clusters: request.policy.clusters.unwrap_or(1),
            wanted_replicas: 0,
            given_replicas: 0,
        },
        hold: None,
        moves: PerLane::default(),
        paced_until: PerLane::default(),
        rebalanced: None,
        retry_at: None,
    }
}

fn outcome(spread: &Spread, refusals: &Refusals) -> Outcome {
    let clusters = u32::try_from(spread.chosen.len()).unwrap_or(u32::MAX);
    let given = spread.chosen.iter().flat_map(|chosen| &chosen.replicas).map(|granted| granted.replicas);
    let given_replicas: u32 = given.fold(0, u32::saturating_add);
    let is_given = clusters >= spread.wanted_clusters && given_replicas >= spread.wanted_replicas;
    let complete = is_given && spread.shortfalls.is_empty();
    let reason = match (complete, clusters) {
        (true, _) => Reason::Placed,
        // Everything else fits there: somebody has to be asked, and the message of the refusal says whom.
        (false, 0) if refusals.counts.contains_key(&Reason::PolicyDenied) => Reason::PolicyDenied,
        (false, 0) if refusals.counts.contains_key(&Reason::QuotaExceeded) => Reason::QuotaExceeded,
        (false, 0) if refusals.counts.contains_key(&Reason::NoRoom) => Reason::NoRoom,
        (false, 0) => Reason::NoClusterFits,
        // All has been given, and pods wait for nodes.
        (false, _) if is_given => Reason::Unschedulable,
        (false, _) => Reason::PartiallyScheduled,
    };
    let counts = format!(
        "{clusters} of {} clusters, {given_replicas} of {} replicas",
        spread.wanted_clusters, spread.wanted_replicas
    );
    let mut parts = match clusters {
        0 => vec!["no cluster fits".to_owned()],
        // Counts that are full would contradict what follows.
        _ if is_given && !complete => Vec::new(),
        _ => vec![counts],
    };
    if !complete {
        parts.extend(spread.shortfalls.iter().cloned());
        parts.extend(super::explain::tally(&refusals.counts, &refusals.told));
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
    pub(super) fn chosen(&self, scale: &Scale, replicas: Vec<super::Granted>) -> Chosen {
        Chosen {
            cluster: self.cluster.name.clone(),
            reason: Reason::Sticky,
            score: scale.mean(self.points),
            parts: scale.parts(self.points),
            since: self.row.since,
            replicas,
            message: "placed here before, and stays".to_owned(),
        }
    }
}

impl Choice<'_> {
    /// The row of a cluster that is new.
    pub(super) fn comes(
        &self,
        (cluster, workloads): (&Cluster, &[Workload]),
        points: Points,
        (tier, waits): (usize, Option<jiff::SignedDuration>),
        replicas: Vec<super::Granted>,
    ) -> Chosen {
        let (score, parts) = (self.scale.mean(points), self.scale.parts(points));
        let tier = self.request.policy.tiers.get(tier);
        let tier = tier.map(|tier| format!(" in tier {}", tier.name)).unwrap_or_default();
        let profiles = filter::profile::served(workloads, cluster);
        Chosen {
            cluster: cluster.name.clone(),
            reason: Reason::Placed,
            score,
            since: self.request.now,
            replicas,
            message: match waits {
                None => format!("fits{tier}, score {score} ({}){profiles}", score::words(&parts)),
                Some(delay) => {
                    let words = score::words(&parts);
                    format!(
                        "fits{tier} once its autoscaler brings nodes, in {delay:#}, score {score} ({words}){profiles}"
                    )
                }
            },
            parts,
        }
    }
}
