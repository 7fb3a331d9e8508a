//! What is to be done about one desired object, given what is live.

use kube::core::DynamicObject;
use serde_json::Value;

use super::child::{Child, DESIRED_HASH, Keep, MANAGED_BY, Owner, Stamped};
use super::compare::holds;
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
    /// Not in the cache, but one of that name may be there and would do.
    Look,
    /// It is being deleted: come back when it has gone.
    Wait,
    /// An object of that name belongs to someone else.
    Conflict(String),
}

/// Compares a child with its live object. `looked` says that the API server was asked for it; `settled` that this hash was applied and answered with this very resource version, whatever the API server made of the fields.
pub(crate) fn decide(
    child: &Child,
    stamped: &Stamped,
    owner: &Owner,
    live: Option<&DynamicObject>,
    looked: bool,
    settled: bool,
) -> Decision {
    let Some(live) = live else {
        let look = child.keep == Keep::MadeOrFound && !looked;
        return if look { Decision::Look } else { Decision::Create };
    };
    if child.keep == Keep::MadeOrFound {
        return Decision::Leave;
    }
    if let Some(conflict) = foreign(child, owner, live) {
        return Decision::Conflict(conflict);
    }
    if live.metadata.deletion_timestamp.is_some() {
        return Decision::Wait;
    }
    if child.keep == Keep::OwnedOnce || settled {
        return Decision::Leave;
    }
    let hash = live.metadata.annotations.as_ref().and_then(|all| all.get(DESIRED_HASH));
    let same = hash == Some(&stamped.hash)
        && serde_json::to_value(live).is_ok_and(|live| holds(&stamped.body, &live));
    if same { Decision::Leave } else { Decision::Apply }
}

/// Why a live object is not ours to write, if so.
fn foreign(child: &Child, owner: &Owner, live: &DynamicObject) -> Option<String> {
    let controller = live.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    let whose = match controller {
        Some(found) if found.uid == owner.uid && child.keep != Keep::Shared => return None,
        Some(found) => format!("it belongs to {} {} (uid {})", found.kind, found.name, found.uid),
        None if child.keep == Keep::Shared => {
            let labels = live.metadata.labels.as_ref();
            if labels.and_then(|all| all.get(MANAGED_BY.0)).is_some_and(|value| value == MANAGED_BY.1) {
                return None;
            }
            format!("it lacks the label {}={}", MANAGED_BY.0, MANAGED_BY.1)
        }
        None => "it has no owner".to_owned(),
    };
    let (kind, name) = (child.kind.resource().kind, &child.name);
    Some(format!("{kind} {name} exists and is not ours: {whose}; rename or remove it"))
}

/// Live children that were ours and are no longer rendered. By uid of the owner, never by name alone.
pub(crate) fn superfluous<'a>(
    owner: &Owner,
    rendered: &[Child],
    live: impl Iterator<Item = (super::child::ChildKind, &'a DynamicObject)>,
) -> Vec<(super::child::ChildKind, String, String)> {
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
    if object.types.as_ref().is_some_and(|types| matches!(types.kind.as_str(), "Pod" | "ResourceClaim"))
        && let Value::Object(data) = &mut object.data
    {
        data.remove("spec");
    }
}

#[cfg(test)]
mod tests;
