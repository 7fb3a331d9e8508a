//! The assignments of one placement: what each cluster runs, and what has yet to leave it.

use std::collections::{BTreeMap, HashSet};

use crds::fleet::{Decision, DecisionState, PlacedObject, RemovalPolicy};
use jiff::Timestamp;

/// The kind of what is listed in `spec.secrets`. Several placements may list one Secret; it leaves with the last of them.
pub const SECRET: &str = "Secret";

/// All rows of one placement, by cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignments {
    /// What each cluster runs.
    pub placed: BTreeMap<String, PlacedAssignment>,
    /// What has yet to leave each cluster.
    pub removing: BTreeMap<String, RemovingAssignment>,
}

/// What one cluster runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedAssignment {
    /// Why the cluster was chosen.
    pub reason: String,
    /// How it scored when it was chosen.
    pub score: i64,
    /// When it was chosen.
    pub since: Timestamp,
    /// The objects, and the replicas each was granted.
    pub objects: Vec<PlacedObject>,
    /// Whether it was lost and others have taken its place.
    pub replaced: bool,
}

/// What has yet to leave one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RemovingAssignment {
    /// Why it leaves.
    pub reason: String,
    /// When the first of it began to leave.
    pub since: Timestamp,
    /// The objects, each with its policy.
    pub objects: Vec<PlacedObject>,
}

impl Assignments {
    /// Adds what a decision says of the clusters that `counts`.
    pub(super) fn add(&mut self, decision: &Decision, counts: impl Fn(&str) -> bool) {
        for cluster in decision.clusters.iter().filter(|cluster| counts(&cluster.name)) {
            let (name, since) = (cluster.name.clone(), cluster.since.0);
            let reason = || decision.reason.clone().unwrap_or_default();
            let objects = match decision.state {
                DecisionState::Placed | DecisionState::Replaced => {
                    let row = self.placed.entry(name).or_insert_with(|| PlacedAssignment {
                        reason: reason(),
                        score: cluster.score.unwrap_or_default(),
                        since,
                        objects: Vec::new(),
                        replaced: decision.state == DecisionState::Replaced,
                    });
                    &mut row.objects
                }
                DecisionState::Removing => {
                    let row = self.removing.entry(name).or_insert_with(|| RemovingAssignment {
                        reason: reason(),
                        since,
                        objects: Vec::new(),
                    });
                    &mut row.objects
                }
            };
            let known: HashSet<&str> = objects.iter().map(|object| object.uid.as_str()).collect();
            let new = decision.objects.iter().filter(|object| !known.contains(object.uid.as_str()));
            let new: Vec<PlacedObject> = new.cloned().collect();
            objects.extend(new);
        }
    }

    /// Whether nothing is anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.removing.is_empty()
    }

    /// Whether any cluster runs the object or has yet to let it go.
    #[must_use]
    pub fn holds(&self, uid: &str) -> bool {
        self.objects().any(|(_, object)| object.uid == uid)
    }

    /// Whether a row names a Secret of that uid.
    #[must_use]
    pub fn is_secret(&self, uid: &str) -> bool {
        self.objects().any(|(_, object)| object.kind == SECRET && object.uid == uid)
    }

    /// Every object in every cluster, whatever its state.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &PlacedObject)> {
        let placed = self
            .placed
            .iter()
            .flat_map(|(cluster, row)| row.objects.iter().map(move |o| (cluster.as_str(), o)));
        let removing = self
            .removing
            .iter()
            .flat_map(|(cluster, row)| row.objects.iter().map(move |o| (cluster.as_str(), o)));
        placed.chain(removing)
    }

    /// Every object that has yet to leave its cluster.
    pub fn leaving(&self) -> impl Iterator<Item = (&str, &RemovingAssignment, &PlacedObject)> {
        self.removing
            .iter()
            .flat_map(|(cluster, row)| row.objects.iter().map(move |object| (cluster.as_str(), row, object)))
    }
}

/// What the user did with an object that no longer belongs where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionIntent {
    /// It is there, but not selected or not in this cluster any more.
    Unplaced,
    /// It is being deleted on the hub.
    Deleted,
    /// It is not on the hub, and nobody was seen to delete it: the hub's data may have been damaged.
    Unknown,
}

/// Why objects leave a cluster, and what becomes of each kind.
fn policy(kind: &str, fate: DeletionIntent) -> RemovalPolicy {
    match fate {
        // Absence is never deletion.
        DeletionIntent::Unknown => RemovalPolicy::Retain,
        // A model that took hours to fetch and a store of people's data are worth keeping; a service elsewhere would
        // serve twice.
        DeletionIntent::Unplaced if keeps_data(kind) => RemovalPolicy::Retain,
        DeletionIntent::Deleted | DeletionIntent::Unplaced => RemovalPolicy::Delete,
    }
}

/// Kinds whose volumes are worth more than the object: they go when somebody deletes them, never in passing.
#[must_use]
pub fn keeps_data(kind: &str) -> bool {
    matches!(kind, "NIMCache" | "NemoDatastore")
}

/// What [`plan`] works with.
pub struct Input<'a> {
    /// The rows as they are.
    pub before: &'a Assignments,
    /// What shall run where.
    pub target: BTreeMap<String, PlacedAssignment>,
    /// Why a cluster is left, where the scheduler said so.
    pub left: BTreeMap<String, String>,
    /// What the user did with an object, by uid.
    pub fate: &'a dyn Fn(&str) -> DeletionIntent,
    /// Whether a spoke has said that an object which was to leave is gone, or a Secret is another placement's as well:
    /// cluster, uid.
    pub gone: &'a dyn Fn(&str, &str) -> bool,
    /// Whether a GPUCluster of that name is there. Of others nothing can be asked, and nothing is waited for.
    pub joined: &'a dyn Fn(&str) -> bool,
    /// By the hub's clock.
    pub now: Timestamp,
}

/// The rows that follow: the target, and whatever is elsewhere until its spoke says that it is gone.
#[must_use]
pub fn plan(input: Input<'_>) -> Assignments {
    let Input { before, target, left, fate, gone, joined, now } = input;
    let mut removing: BTreeMap<String, RemovingAssignment> = BTreeMap::new();
    for (cluster, row) in &before.removing {
        for object in &row.objects {
            if !joined(cluster) || gone(cluster, &object.uid) || stays(&target, cluster, object) {
                continue;
            }
            let mut object = object.clone();
            if fate(&object.uid) == DeletionIntent::Deleted {
                object.policy = Some(RemovalPolicy::Delete);
            }
            leave(&mut removing, cluster, &row.reason, row.since, object);
        }
    }
    for (cluster, row) in &before.placed {
        for object in &row.objects {
            let is_others = object.kind == SECRET && gone(cluster, &object.uid);
            if !joined(cluster) || is_others || stays(&target, cluster, object) {
                continue;
            }
            let fate = fate(&object.uid);
            let reason = match fate {
                DeletionIntent::Deleted => "Deleted",
                DeletionIntent::Unknown => "ObjectMissing",
                DeletionIntent::Unplaced => left.get(cluster).map_or("NotSelected", String::as_str),
            };
            let policy = Some(policy(&object.kind, fate));
            leave(&mut removing, cluster, reason, now, PlacedObject { policy, ..object.clone() });
        }
    }
    Assignments {
        placed: target
            .into_iter()
            .filter(|(cluster, row)| joined(cluster) && !row.objects.is_empty())
            .collect(),
        removing,
    }
}

/// The rows for which a spoke's word that an object is gone means nothing any more, by cluster and uid: those that waited
/// for it, and those that begin to wait now, whose tombstone has yet to be sent. What was said before is about another.
#[must_use]
pub fn settled<'a>(before: &'a Assignments, after: &'a Assignments) -> Vec<(&'a str, &'a str)> {
    let waits = |rows: &Assignments, cluster: &str, uid: &str| {
        rows.removing.get(cluster).is_some_and(|row| row.objects.iter().any(|object| object.uid == uid))
    };
    let over = before.leaving().filter(|(cluster, _, object)| !waits(after, cluster, &object.uid));
    let begun = after.leaving().filter(|(cluster, _, object)| !waits(before, cluster, &object.uid));
    over.chain(begun).map(|(cluster, _, object)| (cluster, object.uid.as_str())).collect()
}

/// Whether the target has it; a Secret made anew on the hub takes the place of the old one.
fn stays(target: &BTreeMap<String, PlacedAssignment>, cluster: &str, object: &PlacedObject) -> bool {
    let is_it = |other: &PlacedObject| {
        other.uid == object.uid
            || (object.kind == SECRET && other.kind == SECRET && other.name == object.name)
    };
    target.get(cluster).is_some_and(|row| row.objects.iter().any(is_it))
}

fn leave(
    removing: &mut BTreeMap<String, RemovingAssignment>,
    cluster: &str,
    reason: &str,
    since: Timestamp,
    object: PlacedObject,
) {
    let row = removing.entry(cluster.to_owned()).or_insert_with(|| RemovingAssignment {
        reason: reason.to_owned(),
        since,
        objects: Vec::new(),
    });
    // The one that cannot be taken back is the one to tell.
    if reason == "Deleted" {
        reason.clone_into(&mut row.reason);
    }
    if !row.objects.iter().any(|known| known.uid == object.uid) {
        row.objects.push(object);
    }
}

#[cfg(test)]
mod tests;
