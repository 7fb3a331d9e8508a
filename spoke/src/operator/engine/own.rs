//! Whose a live object is that has the name of a child: this object's, its predecessor's, nobody's although it bears all
//! our marks, or somebody else's. Pure.

use crds::marks::DELIVERED_LABEL;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::DynamicObject;
use serde_json::Value;

use super::child::{Child, ChildKind, DESIRED_HASH, Keep, MANAGED_BY, Owner};

/// On what NVIDIA's operator wrote: a hash of it.
pub(crate) const UPSTREAM_HASH: &str = "nvidia.com/last-applied-hash";

/// Labels that both operators put on what they make, and no user chooses.
const MARKS: [&str; 4] =
    [MANAGED_BY.0, "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of"];

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Its controller is this object, or it is the one that all objects of its kind share.
    Own,
    /// Its controller had the kind and name of this object and is gone: the garbage collector removes it.
    Predecessor,
    /// It has no controller and bears every mark of such a child: it was restored from a backup, or left behind.
    Orphaned,
    /// It belongs to somebody else, for this reason.
    Foreign(String),
}

/// Tells whose `live` is.
pub(crate) fn ownership(child: &Child, owner: &Owner, live: &DynamicObject) -> Ownership {
    match controller(&live.metadata) {
        Some(found) if child.keep != Keep::Shared && found.uid == owner.uid => Ownership::Own,
        Some(found) if child.keep != Keep::Shared && is_predecessor(found, owner) => Ownership::Predecessor,
        Some(found) => {
            Ownership::Foreign(format!("it belongs to {} {} (uid {})", found.kind, found.name, found.uid))
        }
        None => match lacking(child, live) {
            Some(lack) => Ownership::Foreign(format!("it has no owner and {lack}")),
            None if child.keep == Keep::Shared => Ownership::Own,
            None => Ownership::Orphaned,
        },
    }
}

/// Whether `live` is a child that `owner` has, or had until the garbage collector removed its owner reference.
pub(crate) fn was_of(owner: &Owner, live: &DynamicObject) -> bool {
    let label = |key| live.metadata.labels.as_ref()?.get(key);
    controller(&live.metadata).map_or_else(
        || {
            label(MANAGED_BY.0).is_some_and(|found| found == MANAGED_BY.1)
                && label("app.kubernetes.io/name") == Some(&owner.name)
        },
        |found| found.uid == owner.uid,
    )
}

/// The controller of an object.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

fn is_predecessor(found: &OwnerReference, owner: &Owner) -> bool {
    let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
    found.kind == owner.kind
        && found.name == owner.name
        && group(&found.api_version) == group(&owner.api_version)
}

/// What keeps an object without controller from being taken for a child of ours; `None` when nothing does.
fn lacking(child: &Child, live: &DynamicObject) -> Option<String> {
    let (labels, annotations) = (live.metadata.labels.as_ref(), live.metadata.annotations.as_ref());
    if labels.is_some_and(|all| all.contains_key(DELIVERED_LABEL)) {
        return Some("was delivered by a hub".to_owned());
    }
    let rendered = &child.body["metadata"]["labels"];
    for key in MARKS {
        let Some(value) = rendered[key].as_str() else { continue };
        if labels.and_then(|all| all.get(key)).is_none_or(|found| found != value) {
            return Some(format!("lacks the label {key}={value}"));
        }
    }
    let has = |key: &str| annotations.is_some_and(|all| all.contains_key(key));
    if bears_hash(child) && !has(DESIRED_HASH) && !has(UPSTREAM_HASH) {
        return Some(format!("lacks the annotation {DESIRED_HASH}"));
    }
    excess(child, &live.data)
}

/// False for children on which NVIDIA's operator writes no hash, and for an InferenceService, on which we write none.
fn bears_hash(child: &Child) -> bool {
    !matches!(child.keep, Keep::MadeOrFound | Keep::OwnedOnce | Keep::Shared)
        && child.kind != ChildKind::InferenceService
}

/// Which right a Role or RoleBinding gives beyond those that are rendered.
fn excess(child: &Child, live: &Value) -> Option<String> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match child.kind {
        ChildKind::Role => {
            let granted = items(child.widest.as_ref().unwrap_or(&child.body["rules"]));
            let beyond = items(&live["rules"])
                .into_iter()
                .find(|rule| !granted.iter().any(|granted| is_within(rule, granted)))?;
            Some(format!("grants what is not rendered: {beyond}"))
        }
        ChildKind::RoleBinding => {
            let (rendered, found) = (&child.body["roleRef"], &live["roleRef"]);
            if rendered != found {
                return Some(format!("binds {} {}", found["kind"], found["name"]));
            }
            let rendered = items(&child.body["subjects"]);
            let stranger =
                items(&live["subjects"]).into_iter().find(|subject| !rendered.contains(subject))?;
            Some(format!("binds {} {} too", stranger["kind"], stranger["name"]))
        }
        _ => None,
    }
}

/// Whether a rule of a Role gives no right that the other does not give.
fn is_within(rule: &Value, granted: &Value) -> bool {
    let words = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    let covered = |field: &str| {
        let granted = words(granted, field);
        words(rule, field).iter().all(|word| granted.contains(word))
    };
    // A rule without names is for all of them.
    let (asked, allowed) = (words(rule, "resourceNames"), words(granted, "resourceNames"));
    let has_names =
        allowed.is_empty() || !asked.is_empty() && asked.iter().all(|name| allowed.contains(name));
    has_names && ["apiGroups", "resources", "verbs", "nonResourceURLs"].into_iter().all(covered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operator::engine::decide::tests::owner;

    fn rule(names: &[&str], verbs: &[&str]) -> Value {
        json!({"apiGroups": ["security.openshift.io"], "resources": ["securitycontextconstraints"],
            "resourceNames": names, "verbs": verbs})
    }

    fn child(kind: ChildKind, keep: Keep, more: &Value) -> Child {
        let resource = kind.resource();
        let mut body = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": "n", "namespace": "ns", "labels": {
                MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/name": "n", "users": "own"}},
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Child::new(kind, "n", keep, &body)
    }

    /// What is left when the owner is gone, changed by `edit`.
    fn left(child: &Child, edit: impl Fn(&mut Value)) -> DynamicObject {
        let mut body = child.stamped(&owner()).body;
        body["metadata"]["ownerReferences"] = json!([]);
        edit(&mut body);
        serde_json::from_value(body).unwrap()
    }

    fn whose(child: &Child, edit: impl Fn(&mut Value)) -> Ownership {
        ownership(child, &owner(), &left(child, edit))
    }

    #[test]
    fn a_child_without_owner_is_ours_only_with_every_mark() {
        let service = child(ChildKind::Service, Keep::Owned, &json!({}));
        assert_eq!(whose(&service, |_| ()), Ownership::Orphaned);
        let upstreams =
            |live: &mut Value| live["metadata"]["annotations"] = json!({UPSTREAM_HASH: "8f6c4d7b5c"});
        assert_eq!(whose(&service, upstreams), Ownership::Orphaned);
        assert_eq!(
            whose(&service, |live| live["metadata"]["labels"]["users"] = json!("changed")),
            Ownership::Orphaned
        );
        for (edit, word) in [
            (json!({"labels": null}), "lacks the label app.kubernetes.io/managed-by"),
            (json!({"annotations": null}), "lacks the annotation nimfleet.io/desired-hash"),
            (
                json!({"labels": {MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/name": "other"}}),
                "app.kubernetes.io/name=n",
            ),
        ] {
            let change = |live: &mut Value| {
                live["metadata"].as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
            };
            let found = whose(&service, change);
            assert!(matches!(&found, Ownership::Foreign(why) if why.contains(word)), "{edit}: {found:?}");
        }
        let delivered = |live: &mut Value| live["metadata"]["labels"][DELIVERED_LABEL] = json!("true");
        assert!(matches!(whose(&service, delivered), Ownership::Foreign(why) if why.contains("hub")));
    }

    #[test]
    fn what_upstream_makes_without_a_hash_is_known_by_its_labels() {
        let bare = |live: &mut Value| live["metadata"]["annotations"] = json!(null);
        for (kind, keep, expected) in [
            (ChildKind::PersistentVolumeClaim, Keep::MadeOrFound, Ownership::Orphaned),
            (ChildKind::ConfigMap, Keep::OwnedOnce, Ownership::Orphaned),
            (ChildKind::InferenceService, Keep::Owned, Ownership::Orphaned),
            (ChildKind::ServiceAccount, Keep::Shared, Ownership::Own),
        ] {
            assert_eq!(whose(&child(kind, keep, &json!({})), bare), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_access_object_without_owner_gives_no_right_beyond_what_is_rendered() {
        let role = child(ChildKind::Role, Keep::Owned, &json!({"rules": [rule(&["nonroot"], &["use"])]}));
        for (rules, ours) in [
            (json!([rule(&["nonroot"], &["use"])]), true),
            (json!([]), true),
            (json!([rule(&["nonroot", "privileged"], &["use"])]), false),
            (json!([rule(&[], &["use"])]), false),
            (json!([rule(&["nonroot"], &["use", "get"])]), false),
            (json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]), false),
        ] {
            let found = whose(&role, |live| live["rules"] = rules.clone());
            assert_eq!(found == Ownership::Orphaned, ours, "{rules}: {found:?}");
        }
        let both = json!([rule(&["anyuid", "nonroot"], &["use"])]);
        let shared = child(ChildKind::Role, Keep::Shared, &json!({"rules": [rule(&["nonroot"], &["use"])]}));
        let wider = |live: &mut Value| live["rules"] = both.clone();
        assert!(matches!(whose(&shared, wider), Ownership::Foreign(_)));
        assert_eq!(whose(&shared.clone().covering(both.clone()), wider), Ownership::Own);

        let subject = json!({"kind": "ServiceAccount", "name": "n", "namespace": "ns"});
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "n"});
        let binding = json!({"roleRef": role_ref, "subjects": [subject]});
        let binding = child(ChildKind::RoleBinding, Keep::Owned, &binding);
        assert_eq!(whose(&binding, |_| ()), Ownership::Orphaned);
        assert!(matches!(
            whose(&binding, |live| live["roleRef"]["kind"] = json!("ClusterRole")),
            Ownership::Foreign(_)
        ));
        let stranger = |live: &mut Value| live["subjects"] = json!([{"kind": "User", "name": "eve"}]);
        assert!(matches!(whose(&binding, stranger), Ownership::Foreign(why) if why.contains("eve")));
    }

    #[test]
    fn a_predecessor_has_the_kind_and_name_and_another_uid() {
        let service = child(ChildKind::Service, Keep::Owned, &json!({}));
        let owned = |kind: &str, name: &str, uid: &str| {
            let reference = json!([{"apiVersion": "apps.nvidia.com/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
            whose(&service, |live| live["metadata"]["ownerReferences"] = reference.clone())
        };
        assert_eq!(owned("NIMService", "n", "u1"), Ownership::Own);
        assert_eq!(owned("NIMService", "n", "u0"), Ownership::Predecessor);
        assert!(matches!(owned("NIMService", "m", "u0"), Ownership::Foreign(_)));
        assert!(matches!(owned("NIMCache", "n", "u0"), Ownership::Foreign(_)));
    }
}
