//! Clusters that were lost, drain or are left for another cause, and whose place others have taken: make before break, and
//! what happens when they return.
//!
//! ```text
//! stays ──lost, and others fit──► replaced ──back for good, the others available──► leaves
//!   ▲                                │
//!   └── back for good and available, ┘
//!       the others not: they leave
//! ```
//!
//! A replaced cluster most likely still serves; nothing it runs is touched while nobody can tell. So the old copy goes
//! only when the new one is known to serve, and of two copies the one that serves stays.

use jiff::Timestamp;

use super::{
    Cause, Chosen, Division, Granted, Hold, NAMED, Previous, Reason, Request, Workload, cause, keep::Kept,
    run::Spread,
};
use crate::failover::{Held, Lane, Limits, Outages, PerLane};
use crate::fleet::{Cluster, ClusterName, Fleet, Link};

/// A cluster whose place others have taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replaced<'a> {
    pub(super) row: &'a Previous,
    pub(super) cluster: &'a Cluster,
    /// Why others have taken it.
    pub(super) cause: Cause,
    /// Whether everything of the placement is known to be ready there.
    pub(super) available: bool,
    /// Whether it is connected, and for good.
    pub(super) settled: bool,
}

/// What shall be left and may not be yet, or finds no place.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The first that the brake holds.
    braked: Option<(String, Held)>,
    /// The first of each lane that has to wait for its turn.
    paced: PerLane<Option<(String, Cause)>>,
    granted: PerLane<u32>,
    /// Clusters that run and are being left, those of this decision among them.
    moving: usize,
    /// The first that has to wait until another one has been left.
    queued: Option<(String, Cause)>,
    /// Looked at once something is lost.
    outages: Option<Outages>,
}

impl Losses {
    /// So many clusters that run are being left by earlier decisions.
    pub(super) const fn in_flight(&mut self, clusters: usize) {
        self.moving = clusters;
    }

    /// Whether others may take the place of a cluster now.
    pub(super) fn may_go(
        &mut self,
        request: &Request,
        fleet: &Fleet,
        cluster: &Cluster,
        cause: Cause,
    ) -> bool {
        if cause == Cause::Lost {
            let outages = self.outages.get_or_insert_with(|| Outages::of(fleet));
            if let Some(held) = outages.held(cluster, &request.limits) {
                self.braked.get_or_insert((cluster.name.to_string(), held));
                return false;
            }
        }
        let budget = usize::try_from(request.policy.eviction_budget).unwrap_or(usize::MAX);
        if cause.is_voluntary() && self.moving >= budget {
            self.queued.get_or_insert((cluster.name.to_string(), cause));
            return false;
        }
        let lane = cause.lane();
        if *self.granted.of(lane) >= request.allowance.of(lane).now {
            self.paced.of_mut(lane).get_or_insert((cluster.name.to_string(), cause));
            return false;
        }
        *self.granted.of_mut(lane) += 1;
        self.moving += usize::from(cause.is_voluntary());
        true
    }

    /// Why something that shall be left is not; `stuck` found no other cluster, and `others` says why each was refused.
    pub(super) fn hold(
        &self,
        request: &Request,
        stuck: Option<&(ClusterName, Cause)>,
        others: Option<&str>,
    ) -> Option<Hold> {
        if let Some((cluster, held)) = &self.braked {
            let message = format!(
                "{cluster} is lost, and {held}: a fault of the hub or of its network is likely, so nothing moves until \
                 they are back; if they are really lost: kubectl annotate gpucluster {cluster} \
                 nimfleet.io/confirm-failover=true"
            );
            return Some(Hold { reason: Reason::ManyClustersLost, message });
        }
        if let Some((cluster, cause)) = self.paced.failover.as_ref().or(self.paced.relocation.as_ref()) {
            let (why, most) = (cause.words(), request.limits.per_minute);
            let what = match cause.lane() {
                Lane::Failover => "failovers",
                Lane::Relocation => "moves off clusters that run",
            };
            let message = format!(
                "{cluster} {why}; in the whole fleet {most} {what} begin a minute at most, shared by namespaces"
            );
            return Some(Hold { reason: Reason::FailoverPaced, message });
        }
        if let Some((cluster, cause)) = stuck {
            let why = cause.words();
            let others = others.unwrap_or("the fleet has no other");
            let message = format!("{cluster} {why}, and no other cluster can take over: {others}");
            return Some(Hold { reason: Reason::NoFailoverTarget, message });
        }
        let (cluster, cause) = self.queued.as_ref()?;
        let budget = request.policy.eviction_budget;
        let message = format!("{cluster} {}; spec.evictionBudget leaves {budget} at once", cause.words());
        Some(Hold { reason: Reason::FailoverPaced, message })
    }

    /// A move that rebalances has to wait for its turn.
    pub(super) fn pace(&mut self, cluster: &ClusterName, cause: Cause) {
        self.paced.of_mut(cause.lane()).get_or_insert((cluster.to_string(), cause));
    }

    /// How many more moves of a lane may begin.
    pub(super) fn left(&self, request: &Request, lane: Lane) -> u32 {
        request.allowance.of(lane).now.saturating_sub(*self.granted.of(lane))
    }

    /// In which lanes a turn is waited for, and when to ask again. With a pace of none at all nothing ever moves.
    pub(super) fn paced_until(&self, request: &Request) -> PerLane<Option<Timestamp>> {
        let of = |lane| self.paced.of(lane).as_ref().and(request.allowance.of(lane).more_at);
        PerLane { failover: of(Lane::Failover), relocation: of(Lane::Relocation) }
    }
}

impl Request {
    /// When a cluster that came back counts again; none if it does.
    pub(super) fn settles_at(&self, cluster: &Cluster) -> Option<Timestamp> {
        let Limits { noticed_after, stable_after, .. } = self.limits;
        let at = cluster.comeback.and_then(|comeback| comeback.settles_at(noticed_after, stable_after));
        at.filter(|at| *at > self.now)
    }
}

/// Whether everything of the placement is known to be ready in a cluster.
pub(super) fn is_available(request: &Request, fleet: &Fleet, cluster: &Cluster) -> bool {
    let ready = |workload: &Workload| {
        let heard = fleet.statuses().get(&cluster.name, &workload.object.uid);
        heard.is_some_and(|heard| heard.status.is_ready())
    };
    cluster.link == Link::Connected && request.workloads.iter().all(ready)
}

/// Whether something of the placement is known not to be ready in a cluster, or the cluster is lost. Of one that has not
/// spoken yet neither is known: the hub may just have started.
pub(super) fn is_failing(request: &Request, fleet: &Fleet, cluster: &Cluster) -> bool {
    let unready = |workload: &Workload| {
        let heard = fleet.statuses().get(&cluster.name, &workload.object.uid);
        heard.is_some_and(|heard| !heard.status.is_ready())
    };
    match cluster.link {
        Link::Connected => request.workloads.iter().any(unready),
        _ => cause::lost_at(request, cluster).is_some_and(|at| request.now >= at),
    }
}

/// Whether a cluster is connected, and for good if it came back.
pub(super) fn is_settled(request: &Request, cluster: &Cluster) -> bool {
    cluster.link == Link::Connected && cluster.accepted && request.settles_at(cluster).is_none()
}

/// Takes out those that shall stay after all: nothing speaks against them any more, and the others are fewer than wanted,
/// or fail while these are available.
pub(super) fn restored<'a>(
    request: &Request,
    kept: &[Kept<'_>],
    replaced: &mut Vec<Replaced<'a>>,
) -> Vec<Replaced<'a>> {
    let wanted = match request.policy.division {
        Division::Duplicated => request.policy.clusters.unwrap_or(1),
        // Shares cannot be given back one by one: as long as anybody has them, they stay there.
        Division::Divided => 1,
    };
    let missing = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(kept.len());
    let serves = request.policy.division == Division::Duplicated && kept.iter().any(|kept| kept.failing);
    let mut restored = Vec::new();
    replaced.retain(|one| {
        // What people asked for stays so, however the others fare: until they serve, this one does.
        let asked = one.cause == Cause::Rebalance || one.cluster.drain;
        let back = one.settled && (restored.len() < missing || serves && one.available && !asked);
        if back {
            restored.push(*one);
        }
        !back
    });
    restored
}

/// What becomes of those whose place others have taken, now that it is known who runs the placement.
pub(super) fn conclude(request: &Request, fleet: &Fleet, replaced: &[Replaced<'_>], spread: &mut Spread) {
    let stands = |chosen: &Chosen| {
        let cluster = fleet.cluster(chosen.cluster.as_str());
        cluster.is_some_and(|c| is_settled(request, c) && is_available(request, fleet, c))
    };
    let taken_over = !spread.chosen.is_empty() && spread.chosen.iter().all(stands);
    let names: Vec<_> = spread.chosen.iter().take(NAMED).map(|chosen| chosen.cluster.as_str()).collect();
    let names = names.join(", ");
    for one in replaced {
        if one.settled && taken_over {
            let message = match one.cause {
                Cause::Lost => format!("it is back, and {names} has taken over"),
                cause => format!("it {}, and {names} has taken over", cause.words()),
            };
            spread.removed.push(one.row.removed(one.cause.reason(), message));
        } else {
            spread.replaced.push(one.chosen(request));
        }
    }
}

impl Replaced<'_> {
    /// The row of a cluster that is left as it is.
    fn chosen(&self, request: &Request) -> Chosen {
        let message = match (self.cause, self.cluster.link) {
            (Cause::Lost, Link::Unreachable { since }) => {
                format!(
                    "silent since {since:.0}; others have taken over, and this copy goes when it is back for good"
                )
            }
            (Cause::Lost, _) => {
                "it is back; this copy goes when it has been for long enough and the others are available"
                    .to_owned()
            }
            (cause, _) => format!("it {}; this copy goes when the others are available", cause.words()),
        };
        Chosen {
            cluster: self.cluster.name.clone(),
            reason: self.cause.reason(),
            score: 0,
            parts: Vec::new(),
            since: self.row.since,
            replicas: replicas(request, self.row),
            message,
        }
    }
}

/// The shares that a row has, as they were granted.
fn replicas(request: &Request, row: &Previous) -> Vec<Granted> {
    let divided = |uid: &str| {
        let workload = request.workloads.iter().find(|workload| workload.object.uid == uid);
        request.policy.division == Division::Divided && workload.is_some_and(|w| w.need.divisible())
    };
    row.replicas.iter().map(|one| Granted { divided: divided(&one.uid), ..one.clone() }).collect()
}

impl Spread {
    /// Others take the place of a cluster, by this very decision.
    pub(super) fn replace(&mut self, request: &Request, left: &Kept<'_>, cause: Cause) {
        let Kept { row, cluster, .. } = *left;
        self.replaced
            .push(Replaced { row, cluster, cause, available: false, settled: false }.chosen(request));
        *self.moves.of_mut(cause.lane()) += 1;
    }
}

/// The earliest moment at which a cluster that came back counts again, of those that are waited for.
pub(super) fn settles_at(request: &Request, fleet: &Fleet) -> Option<Timestamp> {
    if !request.previous.iter().any(|row| row.replaced.is_some()) {
        return None;
    }
    let clusters = request.previous.iter().filter_map(|row| fleet.cluster(row.cluster.as_str()));
    clusters.filter_map(|cluster| request.settles_at(cluster)).min()
}
