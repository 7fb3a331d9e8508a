//! What is to be done about one desired object, given what is live.

use crds::compare::{Difference, differences};
use kube::core::{DynamicObject, ObjectMeta};
use serde_json::Value;

use super::child::{Child, ChildKind, DESIRED_HASH, Keep, MANAGED_BY, Owner, Stamped};
use super::own::{Ownership, ownership};
use super::retry::Answered;
use super::take_over::keep_owners;

/// What to do about one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is as it shall be.
    Leave,
    /// Make it. The API server refuses that when there is one of that name, which the cache may not show: it holds
    /// labelled objects only.
    Create,
    /// Apply it to the one that is there.
    Apply,
    /// Set its owner and change nothing else.
    Adopt,
    /// Delete the one that is there and make it: it is ours, was made for another object, and may not change.
    Replace,
    /// Not in the cache, but one of that name may be there and would do.
    Look,
    /// One of that name is about to go: come back when it has gone. In words.
    Wait(String),
    /// An object of that name belongs to someone else.
    Conflict(String),
}

/// What is known of the object of a child's name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    /// The object, if there is one.
    pub(crate) live: Option<&'a DynamicObject>,
    /// The API server was asked for it.
    pub(crate) looked: bool,
    /// What the last write of it was answered with, if this process has written it.
    pub(crate) answered: Option<&'a Answered>,
    /// What its owner's status says of fields that this cluster's admission changes: it outlives this process.
    pub(crate) told: &'a str,
    /// The hash with which it was applied last, where it bears none itself.
    pub(crate) recorded: Option<&'a str>,
    /// One that somebody else made may be used where the child is [`Keep::MadeOrFound`].
    pub(crate) usable: bool,
}

/// Compares a child with its live object.
pub(crate) fn decide(child: &Child, stamped: &Stamped, owner: &Owner, seen: Seen<'_>) -> Decision {
    let Some(live) = seen.live else {
        let look = child.keep == Keep::MadeOrFound && !seen.looked;
        return if look { Decision::Look } else { Decision::Create };
    };
    let (kind, name) = (child.kind.resource().kind, &child.name);
    let whose = ownership(child, owner, live);
    if whose == Ownership::Predecessor {
        let Owner { kind: of, name: named, .. } = owner;
        return Decision::Wait(format!(
            "waits until {kind} {name} of the deleted {of} {named} has gone; then it is made again"
        ));
    }
    if live.metadata.deletion_timestamp.is_some() {
        return Decision::Wait(format!("{kind} {name} is being deleted; it is made again when it has gone"));
    }
    match whose {
        Ownership::Foreign(_) if child.keep == Keep::MadeOrFound && seen.usable => return Decision::Leave,
        Ownership::Foreign(why) => {
            let message = format!("{kind} {name} exists and is not ours: {why}; rename or remove it");
            return Decision::Conflict(message);
        }
        Ownership::Orphaned => return adopted(child),
        Ownership::Own | Ownership::Predecessor => {}
    }
    if matches!(child.keep, Keep::OwnedOnce | Keep::MadeOrFound) {
        return Decision::Leave;
    }
    let hash = match child.kind {
        ChildKind::InferenceService => seen.recorded,
        _ => live.metadata.annotations.as_ref().and_then(|all| all.get(DESIRED_HASH)).map(String::as_str),
    };
    let answered = seen.answered.filter(|answered| answered.hash == stamped.hash);
    let is_known = |difference: &Difference| match answered {
        Some(answered) => answered.differences.contains(difference),
        None => difference.is_spelling() || seen.told.contains(&told(child, difference)),
    };
    let same = (answered.is_some() || hash == Some(stamped.hash.as_str()))
        && serde_json::to_value(live)
            .is_ok_and(|live| differences(&stamped.body, &live).iter().all(is_known));
    if same { Decision::Leave } else { Decision::Apply }
}

/// How a field of a child that this cluster's admission changes is told on its owner.
fn told(child: &Child, difference: &Difference) -> String {
    format!("{} {}: {difference}", child.kind.resource().kind, child.name)
}

/// The same of every field that differs, but for those that say the same in other words.
pub(crate) fn mutated(child: &Child, stamped: &Stamped, live: &DynamicObject) -> Vec<String> {
    // What is made once is not compared, and nothing is told of what is in a Secret.
    if matches!(child.keep, Keep::OwnedOnce | Keep::MadeOrFound) || child.kind == ChildKind::Secret {
        return Vec::new();
    }
    let live = serde_json::to_value(live).unwrap_or_default();
    let found = differences(&stamped.body, &live);
    // KServe's defaulter spells the mode of an older version in its own words.
    let is_mode = |path: &str| {
        child.kind == ChildKind::InferenceService
            && path == "metadata.annotations[serving.kserve.io/deploymentMode]"
    };
    let is_worth_it = |one: &&Difference| !one.is_spelling() && !is_mode(&one.path);
    found.iter().filter(is_worth_it).map(|difference| told(child, difference)).collect()
}

/// How a child without owner is taken on. A claim keeps what it holds; what was to be done once is done for this object.
fn adopted(child: &Child) -> Decision {
    match child.kind {
        ChildKind::PersistentVolumeClaim => Decision::Adopt,
        ChildKind::Pod | ChildKind::Job => Decision::Replace,
        _ => Decision::Apply,
    }
}

/// Live children that were ours and are no longer rendered. By uid of the owner, never by name alone.
pub(crate) fn superfluous<'a>(
    owner: &Owner,
    rendered: &[Child],
    live: impl Iterator<Item = (ChildKind, &'a DynamicObject)>,
) -> Vec<(ChildKind, String, String)> {
    live.filter(|(kind, object)| {
        let ours = object
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|o| o.controller == Some(true) && o.uid == owner.uid);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        ours && object.metadata.deletion_timestamp.is_none()
            && !rendered.iter().any(|child| child.kind == *kind && child.name == name)
    })
    .filter_map(|(kind, object)| Some((kind, object.metadata.name.clone()?, object.metadata.uid.clone()?)))
    .collect()
}

/// The live object a write was answered with, trimmed as the watch cache does.
pub(crate) fn trim(object: &mut DynamicObject) {
    keep_owners(object);
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let kind = object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default();
    match (kind, &mut object.data) {
        ("Pod" | "ResourceClaim", Value::Object(data)) => drop(data.remove("spec")),
        // Of an autoscaler of others no more than what it scales is looked at.
        ("HorizontalPodAutoscaler", data) if !is_labelled(&object.metadata) => {
            let target = data["spec"]["scaleTargetRef"].take();
            *data = serde_json::json!({"spec": {"scaleTargetRef": target}});
            object.metadata.annotations = None;
            object.metadata.labels = None;
        }
        _ => {}
    }
}

/// Whether an object bears the label of everything that the operator makes.
fn is_labelled(meta: &ObjectMeta) -> bool {
    let (key, value) = MANAGED_BY;
    meta.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|found| found == value)
}

#[cfg(test)]
pub(super) mod tests;
