//! The identity of pods: ServiceAccount, Role and RoleBinding.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject as BoundTo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::operator::engine::child::{Child, ChildKind, Keep};

/// The three objects, all with this metadata. No right is given where the account is somebody else's.
pub(crate) fn children(metadata: &ObjectMeta, rules: Vec<PolicyRule>) -> [Child; 3] {
    let name = metadata.name.clone().unwrap_or_default();
    let account = ServiceAccount { metadata: metadata.clone(), ..ServiceAccount::default() };
    let role = Role { metadata: metadata.clone(), rules: Some(rules) };
    let binding = RoleBinding {
        metadata: metadata.clone(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.clone(),
        },
        subjects: Some(vec![BoundTo {
            kind: "ServiceAccount".into(),
            name: name.clone(),
            namespace: metadata.namespace.clone(),
            api_group: None,
        }]),
    };
    [
        Child::new(ChildKind::ServiceAccount, &name, Keep::Owned, &account),
        Child::new(ChildKind::Role, &name, Keep::Owned, &role).requiring(ChildKind::ServiceAccount, &name),
        Child::new(ChildKind::RoleBinding, &name, Keep::Owned, &binding),
    ]
}

/// The right to do this with those resources.
pub(crate) fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

/// The right to use security context constraints of OpenShift.
pub(crate) fn use_of_scc(names: Vec<String>) -> PolicyRule {
    PolicyRule {
        resource_names: Some(names),
        ..rule(&["security.openshift.io"], &["securitycontextconstraints"], &["use"])
    }
}
