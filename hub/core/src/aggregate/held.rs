//! What keeps an object in a cluster although it is deleted on the hub: the condition `DeletionHeld`, for deletions that spokes
//! hold back until they are confirmed, as a GPUCluster, a NIMPlacement and a NIM object show it; and `Held`, for what the
//! cluster's own operator keeps because it is in use.

use std::collections::BTreeSet;

use crds::condition::{self, Finding};
use crds::marks::CONFIRM_DELETIONS_ANNOTATION;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sha2::{Digest, Sha256};

use super::Reason;
use crate::fleet::{self, ClusterName, ObjectCondition, ObjectRef};
use crate::link::HeldBack;

/// So many objects, and so many clusters, are named in a message.
const NAMED: usize = 5;

/// Deletions that a spoke holds back.
pub const DELETION_HELD: &str = "DeletionHeld";

/// A deleted object that a cluster's operator keeps, on the hub as in the cluster.
pub const HELD: &str = "Held";

/// Brings `Held` up to date on an object that is deleted: `held` are the conditions of that type in the clusters that it has
/// yet to leave. Where it was never true there is no such condition.
pub fn kept_in_use<'a>(
    conditions: &mut Vec<Condition>,
    held: impl Iterator<Item = (&'a str, &'a ObjectCondition)>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let held: Vec<_> = held.filter(|(_, condition)| condition.status == fleet::Truth::True).collect();
    let finding = match held.first() {
        Some((_, first)) => {
            // What is held, before what is to be done: the policy on deleted objects says it up to the colon.
            let (by, remedy) = first.message.split_once(':').unwrap_or((&first.message, ""));
            let clusters: Vec<_> = held.iter().take(NAMED).map(|(cluster, _)| *cluster).collect();
            let message = format!("{by} in {}:{remedy}", clusters.join(", "));
            Finding::new(HELD, true, &first.reason, message)
        }
        None => Finding::new(HELD, false, "NotHeld", "nothing keeps it".to_owned()),
    };
    let known = conditions.iter().any(|condition| condition.type_ == HELD);
    if known || finding.truth == condition::Truth::True {
        condition::set(conditions, finding, generation, now);
    }
}

/// What one cluster's spoke holds back, and how much of it is of one placement or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDeletions {
    cluster: ClusterName,
    /// Those that are told of here.
    told: Vec<HeldBack>,
    /// How many the spoke holds in all, and the word that confirms all of them.
    all: usize,
    word: String,
}

impl HeldDeletions {
    /// Of all that a cluster's spoke holds back, those that `is_told` selects; none if there are none.
    pub fn of(cluster: &ClusterName, all: &[HeldBack], is_told: impl Fn(&ObjectRef) -> bool) -> Option<Self> {
        let told: Vec<HeldBack> = all.iter().filter(|held| is_told(&held.object)).cloned().collect();
        let (cluster, word) = (cluster.clone(), confirmation(all));
        (!told.is_empty()).then_some(Self { cluster, told, all: all.len(), word })
    }

    /// Whether it is about that object, in whichever cluster.
    fn concerns(&self, uid: &str) -> bool {
        self.told.iter().any(|held| held.object.uid == uid)
    }

    /// The same of one object alone.
    fn only(&self, uid: &str) -> Option<Self> {
        let told: Vec<_> = self.told.iter().filter(|held| held.object.uid == uid).cloned().collect();
        (!told.is_empty()).then(|| Self { told, ..self.clone() })
    }

    /// How many, which, why, and what to do.
    fn sentence(&self) -> String {
        let Self { cluster, told, all, word } = self;
        let one = told.len() == 1;
        let why = told.iter().min_by_key(|held| held.reason).map_or("", |held| held.message.as_str());
        let scope = match (*all == told.len(), one) {
            (true, true) => "it is".to_owned(),
            (true, false) => "they are".to_owned(),
            (false, _) => format!("all {all} deletions that wait in {cluster} are"),
        };
        format!(
            "{} {} in {cluster} to be confirmed: {} ({why}). If {scope} meant: kubectl annotate gpucluster {cluster} \
             --overwrite {CONFIRM_DELETIONS_ANNOTATION}={word}; if not, bring the {} back on the hub",
            told.len(),
            if one { "deletion waits" } else { "deletions wait" },
            names(told.iter().map(|held| &held.object)),
            if one { "object" } else { "objects" },
        )
    }
}

/// Brings `DeletionHeld` up to date, for `uid` alone if it is given. Where it was never true there is no such condition.
pub fn deletion_held(
    conditions: &mut Vec<Condition>,
    held: &[HeldDeletions],
    uid: Option<&str>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let of_object;
    let held = match uid {
        None => held,
        Some(uid) => {
            of_object = held
                .iter()
                .filter(|held| held.concerns(uid))
                .filter_map(|held| held.only(uid))
                .collect::<Vec<_>>();
            &of_object
        }
    };
    let finding = finding(held);
    let known = conditions.iter().any(|condition| condition.type_ == finding.kind);
    if known || finding.truth == condition::Truth::True {
        condition::set(conditions, finding, generation, now);
    }
}

/// The word that confirms these deletions and no others: their number and a digest of their uids.
#[must_use]
pub fn confirmation(held: &[HeldBack]) -> String {
    let uids: BTreeSet<&str> = held.iter().map(|held| held.object.uid.as_str()).collect();
    let mut digest = Sha256::new();
    for uid in &uids {
        digest.update(uid);
        digest.update([0]);
    }
    format!("{}-{}", uids.len(), &hex::encode(digest.finalize())[..8])
}

fn finding(held: &[HeldDeletions]) -> Finding<'static> {
    let Some(reason) = held.iter().flat_map(|held| &held.told).map(|held| held.reason).min() else {
        return Finding::new(
            DELETION_HELD,
            false,
            Reason::AsExpected.as_str(),
            "no deletion waits to be confirmed",
        );
    };
    let mut sentences: Vec<String> = held.iter().take(NAMED).map(HeldDeletions::sentence).collect();
    match held.len().saturating_sub(NAMED) {
        0 => {}
        1 => sentences.push("in 1 more cluster deletions wait".to_owned()),
        more => sentences.push(format!("in {more} more clusters deletions wait")),
    }
    Finding::new(DELETION_HELD, true, reason.as_str(), sentences.join("; "))
}

fn names<'a>(objects: impl Iterator<Item = &'a ObjectRef>) -> String {
    let mut all: Vec<String> =
        objects.map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name)).collect();
    all.sort_unstable();
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    let named = all.join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::fleet::HoldReason;

    fn object(name: &str) -> ObjectRef {
        ObjectRef {
            uid: format!("uid-{name}"),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: name.into(),
        }
    }

    fn held(name: &str, reason: HoldReason) -> HeldBack {
        HeldBack { object: object(name), reason, message: format!("why {name}") }
    }

    fn in_cluster(cluster: &str, all: &[HeldBack], told: &[&str]) -> Option<HeldDeletions> {
        HeldDeletions::of(&cluster.parse().unwrap(), all, |object| told.contains(&object.name.as_str()))
    }

    fn told(
        held: &[HeldDeletions],
        uid: Option<&str>,
        stored: &[Condition],
    ) -> Vec<(String, String, String)> {
        let mut conditions = stored.to_vec();
        deletion_held(&mut conditions, held, uid, Some(1), Timestamp::UNIX_EPOCH);
        conditions.into_iter().map(|c| (c.type_, format!("{} {}", c.status, c.reason), c.message)).collect()
    }

    #[test]
    fn what_a_clusters_operator_keeps_in_use_is_shown_as_long_as_it_does() {
        let in_use = |truth| ObjectCondition {
            kind: HELD.to_owned(),
            status: truth,
            reason: "InUse".to_owned(),
            message: "used by NIMService embed: it goes when it is deleted".to_owned(),
            last_transition: Timestamp::UNIX_EPOCH,
        };
        let mut conditions = Vec::new();
        let mut told = |held: &[(&str, ObjectCondition)]| {
            let held = held.iter().map(|(cluster, condition)| (*cluster, condition));
            kept_in_use(&mut conditions, held, Some(1), Timestamp::UNIX_EPOCH);
            conditions
                .iter()
                .map(|one| format!("{} {}: {}", one.status, one.reason, one.message))
                .collect::<Vec<_>>()
        };
        assert!(told(&[("east", in_use(fleet::Truth::False))]).is_empty(), "nothing is held");
        let both = [("east", in_use(fleet::Truth::True)), ("west", in_use(fleet::Truth::True))];
        let said = "True InUse: used by NIMService embed in east, west: it goes when it is deleted";
        assert_eq!(told(&both), [said]);
        assert_eq!(told(&[]), ["False NotHeld: nothing keeps it"]);
    }

    #[test]
    fn where_nothing_is_held_there_is_no_condition_for_it() {
        assert!(told(&[], None, &[]).is_empty());
        let east = in_cluster("east", &[held("a", HoldReason::TooMany)], &["a"]).unwrap();
        assert!(told(&[east], Some("uid-b"), &[]).is_empty(), "it is about another object");
        assert_eq!(in_cluster("east", &[held("a", HoldReason::TooMany)], &["b"]), None);
    }

    #[test]
    fn held_deletions_are_told_with_counts_names_and_the_very_command() {
        let all: Vec<_> = (0..7).map(|n| held(&format!("m{n}"), HoldReason::TooMany)).collect();
        let east = in_cluster("east", &all, &["m0", "m1", "m2", "m3", "m4", "m5", "m6"]).unwrap();
        let told = told(&[east], None, &[]);
        let (kind, state, message) = &told[0];
        assert_eq!((kind.as_str(), state.as_str()), ("DeletionHeld", "True TooManyDeletions"));
        assert_eq!(
            *message,
            format!(
                "7 deletions wait in east to be confirmed: NIMService models/m0, NIMService models/m1, NIMService \
                 models/m2, NIMService models/m3, NIMService models/m4 and 2 more (why m0). If they are meant: kubectl \
                 annotate gpucluster east --overwrite nimfleet.io/confirm-deletions={}; if not, bring the objects back \
                 on the hub",
                confirmation(&all)
            )
        );
    }

    #[test]
    fn an_object_and_a_placement_tell_of_their_own_and_of_what_the_command_confirms() {
        let (a, b) = (held("a", HoldReason::Stale), held("b", HoldReason::Stale));
        let all = [a.clone(), b];
        let east = in_cluster("east", &all, &["a", "b"]).unwrap();
        let west = in_cluster("west", std::slice::from_ref(&a), &["a"]).unwrap();
        let of_object = told(&[east.clone(), west.clone()], Some("uid-a"), &[]).remove(0).2;
        assert_eq!(
            of_object,
            format!(
                "1 deletion waits in east to be confirmed: NIMService models/a (why a). If all 2 deletions that wait in \
                 east are meant: kubectl annotate gpucluster east --overwrite nimfleet.io/confirm-deletions={}; if not, \
                 bring the object back on the hub; 1 deletion waits in west to be confirmed: NIMService models/a (why \
                 a). If it is meant: kubectl annotate gpucluster west --overwrite nimfleet.io/confirm-deletions={}; if \
                 not, bring the object back on the hub",
                confirmation(&all),
                confirmation(&[a])
            )
        );
        let many: Vec<_> = (0..NAMED + 2).map(|_| west.clone()).collect();
        let message = told(&many, None, &[]).remove(0).2;
        assert!(message.ends_with("; in 2 more clusters deletions wait"), "{message}");
    }

    #[test]
    fn a_confirmation_is_for_these_deletions_and_no_others() {
        let (a, b) = (held("a", HoldReason::Stale), held("b", HoldReason::Stale));
        let both = confirmation(&[a.clone(), b.clone()]);
        assert_eq!(both, confirmation(&[b.clone(), a.clone()]), "in any order");
        assert!(both.starts_with("2-"), "{both}");
        assert_ne!(both, confirmation(std::slice::from_ref(&a)));
        assert_ne!(confirmation(&[a]), confirmation(&[b]));
    }

    #[test]
    fn what_is_over_is_told_to_be_over() {
        let stored = Condition {
            type_: DELETION_HELD.to_owned(),
            status: "True".to_owned(),
            reason: "X".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        assert_eq!(told(&[], None, &[stored])[0].1, "False AsExpected");
    }
}
