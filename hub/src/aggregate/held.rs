//! The condition `DeletionHeld` of a GPUCluster: deletions that its spoke holds back until the admin has confirmed them.

use std::collections::BTreeSet;

use crds::condition::{self, Finding};
use crds::marks::CONFIRM_DELETIONS_ANNOTATION;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sha2::{Digest, Sha256};

use super::Reason;
use crate::fleet::{ClusterName, ObjectRef};
use crate::link::HeldBack;

/// So many objects are named in a message.
const NAMED: usize = 5;

/// Deletions that a spoke holds back.
pub const DELETION_HELD: &str = "DeletionHeld";

/// Brings `DeletionHeld` up to date. A cluster in which it was never true does not have it.
pub fn deletion_held(
    conditions: &mut Vec<Condition>,
    cluster: &ClusterName,
    held: &[HeldBack],
    generation: Option<i64>,
    now: Timestamp,
) {
    let finding = finding(cluster, held);
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

fn finding(cluster: &ClusterName, held: &[HeldBack]) -> Finding<'static> {
    let Some(first) = held.iter().min_by_key(|held| held.reason) else {
        return Finding::new(
            DELETION_HELD,
            false,
            Reason::AsExpected.as_str(),
            "no deletion waits to be confirmed",
        );
    };
    let message = format!(
        "{} deletions wait to be confirmed: {} ({}). If they are meant: kubectl annotate gpucluster {cluster} --overwrite \
         {CONFIRM_DELETIONS_ANNOTATION}={}; if not, bring the objects back on the hub",
        held.len(),
        names(held.iter().map(|held| &held.object)),
        first.message,
        confirmation(held),
    );
    Finding::new(DELETION_HELD, true, first.reason.as_str(), message)
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

    fn told(held: &[HeldBack], stored: &[Condition]) -> Vec<(String, String, String)> {
        let mut conditions = stored.to_vec();
        let east = "east".parse().unwrap();
        deletion_held(&mut conditions, &east, held, Some(1), Timestamp::UNIX_EPOCH);
        conditions.into_iter().map(|c| (c.type_, format!("{} {}", c.status, c.reason), c.message)).collect()
    }

    #[test]
    fn a_cluster_without_a_fault_has_no_condition_for_it() {
        assert!(told(&[], &[]).is_empty());
    }

    #[test]
    fn held_deletions_are_told_with_counts_names_and_the_very_command() {
        let all: Vec<_> = (0..7).map(|n| held(&format!("m{n}"), HoldReason::TooMany)).collect();
        let told = told(&all, &[]);
        let (kind, state, message) = &told[0];
        assert_eq!((kind.as_str(), state.as_str()), ("DeletionHeld", "True TooManyDeletions"));
        assert!(message.starts_with("7 deletions wait to be confirmed: NIMService models/m0, "), "{message}");
        assert!(message.contains("m4 and 2 more (why m0)"), "{message}");
        let command = format!(
            "kubectl annotate gpucluster east --overwrite nimfleet.io/confirm-deletions={}",
            confirmation(&all)
        );
        assert!(message.contains(&command), "{message}");
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
        assert_eq!(told(&[], &[stored])[0].1, "False AsExpected");
    }
}
