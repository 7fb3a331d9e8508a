//! ServiceAccount, Role and RoleBinding of the endpoint picker.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject as BoundTo};

use super::{metadata, name};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::nimservice::scene::Scene;

/// The three objects, in the order in which they are made.
pub(super) fn children(scene: &Scene<'_>) -> [Child; 3] {
    let name = name(scene);
    let metadata = || metadata(scene, &name);
    let account = ServiceAccount { metadata: metadata(), ..ServiceAccount::default() };
    let role = Role { metadata: metadata(), rules: Some(rules()) };
    let binding = RoleBinding {
        metadata: metadata(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.clone(),
        },
        subjects: Some(vec![BoundTo {
            kind: "ServiceAccount".into(),
            name: name.clone(),
            namespace: Some(scene.namespace().to_owned()),
            api_group: None,
        }]),
    };
    [
        Child::new(ChildKind::ServiceAccount, &name, Keep::Owned, &account),
        Child::new(ChildKind::Role, &name, Keep::Owned, &role),
        Child::new(ChildKind::RoleBinding, &name, Keep::Owned, &binding),
    ]
}

/// The picker reads pools, objectives (in both groups they have been in) and pods.
fn rules() -> Vec<PolicyRule> {
    let pools = ["inferencepools", "inferenceobjectives"];
    [
        ("inference.networking.k8s.io", &pools[..]),
        ("inference.networking.x-k8s.io", &pools[..]),
        ("", &["pods"][..]),
    ]
    .into_iter()
    .map(|(group, resources)| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(resources.iter().map(|&resource| resource.to_owned()).collect()),
        verbs: ["get", "watch", "list"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    })
    .collect()
}
