//! What the hub keeps in memory about the fleet. After a restart it is rebuilt from objects and from what spokes report again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crds::fleet::SelectedKind;
use jiff::Timestamp;

use crate::failover::Pace;
use crate::fleet::{
    Answer, ClusterName, Excess, Excesses, Fleet, FleetEvent, ObjectRef, ObjectResult, ObjectStatus,
    PlacementKey, RejectionClass,
};
use crate::identity::{CaHash, SpokeCertificate};
use crate::link::{LinkEvent, UnprovenEpoch};
use crate::need::Need;
use crate::placement::assignments::{Assignments, SECRET};
use crate::quota::{Charge, Charged};

/// The kind whose objects run to an end.
const BUILD: &str = SelectedKind::NIMBuild.as_str();

/// Which placement has taken an object, by the object's uid.
pub type Owners = HashMap<String, PlacementKey>;

/// Soft state of the hub.
#[derive(Debug, Default)]
pub struct FleetState {
    /// The model that scheduling and aggregation read.
    pub fleet: Fleet,
    /// Which placement has taken an object, by uid: known here before the label is seen.
    pub claims: Owners,
    /// What the quotas of its namespace count of each placement.
    pub charged: Charged,
    /// Placements that wait: for capacity, or for what has taken another's place to serve.
    pub wanting: BTreeSet<PlacementKey>,
    /// When each spoke was last heard and when its certificate ends.
    pub sessions: BTreeMap<ClusterName, Session>,
    /// Moves of the last minute, and who waits for one.
    pub pace: Pace,
    /// What clusters hold of this hub that it does not know, by cluster.
    pub orphans: BTreeMap<ClusterName, Vec<ObjectRef>>,
    /// uids of orphans whose removal the admin has confirmed, by cluster.
    pub doomed: BTreeMap<ClusterName, BTreeSet<String>>,
    /// Clusters whose failovers are held.
    pub held: BTreeSet<ClusterName>,
    /// When an agent was last turned away because a newer one is connected, and what was said of it.
    pub duplicates: BTreeMap<ClusterName, (Timestamp, String)>,
    /// What agents said last that were turned away for an epoch that they do not prove, until one of the cluster is let in.
    pub unproven_epochs: BTreeMap<ClusterName, UnprovenEpoch>,
    /// What clusters have reported beyond what is kept of it.
    pub excess: BTreeMap<ClusterName, Excesses>,
    /// Placements that have a Secret somewhere, by its uid.
    secrets: HashMap<String, BTreeSet<PlacementKey>>,
    answers: BTreeMap<ClusterName, BTreeMap<String, Answered>>,
    gone: BTreeSet<(String, String)>,
}

/// What is known of a cluster's session.
#[derive(Clone, Debug)]
pub struct Session {
    /// When the spoke was last heard, by the hub's clock.
    pub last_heard: Timestamp,
    /// When its certificate ends.
    pub certificate_expiry: Timestamp,
    /// Its certificate, and the CAs by which it knows the hub.
    pub identity: Option<(SpokeCertificate, Vec<CaHash>)>,
}

/// A spoke's last answer to one object.
#[derive(Clone, Debug)]
struct Answered {
    result: ObjectResult,
    /// Since when the object is refused, in whatever version; none if it is not.
    refused_since: Option<Timestamp>,
}

/// What has to be looked at after an event of the link.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// These placements are to be decided anew.
    pub placements: BTreeSet<PlacementKey>,
    /// Of these placements there is something to tell.
    pub reports: BTreeSet<PlacementKey>,
    /// Whether the cluster's own status may have changed.
    pub cluster: bool,
    /// Whether more may fit now.
    pub capacity: bool,
    /// How many objects of this hub the cluster reports that the hub does not know, by a report of them.
    pub orphans: usize,
}

impl FleetState {
    /// What a placement is charged from now on. Says whether that is news.
    pub fn charge(&mut self, placement: &PlacementKey, charges: Vec<Charge>) -> bool {
        if charges.is_empty() {
            return self.charged.remove(placement).is_some();
        }
        self.charged.get(placement) != Some(&charges) && {
            self.charged.insert(placement.clone(), charges);
            true
        }
    }

    /// Takes in what a session says.
    pub fn hear(&mut self, event: LinkEvent, now: Timestamp) -> Touched {
        if let Some(session) = self.sessions.get_mut(event.cluster())
            && !matches!(
                event,
                LinkEvent::Disconnected { .. }
                    | LinkEvent::Duplicate { .. }
                    | LinkEvent::EpochUnproven { .. }
            )
        {
            session.last_heard = now;
        }
        let mut touched = Touched::default();
        match event {
            LinkEvent::Connected { cluster, agent, certificate_expiry } => {
                let session = Session { last_heard: now, certificate_expiry, identity: None };
                self.sessions.insert(cluster.clone(), session);
                self.unproven_epochs.remove(&cluster);
                touched.reports = self.placements_in(&cluster);
                touched.cluster = true;
                touched.capacity = true;
                self.fleet.apply(FleetEvent::Connected { cluster, agent, at: now });
            }
            LinkEvent::Disconnected { cluster } => {
                touched.placements = self.placements_in(&cluster);
                touched.cluster = true;
                self.fleet.apply(FleetEvent::Disconnected { cluster, at: now });
            }
            LinkEvent::Identified { cluster, certificate, trusted } => {
                touched.cluster = true;
                if let Some(session) = self.sessions.get_mut(&cluster) {
                    session.identity = Some((certificate, trusted));
                }
            }
            LinkEvent::Duplicate { cluster, message } => {
                touched.cluster = true;
                self.duplicates.insert(cluster, (now, message));
            }
            LinkEvent::EpochUnproven { cluster, epoch } => {
                touched.cluster = true;
                self.unproven_epochs.insert(cluster, epoch);
            }
            LinkEvent::Alive { .. } => touched.cluster = true,
            LinkEvent::Capacity { cluster, capacity } => {
                touched.cluster = true;
                touched.capacity = true;
                self.fleet.apply(FleetEvent::Capacity { cluster, capacity: *capacity });
            }
            LinkEvent::Status { cluster, objects } => {
                touched.cluster = self.adopted(&cluster, &objects);
                let owner = |status: &ObjectStatus| self.claims.get(&status.object.uid).cloned();
                let news = objects.iter().filter(|status| self.is_news(&cluster, status));
                touched.reports = news.filter_map(owner).collect();
                // How things run decides only where something is waited for.
                let owners: BTreeSet<PlacementKey> = objects.iter().filter_map(owner).collect();
                touched.placements = owners.intersection(&self.wanting).cloned().collect();
                let fails = objects.iter().filter(|status| self.begins_to_fail(&cluster, status));
                touched.placements.extend(fails.filter_map(owner));
                // So does whether replicas find no node.
                let waits = objects.iter().filter(|status| self.waits_anew(&cluster, status));
                touched.placements.extend(waits.filter_map(owner));
                // And what its cluster's owner denies.
                let denied = objects.iter().filter(|status| self.denies_otherwise(&cluster, status));
                touched.placements.extend(denied.filter_map(owner));
                // And that a build is done: its GPUs are charged no more.
                let ended = objects.iter().filter(|status| self.ends(&cluster, status));
                touched.placements.extend(ended.filter_map(owner));
                self.fleet.apply(FleetEvent::Status { cluster: cluster.clone(), statuses: objects, at: now });
                let excess = self.fleet.statuses().excess(&cluster);
                touched.cluster |= self.exceeds(cluster, excess, now);
            }
            LinkEvent::Excess { cluster, excess } => touched.cluster = self.exceeds(cluster, excess, now),
            LinkEvent::Results { cluster, results } => {
                for result in results {
                    touched.cluster |= self.orphan_gone(&cluster, &result);
                    touched.cluster |= matches!(result.answer, Answer::Held { .. } | Answer::Gone);
                    let owner = self.claims.get(&result.uid).cloned();
                    // What has gone changes what is decided, and so does what is denied or no longer is.
                    let before = self.answer(cluster.as_str(), &result.uid);
                    let is_routine =
                        |answer: &Answer| matches!(answer, Answer::Accepted | Answer::Retrying { .. });
                    // A refusal for want of room is judged by the report that came with it.
                    let is_refusal = |answer: &Answer| matches!(answer, Answer::Rejected { class, .. } if !matches!(class, RejectionClass::NoRoom { .. }));
                    if (is_routine(&result.answer) || is_refusal(&result.answer)) && before == Some(&result) {
                        // A session begins with what is known: whole fleets come back at once and have nothing new to
                        // say. What is refused is asked again and again.
                        continue;
                    }
                    let before = before.map(|before| &before.answer);
                    let is_told_only = is_routine(&result.answer) && before.is_none_or(is_routine);
                    let touched = if is_told_only { &mut touched.reports } else { &mut touched.placements };
                    touched.extend(owner);
                    touched.extend(self.secrets.get(&result.uid).into_iter().flatten().cloned());
                    self.answered(&cluster, result, now);
                }
            }
            LinkEvent::Orphans { cluster, objects } => {
                touched.cluster = true;
                let objects = objects.into_iter().map(|held| held.object).collect();
                touched.orphans = self.orphaned(cluster, objects);
            }
        }
        touched
    }

    /// A cluster has reported more than is kept. Says whether that is news.
    fn exceeds(
        &mut self,
        cluster: ClusterName,
        excess: impl IntoIterator<Item = Excess>,
        now: Timestamp,
    ) -> bool {
        let mut excess = excess.into_iter().peekable();
        if excess.peek().is_none() {
            return false;
        }
        let known = self.excess.entry(cluster).or_default();
        let mut news = false;
        for one in excess {
            news |= known.add(one, now);
        }
        news
    }

    /// Whether a status says anything that was not known.
    fn is_news(&self, cluster: &ClusterName, status: &ObjectStatus) -> bool {
        let known = self.fleet.statuses().get(cluster, &status.object.uid);
        known.is_none_or(|known| !known.status.says_the_same(status))
    }

    /// Whether a cluster's owner has begun or ceased to deny what was delivered.
    fn denies_otherwise(&self, cluster: &ClusterName, status: &ObjectStatus) -> bool {
        let known = self.fleet.statuses().get(cluster, &status.object.uid);
        known.and_then(|known| known.status.denial()) != status.denial()
    }

    /// Whether a build has come to its end, or begins anew.
    fn ends(&self, cluster: &ClusterName, status: &ObjectStatus) -> bool {
        let has_ended = |status: &ObjectStatus| status.object.kind == BUILD && Need::is_end(status);
        let known = self.fleet.statuses().get(cluster, &status.object.uid);
        known.is_some_and(|known| has_ended(&known.status)) != has_ended(status)
    }

    /// Whether replicas have begun or ceased to wait for a node, or more or fewer do.
    fn waits_anew(&self, cluster: &ClusterName, status: &ObjectStatus) -> bool {
        let replicas =
            |status: &ObjectStatus| status.unschedulable.as_ref().map(|waits| (waits.replicas, waits.since));
        let known = self.fleet.statuses().get(cluster, &status.object.uid);
        known.and_then(|known| replicas(&known.status)) != replicas(status)
    }

    /// The whole list of what a cluster holds and the hub does not know. What is being removed is on no such list, and
    /// stays until the spoke says that it is gone. How many there are.
    fn orphaned(&mut self, cluster: ClusterName, mut objects: Vec<ObjectRef>) -> usize {
        let doomed = self.doomed.get(&cluster);
        let leaving = self.orphans.remove(&cluster).unwrap_or_default().into_iter();
        objects.extend(leaving.filter(|object| doomed.is_some_and(|doomed| doomed.contains(&object.uid))));
        let count = objects.len();
        if count > 0 {
            self.orphans.insert(cluster, objects);
        }
        count
    }

    /// Whether an object stops to be ready, or its pods find no node since now: then the wait begins after which it moves.
    fn begins_to_fail(&self, cluster: &ClusterName, status: &ObjectStatus) -> bool {
        let before = self.fleet.statuses().get(cluster, &status.object.uid);
        let was_ready = before.is_some_and(|before| before.status.is_ready());
        let had_nodes = before.is_none_or(|before| before.unschedulable_since.is_none());
        was_ready && !status.is_ready() || had_nodes && status.is_unschedulable()
    }

    /// What was made anew on the hub under the name of an orphan has taken it over. Says whether that is news.
    fn adopted(&mut self, cluster: &ClusterName, objects: &[ObjectStatus]) -> bool {
        let Some(orphans) = self.orphans.get_mut(cluster) else { return false };
        let before = orphans.len();
        let names = |object: &ObjectRef| (object.kind.clone(), object.namespace.clone(), object.name.clone());
        let taken: HashSet<_> = objects.iter().map(|status| names(&status.object)).collect();
        orphans.retain(|orphan| !taken.contains(&names(orphan)));
        orphans.len() != before
    }

    /// Whether an answer says that an orphan, confirmed to be removed, is gone.
    fn orphan_gone(&mut self, cluster: &ClusterName, result: &ObjectResult) -> bool {
        let Some(orphans) = self.orphans.get_mut(cluster) else { return false };
        let before = orphans.len();
        orphans.retain(|orphan| result.answer != Answer::Gone || orphan.uid != result.uid);
        orphans.len() != before
    }

    fn answered(&mut self, cluster: &ClusterName, result: ObjectResult, now: Timestamp) {
        if result.answer == Answer::Gone {
            self.gone.insert((cluster.to_string(), result.uid.clone()));
            if let Some(answers) = self.answers.get_mut(cluster) {
                answers.remove(&result.uid);
            }
            self.fleet.apply(FleetEvent::Gone { cluster: cluster.clone(), uid: result.uid });
        } else {
            let of_cluster = self.answers.entry(cluster.clone()).or_default();
            let refused_since = matches!(result.answer, Answer::Rejected { .. })
                .then(|| of_cluster.get(&result.uid).and_then(|before| before.refused_since).unwrap_or(now));
            of_cluster.insert(result.uid.clone(), Answered { result, refused_since });
        }
    }

    /// Since when a spoke has refused an object, in whatever version; none if it does not.
    #[must_use]
    pub fn refused_since(&self, cluster: &str, uid: &str) -> Option<Timestamp> {
        self.answers.get(cluster)?.get(uid)?.refused_since
    }

    /// What a spoke last answered to an object it was sent.
    #[must_use]
    pub fn answer(&self, cluster: &str, uid: &str) -> Option<&ObjectResult> {
        self.answers.get(cluster)?.get(uid).map(|answered| &answered.result)
    }

    /// A placement has these rows, and no Secret beside them.
    pub fn lists_secrets(&mut self, placement: &PlacementKey, rows: &Assignments) {
        for users in self.secrets.values_mut() {
            users.remove(placement);
        }
        for (_, object) in rows.objects().filter(|(_, object)| object.kind == SECRET) {
            self.secrets.entry(object.uid.clone()).or_default().insert(placement.clone());
        }
        self.secrets.retain(|_, users| !users.is_empty());
    }

    /// Whether another placement has that Secret in that cluster, and keeps it there.
    #[must_use]
    pub fn shares(&self, cluster: &str, uid: &str, but: &PlacementKey) -> bool {
        let Some(users) = self.secrets.get(uid).filter(|users| users.iter().any(|user| user != but)) else {
            return false;
        };
        let Ok(cluster) = cluster.parse() else { return false };
        let grants = self.fleet.grants(&cluster);
        grants.iter().any(|(user, grant)| *user != but && users.contains(*user) && grant.holds(uid))
    }

    /// Whether a spoke has said that an object is gone.
    #[must_use]
    pub fn is_gone(&self, cluster: &str, uid: &str) -> bool {
        self.gone.contains(&(cluster.to_owned(), uid.to_owned()))
    }

    /// A spoke's word that an object is gone has been written down, or is void because the object shall run again.
    pub fn settle(&mut self, cluster: &str, uid: &str) {
        self.gone.remove(&(cluster.to_owned(), uid.to_owned()));
    }

    /// A cluster has left the fleet.
    pub fn forget_cluster(&mut self, cluster: &ClusterName) {
        self.fleet.apply(FleetEvent::Left { cluster: cluster.clone() });
        self.answers.remove(cluster);
        self.sessions.remove(cluster);
        self.orphans.remove(cluster);
        self.doomed.remove(cluster);
        self.duplicates.remove(cluster);
        self.unproven_epochs.remove(cluster);
        self.excess.remove(cluster);
        self.gone.retain(|(name, _)| name != cluster.as_str());
    }

    /// The placements that have something in a cluster.
    #[must_use]
    pub fn placements_in(&self, cluster: &ClusterName) -> BTreeSet<PlacementKey> {
        self.fleet.grants(cluster).into_iter().map(|(placement, _)| placement.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
